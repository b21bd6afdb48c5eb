"""A cutoff on `relevance_score`: the floor's `drop_below` works on either path, 0.4 does not."""

from dataclasses import replace

import pytest
from langchain_core.documents import Document

from langchain_rankgate import RankGateRerank
from rankgate import Policy

QUESTION = "How many degrees does water need to boil?"
RIGHT = "Water needs 100 degrees to boil at sea level."
WRONG = [
    "Salt melts ice on roads in winter.",
    "Carmen is an opera in four acts by Georges Bizet.",
    "The museum opens at nine and closes at five.",
    "A reranker reads question and passage together.",
]


def dropping(below):
    """As docs/floor-and-relevance.md shows it."""
    policy = Policy.default()
    for kind, section in policy.sections.items():
        policy = policy.with_section(kind, floor=replace(section.floor, drop_below=below))
    return policy


@pytest.mark.model
@pytest.mark.parametrize("path", ["skip", "rerank"])
def test_the_floor_drops_what_is_wrong_and_a_cutoff_of_04_what_is_right(path):
    documents = [Document(page_content=text) for text in (*WRONG[:2], RIGHT, *WRONG[2:])]
    plain = RankGateRerank(force=path, token_cache=False)
    scored = plain.compress_documents(documents, QUESTION)
    score = {d.page_content: d.metadata["relevance_score"] for d in scored}
    assert max(score, key=score.get) == RIGHT and len(score) == 5
    assert score[RIGHT] < 0.4, "a similarity_cutoff of 0.4 drops the right answer"
    floor = RankGateRerank(force=path, token_cache=False, policy=dropping(0.01))
    assert [d.page_content for d in floor.compress_documents(documents, QUESTION)] == [RIGHT]


@pytest.mark.model
def test_describe_says_that_the_probabilities_are_no_similarities():
    said = str(RankGateRerank(token_cache=False, policy=dropping(0.01)).describe())
    assert "drops a passage below 0.01" in said
    assert "no similarities; cut by the floor's drop_below" in said
