"""The report as one HTML file: no script but its own, no request, everything escaped."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rankgate_eval.report import facts, numbers, questions, words
from rankgate_eval.report.answers import read_answers
from rankgate_eval.report.charts import (
    Forest,
    IntervalRow,
    gate_frontier,
    interval_plot,
    latency_bars,
    recall_curve,
    reliability_curve,
    slope_chart,
)
from rankgate_eval.report.charts.plot import MARKS
from rankgate_eval.report.flatten import flatten
from rankgate_eval.report.safe_text import clean, clip
from rankgate_eval.result.parts import StratumRow
from rankgate_eval.result.result import BASELINES, Result

_EQUALS = re.compile(r"\b([np]) = (?=\d)")
_NEGATIVE = re.compile(r"(?<![\w.\-])-(?=\d+\.\d)")
_FIRST = 50  # questions in the page itself, for who allows no script
_SHOWN = 12  # moved passages before the fold
_MOST = 200  # moved passages at all; the rest stands in result.json
_SECTIONS = (
    ("arms", "The arms"),
    ("retrieval", "Where quality is lost"),
    ("movement", "What moved"),
    ("strata", "Which queries gain"),
    ("gate", "The gate"),
    ("floor", "The floor"),
    ("reliability", "Probabilities"),
    ("latency", "Latency"),
    ("answers", "Answers"),
    ("worst", "Worst queries"),
    ("questions", "All questions"),
    ("data", "The data"),
    ("made", "How it was made"),
    ("definitions", "Words"),
)
_GLYPHS = {
    "ship": "M4 13l5.5 5.5L20 6.5",
    "ship_behind_gate": "M4 3v18M20 3v18M9 12h6",
    "dont_ship": "M5 5l14 14M19 5L5 19",
    "not_enough_data": "M4 12h.01M12 12h.01M20 12h.01",
    "not_a_fair_test": "M12 4v10M12 19h.01",
}


def render_html(result: Result) -> str:
    """The whole report; the same result gives the same text."""
    lifts = facts.sorted_lifts(result.lifts.items)
    inversions = facts.sorted_inversions(result.inversions.items)
    answers = None if result.end_to_end is None else read_answers(result.end_to_end)
    rows = () if result.strata is None else result.strata.rows
    forest = Forest.over(
        [
            v
            for row in rows
            if row.difference is not None
            for v in (row.difference.mean, *(row.difference.ci or ()))
        ]
    )
    script = _script()
    context = {
        "r": result,
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "questions": _questions(result),
        "css": Markup(_environment().get_template("report.css").render()),
        "verdict": words.VERDICTS.get(result.verdict, result.verdict),
        "glyph": Markup('<path d="{}"/>').format(_GLYPHS.get(result.verdict, "")),
        "lead": words.lead(result),
        "figures": facts.figures(result),
        "contents": [s for s in _SECTIONS if s[0] != "answers" or answers is not None],
        "charts": _charts(result),
        "primary": result.primary,
        "baseline": BASELINES[result.baseline],
        "metrics": facts.metric_order(result),
        "faults": facts.arm_faults(result),
        "arm_words": words.ARM_WORDS,
        "inversions": {
            "shown": inversions[:_SHOWN],
            "rest": inversions[_SHOWN:_MOST],
            "hidden": max(len(inversions) - _MOST, 0),
        },
        "lifts": {"shown": lifts[:_MOST], "hidden": max(len(lifts) - _MOST, 0)},
        "forest_axis": forest.axis(),
        "strata": [
            (dimension, [(row, _strip(forest, row)) for row in members])
            for dimension, members in facts.grouped_strata(rows)
        ],
        "regressions": [row for row in rows if row.regression and row.difference is not None],
        "reliability": _reliability(result),
        "budget": facts.budget_sentence(result),
        "mixture": facts.mixture_sentence(result.reliability.get("top_1")),
        "answers": answers,
        "verdicts": words.VERDICTS,
        "most_moved": _MOST,
        "made": facts.made_facts(result),
        "provenance": flatten(result.made.policy.provenance),
        "definitions": words.DEFINITIONS,
        "not_measured": numbers.NOT_MEASURED,
        "mark": lambda shape, kind: Markup('<g class="mark {} {}">{}</g>').format(
            shape, kind, Markup(MARKS[shape])
        ),
    }
    return _environment().get_template("report.html.j2").render(context)


def _questions(result: Result) -> dict[str, Any]:
    rows = questions.question_rows(result)
    columns = questions.shown_columns(result, rows)
    return {
        "columns": columns,
        "first": [(row, questions.shown_cells(row, columns)) for row in rows[:_FIRST]],
        "total": len(rows),
        "paths": sorted({str(row["path"]) for row in rows}),
        "data": questions.page_data(result, rows),
    }


def _charts(result: Result) -> dict[str, Any]:
    made, arms = result.made, result.arms
    by_metric = []
    for i, metric in enumerate(result.primary):
        rows = [
            IntervalRow(
                label=words.arm_name(name),
                mean=arm.metrics[metric].mean,
                ci=arm.metrics[metric].ci,
                strong=name == "policy",
                baseline=name == result.baseline,
            )
            for name, arm in arms.items()
            if metric in arm.metrics
        ]
        if rows:
            title = words.metric_name(metric)
            by_metric.append((metric, interval_plot(rows, ident=f"arms-{i}", metric=title)))
    curve = result.recall_curve
    marks = [(f"kept: {made.top_n}", made.top_n), (f"read: {made.k}", made.k)]
    if curve.knee is not None:
        marks.append((f"knee: {curve.knee}", curve.knee))
    inversions = [(m.before, m.after) for m in result.inversions.items]
    lifts = [(m.before, m.after) for m in result.lifts.items]
    timed = [
        (words.arm_name(name), arm.latency_ms, name == "policy")
        for name, arm in arms.items()
        if arm.latency_ms is not None
    ]
    budget = None if result.budget is None else result.budget.budget_ms
    frontier = result.frontier
    return {
        "arms": by_metric,
        "recall": recall_curve(curve.points, ident="recall", marks=marks) if curve.points else None,
        "slopes": slope_chart(
            ident="slopes",
            inversions=inversions,
            lifts=lifts,
            top_n=result.inversions.top_n,
            before=words.arm_name(result.inversions.before),
            after=words.arm_name(result.inversions.after),
        )
        if inversions or lifts
        else None,
        "frontier": None
        if frontier is None
        else gate_frontier(frontier.points, frontier.chosen, ident="frontier"),
        "latency": latency_bars(timed, ident="latency-plot", budget_ms=budget) if timed else None,
    }


def _strip(forest: Forest, row: StratumRow) -> Markup | None:
    if row.difference is None:
        return None
    kind = "loss" if row.regression else "gain" if row.gain else "quiet"
    return forest.row(row.difference.mean, row.difference.ci, kind)


def _reliability(result: Result) -> list[tuple[str, Any, Markup | None]]:
    found = []
    for key, name in (
        ("top_1", "Best passage of a query"),
        ("top_n", f"First {result.made.top_n} passages"),
    ):
        one = result.reliability.get(key)
        drawn = one is not None and bool(one.bins)
        chart = (
            reliability_curve(one.bins, ident=f"reliability-{key}", name=name.lower())
            if one is not None and drawn
            else None
        )
        found.append((name, one if drawn else None, chart))
    return found


@functools.cache
def _script() -> str:
    """The page's one script, whose hash stands in the page's security policy."""
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), "questions.js")[0]


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rankgate_eval.report"),
        autoescape=lambda name: name is None or not name.endswith(".css"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever reaches the page is cleaned, also a name or a path that nobody thought of.
        finalize=lambda v: clean(v) if type(v) is str else v,
    )
    environment.filters.update(
        arm_name=words.arm_name,
        change_words=words.change_words,
        clip=clip,
        columns=lambda table: list(dict.fromkeys(c for row in table.values() for c in row)),
        comparison=words.comparison_name,
        day=lambda date: date[:10],
        groups=lambda n: numbers.count_noun(n, "document group"),
        interval=numbers.interval,
        judged=facts.judged_words,
        metric_name=words.metric_name,
        ms=numbers.milliseconds,
        passages_count=lambda n: numbers.count_noun(n, "relevant passage"),
        percent=numbers.percent,
        probability=numbers.probability,
        prose=_prose,
        queries=lambda n: numbers.count_noun(n, "query", "queries"),
        questions=lambda n: numbers.count_noun(n, "question"),
        score=numbers.score,
        score_kind=words.score_kind,
        signed=numbers.signed,
        signed_interval=numbers.signed_interval,
        values=lambda n: numbers.count_noun(n, "value"),
    )
    return environment


def _prose(text: str) -> Markup:
    """Sentences, escaped and set well, with balanced backticks as code."""
    parts = clean(text).split("`")
    if len(parts) % 2 == 0:
        return escape(_set("`".join(parts)))
    return Markup("").join(
        Markup("<code>{}</code>").format(p) if i % 2 else escape(_set(p))
        for i, p in enumerate(parts)
    )


def _set(text: str) -> str:
    """`-0.061` gets a minus sign, `n = 344` stays on one line; nothing else changes."""
    joined = _EQUALS.sub("\\1\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}", text)
    return _NEGATIVE.sub("\N{MINUS SIGN}", joined)
