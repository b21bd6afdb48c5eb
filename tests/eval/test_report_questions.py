"""Every question of a result: its kinds, both its lists, and the table that is made of them."""

from __future__ import annotations

import evaluate_kit as kit
import pytest

w = kit.w


@pytest.fixture(scope="module")
def measured():
    return kit.run(w.world(unanswerable=6), w.knowing(), fields=("topic",))


def test_every_question_keeps_its_kinds_and_both_its_lists(measured):
    rows = {row.query_id: row for row in measured.per_query}
    assert {"topic=even", "length=short"} <= set(rows["q2"].strata)
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
