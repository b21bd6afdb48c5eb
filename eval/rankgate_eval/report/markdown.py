"""The report as Markdown: complete enough for a pull request, and a short form for CI."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rankgate_eval.report import facts, words
from rankgate_eval.report.answers_markdown import answers_markdown
from rankgate_eval.report.numbers import (
    NOT_MEASURED,
    count_noun,
    interval,
    milliseconds,
    percent,
    probability,
    score,
    signed,
    signed_interval,
)
from rankgate_eval.report.safe_text import clip, code, prose
from rankgate_eval.report.tables import bullets as _bullets
from rankgate_eval.report.tables import table as _table
from rankgate_eval.result.parts import Change, LatencyResult, Rate, ReliabilityResult
from rankgate_eval.result.result import BASELINES, Result
from rankgate_eval.result.rows import Moved

_MOVED = 30
_LISTED = 5  # passages of a list of a worst query


def summarise(result: Result) -> str:
    """The verdict and six lines, for a job summary or a comment."""
    change = {m: words.primary_change(result, m) for m in result.primary}
    lines = [
        f"{words.metric_name(m)}, policy against {BASELINES[result.baseline]}: "
        + (NOT_MEASURED if c is None else f"{words.change_words(c)}, p {probability(c.p)}")
        for m, c in change.items()
    ]
    policy = result.arms["policy"]
    lines.append(
        f"False refusals {_rate(policy.false_refusals)}; "
        f"false answers {_rate(policy.false_answers)}"
    )
    lines.append(
        f"{count_noun(result.lifts.passages, 'lift')} and "
        f"{count_noun(result.inversions.passages, 'inversion')} at the edge of the top "
        f"{result.inversions.top_n}; {percent(result.skip_rate)} of the queries skip the reranker"
    )
    time = policy.latency_ms
    lines.append("Latency of the policy: " + (NOT_MEASURED if time is None else _percentiles(time)))
    lines.append(f"Deciding: {prose(result.reasons[0])}" if result.reasons else "No reason given")
    return (
        f"**rankgate: {words.VERDICTS.get(result.verdict, result.verdict)}** "
        f"({_where(result)}, {facts.judged_words(result.n)})\n\n" + _bullets(lines)
    )


def render_markdown(result: Result) -> str:
    """The whole report; the same result gives the same text."""
    parts = [
        f"# {words.VERDICTS.get(result.verdict, result.verdict)}: {_where(result)}",
        prose(" ".join(words.lead(result))),
        _table(
            ("", "Value", "Interval, n"),
            [(prose(f.name), f.value, prose(f.aside)) for f in facts.figures(result)],
        ),
    ]
    if result.warnings:
        parts += ["**Read this before the numbers**", _bullets(prose(w) for w in result.warnings)]
    parts += ["## Reasons", _numbered(prose(r) for r in result.reasons)]
    parts += ["## The arms", _arms(result), _differences(result)]
    parts += ["## Where quality is lost", _retrieval(result)]
    parts += ["## What moved", *_movement(result)]
    parts += ["## Which queries gain, which lose", _strata(result)]
    parts += ["## The gate", _gate(result), "## The floor", *_floor(result)]
    parts += ["## Can the probabilities be trusted", _reliability(result)]
    parts += ["## Latency", *_latency(result)]
    if result.end_to_end is not None:
        parts += ["## Did the answers get better?", *answers_markdown(result.end_to_end)]
    parts += ["## The worst queries", *_worst(result)]
    parts += ["## The data", _data(result)]
    made = [(name, prose(value)) for name, value in facts.made_facts(result)]
    parts += [
        "## How it was made",
        _table(("", ""), [*made, ("Command", code(result.made.command, 2000))]),
        "## What the words mean",
        _bullets(f"**{word}**: {meaning}" for word, meaning in words.DEFINITIONS),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _arms(result: Result) -> str:
    head = ("Metric", *(words.arm_name(a) for a in result.arms))
    rows = []
    for metric in facts.metric_order(result):
        cells = [words.metric_name(metric)]
        for arm in result.arms.values():
            e = arm.metrics.get(metric)
            cells.append(NOT_MEASURED if e is None else f"{score(e.mean)} ({interval(e.ci)})")
        rows.append(cells)
    rows += [[name, *map(_rate, shares.values())] for name, shares in facts.arm_faults(result)]
    notes = [
        f"{words.arm_name(name)}: {prose(arm.note)}"
        + (f"; {arm.missing} without any result, counted 0" if arm.missing else "")
        for name, arm in result.arms.items()
        if arm.note or arm.missing
    ]
    return _table(head, rows) + (f"\n\n{_bullets(notes)}" if notes else "")


def _differences(result: Result) -> str:
    head = ["Paired difference"]
    for metric in result.primary:
        head += [words.metric_name(metric), "p"]
    rows = []
    for name, changes in result.differences.items():
        cells = [words.comparison_name(name)]
        for metric in result.primary:
            c = changes.get(metric)
            cells += [NOT_MEASURED, ""] if c is None else [_change(c), probability(c.p)]
        rows.append(cells)
    return _table(head, rows)


def _retrieval(result: Result) -> str:
    h, curve = result.headroom, result.recall_curve
    lines = [f"{prose(d.sentence)} {prose(d.advice)}" for d in result.diagnosis]
    lines.append(
        f"Headroom: {signed(h.mean)} of recall@{h.top_n} ({signed_interval(h.ci)}), "
        f"{score(h.first_stage)} now, {score(h.attainable)} attainable within {h.k} candidates; "
        + ("none to win" if h.used is None else f"{percent(h.used)} of it used by the policy")
    )
    gap = result.precision_gap
    lines.append(f"Precision gap: {words.change_words(gap)} of nDCG@10, n = {gap.n}")
    lines.append(
        f"Recall by depth, first stage; {curve.knee_words}:"
        if curve.points
        else "Recall by depth: " + NOT_MEASURED
    )
    rows = [(str(p.depth), f"{score(p.recall)} ({interval(p.ci)})") for p in curve.points]
    return _bullets(lines) + (f"\n\n{_table(('Depth', 'Recall'), rows)}" if rows else "")


def _movement(result: Result) -> list[str]:
    lifts, gone = result.lifts, result.inversions
    parts = [
        f"{count_noun(lifts.passages, 'lift')} in {_queries(lifts.queries)}, "
        f"{count_noun(gone.passages, 'inversion')} in {_queries(gone.queries)}: "
        f"{words.arm_name(gone.before)}, then {words.arm_name(gone.after)}, top {gone.top_n}."
    ]
    items = facts.sorted_inversions(gone.items)
    if items:
        parts.append(_moves("Inversion", items))
    return parts


def _moves(head: str, items: Sequence[Moved]) -> str:
    rows = [
        (code(m.query, 120), code(m.passage_id, 60), _rank(m.before), _rank(m.after))
        for m in items[:_MOVED]
    ]
    more = len(items) - _MOVED
    table = _table((head, "Passage", "Before", "After"), rows)
    return table + (f"\n\n{more} more stand in result.json." if more > 0 else "")


def _strata(result: Result) -> str:
    if result.strata is None:
        return f"{NOT_MEASURED.capitalize()}: too few queries."
    rows = []
    for row in result.strata.rows:
        name = f"{code(row.dimension, 60)} = {code(row.name, 60)}"
        d = row.difference
        if d is None:
            rows.append((name, str(row.n), "not tested, too few", "", ""))
            continue
        word = "**loses**" if row.regression else "gains" if row.gain else ""
        rows.append((name, str(row.n), _change(d), probability(row.adjusted_p), word))
    head = ("Queries", "n", f"nDCG@10, policy minus {BASELINES[result.baseline]}", "Adjusted p", "")
    return _table(head, rows)


def _gate(result: Result) -> str:
    paths = ", ".join(f"{name} {count}" for name, count in result.paths.items())
    lines = [f"Skipped: {percent(result.skip_rate)} of {_queries(result.n)} ({paths})"]
    frontier = result.frontier
    if frontier is None:
        lines.append("Cost of skipping: not measured, nothing was reranked")
        return _bullets(lines)
    at = frontier.chosen
    lines.append(
        f"This policy skips {percent(at.skip_rate)} at a loss of {signed(at.loss)} of nDCG@10 "
        f"({signed_interval(at.ci)}) against always reranking; queries sorted by "
        f"{prose(frontier.by)}"
    )
    rows = [
        (percent(p.skip_rate), f"{signed(p.loss)} ({signed_interval(p.ci)})")
        for p in frontier.points
    ]
    return _bullets(lines) + "\n\n" + _table(("Skipped", "Loss of nDCG@10"), rows)


def _floor(result: Result) -> list[str]:
    f = result.refusals
    rows = [
        ("Answerable, refused", _rate(f.answerable)),
        ("Answerable and a relevant passage found, refused (wrong)", _rate(f.retrieved)),
        *((f"Answerable and {prose(p)}, refused", _rate(r)) for p, r in f.by_path.items()),
        ("Answerable, a relevant passage handed over", _rate(f.answered)),
        *(
            (f"Unanswerable ({code(name, 60)}), answered (wrong)", _rate(r))
            for name, r in f.unanswerable.items()
        ),
    ]
    if not f.unanswerable:
        rows.append(("Unanswerable, answered", f"{NOT_MEASURED}: the data hold none"))
    floors = [
        f"{name} below {'not set' if value is None else f'{value:g}'}"
        for name, value in (("Refuse", f.refuse_below), ("Drop", f.drop_below))
    ]
    costs = ", ".join(f"{words.metric_name(m)} by {signed(c.mean)}" for m, c in f.cost.items())
    return [
        "; ".join(floors) + f". It changes {costs}.",
        _table(("Of which queries", "Share"), rows),
    ]


def _reliability(result: Result) -> str:
    rows = []
    for key, name in (("top_1", "Best passage"), ("top_n", f"First {result.made.top_n}")):
        found = result.reliability.get(key)
        rows.append((name, *_trust(found)))
    table = _table(("Passages", "n", "Predicted", "Observed", "Brier", "Brier skill"), rows)
    said = facts.mixture_sentence(result.reliability.get("top_1"))
    return f"{table}\n\n{said}" if said else table


def _trust(found: ReliabilityResult | None) -> tuple[str, ...]:
    if found is None:
        return (NOT_MEASURED, "", "", "", "")
    skill = "not defined" if found.brier_skill is None else signed(found.brier_skill)
    return (
        f"{found.n:,}",
        percent(found.predicted),
        percent(found.base_rate),
        score(found.brier),
        skill,
    )


def _latency(result: Result) -> list[str]:
    rows = []
    for name, arm in result.arms.items():
        t = arm.latency_ms
        if t is None:
            rows.append([words.arm_name(name), NOT_MEASURED, "", "", "", ""])
        else:
            times = (t.mean, t.p50, t.p95, t.p99)
            rows.append([words.arm_name(name), str(t.n), *(milliseconds(v) for v in times)])
    said = facts.budget_sentence(result)
    return [
        _table(("Arm", "n", "Mean", "p50", "p95", "p99"), rows),
        said if said else "No budget was given, so none was checked.",
    ]


def _worst(result: Result) -> list[str]:
    if not result.worst_queries:
        return ["No query was singled out."]
    rows = [
        (
            code(w.query, 160),
            signed(w.change),
            f"{score(w.first_stage_ndcg)} to {score(w.policy_ndcg)}",
            f"{prose(w.path)}{', refused' if w.refused else ''}",
            ", ".join(
                f"{code(p.passage_id, 40)}{' ✓' if p.relevant else ''}"
                for p in w.first_stage[:_LISTED]
            ),
            ", ".join(
                f"{code(p.passage_id, 40)}{' ✓' if p.relevant else ''}" for p in w.policy[:_LISTED]
            ),
        )
        for w in result.worst_queries
    ]
    head = ("Query", "Change", "nDCG@10", "Path", "First stage", "Policy")
    return [_table(head, rows), f"The first {_LISTED} of each list; ✓ is relevant."]


def _data(result: Result) -> str:
    d = result.data
    lines = [
        f"{facts.judged_words(d.judged)} in {count_noun(d.groups, 'document group')} "
        f"(largest: {d.largest_group}), {d.unjudged:,} unanswerable"
        + ("" if d.limit is None else f"; at most {d.limit:,} were asked for"),
        *(f"{prose(name.replace('_', ' '))}: {count:,}" for name, count in d.counts.items()),
        *(
            f"Warning, {prose(name.replace('_', ' '))}: {count:,}"
            for name, count in d.warning_counts.items()
        ),
    ]
    return _bullets(lines)


def _change(change: Change) -> str:
    return f"{signed(change.mean)} ({signed_interval(change.ci)})"


def _rate(rate: Rate) -> str:
    if rate.rate is None:
        return f"{NOT_MEASURED}: no such query"
    ci = "" if rate.ci is None else f"; {percent(rate.ci[0])} to {percent(rate.ci[1])}"
    return f"{percent(rate.rate)} ({rate.count} of {rate.n}{ci})"


def _percentiles(time: LatencyResult) -> str:
    return ", ".join(
        f"{name} {milliseconds(value)}"
        for name, value in (("p50", time.p50), ("p95", time.p95), ("p99", time.p99))
    )


def _where(result: Result) -> str:
    data = result.data
    split = "" if data.split is None else f", {prose(clip(data.split, 40))}"
    return f"{prose(clip(data.name, 80))}{split}"


def _queries(count: int) -> str:
    return count_noun(count, "query", "queries")


def _rank(rank: int | None) -> str:
    return "none" if rank is None else str(rank)


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"{i}. {x}" for i, x in enumerate(lines, 1))
