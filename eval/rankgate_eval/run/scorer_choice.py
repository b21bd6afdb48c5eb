"""Which scorer `--scorer` names; evaluation, comparison and calibration share it."""

from __future__ import annotations

import os
from typing import Any

from rankgate.adapters.as_scorer import as_scorer
from rankgate.encoders import TokenStore
from rankgate.errors import ConfigError, InputError
from rankgate.judge.reading import load_reader
from rankgate.scorers import Scorer
from rankgate.scorers.build import DEFAULT_SCORER, MEASURED, SCORER_FORMS, ScorerName, load
from rankgate_eval.data.attribute import is_attribute_name, load_object


def choose_scorer(name: str | None = None, *, token_store: TokenStore | None = None) -> Scorer:
    """The scorer of that name, with what has a part in its scores and no other wrapper.

    Args:
        name: as for `rankgate.load`, or `module:attribute`. None: late interaction.
        token_store: token vectors known beforehand, for late interaction.

    A hosted scorer's key is read from `COHERE_API_KEY` and the like, so that several services can
    be compared, or from `RANKGATE_SCORER_API_KEY`, the application's own variable.

    Raises:
        InputError: no such scorer.
        ConfigError: a name that does not say enough, or no key for a hosted scorer.
        ModelNotFoundError: its weights are not there.
        MissingExtraError: its engine is not installed.
    """
    wanted = DEFAULT_SCORER if name is None else name.strip()
    if wanted.lower() in ("", "none", "null", "off"):
        raise InputError(
            "an evaluation needs a scorer: what there is without one is the arm first_stage, "
            f"which every evaluation has. Scorers: {_KNOWN}"
        )
    try:
        parts = ScorerName.parse(wanted)
    except InputError as exc:
        if is_attribute_name(wanted):
            return as_scorer(load_object(wanted, what="--scorer"), wrapping=MEASURED)
        raise InputError(f"unknown scorer {wanted!r}. Scorers: {_KNOWN}") from exc
    stored = token_store if parts.reads_tokens else None
    variables = (f"{parts.kind.upper()}_API_KEY", "RANKGATE_SCORER_API_KEY")
    keys = [os.environ[name] for name in variables if os.environ.get(name)] if parts.hosted else []
    if parts.hosted and not keys:
        raise ConfigError(f"{wanted!r} needs a key: set {' or '.join(variables)}")
    key = keys[0] if keys else None
    return load(wanted, token_store=stored, api_key=key, wrapping=MEASURED)


def choose_reader(setting: str) -> Scorer | None:
    """The reader of a setting as a calibration asks it; None for `off`.

    The key of an `llm` is read from `RANKGATE_OPENAI_API_KEY`, the application's own variable.

    Raises:
        ConfigError: no such reader, or a name that does not say enough.
        ModelNotFoundError: its file is not there.
    """
    key = os.environ.get("RANKGATE_OPENAI_API_KEY") or None
    return load_reader(setting, api_key=key, timeout_s=_PATIENCE_S, wrapping=MEASURED)


_PATIENCE_S = 60.0  # nobody waits for an answer here
_KNOWN = f"{SCORER_FORMS}, or module:attribute for a model, function or scorer of your own"


def reads_tokens(scorer: Any) -> bool:
    """Whether `choose_scorer` gives a scorer that a token store serves."""
    if scorer is None:
        return True
    return isinstance(scorer, str) and scorer.strip().partition(":")[0] == DEFAULT_SCORER
