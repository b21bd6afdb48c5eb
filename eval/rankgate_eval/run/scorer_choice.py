"""Which scorer `--scorer` names; evaluation, sweep and calibration share it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rankgate.encoders import TokenStore
from rankgate.errors import InputError
from rankgate.scorers import Scorer
from rankgate_eval.data.attribute import is_attribute_name, load_object

__all__ = ["DEFAULT_SCORER", "as_scorer", "choose_scorer", "reads_tokens"]

DEFAULT_SCORER = "late-interaction"
_KNOWN = (
    "late-interaction (the default), late-interaction:FILE (question layers that `rankgate train` "
    "has written), cross-encoder:NAME (a hub name or a folder), onnx:FOLDER, "
    "or module:attribute for an object of your own with `info` and `score`"
)


def choose_scorer(name: str | None = None, *, token_store: TokenStore | None = None) -> Scorer:
    """The scorer of that name.

    Args:
        name: `late-interaction`, `late-interaction:FILE` (of a `QueryEncoder`),
            `cross-encoder:NAME`, `onnx:FOLDER`, `module:attribute`, or a hub name or folder
            alone, taken for a cross-encoder. None: late interaction.
        token_store: token vectors known beforehand, for late interaction.

    Raises:
        InputError: no such scorer.
        ModelNotFoundError: its weights are not there.
        MissingExtraError: its engine is not installed.
    """
    wanted = DEFAULT_SCORER if name is None else name.strip()
    kind, colon, rest = wanted.partition(":")
    if kind == DEFAULT_SCORER and (rest or not colon):
        from rankgate.scorers import LateInteractionScorer

        return LateInteractionScorer.load(token_store=token_store, query=rest if colon else None)
    if colon and kind == "cross-encoder" and rest:
        return _cross_encoder(rest)
    if colon and kind == "onnx" and rest:
        from rankgate.scorers import OnnxScorer

        return OnnxScorer(rest)
    if wanted and Path(wanted).is_dir():
        return _cross_encoder(wanted)
    if is_attribute_name(wanted):
        return as_scorer(load_object(wanted, what="--scorer"))
    if wanted.count("/") == 1 and all(wanted.split("/")) and ":" not in wanted:
        return _cross_encoder(wanted)
    if wanted.lower() in ("", "none", "null", "off"):
        raise InputError(
            "an evaluation needs a scorer: what there is without one is the arm first_stage, "
            f"which every evaluation has. Scorers: {_KNOWN}"
        )
    raise InputError(f"unknown scorer {wanted!r}. Scorers: {_KNOWN}")


def reads_tokens(scorer: Any) -> bool:
    """Whether `choose_scorer` gives a scorer that a token store serves."""
    if scorer is None:
        return True
    return isinstance(scorer, str) and scorer.strip().partition(":")[0] == DEFAULT_SCORER


def as_scorer(candidate: Any) -> Scorer:
    """The object itself, if it can score.

    Raises:
        InputError: it has not `info` and `score`.
    """
    if not callable(getattr(candidate, "score", None)) or not hasattr(candidate, "info"):
        raise InputError(
            "a scorer has `info` and `score(query, texts, context)`, got "
            f"{type(candidate).__name__}. See rankgate.scorers.Scorer."
        )
    scorer: Scorer = candidate
    return scorer


def _cross_encoder(name: str) -> Scorer:
    from rankgate.scorers import CrossEncoderScorer

    return CrossEncoderScorer(name)
