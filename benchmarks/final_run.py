"""The single, final run: every corpus calibrated on dev, then its test split evaluated once.

    python benchmarks/final_run.py --data ../shared/data --work WORK --out eval/results/final

Two policies on the same test questions: the one calibrated on the corpus's own dev split, and the
default one that ships. A corpus with too few dev questions for a fit, or whose licence is unclear,
is evaluated under the default policy alone. WORK keeps what was read of the dev splits and one
JSON a corpus, so a stopped run goes on where it was and no test split is read twice.

    python benchmarks/final_run.py ... --dev-only       # calibrate only: writes WORK/dev.md
    python benchmarks/final_run.py ... --split train --limit 60      # a rehearsal
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from final_table import dev_markdown, markdown

from rankgate.policy import Policy
from rankgate.scorers import Scorer
from rankgate.scorers.wrappers import Cached
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate import (
    LEAST_JUDGED,
    Calibration,
    Question,
    foreign_questions,
    read_questions,
)
from rankgate_eval.calibrate.calibration import fit_material
from rankgate_eval.calibrate.fit import FitOptions
from rankgate_eval.calibrate.material import Material, read_material
from rankgate_eval.calibrate.measure import describe
from rankgate_eval.calibrate.reading import read_rows, with_fusion
from rankgate_eval.calibrate.rows import pooled_row
from rankgate_eval.calibrate.serve import serve
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.fingerprint import fingerprint
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.result.result import Result
from rankgate_eval.run.evaluation import evaluate, open_under_test
from rankgate_eval.run.pool import read_pool
from rankgate_eval.run.system import FirstStage, IndexStage
from rankgate_eval.stats.folds import spread
from rankgate_eval.verdict.provenance import (
    git_state,
    hardware,
    now,
    package_version,
    policy_sha256,
)

# The small ones first: what is done is written after each.
CORPORA = ("mtrag", "cranfield", "pubmedqa", "covid-qa", "xquad-en", "nq-oracle", "medquad")
LIMITS = {"medquad": 1000}
EVALUATE_ONLY = ("cranfield",)  # its licence is unclear: nothing is fitted on it, not here either
FOREIGN = 150  # questions of the other corpora, at most
NOISY = {"xquad-en": {"typos": "queries-typos.jsonl", "speech errors": "queries-asr.jsonl"}}
UNANSWERABLE = {"mtrag": "conversations.jsonl"}
CODE = ("rankgate", "eval/rankgate_eval", "benchmarks/final_run.py", "benchmarks/final_table.py")
KIND = FirstStageKind.HYBRID
K, TOP_N = 50, 5


def limited(data: Dataset, split: str, at_most: int | None) -> Dataset:
    """The same data set with no more than so many judged queries in a split."""
    if at_most is None:
        return data
    kept = {*spread(data.judged(split), at_most), *spread(data.unjudged(split), at_most)}
    chosen = tuple(q for q in data.query_ids(split) if q in kept)
    return replace(data, splits={**data.splits, split: chosen})


def strangers(folder: Path, data: Dataset, split: str) -> list[Question]:
    """Questions without an answer in the corpus: of other corpora, and what people marked."""
    names = [n for n in CORPORA if n != data.name and n not in EVALUATE_ONLY]
    others = [load_dataset(folder / n)[0] for n in names]
    others = [o for o in others if split in o.splits]
    found, _ = foreign_questions(
        others, split=split, at_most=FOREIGN, own=set(data.queries.values())
    )
    if data.name in UNANSWERABLE:
        found += read_questions(folder / data.name / UNANSWERABLE[data.name], split=split)
    return found


def told(what: str, done: int, total: int) -> None:
    """Progress, a line for each thing that is done."""
    if done == total:
        print(f"  {time.strftime('%H:%M:%S')} {what} {total}", file=sys.stderr, flush=True)


def calibrated(args: argparse.Namespace, name: str, data: Dataset) -> Calibration | None:
    """The policy of the dev split; None where nothing is to be fitted."""
    if name in EVALUATE_ONLY or len(data.judged("dev")) < LEAST_JUDGED:
        return None
    data = limited(data, "dev", LIMITS.get(name))
    kept = args.work / f"{name}.material.pkl"
    if kept.exists():
        material: Material = pickle.loads(kept.read_bytes())
    else:
        with open_under_test(data, cache=args.cache, tell=told) as under:
            material = read_material(
                data,
                stage=under.stage,
                scorer=under.scorer,
                split="dev",
                questions=strangers(args.data, data, "dev"),
                k=K,
                seed=args.seed,
                tell=told,
            )
        write(kept, pickle.dumps(material))
    options = FitOptions(kind=KIND, top_n=TOP_N, seed=args.seed)
    found = fit_material(data, material, options=options, command=args.typed, tell=told)
    found.policy.save(args.work / f"{name}.policy.json")
    write_json(args.work / f"{name}.calibration.json", found.report)
    return found


def evaluated(
    args: argparse.Namespace, name: str, data: Dataset, policies: Mapping[str, Policy]
) -> dict[str, Any]:
    """Every policy on one split of one corpus."""
    limit = args.limit if args.limit is not None else LIMITS.get(name)
    whole = len(data.judged(args.split))
    data = limited(data, args.split, limit)
    questions = strangers(args.data, data, args.split)
    found: dict[str, Any] = {
        "judged": len(data.judged(args.split)),
        "judged_in_split": whole,
        "fingerprint": fingerprint(data, data.judged(args.split)),
        "policies": {},
    }
    with open_under_test(data, cache=args.cache, tell=told) as under:
        # Both policies and all strata read many pairs in common.
        scorer = Cached(under.scorer)
        for which, policy in policies.items():
            section = policy.section(KIND)
            stage = with_fusion(under.stage, section.fusion)
            result = evaluate(
                data,
                stage=stage,
                scorer=scorer,
                policy=policy,
                split=args.split,
                seed=args.seed,
                command=args.typed,
                tell=told,
            )
            strata = served_strata(args, data, policy, stage, scorer, questions)
            found["policies"][which] = {
                "name": policy.name,
                "sha256": policy_sha256(policy),
                "fusion": section.fusion.to_dict(),
                "floor": {
                    "refuse_below": section.floor.refuse_below,
                    "drop_below": section.floor.drop_below,
                },
                "evaluation": told_of(result),
                "strata": strata,
            }
    return found


def told_of(result: Result) -> dict[str, Any]:
    """What is kept of an evaluation; latency is not, since scores were remembered."""
    first, second = result.primary
    return {
        "verdict": result.verdict,
        "reasons": list(result.reasons),
        "queries_needed": result.queries_needed,
        "n": result.n,
        "groups": result.clusters,
        "arms": {
            arm: {name: asdict(found.metrics[name]) for name in (first, second)}
            for arm, found in result.arms.items()
        },
        "differences": {
            pair: {name: asdict(changes[name]) for name in (first, second) if name in changes}
            for pair, changes in result.differences.items()
        },
        "skip_rate": result.skip_rate,
        "headroom": asdict(result.headroom),
        "refusals": {
            "answerable": asdict(result.refusals.answerable),
            "retrieved": asdict(result.refusals.retrieved),
            "kept_recall": asdict(result.refusals.kept_recall),
        },
        "diagnosis": [asdict(d) for d in result.diagnosis],
        "warnings": list(result.warnings),
    }


def served_strata(
    args: argparse.Namespace,
    data: Dataset,
    policy: Policy,
    stage: FirstStage,
    scorer: Scorer,
    questions: Sequence[Question],
) -> dict[str, Any]:
    """Gate and floor on the answerable questions, the unanswerable ones, and the noisy ones."""
    if not isinstance(stage, IndexStage):
        raise SystemExit("the final run is over the data set's own index")
    section = policy.section(KIND)
    judged, lexicon = data.judged(args.split), stage.index.bm25.lexicon
    reading = read_rows(
        stage,
        data,
        judged=judged,
        unjudged=data.unjudged(args.split),
        questions=questions,
        scorer=scorer,
        k=K,
        kind=KIND,
        lexicon=lexicon,
        report=told,
    )
    rows = [serve(row, section) for row in reading.rows]
    found = {"clean": describe(rows, top_n=TOP_N, seed=args.seed)}
    for noise, file in NOISY.get(data.name, {}).items():
        lines = (args.data / data.name / file).read_text("utf-8").splitlines()
        texts = {row["_id"]: row["text"] for row in map(json.loads, lines)}
        asked = [q for q in judged if q in texts]
        noisy = replace(data, queries={**data.queries, **texts})
        pool = read_pool(stage, noisy, asked, scorer=scorer, k=K, lexicon=lexicon)
        served = [
            serve(pooled_row(p, gold=data.relevant(q), group=data.groups[q]), section)
            for q, p in pool.items()
        ]
        found[noise] = describe(served, top_n=TOP_N, seed=args.seed)
        told(noise, len(asked), len(asked))
    return found


def changed_code() -> list[str]:
    """Files of the code that differ from the commit."""
    done = subprocess.run(
        ["git", "status", "--porcelain", "--", *CODE], capture_output=True, text=True, check=False
    )
    return [line[3:] for line in done.stdout.splitlines()]


def write(path: Path, content: bytes) -> None:
    """All of it or nothing."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Plain data, indented."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write(path, text.encode())


