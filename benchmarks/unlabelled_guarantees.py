r"""Whether calibration without labels keeps its word: the stated error over many draws.

    python benchmarks/unlabelled_guarantees.py --draws 1000 --out eval/results/unlabelled_guarantees

Each draw makes a log of conversations, parts it, lays the path down on one half and tests it on
the other, by the functions of the product; what was claimed is then looked up in a population of
20,000 conversations. Inside a conversation questions are alike: they share most of what makes them
easy, and with probability `copied` the fate of the first. Long conversations are harder. A draw
errs where any claim of the setting that it ends with is false; that may happen in one of twenty.
With `--others` half of the conversations are no log but easier questions, and what is claimed is
of the log: unweighed, or each other question heard with a chance that is estimated, where the
signals tell all that makes the two differ, and where they tell it with noise.
Writes FILE.json and FILE.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.bounds import clopper_pearson
from rankgate.decide.floor import Floor
from rankgate_eval.calibrate.unlabelled.claims import Claim, Drawing, last_that_holds
from rankgate_eval.calibrate.unlabelled.path import (
    FidelityOptions,
    Forecast,
    Setting,
    claims_of,
    lay_path,
)
from rankgate_eval.calibrate.unlabelled.shift import chances_like
from rankgate_eval.verdict.provenance import git_state, hardware

PARTS = {
    "gate": FidelityOptions(floor=False),
    "floor": FidelityOptions(gate=False),
    "pair": FidelityOptions(),
}
EASIER = 1.5
OTHERS = {"all alike": None, "heard by chance": 0.0, "heard by chance, signals with noise": 0.6}
FloatArray = npt.NDArray[np.float64]


def world(
    rng: np.random.Generator,
    conversations: int,
    *,
    copied: float,
    apart: float = 4.0,
    easier: float = 0.0,
) -> tuple[Forecast, FloatArray]:
    """A log: own questions of conversations, each again with its passages gone, and foreign ones.

    And how easy each of the own questions is.

    Args:
        rng: of everything.
        conversations: one to about twenty questions each.
        copied: how often a question shares the fate of its conversation's first.
        apart: how far, in logits, own questions look better than those with passages gone.
        easier: so much easier than the log's they are.
    """
    sizes = np.minimum(rng.geometric(0.4, conversations), 20)
    group = np.repeat(np.arange(conversations), sizes)
    n = group.size
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])[group]

    def alike(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.where(rng.random(n) < copied, values[first], values)

    shared = 0.8 * rng.normal(size=conversations)[group]
    ease = easier + shared + 0.6 * rng.normal(size=n) - 0.15 * (sizes[group] - 2.0)
    ease = alike(ease)
    missed = alike(rng.random(n) < _sigmoid(-4.0 - 2.5 * ease))
    harm = _sigmoid(-4.0 - 2.5 * ease + 0.7 * rng.normal(size=n))
    own = alike(1.0 + ease + 0.7 * rng.normal(size=n))
    removed = alike(own - apart + rng.normal(size=n))
    strange = rng.normal(size=n // 2) - 4.5
    looks = np.concatenate([own, removed, strange])
    skipped = looks + 0.2 * rng.normal(size=looks.size)
    made = Forecast(
        kinds=np.array(["asked"] * n + ["removed"] * n + ["foreign"] * strange.size),
        groups=np.concatenate([group, group, conversations + np.arange(strange.size)]),
        harm=np.concatenate([harm, alike(harm), _sigmoid(rng.normal(size=strange.size))]),
        missed=np.concatenate([missed, missed, np.zeros(strange.size, dtype=np.bool_)]),
        reranked=_sigmoid(looks),
        skipped=_sigmoid(skipped),
    )
    return made, ease


def log_and_others(
    rng: np.random.Generator, conversations: int, *, copied: float, noise: float | None
) -> tuple[Forecast, FloatArray | None]:
    """Half a log, half easier questions; and the chances to be heard, None without `noise`.

    The signals are ease, with so much noise, and four that tell nothing.
    """
    parts = [
        world(rng, conversations // 2, copied=copied, easier=easier) for easier in (0.0, EASIER)
    ]
    worlds = [made for made, _ in parts]
    groups = [worlds[0].groups, worlds[1].groups + int(worlds[0].groups.max()) + 1]
    together = Forecast(
        groups=np.concatenate(groups),
        **{
            name: np.concatenate([getattr(made, name) for made in worlds])
            for name in ("kinds", "harm", "missed", "reranked", "skipped")
        },
    )
    if noise is None:
        return together, None
    own = together.kinds == "asked"
    ease = np.concatenate([ease for _, ease in parts])
    x = np.column_stack(
        [ease + noise * rng.normal(size=ease.size), rng.normal(size=(ease.size, 4))]
    )
    logged = np.arange(ease.size) < parts[0][1].size
    heard = np.ones(own.size)
    heard[own] = heard[together.kinds == "removed"] = chances_like(
        x, logged, together.groups[own].tolist()
    )
    return together, heard


def _sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def true_share(claim: Claim, population: Forecast) -> float:
    """The share of one question of a conversation drawn at random, over a whole population."""
    codes = population.groups
    n = int(codes.max()) + 1
    asked = np.bincount(codes, weights=claim.among, minlength=n)
    failed = np.bincount(codes, weights=claim.among & claim.failed, minlength=n)
    there = asked > 0
    return float((failed[there] / asked[there]).mean()) if there.any() else 0.0


def at_the_edge(part: str, population: Forecast, options: FidelityOptions) -> Setting:
    """The strictest setting of which one claim is false: what must not pass, and nearly may."""
    everybody = Drawing.of(population.groups, seed=0)
    floor = Floor(refuse_below=0.0, weak_below=0.999)

    def setting(x: float) -> Setting:
        if part == "floor":
            return Setting(threshold=None, floor=replace(floor, weak_below=x), level=1.0)
        return Setting(threshold=x, floor=floor if options.floor else Floor(), level=1.0)

    good, bad = (1.0, 0.0) if part == "floor" else (0.0, 1.0)
    for _ in range(40):
        middle = (good + bad) / 2.0
        made = setting(middle)
        claims = claims_of(population.observe(made), made, population.kinds, everybody, options)
        false = any(true_share(c, population) > c.allowed for c in claims)
        good, bad = (good, middle) if false else (middle, bad)
    return setting(bad)


def simulate(
    part: str,
    draws: int,
    *,
    seed: int,
    conversations: int = 400,
    copied: float = 0.5,
    edge: bool = False,
    others: str | None = None,
) -> Mapping[str, Any]:
    """Draws, how many claimed something, and how many of these were wrong in any claim.

    With `edge` the path is one setting, the strictest that is wrong: the worst that can happen.
    `others`: how those of `OTHERS` stand beside the log; None: the log stands alone.
    """
    options = PARTS[part]
    population, _ = world(np.random.default_rng([seed, 1]), 20_000, copied=copied)
    everybody = Drawing.of(population.groups, seed=0)
    worst = (at_the_edge(part, population, options),) if edge else ()
    claimed = wrong = 0
    skips, weak, refused = [], [], []
    for draw in range(draws):
        rng = np.random.default_rng([seed, 2, draw])
        halves: list[tuple[Forecast, FloatArray | None]] = [
            (world(rng, conversations // 2, copied=copied)[0], None)
            if others is None
            else log_and_others(rng, conversations // 2, copied=copied, noise=OTHERS[others])
            for _ in range(2)
        ]
        fresh, heard = halves[1]
        settings = worst if edge else lay_path(halves[0][0], options, base=Floor()).settings
        drawing = Drawing.of(fresh.groups, seed=draw, chances=heard)

        def claims(setting: Setting, on: Forecast, who: Drawing) -> list[Claim]:
            return claims_of(on.observe(setting), setting, on.kinds, who, options)

        held, _ = last_that_holds(
            (claims(setting, fresh, drawing) for setting in settings),
            confidence=options.confidence,
        )
        if held is None:
            continue
        setting = settings[held]
        claimed += 1
        truth = claims(setting, population, everybody)
        wrong += any(true_share(claim, population) > claim.allowed for claim in truth)
        seen, own = population.observe(setting), population.kinds == "asked"
        skips.append(seen.skips[own].mean())
        weak.append(seen.weak[own].mean())
        refused.append(seen.refused[own].mean())
    low, high = clopper_pearson(wrong, draws)
    return {
        "part": part,
        "path": "one setting, just wrong" if edge else "as laid down",
        "draws": draws,
        "conversations": conversations,
        "copied": copied,
        "others": others,
        "claimed": claimed,
        "wrong": wrong,
        "error": round(wrong / draws, 4),
        "interval": [round(low, 4), round(high, 4)],
        "stated": round(1.0 - options.confidence, 4),
        "skipped": round(float(np.mean(skips)), 3) if skips else None,
        "weak": round(float(np.mean(weak)), 3) if weak else None,
        "refused": round(float(np.mean(refused)), 4) if refused else None,
    }


def main() -> None:
    """Run all parts with and without dependence, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--others", action="store_true", help="half a log, half other questions")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    began, rows = time.perf_counter(), []
    ways = list(OTHERS) if args.others else [None]
    for part, others, edge in itertools.product(["pair"] if args.others else PARTS, ways, (0, 1)):
        for copied in (0.0, 0.5, 1.0):
            row = simulate(
                part, args.draws, seed=args.seed, copied=copied, edge=bool(edge), others=others
            )
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    made = {
        "command": f"python benchmarks/unlabelled_guarantees.py --draws {args.draws} "
        f"--seed {args.seed}{' --others' if args.others else ''}",
        "commit": git_state()[0],
        "hardware": hardware(),
        "seconds": round(time.perf_counter() - began),
    }
    args.out.with_suffix(".json").write_text(json.dumps({**made, "rows": rows}, indent=1) + "\n")
    lines = [
        "# Calibration without labels: is the stated error kept?",
        "",
        f"`{made['command']}`, commit {made['commit']}, {made['hardware']}, {made['seconds']} s. "
        f"{args.draws} draws a row; allowed 5% each, 95% confidence for all claims together.",
        "",
        "| part | beside the log | path | fate shared inside conversations | claimed something | "
        "wrong in any claim | error [95%] | stated | skipped | weak | refused |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['part']} | {r['others'] or 'nothing'} | {r['path']} | {r['copied']:.0%} | "
        f"{r['claimed']} | {r['wrong']} | "
        f"{r['error']:.1%} [{r['interval'][0]:.1%}, {r['interval'][1]:.1%}] | {r['stated']:.0%} | "
        f"{r['skipped']} | {r['weak']} | {r['refused']} |"
        for r in rows
    ]
    args.out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
