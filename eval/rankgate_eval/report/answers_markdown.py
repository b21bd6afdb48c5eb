"""The section "Did the answers get better?" as Markdown, for the report and end_to_end.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rankgate_eval.report import words
from rankgate_eval.report.answers import Answers, Counts, Measured, read_answers
from rankgate_eval.report.flatten import flatten
from rankgate_eval.report.numbers import (
    NOT_MEASURED,
    interval,
    probability,
    score,
    signed,
    signed_interval,
)
from rankgate_eval.report.safe_text import clip, prose
from rankgate_eval.report.tables import bullets, table

_SHOWN = 20
_LONG = 400


def terminal_lines(section: Mapping[str, Any]) -> list[str]:
    """Verdict, reasons and what each arm reached, for a terminal."""
    found = read_answers(section)
    lines = [f"Of the answers: {words.VERDICTS.get(found.verdict, found.verdict).upper()}"]
    lines += [f"  - {line}" for line in _reasons(found)]
    for arm, metrics in found.arms.items():
        told = [
            f"{name} {score(m.mean)} (n {m.n}" + (f", {m.missing} missing)" if m.missing else ")")
            for name, m in metrics.items()
            if m.n or m.missing
        ]
        lines += ["", f"{arm}: " + ", ".join(told)]
        kinds = ("right_refusal", "wrong_refusal", "answer_to_unanswerable", "failed")
        counted = found.refusals.get(arm, {})
        lines.append(
            "  " + ", ".join(f"{kind.replace('_', ' ')} {counted.get(kind, 0)}" for kind in kinds)
        )
    for name, changes in found.differences.items():
        lines += ["", f"{words.comparison_name(name)}, over the questions that both have:"]
        lines += [f"  {m}: {_cell(c, True)}" for m, c in changes.items() if c.mean is not None]
    return [*lines, "", *found.said]


def answers_markdown(section: Mapping[str, Any]) -> list[str]:
    """The section's parts, to be joined by blank lines; without its heading."""
    found = read_answers(section)
    parts = [f"**{prose(words.VERDICTS.get(found.verdict, found.verdict))}**"]
    reasons = _reasons(found)
    if reasons:
        parts.append(bullets(prose(r) for r in reasons))
    parts.append(f"{found.n:,} questions in {found.clusters} document groups.")
    parts += [prose(n) for n in found.said]
    parts += _measured("The arms", found, found.arms)
    parts += _measured("Paired differences", found, found.differences)
    parts += _counted("Refusals", found.refusals)
    parts += _counted("What moved passages did to the answers", found.moves)
    parts += _agreement(section.get("agreement"))
    parts += _strata(section.get("strata"))
    if found.changed:
        parts += ["### Questions whose context changed", *_changed(found)]
    made = section.get("made")
    if isinstance(made, Mapping):
        parts.append("### How it was made")
        parts.append(bullets(f"{prose(k)}: {prose(clip(v, _LONG))}" for k, v in flatten(made)))
    return parts


def _reasons(found: Answers) -> list[str]:
    if found.queries_needed is None:
        return list(found.reasons)
    return [*found.reasons, f"About {found.queries_needed} questions like these are needed."]


def _measured(
    title: str, found: Answers, tables: Mapping[str, Mapping[str, Measured]]
) -> list[str]:
    if not tables:
        return []
    paired = tables is found.differences
    name = words.comparison_name if paired else words.arm_name
    rows = [
        (prose(m), *(_cell(t.get(m), paired) for t in tables.values()))
        for m in found.metrics
        if any(m in t and t[m].mean is not None for t in tables.values())
    ]
    return [f"### {title}", table(("Metric", *(prose(name(k)) for k in tables)), rows)]


def _cell(value: Measured | None, paired: bool) -> str:
    if value is None or value.mean is None:
        return NOT_MEASURED
    ci = signed_interval(value.ci) if paired else interval(value.ci)
    mean = signed(value.mean) if paired else score(value.mean)
    n = "" if value.n is None else f", {value.n} pairs" if paired else f", n = {value.n}"
    p = "" if value.p is None else f", p {probability(value.p)}"
    differ = "" if value.changed is None else f", {value.changed} differ"
    missing = f", {value.missing} missing" if value.missing else ""
    return f"{mean} ({ci}{p}{n}{differ}{missing})"


def _counted(title: str, counts: Counts) -> list[str]:
    columns = tuple(dict.fromkeys(c for row in counts.values() for c in row))
    rows = [
        (prose(words.arm_name(name)), *(str(row.get(c, 0)) for c in columns))
        for name, row in counts.items()
    ]
    head = ("", *(prose(c.replace("_", " ")) for c in columns))
    return [f"### {title}", table(head, rows)] if rows else []


def _agreement(agreement: Any) -> list[str]:
    if not agreement:
        return []
    rows = [
        (
            prose(metric),
            str(a["n"]),
            f"{score(a['same'])} ({interval(a['same_ci'])})",
            f"{score(a['mean_difference'])} ({interval(a['mean_difference_ci'])})",
        )
        for metric, a in agreement.items()
    ]
    head = ("Metric", "Answers", "Judged alike", "Mean difference")
    return ["### The judge against itself", table(head, rows)]


def _strata(strata: Any) -> list[str]:
    if not strata:
        return []
    rows = []
    for row in strata["rows"]:
        d = row["difference"]
        change = "too few" if d is None else f"{signed(d['mean'])} ({signed_interval(d['ci'])})"
        p = row["adjusted_p"]
        rows.append((prose(row["stratum"]), str(row["n"]), change, "" if p is None else f"{p:.4f}"))
    return [
        "### By kind of question",
        f"Difference in {prose(strata['metric'])}, p adjusted by Holm over all of them.",
        table(("Questions", "n", "Difference", "Adjusted p"), rows),
    ]


def _changed(found: Answers) -> list[str]:
    parts = []
    for q in found.changed[:_SHOWN]:
        told = ", ".join([q.kind, *q.moves])
        because = f" ({prose(clip(q.because, _LONG))})" if q.because else ""
        lines = [f"{prose(q.query_id)}: **{prose(told)}**{because}"]
        if q.reference:
            lines.append(f"reference: {prose(clip(q.reference, _LONG))}")
        for side in q.sides:
            said = side.failure if side.failure else side.answer
            lines.append(f"{prose(words.arm_name(side.arm))}: {prose(clip(said, _LONG))}")
            lines.append(f"{_passages(side.contexts)}; {_judged(side)}")
        parts += [f"#### {prose(clip(q.query, _LONG))}", bullets(lines)]
    if len(found.changed) > _SHOWN:
        parts.append(f"{len(found.changed) - _SHOWN} further ones stand in the JSON result.")
    return [*parts, "Passages in bold are judged relevant."]


def _passages(contexts: Sequence[Any]) -> str:
    shown = [
        f"**{prose(clip(c.passage_id, 80))}**" if c.relevant else prose(clip(c.passage_id, 80))
        for c in contexts
    ]
    return f"passages {', '.join(shown)}" if shown else "no passages"


def _judged(side: Any) -> str:
    scores = [f"{prose(k)} {score(v)}" for k, v in side.judgements.items() if v is not None]
    if side.refused:
        return "refused"
    return ", ".join(scores) if scores else "not judged"
