"""Whether passages support a statement: a small judge that needs no key, no network and no torch.

A logistic over named features of `support`, calibrated on people's grades; what it was fitted on
and what it reaches stand beside its weights in `grounding.json`. It reads words and likeness, it
does not reason: a statement made of the passages' own words in another sense passes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rankgate.decide.logistic import Logistic, sigmoid
from rankgate.encoders import TokenEncoder
from rankgate.errors import InputError, WeightsMismatchError
from rankgate.judge.sentences import split_sentences
from rankgate.judge.support import Reader, Reading, Support, TokenSource, gather, read
from rankgate.scorers.remote.spoken import denies

__all__ = ["Grounding", "GroundingJudge", "Span", "Statement", "grounded", "statements_of"]

_FILE = Path(__file__).parent / "grounding.json"
_CITES = re.compile(r"(?<!\s)\s*\[\d{1,3}\]")
_NAME = "rankgate-grounding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A sentence of a passage.

    Attributes:
        passage: its index among the passages.
        start, end: `passages[passage][start:end]` is `text`.
        text: verbatim.
    """

    passage: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """What passages say of a statement.

    Attributes:
        probability: that they support it, in [0, 1]; 0 without passages.
        supported: whether that reaches the judge's threshold (Youden's).
        support: the sentences that hold most of it, best first, at most two; none where it is not
            supported.
        against: a sentence on the same matter that says another number, or says it is not so;
            None where there is none.
        lacking: its words and numbers that no passage has.
        features: what the probability was made of.
    """

    probability: float
    supported: bool
    support: tuple[Span, ...] = ()
    against: Span | None = None
    lacking: tuple[str, ...] = ()
    features: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A sentence of an answer that claims something.

    Attributes:
        start, end: its place in the answer.
        text: without markup and citations.
    """

    start: int
    end: int
    text: str


def statements_of(answer: str) -> tuple[Statement, ...]:
    """The sentences of an answer that claim something, in order.

    Left out are questions, announcements (`The steps are:`), what says that the information is
    not there, and what is no sentence: code, headings, rows of tables.
    """
    found = []
    for s in split_sentences(answer):
        text = _CITES.sub("", s.shown).strip()
        if not (s.asks or s.announces or denies(text)) and re.search(r"\w\w", text):
            found.append(Statement(start=s.start, end=s.end, text=text))
    return tuple(found)


class GroundingJudge:
    """Says of statements how likely passages support them.

    Thread-safe. Long passages are read in pieces of whole sentences, each passage once a call.

    Args:
        reader: the encoder that the model was fitted with.
        token_store: token vectors of the passages where they are kept already.
        file: of the model; None: the one that comes with this package.

    Attributes:
        threshold: of `supported`: Youden's.
        precise: from here on nine of ten graded cases are supported.
        mark_below: below it an answer's sentence is called not found; 5% of the sentences of
            answers that three people found wholly faithful are.

    Raises:
        WeightsMismatchError: the model was fitted with another encoder.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        token_store: TokenSource | None = None,
        file: str | Path | None = None,
    ) -> None:
        written = Path(_FILE if file is None else file).read_bytes()
        data = json.loads(written)
        encoder = str(getattr(reader, "sha256", data["encoder"]))
        if encoder != data["encoder"]:
            raise WeightsMismatchError(
                f"the judge was fitted with the encoder {data['encoder'][:12]}, not {encoder[:12]}"
            )
        self.threshold = float(data["thresholds"]["youden"])
        self.precise = float(data["thresholds"]["precise"])
        self.mark_below = float(data["thresholds"]["mark"])
        self.name = _NAME
        self.sha256 = hashlib.sha256(written).hexdigest()
        self.encoder_sha256 = encoder
        self._model = Logistic.from_dict(data["model"])
        self.reader = reader
        self._store = token_store

    @classmethod
    def load(
        cls, path: str | Path | None = None, *, token_store: TokenSource | None = None
    ) -> GroundingJudge:
        """The judge over all-MiniLM-L6-v2.

        Args:
            path: folder of the encoder; None: as `find_minilm` finds it.
            token_store: see the class.

        Raises:
            ModelNotFoundError: no weights.
            WeightsMismatchError: another encoder.
        """
        return cls(TokenEncoder.load(path), token_store=token_store)

    @property
    def identity(self) -> dict[str, str]:
        """What its verdicts depend on."""
        return {"judge": self.name, "sha256": self.sha256, "encoder": self.encoder_sha256}

    def grounded(self, statement: str, passages: Sequence[str]) -> Grounding:
        """How likely the passages support one statement.

        Args:
            statement: one sentence; split an answer by `statements_of`, or its worst part hides.
            passages: any number, of any length.

        Raises:
            InputError: no text, no word in the statement, or a passage that is no text.
        """
        return self.judge([statement], passages)[0]

    def judge(
        self,
        statements: Sequence[str],
        passages: Sequence[str],
        *,
        should_stop: Callable[[], bool] | None = None,
    ) -> tuple[Grounding, ...]:
        """`grounded` for several statements over the same passages.

        Args:
            statements: one sentence each.
            passages: see `grounded`.
            should_stop: looked at between chunks; once it is true, the rest is left out and what
                comes back is a shorter prefix.
        """
        _check(statements, passages)
        if not passages:
            nothing = Grounding(probability=0.0, supported=False, features={})
            return tuple(nothing for _ in statements)
        known = read(passages, self.reader, self._store, should_stop=should_stop)
        if len(known) < len(passages):
            return ()
        asked = read(statements, self.reader, should_stop=should_stop)
        found = []
        for statement in asked:
            if should_stop is not None and should_stop():
                break
            found.append(self._judged(statement, known))
        return tuple(found)

    def _judged(self, statement: Reading, passages: Sequence[Reading]) -> Grounding:
        evidence = gather(statement, passages)
        logit = self._model.logit(evidence.features)
        if logit is None or evidence.best is None:  # passages without a word
            return Grounding(probability=0.0, supported=False, features=evidence.features)
        probability = sigmoid(logit)
        supported = probability >= self.threshold
        spans = [s for s in (evidence.best, evidence.second) if s is not None]
        return Grounding(
            probability=probability,
            supported=supported,
            support=tuple(_span(s, passages) for s in spans) if supported else (),
            against=None if supported else _against(statement, evidence, passages),
            lacking=evidence.lacking,
            features=evidence.features,
        )


