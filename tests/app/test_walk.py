"""The walk of one question: which functions of other modules it comes through, and how many."""

import inspect
import sys
from pathlib import Path

from fake_index import FakeIndex

from rag_app.ask.pipeline import Pipeline
from rag_app.settings import Settings
from rankgate import Policy
from rankgate.decide.gate import Action
from rankgate.scorers.build import Wrapping, wrapped
from rankgate.testing import FakeScorer

ROOT = Path(__file__).resolve().parents[2]
HOUSE = (f"{ROOT / 'rag_app'}/", f"{ROOT / 'rankgate'}/")
# Steps of one reranked question today, encoder and generator insides left out. Only to be lowered.
MOST_STEPS = 42


def module_of(frame):
    file = frame.f_code.co_filename
    # A plan is the reranker's own, in a file of its own for its length; spans only record.
    file = file.replace("rankgate/plan.py", "rankgate/reranker.py")
    passed = ("/testing.py", "/tracing.py", "/traced.py")
    return file if file.startswith(HOUSE) and not file.endswith(passed) else None


def is_property(frame):
    own = frame.f_locals.get("self")
    found = inspect.getattr_static(type(own), frame.f_code.co_name, None)
    return isinstance(found, property) or type(found).__name__ == "cached_property"


def passed_over(frame):
    """What happens within a property, an encoder, the generator or a fake is no step."""
    while frame is not None:
        if frame.f_code.co_filename.endswith("rankgate/testing.py"):
            return True
        file = module_of(frame)
        if file and ("/encoders/" in file or "/generate/extractive" in file or is_property(frame)):
            return True
        frame = frame.f_back
    return False


def walk(work):
    """(module, function) of each call from one module of the house into another, once each."""
    steps = {}

    def look(frame, event, _):
        here = module_of(frame)
        if event != "call" or here is None or frame.f_code.co_name.startswith("<"):
            return
        before = frame.f_back
        if passed_over(before):
            return
        while before is not None and module_of(before) is None:
            before = before.f_back
        if before is None or module_of(before) == here or is_property(frame):
            return
        steps.setdefault((here.removeprefix(f"{ROOT}/"), frame.f_code.co_qualname), None)

    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
    return list(steps)


def test_a_question_comes_through_few_hands(tmp_path):
    line = Pipeline(
        Settings(data_dir=tmp_path),
        FakeIndex(),
        scorer=wrapped(FakeScorer(), Wrapping(batched=False)),  # as `rankgate ask` has it
    )
    assert line.reranker.policy.name == Policy.unfitted().name
    question = "When does the gate skip reranking?"
    line.answer("What is a floor?", force=Action.RERANK)  # whatever is made once is made
    steps = walk(lambda: line.answer(question, force=Action.RERANK))
    shown = "\n".join(f"{file} {name}" for file, name in steps)
    assert len(steps) > 20, f"the walk is not seen:\n{shown}"
    assert len(steps) <= MOST_STEPS, f"{len(steps)} steps, {MOST_STEPS} at most:\n{shown}"
