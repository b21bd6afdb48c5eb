"""Every question of a result: its kinds, both its lists, and the table that is made of them."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re

import evaluate_kit as kit
import pytest
import report_example as sample

from rankgate_eval.report import write_report
from rankgate_eval.report.html import render_html
from rankgate_eval.report.questions import question_rows
from rankgate_eval.result.result import ARMS

w = kit.w


@pytest.fixture(scope="module")
def measured():
    return kit.run(w.world(unanswerable=6), w.knowing(), fields=("topic",))


def test_every_question_keeps_its_kinds_and_both_its_lists(measured):
    rows = {row.query_id: row for row in measured.per_query}
    assert "topic=even" in rows["q2"].strata
    assert "topic=odd" in rows["q3"].strata
    for row in rows.values():
        gold, lists = f"g{row.query_id[1:]}", row.lists
        assert lists.policy[0] == gold and gold in lists.relevant
        assert (lists.relevant_total, lists.not_found) == (1, 0)
        assert len(lists.first_stage) <= 10 and lists.kept == measured.made.top_n
        assert measured.snippets[gold].startswith("gold alpha")
    # Six rivals stood above it.
    assert rows["q3"].lists.first_stage.index("g3") == 6
    assert [row.query_id for row in measured.unanswerable] == [f"u{i}" for i in range(6)]
    assert all(row.lists.relevant == () for row in measured.unanswerable)
    assert type(measured).from_dict(measured.to_dict()) == measured


def test_what_loses_most_comes_first_and_every_arm_has_its_numbers():
    rows = question_rows(sample.example())
    assert [row["query_id"] for row in rows] == ["s2", "s10", "s3", "s1", "n1", "n2"]
    assert [row["against"] for row in rows] == ["lost", "lost", "equal", "won", None, None]
    first, last = rows[0], rows[-1]
    assert (first["difference"], first["policy:ndcg@10"], first["harm"]) == (-0.5, 0.25, 0.02)
    # A skipped question does not wait for the scorer.
    assert (first["latency_ms"], rows[1]["latency_ms"]) == (8.0, 58.0)
    assert (last["judged"], last["refused"], last["difference"]) == ("unanswerable", True, None)
    assert last["strata"] == "answerability=unanswerable"
    for arm in ARMS:
        assert {f"{arm}:ndcg@10", f"{arm}:recall@5"} <= set(first)
    assert question_rows(sample.bare()) == []


def test_the_csv_holds_every_question_and_no_spreadsheet_runs_it(tmp_path):
    made = write_report(sample.example(), tmp_path / "plain")
    rows = list(csv.DictReader(io.StringIO(made.queries.read_text("utf-8"))))
    assert len(rows) == 6 and rows[1]["query"] == '\'=1+1, "quoted"'
    assert (rows[3]["strata"], rows[2]["best"], rows[0]["refused"]) == (
        "typos=many; topic=a, b",
        "",
        "true",
    )
    hostile = write_report(sample.hostile(), tmp_path / "hostile").queries
    rows = list(csv.DictReader(io.StringIO(hostile.read_text("utf-8", errors="strict"))))
    assert len(rows) == 3
    texts = [cell for row in rows for key, cell in row.items() if key in ("query_id", "query")]
    assert {"'-2+3", "'@SUM(A1)"} <= set(texts)
    assert not [t for t in texts if t.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize("make", [sample.example, sample.bare, sample.hostile])
def test_only_the_pages_own_script_may_run(make):
    html = render_html(make())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html).group(1)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert "unsafe-inline'" not in policy.replace("style-src 'unsafe-inline'", "")
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.S):
        assert "<" not in data and json.loads(data)["columns"][0] == "query_id"
