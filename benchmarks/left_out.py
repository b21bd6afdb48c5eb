r"""What a stranger's corpus gets: model and policy made without its domain, against no reranker.

    python benchmarks/bundle.py --out .rankgate/bundle
    python benchmarks/default_policy.py --encoders .rankgate/bundle \
        --out .rankgate/policies/default.json --left-out .rankgate/policies
    python benchmarks/left_out.py --encoders .rankgate/bundle --policies .rankgate/policies \
        --split dev --out FILE

Two rows a corpus: `left out`, with query encoder and policy that know nothing of its domain, and
`shipped`, as installed. Baselines: the first stage's fused order; `tuned`, its own relevance
model fitted on the corpus's *own* train questions (dev where there is no train split, which then
flatters the baseline); and `skipped`, the same policy with everything skipped: so that nothing is
credited to the reranker that better weights of the first stage's scores would bring. `skipped`,
`always` and `policy` are what is served, after the floor: a refused question counts 0; `ranked`
is the policy before its floor. mtrag stands once more by its domains, xquad-en with its spoilt
questions; neither counts in the mean. Reads a test split only where --split says so. Writes
FILE.json and FILE.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent))
from corpus_index import CorpusIndex, KnownScores, Retrieved
from domains import CORPORA, domain_of, scorer_without, variants

from rankgate import Action, Outcome, Policy, Reranker, Status
from rankgate import Path as OutcomePath
from rankgate.encoders import PackedVectors, TokenEncoder
from rankgate.retrieve import Fusion
from rankgate.scorers import LateInteractionScorer
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.orderings import served_order
from rankgate_eval.stats.ndcg import ndcg
from rankgate_eval.stats.significance import compare
from rankgate_eval.train.looks import JudgedList, fit_order, ndcg_at_10
from rankgate_eval.verdict.provenance import git_state, hardware

ARMS = ("fused", "tuned", "skipped", "always", "ranked", "policy")
AGAINST = ("tuned", "skipped", "fused", "always")
Values = npt.NDArray[np.float64]


def drawn(ids: Sequence[str], limit: int, seed: int) -> list[str]:
    """At most `limit` of them, in their order."""
    if len(ids) <= limit:
        return list(ids)
    chosen = np.random.default_rng(seed).choice(len(ids), limit, replace=False)
    return [ids[int(i)] for i in sorted(chosen)]


def questions(data: Dataset, split: str) -> list[str]:
    """Of a split; on test all of cranfield's, which nothing was learned from or chosen by.

    Its own train part is among them then, which flatters `tuned`.
    """
    if split == "test" and domain_of(data.name) == "engineering":
        return [q for part in sorted(data.splits) for q in data.judged(part)]
    return list(data.judged(split))


def judged(index: CorpusIndex, found: Retrieved) -> JudgedList:
    """A retrieval as something to order."""
    gold = set(index.data.relevant(found.query_id))
    return JudgedList(
        corpus=index.data.name,
        query_id=found.query_id,
        group=index.data.group_of(found.query_id),
        query=found.query,
        candidates=found.candidates,
        signals=found.signals,
        relevant=np.array([c.id in gold for c in found.candidates], dtype=np.bool_),
        gold=len(gold),
    )


def retrieved(index: CorpusIndex, ids: Sequence[str]) -> list[tuple[JudgedList, Retrieved]]:
    """Fifty fused candidates of each question; their `raw` means nothing here."""
    texts = [index.data.queries[q] for q in ids]
    lexicon = index.bm25.lexicon
    rows = []
    for q, text, v in zip(ids, texts, index.encoder.encode(texts), strict=True):
        found = index.retrieve(q, text, v, fusion=Fusion(), k=50, lexicon=lexicon, asked=v)
        rows.append((judged(index, found), found))
    return rows


def value(order: Sequence[str], one: JudgedList) -> float:
    """nDCG@10 of passages in this order."""
    relevant = dict(zip((c.id for c in one.candidates), one.relevant.tolist(), strict=True))
    return ndcg([relevant[i] for i in order], one.gold)


def ranked_order(outcome: Outcome) -> tuple[str, ...]:
    """As if nothing had been refused or dropped."""
    return tuple(p.candidate.id for p in outcome.passages)


def arms(
    index: CorpusIndex,
    rows: Sequence[tuple[JudgedList, Retrieved]],
    policy: Policy,
    scorer: LateInteractionScorer,
) -> dict[str, npt.NDArray[Any]]:
    """nDCG@10 of the policy's arms, and what the policy decided; (n,) each."""
    known = KnownScores(scorer.info)
    reranker = Reranker(known, policy=policy, first_stage="hybrid", lexicon=index.bm25.lexicon)
    asked = scorer.read_queries([one.query for one, _ in rows])
    made: dict[str, list[Any]] = {}
    for (one, found), question in zip(rows, asked, strict=True):
        known.values = scorer.compare(question, passages_of(index, found))
        opened, shut = (
            reranker.rerank(one.query, found.candidates, force=action)
            for action in (Action.RERANK, Action.SKIP)
        )
        outcome = reranker.rerank(one.query, found.candidates)
        for name, seen in (
            ("skipped", value(served_order(shut), one)),
            ("always", value(served_order(opened), one)),
            ("ranked", value(ranked_order(outcome), one)),
            ("policy", value(served_order(outcome), one)),
            ("skips", outcome.path is OutcomePath.SKIPPED),
            ("refused", outcome.status is Status.REFUSED and bool(one.relevant.any())),
        ):
            made.setdefault(name, []).append(seen)
    return {name: np.array(column) for name, column in made.items()}


