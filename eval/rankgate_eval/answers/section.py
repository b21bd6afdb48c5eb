"""The section "Did the answers get better?" as Markdown, for terminals and pull requests.

The HTML report shows the same section; see `rankgate_eval.report`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rankgate_eval.answers.refusals import KINDS

__all__ = ["markdown", "summary_lines"]

_VERDICTS = {
    "ship": "SHIP: the answers get better",
    "ship_behind_gate": "SHIP BEHIND THE GATE: the answers get better where the gate lets it run",
    "dont_ship": "DON'T SHIP: the answers do not get better",
    "not_enough_data": "NOT ENOUGH DATA to decide about the answers",
    "not_a_fair_test": "NOT A FAIR TEST: the policy was fitted on these questions",
}
_SHOWN = 20
_LONG = 400


def summary_lines(section: Mapping[str, Any]) -> list[str]:
    """Verdict, reasons and one line an arm, for a terminal."""
    lines = [_VERDICTS[section["verdict"]]]
    lines += [f"  - {reason}" for reason in section["reasons"]]
    if section["queries_needed"] is not None:
        lines.append(f"  - About {section['queries_needed']} questions like these are needed.")
    lines.append("")
    for arm, metrics in section["arms"].items():
        told = [
            f"{name} {_number(m['mean'])} (n {m['n']}"
            + (f", {m['missing']} missing)" if m["missing"] else ")")
            for name, m in metrics.items()
            if m["n"] or m["missing"]
        ]
        lines.append(f"{arm}: " + ", ".join(told))
        refused = section["refusals"][arm]
        lines.append(
            f"  refusals: {refused['right_refusal']} right, {refused['wrong_refusal']} wrong; "
            f"{refused['answer_to_unanswerable']} answers to unanswerable questions; "
            f"{refused['failed']} failed"
        )
    lines += ["", *section["notes"]]
    return lines


def markdown(section: Mapping[str, Any]) -> str:
    """The whole section."""
    lines = ["## Did the answers get better?", "", f"**{_VERDICTS[section['verdict']]}**", ""]
    lines += [f"- {_plain(reason)}" for reason in section["reasons"]]
    if section["queries_needed"] is not None:
        lines.append(f"- About {section['queries_needed']} questions like these are needed.")
    lines += ["", f"{section['n']} questions in {section['clusters']} document groups."]
    lines += [f"{_plain(note)}" for note in section["notes"]]
    lines += ["", "### The arms", "", *_arms(section)]
    lines += ["", "### Paired differences", "", *_differences(section)]
    lines += ["", "### Refusals", "", *_refusals(section)]
    lines += ["", "### What moved passages did to the answers", "", *_moves(section)]
    if section["agreement"]:
        lines += ["", "### The judge against itself", "", *_agreement(section)]
    if section["strata"] is not None:
        lines += ["", "### By kind of question", "", *_strata(section["strata"])]
    lines += ["", "### Questions whose context changed", "", *_changed(section)]
    made = section.get("made")
    if made:
        lines += ["", "### How it was made", ""]
        lines += [f"- {key}: {_plain(str(value))}" for key, value in made.items()]
    return "\n".join(lines) + "\n"


def _arms(section: Mapping[str, Any]) -> list[str]:
    arms = section["arms"]
    metrics = [m for m in next(iter(arms.values())) if any(a[m]["n"] for a in arms.values())]
    rows = []
    for metric in metrics:
        cells = []
        for arm in arms.values():
            found = arm[metric]
            missing = f", {found['missing']} missing" if found["missing"] else ""
            cells.append(
                f"{_number(found['mean'])} {_interval(found['ci'])} (n {found['n']}{missing})"
            )
        rows.append([metric, *cells])
    return _table(["metric", *arms], rows)


def _differences(section: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            name,
            metric,
            f"{d['mean']:+.3f}",
            "-" if d["ci"] is None else f"{d['ci'][0]:+.3f} to {d['ci'][1]:+.3f}",
            f"{d['p']:.4f}",
            str(d["n"]),
            str(d["changed"]),
        ]
        for name, metrics in section["differences"].items()
        for metric, d in metrics.items()
    ]
    return _table(["arms", "metric", "difference", "95% interval", "p", "pairs", "differ"], rows)


def _refusals(section: Mapping[str, Any]) -> list[str]:
    rows = [[arm, *(str(found[k]) for k in KINDS)] for arm, found in section["refusals"].items()]
    lines = _table(["arm", *(k.replace("_", " ") for k in KINDS)], rows)
    for name, change in section["refusal_changes"].items():
        test = change["right_refusals"]
        if test is not None:
            lines += [
                "",
                f"{name}: of the unanswerable questions {test['only_after']} are refused only "
                f"after, {test['only_before']} only before (McNemar's exact p = {test['p']:.4f}).",
            ]
    return lines


def _moves(section: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, found in section["contexts"].items():
        for kind, n in found["moves"].items():
            words = {
                "inversion": "a relevant passage left the context",
                "lift": "a relevant passage came into it",
                "none": "no relevant passage moved across its edge",
            }[kind]
            rows.append(
                [name, words, *(str(n[k]) for k in ("n", "better", "worse", "same", "unclear"))]
            )
    lines = _table(["arms", "what moved", "questions", "better", "worse", "same", "unclear"], rows)
    told = [
        f"{name}: the context is another one for {f['changed']} of {f['changed'] + f['same']} "
        "questions."
        for name, f in section["contexts"].items()
    ]
    return [*told, "", *lines]


def _agreement(section: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            metric,
            str(a["n"]),
            f"{a['same']:.3f} {_interval(a['same_ci'])}",
            f"{a['mean_difference']:.3f} {_interval(a['mean_difference_ci'])}",
        ]
        for metric, a in section["agreement"].items()
    ]
    return _table(["metric", "answers", "judged alike", "mean difference"], rows)


def _strata(strata: Mapping[str, Any]) -> list[str]:
    rows = []
    for row in strata["rows"]:
        found = row["difference"]
        rows.append(
            [
                row["stratum"],
                str(row["n"]),
                "too few" if found is None else f"{found['mean']:+.3f} {_interval(found['ci'])}",
                "-" if row["adjusted_p"] is None else f"{row['adjusted_p']:.4f}",
            ]
        )
    return [
        f"Difference in {strata['metric']}, p adjusted by Holm over all of them.",
        "",
        *_table(["questions", "n", "difference", "adjusted p"], rows),
    ]


def _changed(section: Mapping[str, Any]) -> list[str]:
    changed = section["changed"]
    if not changed:
        return ["None."]
    lines = []
    for row in changed[:_SHOWN]:
        moves = ", ".join(m for m in row["moves"] if m != "none")
        aside = f", {moves}" if moves else ""
        lines += [
            f"#### {_plain(row['query'])}",
            "",
            f"{row['query_id']}: **{row['kind']}**{aside} ({_plain(row['because'])})",
        ]
        if row["references"]:
            lines.append(f"Reference: {_plain(row['references'][0])}")
        lines.append("")
        for side in (row["before"], row["after"]):
            said = side["failure"] if side["answer"] is None else side["answer"]
            scores = ", ".join(
                f"{m} {_number(v)}" for m, v in side["judgements"].items() if v is not None
            )
            contexts = ", ".join(
                f"{'**' if c['relevant'] else ''}{_plain(c['passage_id'])}"
                f"{'**' if c['relevant'] else ''}"
                for c in side["contexts"]
            )
            lines.append(f"- {side['arm']}: {_plain(said)}")
            lines.append(f"  - passages: {contexts if contexts else 'none'}")
            lines.append(f"  - {scores if scores else side['kind'].replace('_', ' ')}")
        lines.append("")
    if len(changed) > _SHOWN:
        lines.append(f"{len(changed) - _SHOWN} further ones stand in end_to_end.json.")
    lines.append("Passages in bold are judged relevant.")
    return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return ["None."]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(_plain(c) for c in row) + " |" for row in rows]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(ci: Sequence[float] | None) -> str:
    return "" if ci is None else f"[{ci[0]:.3f}, {ci[1]:.3f}]"


def _plain(text: str) -> str:
    """One line that cannot become Markdown or HTML of its own."""
    line = " ".join(text.split())
    line = line if len(line) <= _LONG else line[: _LONG - 1] + "\u2026"
    for char, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("`", "'")):
        line = line.replace(char, safe)
    return line