def one_corpus(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Calibrate and, unless dev is all that is asked for, evaluate."""
    begun = time.perf_counter()
    data, _ = load_dataset(args.data / name)
    fresh = calibrated(args, name, data)
    found: dict[str, Any] = {
        "corpus": name,
        "calibration": None if fresh is None else fresh.report,
        "made": {
            "commit": git_state()[0],
            "changed_code": changed_code(),
            "date": now(),
            "seed": args.seed,
        },
    }
    if not args.dev_only and args.split in data.splits:
        policies = {"default": Policy.default()}
        if fresh is not None:
            policies = {"calibrated": fresh.policy, **policies}
        found[args.split] = evaluated(args, name, data, policies)
    found["made"]["seconds"] = round(time.perf_counter() - begun, 1)
    return found


def main() -> None:
    """Every corpus in turn, then the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path(".rankgate/eval"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=CORPORA)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, help="judged queries of the split, for a rehearsal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dev-only", action="store_true")
    args = parser.parse_args()
    if args.out is None and not args.dev_only:
        parser.error("--out is needed, except with --dev-only")
    more = "" if args.split == "test" else f" --split {args.split}"
    more += "" if args.limit is None else f" --limit {args.limit}"
    args.typed = f"python benchmarks/final_run.py{more} --seed {args.seed}"
    args.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name in args.corpora:
        kept = args.work / f"{name}.{args.split}{'' if args.limit is None else args.limit}.json"
        print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
        if kept.exists() and not args.dev_only:  # read once, whatever happens later
            found[name] = json.loads(kept.read_text("utf-8"))
            continue
        found[name] = one_corpus(args, name)
        if args.dev_only:
            write(args.work / "dev.md", dev_markdown(found).encode())
        else:
            write_json(kept, found[name])
            report(args, found)
    if not args.dev_only:
        report(args, found)


def report(args: argparse.Namespace, found: Mapping[str, Any]) -> None:
    """What is known so far."""
    whole = {
        "command": args.typed,
        "split": args.split,
        "limit": args.limit,
        "version": package_version(),
        "seed": args.seed,
        "hardware": hardware(),
        "date": now(),
        "commits": sorted({str(c["made"]["commit"]) for c in found.values()}),
        "changed_code": sorted({f for c in found.values() for f in c["made"]["changed_code"]}),
        "corpora": found,
        "missing": [name for name in args.corpora if name not in found],
    }
    write_json(args.out.with_suffix(".json"), whole)
    write(args.out.with_suffix(".md"), markdown(whole).encode())


if __name__ == "__main__":
    main()
