"""Four kinds of questions: not judged is not unanswerable, and neither is judged irrelevant."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from rankgate.errors import InputError

_ANSWERABILITY = {"answerable": True, "partial": True, "unanswerable": False}


class Kind(StrEnum):
    """What is known of a question.

    `relevant`: it has a relevant passage. `unanswerable`: somebody says that the corpus does not
    answer it. `graded_0`: passages were judged for it, and none is relevant. `unjudged`: no
    judgement at all, of which nothing follows.
    """

    RELEVANT = "relevant"
    UNANSWERABLE = "unanswerable"
    GRADED_0 = "graded_0"
    UNJUDGED = "unjudged"


class Unjudged(StrEnum):
    """What becomes of questions without any judgement.

    `ignore`: left out, and counted in a warning. `irrelevant`: the same, but the averages with 0
    for them are told too, as trec_eval -c makes them. `unanswerable`: the floor should refuse
    them.
    """

    IGNORE = "ignore"
    IRRELEVANT = "irrelevant"
    UNANSWERABLE = "unanswerable"


def unjudged_as(value: str) -> Unjudged:
    """The treatment of that name.

    Raises:
        InputError: there is none.
    """
    try:
        return Unjudged(value)
    except ValueError as exc:
        raise InputError(f"unjudged is one of {', '.join(Unjudged)}; got {value!r}") from exc


def answerable_in_words(fields: Mapping[str, Any]) -> bool | None:
    """What a question's row says of whether the corpus answers it; None: nothing that is known.

    Its field `answerability` (`answerable`, `partial`, `unanswerable`; any other word: nothing),
    otherwise `answerable` (true or false).
    """
    said = fields.get("answerability")
    if said is not None:
        return _ANSWERABILITY.get(str(said).strip().casefold())
    flag = fields.get("answerable")
    named = {"true": True, "1": True, "false": False, "0": False}
    return None if flag is None else named.get(str(flag).strip().casefold())


def kind_of(grades: Mapping[str, int] | None, fields: Mapping[str, Any]) -> Kind:
    """The kind of a question.

    Args:
        grades: passage id to grade, above 0 for a relevant one; None or empty: no judgement.
        fields: whatever else stands in its row.
    """
    if grades and any(grade > 0 for grade in grades.values()):
        return Kind.RELEVANT
    if answerable_in_words(fields) is False:
        return Kind.UNANSWERABLE
    return Kind.GRADED_0 if grades else Kind.UNJUDGED