def passages_of(index: CorpusIndex, found: Retrieved) -> list[PackedVectors]:
    """The candidates' token vectors."""
    return [index.vectors[index.position[c.id]] for c in found.candidates]


def parts_of(label: str, data: Dataset, ids: Sequence[str]) -> dict[str, list[int]]:
    """Name of a row of the table to the positions of its questions: all, then by domain."""
    parts = {label: list(range(len(ids)))}
    for i, query_id in enumerate(ids):
        domain = data.fields.get(query_id, {}).get("domain")
        if domain is not None:
            parts.setdefault(f"{label}, {domain}", []).append(i)
    return parts


def measure(name: str, args: argparse.Namespace, encoder: TokenEncoder) -> dict[str, Any]:
    """All rows of one corpus."""
    domain = domain_of(name)
    folder = args.data / name
    data = Dataset.load(folder)
    index = CorpusIndex(data, args.cache, encoder)
    teacher = "train" if "train" in data.splits else "dev"
    learned = retrieved(index, drawn(data.judged(teacher), args.tuning, args.seed))
    tuned = fit_order([one for one, _ in learned], None)
    settings = {
        "left out": (
            Policy.load(args.policies / f"without-{domain}.json")
            if (args.policies / f"without-{domain}.json").is_file()
            else Policy.load(args.policies / "default.json"),  # nothing is fitted on it
            scorer_without(args.encoders, encoder, domain),
        ),
        "shipped": (
            Policy.load(args.policies / "default.json"),
            scorer_without(args.encoders, encoder),
        ),
    }
    table: dict[str, Any] = {}
    for label, changed in variants(data, folder).items():
        index.data = changed
        rows = retrieved(index, drawn(questions(data, args.split), args.limit, args.seed))
        base: dict[str, Values] = {
            "fused": np.array(
                [ndcg_at_10(-np.arange(len(one.candidates), dtype=float), one) for one, _ in rows]
            ),
            "tuned": np.array([ndcg_at_10(tuned.logits(one, None), one) for one, _ in rows]),
        }
        groups = [one.group for one, _ in rows]
        parts = parts_of(label, data, [one.query_id for one, _ in rows])
        for mode, (policy, scorer) in settings.items():
            made = arms(index, rows, policy, scorer)
            values = {**base, **made}
            for part, at in parts.items():
                some = {arm: values[arm][at] for arm in ARMS}
                names = [groups[i] for i in at]
                table.setdefault(part, {"n": len(at), "tuned_on": teacher})[mode] = {
                    "ndcg10": {arm: round(float(v.mean()), 4) for arm, v in some.items()},
                    "skipped": round(float(made["skips"][at].mean()), 4),
                    "false_refusals": round(float(made["refused"][at].mean()), 4),
                    **{
                        f"{a}-{b}": difference(some[b], some[a], names, args.seed)
                        for a, b in (
                            *(("policy", arm) for arm in AGAINST),
                            ("ranked", "tuned"),
                        )
                    },
                }
                said = table[part][mode]
                print(f"{part}, {mode}: {said['ndcg10']} {said['policy-tuned']}", file=sys.stderr)
    return table


