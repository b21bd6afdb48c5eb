"""How a result was made: command, commit, hardware, policy; and whether it was a fair test."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rankgate.policy import Policy
from rankgate.scorers import ScorerInfo
from rankgate.types import FirstStageKind
from rankgate_eval.result.parts import PolicyMade

__all__ = [
    "fitted_on_warnings",
    "git_state",
    "hardware",
    "now",
    "package_version",
    "policy_made",
    "policy_sha256",
    "scorer_made",
]


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


def scorer_made(info: ScorerInfo) -> dict[str, Any]:
    """Who scored, as a mapping."""
    return dataclasses.asdict(info)


def policy_sha256(policy: Policy) -> str:
    """Of the policy's content, whatever its file looks like."""
    text = json.dumps(policy.to_dict(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def policy_made(policy: Policy, *, source: str, kind: FirstStageKind) -> PolicyMade:
    """Which policy ran."""
    return PolicyMade(
        name=policy.name,
        source=source,
        sha256=policy_sha256(policy),
        kind=kind.value,
        provenance=json.loads(json.dumps(dict(policy.provenance))),
    )


def fitted_on_warnings(
    policy: Policy, *, name: str, split: str | None, fingerprint: str
) -> list[str]:
    """A sentence where the policy says that it was fitted on what it is now tested on."""
    data = policy.provenance.get("data")
    fitted = list(_named(data))
    advice = "its numbers here are too good; evaluate on another split."
    if any(entry.get("fingerprint") == fingerprint for entry in fitted):
        return [f"The policy {policy.name!r} was fitted on these very queries: {advice}"]
    for entry in fitted:
        same_split = split is None or entry.get("split") is None or entry.get("split") == split
        if entry.get("name") == name and same_split:
            where = "" if entry.get("split") is None else f", split {entry['split']!r}"
            return [
                f"The policy {policy.name!r} was fitted on a data set of this name ({name}"
                f"{where}): if it is the same, {advice}"
            ]
    return []


def _named(data: Any) -> Iterator[Mapping[str, Any]]:
    """Entries with name, split and fingerprint, from one entry, a list, or name to split."""
    if isinstance(data, Mapping):
        if "name" in data or "fingerprint" in data:
            yield data
            return
        for name, split in data.items():
            yield {"name": name, "split": split if isinstance(split, str) else None}
    elif isinstance(data, list | tuple):
        for entry in data:
            yield from _named(entry)
