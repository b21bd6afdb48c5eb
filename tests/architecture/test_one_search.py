"""There is one hybrid search; application, evaluation, training and benchmarks call it."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("rankgate", "rag_app", "eval/rankgate_eval", "integrations", "benchmarks")
HOME = ROOT / "rankgate" / "retrieve"
# What only a search of one's own would need: lists merged, cut, and read to a depth.
PARTS = {
    "fuse_candidates",
    "fuse_in_pages",
    "reciprocal_rank_fusion",
    "top_entries",
    "weighted_fusion",
}


def files():
    return [f for room in ROOMS for f in (ROOT / room).rglob("*.py") if HOME not in f.parents]


def imported(tree):
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def called(tree):
    return {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }


def test_nobody_else_merges_lists():
    own = {
        str(file.relative_to(ROOT)): parts
        for file in files()
        if (parts := PARTS & imported(ast.parse(file.read_text("utf-8"))))
    }
    assert own == {}


def test_nobody_else_fuses_or_scores_a_whole_corpus():
    users = {
        str(file.relative_to(ROOT)): names
        for file in files()
        if (names := {"fuse", "all_scores"} & called(ast.parse(file.read_text("utf-8"))))
    }
    # Candidates that were retrieved are put in the order of another fusion, to choose one.
    assert users == {"eval/rankgate_eval/run/fusion_fit.py": {"fuse"}}


def test_the_parts_are_still_called_that():
    import rankgate.retrieve

    assert set(rankgate.retrieve.__all__) >= PARTS
