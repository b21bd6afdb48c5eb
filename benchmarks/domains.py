"""Which corpora are one domain, and which query encoder has seen none of it.

Leaving a single corpus out would flatter: covid-qa and pubmedqa are both medicine. cranfield is
learned from by nothing (its licence is unclear), mtrag neither (it has no train split).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from rankgate.encoders import QueryEncoder, TokenEncoder, TokenHead
from rankgate.scorers import LateInteractionScorer
from rankgate_eval.data.dataset import Dataset

__all__ = [
    "CORPORA",
    "DOMAINS",
    "LEARNED",
    "TRAINED",
    "domain_of",
    "encoder_name",
    "scorer_without",
    "variants",
]

DOMAINS = {
    "encyclopedia": ("xquad-en", "nq-oracle"),
    "biomedicine": ("covid-qa", "pubmedqa", "medquad"),
    "engineering": ("cranfield",),
    "mtrag": ("mtrag",),
}
CORPORA = tuple(name for names in DOMAINS.values() for name in names)
TRAINED = ("encyclopedia", "biomedicine")
LEARNED = tuple(name for domain in TRAINED for name in DOMAINS[domain])


SPOILT = {"xquad-en": {"xquad-en, typos": "queries-typos", "xquad-en, misheard": "queries-asr"}}


def variants(data: Dataset, folder: Path) -> dict[str, Dataset]:
    """The questions as they are, and as keyboards and recognisers spoil them."""
    found = {data.name: data}
    for label, file in SPOILT.get(data.name, {}).items():
        lines = (folder / f"{file}.jsonl").read_text("utf-8").splitlines()
        spoilt = {row["_id"]: row["text"] for row in map(json.loads, lines)}
        found[label] = replace(data, queries={**data.queries, **spoilt})
    return found


def domain_of(corpus: str) -> str:
    """The domain of a corpus."""
    return next(domain for domain, names in DOMAINS.items() if corpus in names)


def encoder_name(*left_out: str) -> str:
    """Folder of the query encoder that was trained without these domains."""
    without = [d for d in TRAINED if d in left_out]
    return "-".join(["without", *without]) if without else "all"


def scorer_without(
    folder: Path | None, encoder: TokenEncoder, *left_out: str
) -> LateInteractionScorer:
    """The scorer whose query encoder has seen none of these domains.

    Args:
        folder: of the trainings, one folder each; None: the encoder reads the questions.
        encoder: of the passages.
        left_out: domains.
    """
    head = TokenHead(encoder=encoder.sha256)
    if folder is None or all(domain in left_out for domain in TRAINED):
        return LateInteractionScorer(encoder, head=head)
    file = folder / encoder_name(*left_out) / "best" / "query-encoder.safetensors"
    return LateInteractionScorer(encoder, head=head, query_encoder=QueryEncoder.load(file, encoder))
