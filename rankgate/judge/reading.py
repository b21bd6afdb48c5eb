"""Readers of sufficiency: scorers whose values are logits that a passage answers the question.

A reader is any `Scorer`, so cache, breaker, deadline and lazy loading are those of the others.
None ships: the one that was trained here tells less than the probability of relevance
(eval/results/sufficiency.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from rankgate.decide.sufficiency import OFF, ReaderName
from rankgate.encoders.encoder import TokenEncoder
from rankgate.encoders.reader import LENGTH, JointReader
from rankgate.encoders.runtime import backend
from rankgate.errors import ConfigError
from rankgate.judge.nli import NliScorer
from rankgate.scorers.build import Wrapping, load, wrapped
from rankgate.scorers.protocol import ScoreContext, Scorer, ScorerInfo, Scores, ScoreStats
from rankgate.scorers.wrappers.lazy import Lazy
from rankgate.texts import checked_texts

__all__ = ["JointScorer", "load_reader"]

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
    setting: str, *, encoder: str | Path | None = None, wrapping: Wrapping | None = None
) -> Scorer | None:
    """The reader of a setting, loaded by the first question that needs it; None for `off`.

    Args:
        setting: `reader:FILE` (that `benchmarks/reader.py` has written), `cross-encoder:NAME`,
            `nli:NAME` or `off`.
        encoder: folder of all-MiniLM-L6-v2, for a file; None: as `find_minilm` finds it.
        wrapping: which wrappers stand around it; None: all but windows, since a reader is asked
            about whole passages.

    Raises:
        ConfigError: no such form, `bundled`, which no release has had, or `llm`, whose address
            nobody has named.
    """
    name = ReaderName.parse(setting)
    how = Wrapping(windowed=False) if wrapping is None else wrapping
    if name.kind == OFF:
        return None
    if name.kind == "reader":
        announced = ScorerInfo(id=f"joint-reader/{Path(name.name).name}", scale=SCALE)
        return wrapped(Lazy(announced, partial(_of_file, name.name, encoder)), how)
    if name.kind == "cross-encoder":
        return load(f"cross-encoder:{name.name}", lazy=True, wrapping=how)
    if name.kind == "nli":
        return wrapped(Lazy(NliScorer.info_of(name.name), partial(NliScorer, name.name)), how)
    if name.kind == "llm":
        raise ConfigError(
            "sufficiency = 'llm' needs an address: pass rankgate.judge.yes_no.llm_reader(URL, "
            "model=NAME) in its place"
        )
    raise ConfigError(
        f"sufficiency = {setting!r} has no reader in this release: reader:FILE, "
        "cross-encoder:NAME and nli:NAME have, and a policy fitted with them; or 'off'"
    )


def _of_file(file: str, encoder: str | Path | None) -> Scorer:
    return JointScorer(JointReader.load(file, TokenEncoder.load(encoder)))
