"""Runs the contract kit over our components and the peers' own classes, and writes the table.

python benchmarks/peers_contract.py --out eval/results/peers_contract
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

ADAPTERS = Path(__file__).resolve().parents[1] / "tests" / "adapters"
VERSIONS = (
    "langchain-core",
    "langchain-classic",
    "langchain-community",
    "llama-index-core",
    "sentence-transformers",
)
MARKS = {"passed": "yes", "failed": "**no**", "not offered": "-"}


def table(found: dict[str, Any]) -> str:
    """The results as a page."""
    components = found["components"]
    lines = [
        "# The contract of a reranking component, ours and the peers'",
        "",
        f"`{found['command']}`, commit {found['commit']}, Python {found['python']}, "
        f"{len(found['says'])} checks, no randomness.",
        ", ".join(f"{name} {number}" for name, number in found["versions"].items()) + ".",
        "",
        "Every component has the same fake cross-encoder (word overlap) behind it, and goes "
        "through the same checks: `tests/adapters/contract_checks.py`. "
        "`-`: the component offers no such thing, which is no failure. The checks are "
        "rankgate's own promises, so its columns are what its tests hold; a `no` elsewhere is "
        "what somebody who swaps components should know.",
        "",
    ]
    lines += [f"{i}. `{c['name']}`" for i, c in enumerate(components, start=1)]
    numbers = " | ".join(str(i) for i in range(1, len(components) + 1))
    lines += ["", f"| check | {numbers} |", "|---|" + "---|" * len(components)]
    for key, says in found["says"].items():
        marks = " | ".join(MARKS[c["checks"][key]["status"]] for c in components)
        lines.append(f"| {says} | {marks} |")
    for status, says in (("passed", "passed"), ("failed", "failed"), ("not offered", "-")):
        counts = " | ".join(str(c["counts"][status]) for c in components)
        lines.append(f"| *{says}* | {counts} |")
    lines += ["", "## Why", ""]
    for c in components:
        for key, result in c["checks"].items():
            if result["status"] == "failed":
                lines.append(f"- `{c['name']}`, {found['says'][key]}: {result['reason']}.")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    # Modules of the test suite, under their own names.
    sys.path[:0] = [str(ADAPTERS), str(ADAPTERS.parent)]
    adapters, checks = import_module("contract_adapters"), import_module("contract_checks")
    components = []
    for made in (*adapters.OUR_ADAPTERS, *adapters.PEER_ADAPTERS):
        results = {c.run.__name__: adapters.kit.result_of(c, made()) for c in checks.CHECKS}
        counts = {s: sum(r.status == s for r in results.values()) for s in MARKS}
        components.append(
            {
                "name": made.name,
                "counts": counts,
                "checks": {
                    key: {"status": r.status, "reason": r.reason} for key, r in results.items()
                },
            }
        )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = {
        "command": "python benchmarks/peers_contract.py --out eval/results/peers_contract",
        "commit": commit,
        "python": platform.python_version(),
        "hardware": f"{platform.machine()}; no timing is measured",
        "versions": {name: version(name) for name in VERSIONS},
        "says": {c.run.__name__: c.says for c in checks.CHECKS},
        "components": components,
    }
    args.out.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    args.out.with_suffix(".md").write_text(table(found), "utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
