"""A run that is killed again and again ends as if nothing had happened, and pays for nothing twice.

What is promised: an answer that is in the log is never asked for again. An answer that was on its
way at the kill may be: at most `concurrency` of them a kill.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import e2e_driver as driver
import e2e_planted as planted
import pytest
from e2e_judging import asked_again
from e2e_server import Fault, ScriptedServer, serving

HERE = Path(__file__).parent


def server():
    # Slow enough that a kill finds calls on their way, and at times wrong, so that attempts
    # after unusable replies are resumed too.
    def fault(body, count):
        wordy = "ContextRecallOutput" in str(body.get("messages")) and not asked_again(body)
        return Fault(delay_s=0.004, text="no json" if wordy and "number3?" in str(body) else None)

    return ScriptedServer(planted.embellished(), fault=fault)


def start(url, folder):
    return subprocess.Popen(
        [sys.executable, str(HERE / "e2e_driver.py"), url, str(folder)],
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors


def logged(folder):
    """How often each request stands among the kept calls."""
    return Counter(row["request"] for row in planted.kept(folder))


def kill_and_resume(tmp_path, kills, seed):
    draw = random.Random(seed)
    with serving(server()) as running:
        whole = tmp_path / "whole"
        finish(start(running.url, whole))
        needed = logged(whole)
        total = len(running.digests)
        assert sum(needed.values()) == total > 150
        expected = planted.folder_text(whole)

        broken = tmp_path / "broken"
        repeated, died = 0, 0
        # Moments all over the run, in order, each in a run that goes on from the last.
        moments = sorted(draw.sample(range(1, total - 1), kills))
        for moment in [*moments, None]:
            before = logged(broken)
            begun = len(running.digests)
            process = start(running.url, broken)
            if moment is None:
                finish(process)
            else:
                wanted = max(1, moment - sum(before.values()))
                while len(running.digests) - begun < wanted and process.poll() is None:
                    time.sleep(0.0005)
                time.sleep(draw.random() * 0.01)
                process.send_signal(signal.SIGKILL)
                died += process.wait(timeout=60) == -signal.SIGKILL
                process.stderr.close()
            time.sleep(0.05)  # what was on its way arrives
            received = Counter(running.digests[begun:])
            # Never again what the log had, neither in this run nor by another count.
            for request, times in received.items():
                assert times <= needed[request] - before[request], "paid for twice"
            repeated += sum(received.values()) - sum((logged(broken) - before).values())
        assert logged(broken) == needed
        assert planted.folder_text(broken) == expected
        assert died >= kills - 1
        assert 0 <= repeated <= kills * driver.CONCURRENCY


def test_killed_three_times(tmp_path):
    kill_and_resume(tmp_path, 3, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_twenty_times(tmp_path, seed):
    kill_and_resume(tmp_path, 20, seed=seed)
