r"""Fits the default policy on the dev splits; never reads a test split.

The relevance models are fitted by `rankgate_eval.calibrate`, over all corpora at once. Gate and
floor are explicit thresholds, searched on a grid: they have to hold on a stranger's documents, so
the worst corpus decides, where `rankgate calibrate` fits to one.

    python benchmarks/bundle.py --out .rankgate/bundle
    python benchmarks/default_policy.py --encoders .rankgate/bundle \
        --out .rankgate/policies/default.json --left-out .rankgate/policies

The first of these files ships as rankgate/policies/default.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from domains import domain_of, scorer_without
from policy_rows import (
    CORPORA,
    DENSE_LIST,
    LEFT_OUT,
    PER_CORPUS,
    RETRIEVAL,
    SOURCES,
    Found,
    load,
    rows_of,
)
from policy_search import VETO, quality, search_floor, search_gate

from rankgate import FirstStageKind, Floor, Gate, Policy, Profile, RelevanceModel, Section
from rankgate.decide.gate import Rule
from rankgate.decide.logistic import Logistic
from rankgate.encoders import TokenEncoder
from rankgate.retrieve import Analyser
from rankgate.scorers import ScorerInfo
from rankgate_eval.calibrate.relevance_fit import fit_relevance, variants_of
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.verdict.provenance import git_state

TOP_N = 5
_RIDGE = 0.05  # of the list-wise step; six corpora sum up


def fit_section(rows: Sequence[Row], kind: str) -> tuple[Logistic, Logistic]:
    """Relevance models for reranked and for first-stage-only results; corpora weigh the same.

    The default scorer reads with the encoder of the dense list, so its model leaves the cosine out.
    """
    which = FirstStageKind(kind)
    reranked = next(v for v in variants_of(which, scored=True) if "dense" not in v)
    first = variants_of(which, scored=False)[0]
    return (
        fit_relevance(rows, reranked, scored=True, ridge=_RIDGE).model,
        fit_relevance(rows, first, scored=False, ridge=_RIDGE).model,
    )


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/corpora"))
    parser.add_argument(
        "--encoders", type=Path, help="folder of benchmarks/bundle.py; without it, none is used"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--left-out", type=Path, help="folder for policies that miss a domain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--max-loss", type=float, default=0.002, help="nDCG@10; half of it may be used on dev"
    )
    parser.add_argument("--false-refusals", type=float, default=0.05)
    args = parser.parse_args()
    args.git = git_state()  # now: a tree that changes while this runs changes nothing of it
    found = load(args.data, args.cache, args.encoders, args.seed, list(RETRIEVAL))
    encoder = TokenEncoder.load()
    for left_out in (None, *(LEFT_OUT if args.left_out is not None else ())):
        out = args.out if left_out is None else args.left_out / f"without-{left_out}.json"
        scorer = scorer_without(args.encoders, encoder, *(() if left_out is None else (left_out,)))
        policy(found, scorer.info, encoder, left_out, args).save(out)


def policy(
    found: Mapping[str, Sequence[Found]],
    info: ScorerInfo,
    encoder: TokenEncoder,
    left_out: str | None,
    args: argparse.Namespace,
) -> Policy:
    """All sections; those of a policy that misses a domain are measured on nothing here."""
    sections: dict[FirstStageKind, Section] = {}
    report: dict[str, Any] = {}
    for kind in FirstStageKind:
        views = {
            name: [
                row
                for source in SOURCES.get(kind, (kind,))
                for row in rows_of(found[source], kind, info.scale, left_out, at_home=at_home)
            ]
            for name, at_home in (("stranger", False), ("at_home", True))
        }
        sections[FirstStageKind(kind)], report[kind] = section(views, kind, info, encoder, args)
        print(left_out, kind, json.dumps(report[kind], indent=1), file=sys.stderr)
    commit, changed = args.git
    provenance = {
        "command": f"python benchmarks/default_policy.py --encoders {args.encoders} "
        f"--seed {args.seed} --max-loss {args.max_loss} --false-refusals {args.false_refusals}",
        "commit": f"{commit}{' (with changes)' if changed else ''}",
        "seed": args.seed,
        "data": {r: "dev" for r in CORPORA if domain_of(r) != left_out},
        "queries_per_corpus_at_most": PER_CORPUS,
        "max_loss": args.max_loss,
        "scores": "stranger: by query encoders that were not trained on the corpus's domain; "
        "at_home: by the one that ships",
        "sections": report,
    }
    name = "default" if left_out is None else f"without-{left_out}"
    return Policy(name=name, sections=sections, provenance=provenance)


def section(
    views: Mapping[str, Sequence[Row]],
    kind: str,
    info: ScorerInfo,
    encoder: TokenEncoder,
    args: argparse.Namespace,
) -> tuple[Section, dict[str, Any]]:
    """Relevance models, gate and floor of one kind of first stage, and how good they are.

    What orders and the floor are fitted on a stranger's scores; the gate has to hold on those
    and on the scores that the policy ships with, where there is more to lose by skipping. The
    floor has to hold for misspelt and misheard questions too; nothing else is fitted on them.
    """
    asked = views["stranger"]
    clean = {*CORPORA, *(f"{name}{DENSE_LIST}" for name in CORPORA)}
    rows = [r for r in asked if r.corpus in clean]
    views = {name: [r for r in v if r.corpus in clean] for name, v in views.items()}
    reranked, first = fit_section(rows, kind)
    held: dict[str, Any] = {}
    corpora = sorted({r.corpus for r in rows})
    for name in corpora:  # each corpus by models that have not seen it
        other = [r for r in rows if r.corpus.split(",")[0] != name.split(",")[0]]
        mine = [r for r in rows if r.corpus == name and r.answerable]
        re_out, fi_out = fit_section(other, kind)
        shown = {
            "first_stage_order": (None, False),
            "raw": (None, True),
            "reranked_model": (re_out, True),
            "first_stage_model": (fi_out, False),
        }
        held[name] = {
            "n": len(mine),
            **{
                label: round(float(np.mean([quality(model, r, scored=scored) for r in mine])), 4)
                for label, (model, scored) in shown.items()
            },
        }
    gate, gate_note = Gate(), {}
    searched = search_gate(views, reranked, first, kind, args.max_loss)
    if searched is not None:
        conditions, gate_note = searched
        gate = Gate(
            rules=(Rule(name="clear_winner", conditions=conditions),),
            veto=VETO,
            provenance=gate_note,
        )
    threshold, floor_note = search_floor(asked, reranked, first, args.false_refusals)
    profile = Profile(
        scorer=info.id,
        scale=info.scale,
        weights=info.weights,
        dtype=info.dtype,
        max_length=info.max_length,
        window=info.window,
        embedder=encoder.name if kind in ("hybrid", "dense") else None,
        analyser=Analyser().name if kind in ("hybrid", "bm25") else None,
    )
    made = Section(
        profile=profile,
        gate=gate,
        reranked=RelevanceModel(model=reranked, scale=info.scale),
        first_stage=RelevanceModel(model=first),
        floor=Floor(refuse_below=threshold),
        top_n=TOP_N,
    )
    return made, {"left_out_ndcg10": held, "gate": gate_note, "floor": floor_note}


if __name__ == "__main__":
    main()
