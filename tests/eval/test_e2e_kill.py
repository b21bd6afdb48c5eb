"""A run that is killed again and again ends as if nothing had happened, and pays for nothing twice.

What is promised: an answer that is in the log is never asked for again. An answer that was on its
way at the kill may be: at most `concurrency` of them a kill.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import e2e_driver as driver
import e2e_planted as planted
import pytest
from e2e_judging import asked_again
from e2e_server import Fault, ScriptedServer, serving
from waiting import until

HERE = Path(__file__).parent


class Killing(ScriptedServer):
    """Kills its client when a request comes, before it is answered.

    At times it answers wrongly, so that attempts after unusable replies are resumed too.
    """

    def __init__(self):
        super().__init__(planted.embellished(), fault=self.killing)
        self.client, self.at = None, None

    def killing(self, body, _count):
        if self.client is not None and len(self.requests) >= self.at:
            self.client.send_signal(signal.SIGKILL)
            self.client.wait(60)
        wordy = "ContextRecallOutput" in str(body.get("messages")) and not asked_again(body)
        return Fault(text="no json") if wordy and "number3?" in str(body) else None

    def settle(self) -> None:
        """Wait until everything that dead clients had sent has arrived, and was noted."""
        url = urlsplit(self.url)
        # It is taken after theirs; and theirs end once what they sent is read.
        with socket.create_connection((url.hostname, url.port), timeout=60) as last:
            last.sendall(b"POST / HTTP/1.1\r\nConnection: close\r\n\r\n")
            while last.recv(4096):
                pass
        until(lambda: self.connections == 0)


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
    with serving(Killing()) as running:
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
            if moment is None:
                running.client = None
                finish(start(running.url, broken))
            else:
                running.at = begun + max(1, moment - sum(before.values()))
                running.client = process = start(running.url, broken)
                process.communicate(timeout=200)
                died += process.returncode == -signal.SIGKILL
            running.settle()
            received = Counter(running.digests[begun:])
            # Never again what the log had, neither in this run nor by another count.
            for request, times in received.items():
                assert times <= needed[request] - before[request], "paid for twice"
            repeated += sum(received.values()) - sum((logged(broken) - before).values())
        assert logged(broken) == needed
        assert planted.folder_text(broken) == expected
        assert died == kills
        assert 0 <= repeated <= kills * driver.CONCURRENCY


def test_killed_three_times(tmp_path):
    kill_and_resume(tmp_path, 3, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_twenty_times(tmp_path, seed):
    kill_and_resume(tmp_path, 20, seed=seed)