def _span(place: tuple[int, int, int], passages: Sequence[Reading]) -> Span:
    passage, start, end = place
    return Span(passage=passage, start=start, end=end, text=passages[passage].text[start:end])


def _against(statement: Reading, evidence: Support, passages: Sequence[Reading]) -> Span | None:
    """The best sentence where it is on the same matter and differs in a number or a negation."""
    f = evidence.features
    if evidence.best is None or f["overlap_best"] < 0.5:
        return None
    if not (f["numbers_other"] or f["negation_differs"]):
        return None
    return _span(evidence.best, passages)


def _check(statements: Sequence[str], passages: Sequence[str]) -> None:
    if isinstance(passages, str) or not all(isinstance(p, str) for p in passages):
        raise InputError("passages is a list of texts; put a single text into a list")
    for statement in statements:
        if not isinstance(statement, str) or not re.search(r"\w", statement):
            raise InputError(f"a statement is a text with at least one word, got {statement!r:.80}")


@functools.cache
def _bundled() -> GroundingJudge:
    return GroundingJudge.load()


def grounded(statement: str, passages: Sequence[str]) -> Grounding:
    """`GroundingJudge.grounded` of the judge that comes with this package, loaded once.

    Raises:
        InputError: see there.
        ModelNotFoundError: all-MiniLM-L6-v2 is not installed.
    """
    return _bundled().grounded(statement, passages)
