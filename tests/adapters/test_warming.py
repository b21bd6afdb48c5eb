"""Passages read ahead of any question: in the background, stoppable, resumable."""

import threading

import pytest

from rankgate.adapters.late import LateReranker, RerankerParts
from rankgate.errors import ConfigError
from rankgate.testing import FakeScorer

TEXTS = [f"Passage {i} says that {i} and {i + 1} are neighbours." for i in range(70)]
LONG = " ".join(f"Step {i}: knead the dough again, and wait." for i in range(80))


@pytest.mark.model
def test_what_was_warmed_is_not_read_again(tmp_path):
    engine = LateReranker(RerankerParts(token_cache=tmp_path))
    seen = []
    run = engine.warm(lambda: [*TEXTS, LONG, "nul \x00"], lambda *at: seen.append(at))
    assert run.wait(300) and not run.running
    assert run.done == run.total == 72 and run.progress == 1.0
    assert seen[-1] == (72, 72) and len(seen) == 3
    stats = engine.get().scorer.score("Who is next to 7?", [*TEXTS, LONG, "nul \x00"]).stats
    assert stats.tokens < 15, "the question alone"
    again = engine.warm(lambda: TEXTS)
    assert again.wait(60) and again.done == 70


@pytest.mark.model
def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path):
    engine = LateReranker(RerankerParts(token_cache=tmp_path))
    begun, go_on = threading.Event(), threading.Event()

    def progress(done, total):
        begun.set()
        go_on.wait(60)

    run = engine.warm(lambda: TEXTS, progress)
    assert begun.wait(120) and run.running and 0.0 < run.progress < 1.0
    run.stop()
    go_on.set()
    assert run.wait(60) and run.done == 32 < run.total
    stats = engine.get().scorer.score("neighbours", TEXTS[:32]).stats
    assert stats.cached == 32
    assert engine.warm(lambda: TEXTS).wait(120)
    assert engine.get().scorer.score("who", TEXTS).stats.cached == 70


@pytest.mark.model
def test_what_goes_wrong_is_said_to_whoever_waits(tmp_path):
    (tmp_path / "file").write_text("")
    nowhere = LateReranker(RerankerParts(token_cache=tmp_path / "file")).warm(lambda: TEXTS)
    with pytest.raises(ConfigError, match="cannot be kept"):
        nowhere.wait(120)

    def broken():
        yield "one"
        raise OSError("the store is gone")

    run = LateReranker(RerankerParts(token_cache=tmp_path)).warm(broken)
    with pytest.raises(OSError, match="the store is gone"):
        run.wait(60)
    assert LateReranker(RerankerParts(token_cache=tmp_path)).warm(lambda: ()).wait(60)


def test_a_scorer_that_keeps_nothing_cannot_be_warmed():
    with pytest.raises(ConfigError, match="nothing that fake"):
        LateReranker(RerankerParts(scorer=FakeScorer())).warm(lambda: TEXTS)
