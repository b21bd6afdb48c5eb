"""Whatever is broken off, at whichever system call, ends where an undisturbed run does.

A process is killed, or dies in the middle of a write, or finds the disk full, read-only or
faulty, at the N-th thing that it does to the data folder. Then the folder has to open, hold the
same passages in all its parts, and the same work done again has to end in the undisturbed state.
The sample of every day is small; `make trial-kills` makes the hundreds in docs/reliability.md.
"""

import random
import shutil
import tarfile
import time
from pathlib import Path

import fault_kit
import pytest
import test_ingest_kill as documents

pytestmark = pytest.mark.skipif(
    not fault_kit.Zygote.available(), reason="the fault shim needs Linux and a C compiler (cc)"
)

OLD = Path(__file__).parent / "data" / "manifest_v1.tar.gz"


def nothing(place, zygote):
    documents.write_first(place)


def first(place, zygote):
    documents.write_first(place)
    zygote.done("update", place)


def second(place, zygote):
    first(place, zygote)
    documents.write_second(place)


def uploaded(place, zygote):
    first(place, zygote)
    zygote.done("upload", place)


def zeroed(place, zygote):
    first(place, zygote)
    manifest = place / "data" / "manifest.sqlite"
    manifest.write_bytes(b"\0" * manifest.stat().st_size)


def of_an_older_version(place, zygote):
    with tarfile.open(OLD) as archive:
        archive.extractall(place, filter="data")


# What is tried: what there is before, the work, and what is looked at afterwards.
SCENARIOS = {
    "ingest": (nothing, "update", "look"),
    "update": (second, "update", "look"),
    "rebuild": (first, "rebuild", "look"),
    "upload": (first, "upload", "look_at_uploads"),
    "delete": (uploaded, "delete", "look_at_uploads"),
    "backup": (first, "backup", "look_at_copy"),
    "repair": (zeroed, "repair", "look"),
    "upgrade": (of_an_older_version, "update", "look"),
    "keys": (first, "keys", "look"),
    "conversations": (first, "talk", "look"),
}
FAULTS = ("kill", "torn", "full", "readonly", "ioerror")


@pytest.fixture(scope="module")
def zygote(tmp_path_factory):
    with fault_kit.Zygote(tmp_path_factory.mktemp("shim")) as opened:
        yield opened


@pytest.fixture
def folder():
    with fault_kit.in_memory() as name:
        yield Path(name)


class Trial:
    """One scenario, prepared once: each try begins with a copy of what there was."""

    def __init__(self, name, zygote, folder):
        before, self.work, self.look = SCENARIOS[name]
        self.name, self.zygote = name, zygote
        self.place, self.template = folder / "place", folder / "template"
        before(self.place, zygote)
        shutil.copytree(self.place, self.template)
        self.calls = zygote.ask(self.work, self.place)["calls"]
        self.expected = zygote.done(self.look, self.place)
        if self.name != "backup":
            fault_kit.consistent(self.expected)
        assert self.calls > 5

    def run(self, at, how):
        """Break it, look, do it again, look; what does not hold, or "" where all does."""
        shutil.rmtree(self.place)
        shutil.copytree(self.template, self.place)
        broken = self.zygote.ask(self.work, self.place, at=at, how=how)
        said = broken.get("error", "")
        if said and not broken["clear"]:
            kind, where = broken["kind"], broken["where"]
            return f"{how} at {at}: no error of ours but {kind}: {said} {where}"
        if self.name != "repair":  # a manifest that was not mended yet opens nothing
            try:
                seen = self.zygote.ask("look", self.place)
                if "error" in seen:
                    return f"{how} at {at}: does not open any more: {seen['error']}"
                fault_kit.consistent(seen["result"])
            except AssertionError as exc:
                return f"{how} at {at}: {exc}"
        again = self.zygote.ask(self.work, self.place)
        if "error" in again:
            return f"{how} at {at}: cannot be done again: {again['error']}"
        after = self.zygote.ask(self.look, self.place)
        if after.get("result") != self.expected:
            parts = [k for k, v in self.expected.items() if (after.get("result") or {}).get(k) != v]
            return f"{how} at {at}: another state: {parts} {after.get('error', '')}"
        return ""


def tried(trial, moments, how):
    begun = time.monotonic()
    found = [trial.run(at, how) for at in moments]
    lost = [f for f in found if f]
    fault_kit.figure(
        "kills",
        scenario=trial.name,
        fault=how,
        calls=trial.calls,
        tried=len(found),
        lost=len(lost),
        seconds=round(time.monotonic() - begun, 1),
        said=lost[:5],
    )
    assert not lost, lost


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("update", ("kill", "full")),
        ("upload", ("torn",)),
        ("delete", ("kill",)),
        ("backup", ("full",)),
        ("upgrade", ("readonly",)),
        ("repair", ("full",)),
    ],
)
def test_a_few_of_each(name, faults, zygote, folder):
    trial = Trial(name, zygote, folder)
    for how in faults:
        # The read-only disk of the end is where cleaning up failed once.
        at = trial.calls - 2 if how == "readonly" else random.Random(name).randint(1, trial.calls)
        tried(trial, [at], how)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_many_of_each(name, zygote, folder):
    """Evenly over all system calls of the work, so that the chosen ones are among them."""
    trial = Trial(name, zygote, folder)
    wrong = []
    for how in FAULTS:
        many = 12 if how in ("kill", "torn") else 8
        chance = random.Random(f"{name} {how}")
        step = trial.calls / many
        moments = [max(1, int(step * (i + chance.random()))) for i in range(many)]
        try:
            tried(trial, moments, how)
        except AssertionError as exc:
            wrong.append(str(exc))
    assert not wrong, "\n".join(wrong)
