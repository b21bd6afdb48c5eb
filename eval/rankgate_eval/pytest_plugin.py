"""The fixture `rankgate_eval`: retrieval that became worse fails a test.

pytest loads this module with every run of whoever has installed us, so it imports nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_UPDATE = "--rankgate-update"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rankgate-update` makes the baselines anew."""
    parser.getgroup("rankgate").addoption(
        _UPDATE, action="store_true", help="Measure, and write the baselines of rankgate_eval."
    )


@pytest.fixture(name="rankgate_eval")
def rankgate_eval_fixture(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`rankgate_eval(data, baseline=FILE, stage=RETRIEVER)`: the statistics of `eval check`.

    Fails where the policy's nDCG@10 or recall is worse than the baseline's, and where there are
    too few questions to say, unless `enough=False`. Returns the `CheckResult`.
    """

    def check(
        data: Any,
        *,
        baseline: str | Path,
        stage: Any = None,
        scorer: Any = None,
        policy: Any = None,
        margin: float | None = None,
        enough: bool = True,
        **made: Any,
    ) -> Any:
        """Measure again and compare.

        Args:
            baseline: a file; `pytest --rankgate-update` makes it, and its folder.
            stage, scorer, policy, data: as `rankgate_eval.evaluate` takes them.
            margin: mean loss that is tolerated; None: 0.02, or what so few questions can exclude.
            enough: whether too few questions are a failure.
            **made: further arguments of `evaluate` for a new baseline, such as `split="dev"`.
        """
        from rankgate_eval.evaluation import evaluate
        from rankgate_eval.regression import check as compared

        file, parts = Path(baseline), {"stage": stage, "scorer": scorer, "policy": policy}
        if request.config.getoption(_UPDATE):
            file.parent.mkdir(parents=True, exist_ok=True)
            evaluate(data, **parts, **made).save(file)
        elif not file.exists():
            pytest.fail(f"{file} is not there: run pytest {_UPDATE} once", pytrace=False)
        found = compared(data, file, **parts, margin=margin)
        if found.outcome == "fail" or (enough and found.outcome != "pass"):
            worst = [f"  lost: {m.query}" for m in found.moved[:5]]
            lines = [found.outcome.replace("_", " "), *found.reasons, *found.warnings, *worst]
            pytest.fail("\n".join(lines), pytrace=False)
        return found

    return check