def difference(before: Values, after: Values, groups: Sequence[str], seed: int) -> dict[str, float]:
    """Mean with a 95% interval, drawn by document."""
    found = compare(before, after, groups, permutations=99, seed=seed)
    return {k: round(float(getattr(found, k)), 4) for k in ("mean", "low", "high")}


def markdown(result: dict[str, Any]) -> str:
    """A table for people, in points of nDCG@10."""
    lines = [
        f"# Domain left out, and as shipped: {result['split']} split",
        "",
        f"`{result['command']}`, commit {result['commit']}, {result['date']}, seed "
        f"{result['seed']}, {result['hardware']}.",
        "",
        "nDCG@10 in points; differences with 95% cluster bootstrap intervals. `tuned` is the "
        "first stage's relevance model fitted on the corpus's own train questions (mtrag: dev, "
        "which flatters it on dev). On test all of cranfield's questions are asked, its train "
        "questions among them, which flatters `tuned`, and its dev was looked at before. A "
        "quarter of mtrag is Wikipedia, which the encoder has seen in xquad-en and nq-oracle. "
        "`skipped` is the same policy with everything skipped; it, `always` and `policy` are what "
        "is served, after the floor, and a refused question counts 0; `ranked` is the policy "
        "before its floor. Rows by domain and of spoilt questions do not count in the mean.",
        "",
        "| corpus | n | made | "
        + " | ".join([*ARMS, *(f"policy - {arm}" for arm in AGAINST)])
        + " | skips | false refusals |",
        "|" + "---|" * (5 + len(ARMS) + len(AGAINST)),
    ]
    for label, found in result["corpora"].items():
        for mode in ("left out", "shipped"):
            row = found[mode]
            cells = [f"{100 * row['ndcg10'][arm]:.1f}" for arm in ARMS]
            cells += [
                "{:+.1f} [{:+.1f}, {:+.1f}]".format(
                    *(100 * row[f"policy-{b}"][k] for k in ("mean", "low", "high"))
                )
                for b in AGAINST
            ]
            cells += [f"{row['skipped']:.0%}", f"{row['false_refusals']:.1%}"]
            lines.append(f"| {label} | {found['n']} | {mode} | " + " | ".join(cells) + " |")
    for mode, means in result["means"].items():
        told = ", ".join(f"{pair} {100 * mean:+.2f}" for pair, mean in means.items())
        lines += ["", f"Mean over corpora, {mode}: {told}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/corpora"))
    parser.add_argument("--encoders", type=Path, required=True)
    parser.add_argument("--policies", type=Path, required=True)
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--limit", type=int, default=400, help="questions of a corpus, at most")
    parser.add_argument("--tuning", type=int, default=300, help="train questions for `tuned`")
    parser.add_argument("--corpora", nargs="*", default=CORPORA)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    encoder = TokenEncoder.load()
    commit, changed = git_state()
    result: dict[str, Any] = {
        "command": f"python benchmarks/left_out.py --encoders {args.encoders} --policies "
        f"{args.policies} --split {args.split} --limit {args.limit} --tuning {args.tuning} "
        f"--seed {args.seed} --out {args.out}",
        "commit": f"{commit}{' (with changes)' if changed else ''}",
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "seed": args.seed,
        "split": args.split,
        "corpora": {},
        "means": {},
    }
    for name in args.corpora:
        result["corpora"] |= measure(name, args, encoder)
        for mode in ("left out", "shipped"):
            done = [result["corpora"][n][mode] for n in CORPORA if n in result["corpora"]]
            result["means"][mode] = {
                pair: round(float(np.mean([row[pair]["mean"] for row in done])), 4)
                for pair in ("policy-tuned", "policy-skipped", "ranked-tuned")
            }
        args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        args.out.with_suffix(".md").write_text(markdown(result), "utf-8")


if __name__ == "__main__":
    main()
