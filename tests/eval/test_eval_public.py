"""What `rankgate_eval` offers, and what looking at it costs."""

import pkgutil
import subprocess
import sys

import pytest

import rankgate_eval

MODULES = [
    m.name for m in pkgutil.iter_modules(rankgate_eval.__path__, "rankgate_eval.") if not m.ispkg
]


def test_every_public_name_is_there_and_no_module_has_its_name():
    for name in rankgate_eval.__all__:
        assert getattr(rankgate_eval, name).__name__ == name
        # A submodule of that name would be found instead of what is meant.
        assert f"rankgate_eval.{name}" not in MODULES
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        rankgate_eval.nonsense  # noqa: B018
    assert set(rankgate_eval.__all__) <= set(dir(rankgate_eval))


def test_commands_load_nothing_heavy():
    code = (
        "import sys, rankgate_eval.cli\n"
        "from rankgate.cli import build_app\n"
        "build_app()\n"
        "heavy = ('torch', 'transformers', 'pandas', 'scipy', 'ir_measures', 'jinja2', 'ragas',"
        " 'rankgate_eval.verdict.analysis', 'rankgate_eval.stats.significance',"
        " 'rankgate_eval.report.markdown')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
