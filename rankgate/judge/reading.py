"""Readers of sufficiency: scorers whose values are logits that a passage answers the question.

A reader is any `Scorer`, so cache, breaker, deadline and lazy loading are those of the others.
None ships: the one that was trained here tells less than the probability of relevance
(eval/results/sufficiency.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rankgate.decide.sufficiency import OFF, ReaderName, Sufficiency
from rankgate.encoders.encoder import TokenEncoder
from rankgate.encoders.locate import file_sha256
from rankgate.encoders.reader import LENGTH, JointReader
from rankgate.encoders.runtime import backend
from rankgate.errors import ConfigError, ModelNotFoundError
from rankgate.judge.nli import NliScorer
from rankgate.scorers.build import Wrapping, load, wrapped
from rankgate.scorers.protocol import ScoreContext, Scorer, ScorerInfo, Scores, ScoreStats
from rankgate.scorers.wrappers.lazy import Lazy
from rankgate.texts import checked_texts

__all__ = ["JointScorer", "load_reader", "reader_for"]

SCALE = "answers-logit"


class JointScorer:
    """A `JointReader` as a scorer."""

    def __init__(self, reader: JointReader) -> None:
        self.reader = reader

    @property
    def info(self) -> ScorerInfo:
        """Who is reading."""
        return ScorerInfo(
            id=f"joint-reader/{self.reader.sha256[:8]}",
            scale=SCALE,
            weights=self.reader.sha256,
            backend=backend(),
            dtype="float32",
            max_length=LENGTH,
        )

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Logits that each text answers; the clock is read between chunks of 8."""
        ctx = ScoreContext() if context is None else context
        query, texts = checked_texts(query, texts)
        found = self.reader.read([(query, t) for t in texts], should_stop=lambda: ctx.should_stop)
        values = np.zeros(len(texts), dtype=np.float32)
        values[: len(found)] = [one.answers for one in found]
        stats = ScoreStats(pairs=len(found), windows=len(found), calls=1)
        return Scores(
            values=values, scale=SCALE, scored=np.arange(len(texts)) < len(found), stats=stats
        )


def load_reader(
    setting: str,
    *,
    encoder: str | Path | None = None,
    api_key: Any = None,
    timeout_s: float = 10.0,
    wrapping: Wrapping | None = None,
) -> Scorer | None:
    """The reader of a setting; None for `off`. Models are loaded by the first question.

    Args:
        setting: `reader:FILE` (that `benchmarks/reader.py` has written), `cross-encoder:NAME`,
            `nli:NAME`, `llm:MODEL@URL` or `off`.
        encoder: folder of all-MiniLM-L6-v2, for a file; None: as `find_minilm` finds it.
        api_key: of an `llm`; see `RemoteScorer`.
        timeout_s: of one request to an `llm`.
        wrapping: which wrappers stand around it; None: all but windows, since a reader is asked
            about whole passages.

    Raises:
        ConfigError: no such form, or an `llm` whose model or address nobody has named.
        ModelNotFoundError: there is no such file.
    """
    name = ReaderName.parse(setting)
    how = Wrapping(windowed=False) if wrapping is None else wrapping
    if name.kind == OFF:
        return None
    if name.kind == "reader":
        announced = ScorerInfo(
            id=f"joint-reader/{Path(name.name).name}", scale=SCALE, weights=_weights(name)
        )
        return wrapped(Lazy(announced, partial(_of_file, name.name, encoder)), how)
    if name.kind == "cross-encoder":
        return load(f"cross-encoder:{name.name}", lazy=True, wrapping=how)
    if name.kind == "nli":
        return wrapped(Lazy(NliScorer.info_of(name.name), partial(NliScorer, name.name)), how)
    if not name.name or not name.url:
        raise ConfigError(
            f"sufficiency = {setting!r} does not say which model at which address reads: write "
            f"llm:{name.name or 'MODEL'}@URL, or pass rankgate.judge.yes_no.llm_reader(URL, "
            "model=NAME) in its place; 'off' asks nobody"
        )
    from rankgate.judge.yes_no import llm_reader

    return llm_reader(name.url, model=name.name, api_key=api_key, timeout_s=timeout_s, wrapping=how)


def reader_for(
    found: Iterable[Sufficiency | None], wish: str | None = None, **how: Any
) -> Scorer | None:
    """Who reads for these parts of a policy; None: nobody, or none of them asks.

    Args:
        found: of the sections that are used.
        wish: the setting `sufficiency`; None: the reader that they were fitted with.
        how: see `load_reader`.

    Raises:
        ConfigError: `wish` is another reader than they were fitted with, or they are several.
    """
    parts = [s for s in found if s is not None and s.reader != OFF]
    fitted = sorted({s.reader for s in parts})
    if wish is None and not fitted:
        return None
    if len(fitted) > 1:
        raise ConfigError(f"the policy has sections of several readers: {', '.join(fitted)}")
    name = ReaderName.parse(fitted[0] if wish is None else wish)
    if name.kind != OFF and not (parts and all(_is_fitted(name, s) for s in parts)):
        raise ConfigError(
            f"sufficiency = {wish!r}, but the policy was fitted with: {', '.join(fitted) or OFF}. "
            "A reader's numbers mean nothing to another's fit: rankgate calibrate DATA "
            f"--sufficiency {name}, or sufficiency = 'off'"
        )
    return load_reader(str(name), **how)


def _is_fitted(name: ReaderName, part: Sufficiency) -> bool:
    """Whether it is the reader of that fit: of a file the bytes count, wherever it lies now."""
    known, weights = ReaderName.parse(part.reader), part.provenance.get("weights")
    if name.kind == known.kind == "reader" and weights:
        return _weights(name) == str(weights)
    return (name.kind, name.name) == (known.kind, known.name)


def _weights(name: ReaderName) -> str:
    file = Path(name.name)
    if not file.is_file():
        raise ModelNotFoundError(
            f"sufficiency = '{name}': there is no such file; name where it lies now, or 'off'"
        )
    return file_sha256(file)


def _of_file(file: str, encoder: str | Path | None) -> Scorer:
    return JointScorer(JointReader.load(file, TokenEncoder.load(encoder)))
