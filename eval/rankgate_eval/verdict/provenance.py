"""How a result was made: command, commit, hardware, policy."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rankgate.policy import Policy
from rankgate.scorers import ScorerInfo
from rankgate.types import FirstStageKind
from rankgate_eval.result.rows import PolicyMade


def package_version() -> str:
    """Of rankgate as installed; "" where it is not."""
    try:
        return version("rankgate")
    except PackageNotFoundError:
        return ""


def git_state(folder: Path | None = None) -> tuple[str | None, bool]:
    """Short commit of the git tree around a folder and whether it has changes; (None, False)."""
    where = Path.cwd() if folder is None else folder
    commit = _git(where, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return None, False
    return commit, bool(_git(where, "status", "--porcelain", "--untracked-files=no"))


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def hardware() -> str:
    """Processor, cores and system, in a line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def run_record(command: str, *, seed: int) -> dict[str, Any]:
    """Command, version, commit, seed, hardware, Python and date."""
    commit, dirty = git_state()
    return {
        "command": command,
        "version": package_version(),
        "commit": commit,
        "dirty": dirty,
        "seed": seed,
        "hardware": hardware(),
        "python": platform.python_version(),
        "date": now(),
    }


def scorer_made(info: ScorerInfo) -> dict[str, Any]:
    """Who scored, as a mapping."""
    return dataclasses.asdict(info)


def policy_made(policy: Policy, *, source: str, kind: FirstStageKind) -> PolicyMade:
    """Which policy ran."""
    return PolicyMade(
        name=policy.name,
        source=source,
        sha256=policy.sha256,
        kind=kind.value,
        provenance=json.loads(json.dumps(dict(policy.provenance))),
    )
