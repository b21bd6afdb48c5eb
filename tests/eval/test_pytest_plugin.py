"""The fixture `rankgate_eval`, in a pytest of its own as a user has it."""

import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

USERS = """
import eval_world as w
from rankgate.testing import FakeScorer


def test_retrieval(rankgate_eval):
    data = w.world({n})
    found = rankgate_eval(
        data, baseline="base/retrieval.json", stage=w.stage_of(data), scorer=w.{scorer}(){more}
    )
    assert found.changes["ndcg@10"].mean == 0.0
"""


@pytest.fixture
def user(tmp_path):
    """Runs a user's test; exit code and what was printed."""

    def run(*options, scorer="knowing", n=60, more=""):
        (tmp_path / "test_mine.py").write_text(USERS.format(scorer=scorer, n=n, more=more))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_it_is_found_without_a_line_of_configuration():
    assert {e.value for e in entry_points(group="pytest11", name="rankgate_eval")} == {
        "rankgate_eval.pytest_plugin"
    }


def test_a_baseline_is_made_once_and_what_is_worse_fails_with_its_reasons(user):
    code, said = user()
    assert code == 1 and "run pytest --rankgate-update once" in said
    code, said = user("--rankgate-update")
    assert code == 0, said
    code, said = user()
    assert code == 0, said
    code, said = user(scorer="hating")
    assert code == 1 and "ndcg@10 is worse than the baseline's" in said and "lost: " in said
    assert "Traceback" not in said


def test_too_few_questions_are_a_failure_unless_they_are_allowed(user):
    made = ", margin=0.001"
    assert user("--rankgate-update", n=20, more=f"{made}, enough=False")[0] == 0
    code, said = user(n=20, more=made)
    assert code == 1 and "not enough data" in said and "queries would tell" in said
