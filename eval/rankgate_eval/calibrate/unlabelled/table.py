"""A calibration without labels as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankgate.describe import claim_words

_MOSTLY = 0.5


def table_lines(report: Mapping[str, Any]) -> list[str]:
    """What is guaranteed of what, what becomes of the user's own questions, and what is not said.

    Args:
        report: of `calibrate_unlabelled`.
    """
    data, promised, shares = report["data"], report["guarantees"], report["shares"]
    sources = ", ".join(f"{n} of {name}" for name, n in data["sources"].items())
    made = ", ".join(f"{n} {name}" for name, n in data["kinds"].items() if name != "asked")
    lines = [
        f"{data['name']}: {data['asked']} questions in {data['conversations']} conversations "
        f"({sources}); nobody judged them",
        f"made negatives: {made or 'none'}",
        f"scorer {report['scorer']} over a {report['first_stage']} first stage, k {report['k']}, "
        f"top_n {report['top_n']}",
        "",
    ]
    if promised["claims"]:
        lines.append(
            f"Guaranteed together at {promised['confidence']:.0%} confidence, for new "
            "conversations like these:"
        )
        lines += [f"  {claim_words(claim)}" for claim in promised["claims"]]
    else:
        lines.append("Nothing is guaranteed.")
        lines += [f"  not shown: {claim_words(claim)}" for claim in promised["failed"]]
    lines += [
        "",
        f"Of your {data['asked']} questions, by the half that fitted nothing, "
        "one of a conversation:",
        f"  answered by the first stage alone   {_share(shares['skipped'])}",
        f"  refused                             {_share(shares['refused'])}",
        f"  answered as weak evidence           {_share(shares['weak'])}",
    ]
    if shares["answered"]:
        kind, worst = max(shares["answered"].items(), key=lambda pair: pair[1]["share"])
        lines.append(
            f"  of questions without an answer, answered all the same, worst kind ({kind}): "
            f"{_share(worst)}"
        )
    if shares["weak"]["share"] > _MOSTLY:
        lines.append(
            "  Most of your questions would be answered as weak evidence: this scorer tells them "
            "badly from questions without an answer. Try another, or a larger --false-answers"
        )
    lines += [f"{part}: {why}" for part, why in report["why_not"].items()]
    if report["trust"]["given"]:
        lines.append(
            f"gate: {report['trust']['reason']}. It keeps fidelity to the reranker; whether that "
            "is right, no label here says"
        )
    if report["notes"]:
        lines += ["", *(f"Note: {note}" for note in report["notes"])]
    return lines


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['share']:.1%} [{low:.1%}, {high:.1%}] of {found['n']}"
