"""The application's generators as plug-ins, for whoever may not import the application.

Registered under the entry-point group `rankgate.generators`: the end-to-end evaluation asks for
`extractive` there and hands over bare texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from rag_app.generate.context import Context, SourceText
from rag_app.generate.extractive import ExtractiveGenerator
from rankgate.encoders.token_store import TokenStore
from rankgate.types import Candidate, Passage


class BareExtractive:
    """The extractive generator over bare texts: no store, no probabilities, no budget.

    Args:
        reader: compares sentences with the question; None: all-MiniLM-L6-v2 where it is
            installed, loaded on first use.
        token_store: token vectors of the texts, so that only questions are encoded.
    """

    def __init__(self, reader: Any = None, *, token_store: TokenStore | None = None) -> None:
        self._given = reader
        self._token_store = token_store

    @cached_property
    def _reader(self) -> Any:
        if self._given is not None:
            return self._given
        from rankgate.encoders import TokenEncoder

        return TokenEncoder.load()

    @cached_property
    def _generator(self) -> ExtractiveGenerator:
        return ExtractiveGenerator(self._reader, token_store=self._token_store)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What its answers depend on besides question and texts."""
        from rankgate import __version__

        return {
            "generator": "extractive",
            "version": __version__,
            "encoder": str(getattr(self._reader, "sha256", type(self._reader).__name__)),
        }

    def generate(self, question: str, contexts: Sequence[str]) -> dict[str, Any]:
        """`text`, without the citations' numbers, and `refused`."""
        passages = [
            Passage(
                candidate=Candidate(id=f"context-{rank}", text=text, rank=rank),
                index=rank - 1,
                rank=rank,
            )
            for rank, text in enumerate(contexts, start=1)
        ]
        sources = tuple(SourceText(number=p.rank, passage=p) for p in passages)
        answer = self._generator.answer(question, Context(sources=sources))
        text = answer.text
        for source in answer.sources:
            # A number in brackets is no part of an answer that is compared with a reference.
            text = text.replace(f" [{source.number}]", "")
        return {"text": text, "refused": answer.refused}


def extractive() -> BareExtractive:
    """The plug-in `extractive`.

    Raises:
        ModelNotFoundError: on first use, where all-MiniLM-L6-v2 is not installed.
    """
    return BareExtractive()
