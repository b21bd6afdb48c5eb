"""A result with a distinct number in every place, so that a swapped one is seen."""

from __future__ import annotations

from dataclasses import replace

from rankgate_eval.result.parts import (
    ArmResult,
    BudgetResult,
    Change,
    CurvePoint,
    Estimate,
    Frontier,
    FrontierPoint,
    HeadroomResult,
    LatencyResult,
    Rate,
    RecallCurve,
    Refusals,
    ReliabilityBin,
    ReliabilityResult,
    StrataResult,
    StratumRow,
)
from rankgate_eval.result.result import ARMS, Result
from rankgate_eval.result.rows import (
    DataResult,
    Diagnosed,
    Listed,
    Made,
    Moved,
    MovedList,
    PolicyMade,
    QueryLists,
    QueryRow,
    UnanswerableRow,
    WorstQuery,
)

ORDER = ("first_stage", "tuned_first_stage", "rerank", "policy", "skipped")
METRICS = ("ndcg@5", "ndcg@10", "recall@5", "recall@100", "map")


def change(mean, half=0.0123, **more):
    given = {"p": 0.0004, "n": 344, "clusters": 210, "level": 0.95, "standard_error": 0.006}
    return Change(mean=mean, ci=(mean - half, mean + half), least=mean - half, **{**given, **more})


def rate(count, n):
    share = count / n
    return Rate(count=count, n=n, rate=share, ci=(share * 0.5, share + (1 - share) * 0.25))


def moved(ident, before, after, **more):
    given = {"query": f"what about {ident}?", "passage_id": f"p-{ident}", "snippet": "some words"}
    return Moved(query_id=ident, before=before, after=after, **{**given, **more})


def stratum(dimension, name, mean, n=60, **more):
    given = {"regression": False, "gain": False, "losers": ()}
    tested = n >= 20
    return StratumRow(
        dimension=dimension,
        name=name,
        n=n,
        clusters=n // 2,
        difference=change(mean, n=n, clusters=n // 2) if tested else None,
        adjusted_p=0.0321 if tested else None,
        **{**given, **more},
    )


def question(ident, before, after, *, words=None, **more):
    """A judged question; `before` and `after` are nDCG@10 of baseline and policy."""
    values = {arm: {"ndcg@10": before, "recall@5": 0.5} for arm in ARMS}
    values["policy"] = {"ndcg@10": after, "recall@5": 0.75}
    given = {
        "group": f"doc-{ident}",
        "path": "reranked",
        "reason": "uncertain",
        "refused": False,
        "error": "",
        "harm": 0.41,
        "best": 0.87,
        "first_stage_ms": 7.0,
        "decision_ms": 1.0,
        "scorer_ms": 50.0,
        "strata": ("typos=none",),
    }
    lists = QueryLists(
        first_stage=(f"{ident}-d1", f"{ident}-d2"),
        policy=(f"{ident}-d2", f"{ident}-d1"),
        kept=1,
        relevant=(f"{ident}-d1",),
        relevant_total=3,
        not_found=2,
    )
    return QueryRow(
        query_id=ident,
        query=f"what of {ident}?" if words is None else words,
        values=values,
        **{**given, "lists": lists, **more},
    )


def unanswerable(ident, *, words=None, refused=False, stratum="unanswerable"):
    return UnanswerableRow(
        query_id=ident,
        query=f"nobody knows {ident}" if words is None else words,
        stratum=stratum,
        path="reranked",
        refused=refused,
        best=0.2,
    )


QUESTIONS = (
    question("s1", 0.5, 1.0, strata=("typos=many", "topic=a, b")),
    question("s2", 0.75, 0.25, path="skipped", reason="sure", harm=0.02, refused=True),
    question("s3", 0.5, 0.5, lists=None, best=None),
    question("s10", 1.0, 0.5, group="other", words='=1+1, "quoted"'),
)


def worst(query, number, *, words=None, snippet="a passage", refused=False):
    def listed(rank, relevant, score, kind):
        return Listed(
            passage_id=f"{query}-d{rank}",
            rank=rank,
            relevant=relevant,
            snippet=snippet,
            score=score,
            score_kind=kind,
        )

    return WorstQuery(
        query_id=query,
        query=f"worst of {query}" if words is None else words,
        first_stage_ndcg=0.631,
        policy_ndcg=0.631 - number,
        change=-number,
        path="reranked",
        reason="uncertain",
        refused=refused,
        relevant_total=2,
        not_found=1,
        first_stage=(listed(1, True, 0.0164, "fused"), listed(2, False, 0.0161, "fused")),
        policy=(listed(1, False, 0.812, "relevance"), listed(2, True, None, "")),
    )


def example(**changes):
    """The whole; `changes` replace fields."""
    arms = {
        arm: ArmResult.of(
            {
                m: Estimate(
                    mean=0.5 + 0.031 * i + 0.0071 * j,
                    ci=(0.47 + 0.031 * i + 0.0071 * j, 0.53 + 0.031 * i + 0.0071 * j),
                )
                for j, m in enumerate(METRICS)
            },
            latency_ms=LatencyResult(
                n=344, mean=11.1 + i, worst=222.0 + i, p50=8.2 + i, p95=61.3 + i, p99=131.0 + i
            ),
            note="cross-fitted over 5 folds" if arm == "tuned_first_stage" else "",
            false_refusals=rate(14 if arm == "policy" else 0, 344),
            false_answers=rate(11 if arm == "policy" else 17, 17),
        )
        for arm in ARMS
        for i in (ORDER.index(arm),)
    }
    result = Result(
        verdict="ship_behind_gate",
        reasons=("nDCG@10 is better: -0.001 to 0.2, p = 0.0001, n = 344.", "The gate skipped 30%."),
        queries_needed=None,
        baseline="tuned_first_stage",
        n=344,
        clusters=210,
        data=DataResult(
            name="covid-qa",
            split="dev",
            judged=344,
            unjudged=17,
            limit=None,
            groups=210,
            largest_group=7,
            counts={"passages": 2586, "judged_queries": 344},
            warning_counts={"duplicate_query": 3},
            warnings=("queries.jsonl, line 81: query q81 has the text of q14",),
            fingerprint="sha256:feedc0de",
        ),
        arms=arms,
        differences={
            "policy-tuned_first_stage": {"ndcg@10": change(0.0534), "recall@5": change(0.0417)},
            "rerank-first_stage": {"ndcg@10": change(-0.0291, p=0.25)},
        },
        recall_curve=RecallCurve(
            points=tuple(
                CurvePoint(depth=d, recall=r, ci=(r - 0.02, r + 0.02))
                for d, r in ((1, 0.42), (5, 0.66), (20, 0.83), (50, 0.913), (100, 0.941))
            ),
            knee=20,
            method="greatest distance above the chord",
            depth=100,
        ),
        headroom=HeadroomResult(
            k=50,
            top_n=5,
            attainable=0.912,
            first_stage=0.659,
            mean=0.253,
            ci=(0.211, 0.295),
            used=0.351,
        ),
        precision_gap=change(0.0903),
        inversions=MovedList(
            before="first_stage",
            after="policy",
            top_n=5,
            passages=3,
            queries=2,
            items=(moved("i1", 4, 14), moved("i1", 2, None), moved("i2", 4, 9)),
        ),
        lifts=MovedList(
            before="first_stage",
            after="policy",
            top_n=5,
            passages=2,
            queries=2,
            items=(moved("l1", 31, 2), moved("l2", 12, 1)),
        ),
        skip_rate=0.2994,
        paths={"reranked": 238, "skipped": 103, "degraded": 3},
        refusals=Refusals(
            refuse_below=0.0325,
            drop_below=None,
            answerable=rate(14, 344),
            retrieved=rate(9, 322),
            by_path={"reranked": rate(12, 238)},
            unanswerable={"all": rate(11, 17), "PARTIAL": rate(4, 9)},
            cost={"ndcg@10": change(-0.0117), "recall@5": change(-0.0213)},
            answered=rate(252, 344),
            wrongly_refused=("w1", "w2"),
        ),
        strata=StrataResult(
            alpha=0.05,
            min_queries=20,
            min_clusters=10,
            rows=(
                stratum("typos", "many", -0.0613, regression=True, losers=("t9", "t7")),
                stratum("typos", "some", 0.0212),
                stratum("typos", "none", 0.0, n=15),
                stratum("negation", "yes", 0.1111, gain=True),
            ),
        ),
        reliability={
            "top_1": ReliabilityResult(
                top=1,
                queries=344,
                n=344,
                base_rate=0.551,
                predicted=0.573,
                brier=0.191,
                brier_skill=0.213,
                bins=tuple(
                    ReliabilityBin(
                        low=low,
                        high=low + 0.5,
                        n=172,
                        predicted=low + 0.25,
                        observed=low + 0.3,
                        ci=(low + 0.1, low + 0.4),
                    )
                    for low in (0.0, 0.5)
                ),
            ),
            "top_n": None,
        },
        frontier=Frontier(
            by="dense_margin_12",
            points=tuple(
                FrontierPoint(skip_rate=s, loss=0.05 * s * s - 0.001, ci=(-0.01, 0.06))
                for s in (0.0, 0.25, 0.5, 1.0)
            ),
            chosen=FrontierPoint(skip_rate=0.2994, loss=0.0023, ci=(-0.0041, 0.0082)),
        ),
        budget=BudgetResult(
            status="inside", budget_ms=150.0, quantile=0.95, observed_ms=64.3, n=344, needed=59
        ),
        worst_queries=(worst("w1", 0.325), worst("w2", 0.311, refused=True)),
        diagnosis=(
            Diagnosed(code="few_candidates", sentence="Recall rises.", advice="Try `--k 100`."),
        ),
        warnings=("The policy was fitted on these very queries.",),
        made=Made(
            command="rankgate eval data --split dev",
            version="0.1.0",
            commit="85b3822",
            dirty=True,
            seed=1234,
            hardware="Abacus, 2 beads",
            python="3.11.9",
            date="2026-11-21T15:20:00Z",
            seconds=61.25,
            scorer={"id": "late-interaction", "revision": "", "max_length": 256},
            policy=PolicyMade(
                name="default",
                source="given",
                sha256="abad1dea",
                kind="hybrid",
                provenance={"gate": {"skip_rate": 0.4233}, "data": ["a", "b"]},
            ),
            first_stage="hybrid index",
            kind="hybrid",
            fusions=({"method": "weighted", "dense_weight": 0.3},),
            k=50,
            depth=100,
            top_n=5,
            folds=5,
            resamples=2000,
            permutations=9999,
        ),
        per_query=QUESTIONS,
        unanswerable=(unanswerable("n1"), unanswerable("n2", refused=True)),
        snippets={"s1-d1": "the beginning of s1-d1"},
    )
    return replace(result, **changes)


def bare():
    """The same with everything absent that may be absent."""
    full = example()
    nothing = Rate(count=0, n=0, rate=None, ci=None)
    arms = {
        name: ArmResult.of(
            {m: Estimate(mean=e.mean, ci=None) for m, e in arm.metrics.items()},
            latency_ms=None,
            note=arm.note,
            false_refusals=nothing,
            false_answers=nothing,
        )
        for name, arm in full.arms.items()
    }
    lone = Change(
        mean=0.01, ci=None, least=-0.9, p=1.0, n=1, clusters=1, level=0.95, standard_error=None
    )
    empty = replace(full.inversions, passages=0, queries=0, items=())
    return replace(
        full,
        verdict="not_enough_data",
        reasons=("1 judged query is too few.",),
        queries_needed=812,
        arms=arms,
        differences={"policy-tuned_first_stage": {"ndcg@10": lone}},
        recall_curve=RecallCurve(points=(), knee=None, method="", depth=100),
        headroom=replace(full.headroom, ci=None, used=None),
        precision_gap=lone,
        inversions=empty,
        lifts=empty,
        paths={},
        refusals=Refusals(
            refuse_below=None,
            drop_below=None,
            answerable=nothing,
            retrieved=nothing,
            by_path={},
            unanswerable={},
            cost={},
            answered=nothing,
            wrongly_refused=(),
        ),
        strata=None,
        reliability={"top_1": None, "top_n": None},
        frontier=None,
        budget=None,
        worst_queries=(),
        per_query=(),
        unanswerable=(),
        snippets={},
        diagnosis=(),
        warnings=(),
        data=replace(full.data, split=None, warning_counts={}, warnings=(), limit=1),
        made=replace(
            full.made, commit=None, fusions=(), policy=replace(full.made.policy, provenance={})
        ),
    )


HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)> \u202egnp.exe \u2066|pipe| `tick` "
    "@maintainers [x](javascript:alert(1)) {{ 7*7 }} {% raw %} &amp; \x00 \x1b[31m \ud800 "
    "👩‍👩‍👧 مرحبا\nnew line \u2028 </style></title>--> "
)


def hostile():
    """Hostile words wherever a user's data can put them."""
    full = example()
    long = HOSTILE + "x" * 10_000
    bad = moved("q", 1, 9, query=long, passage_id=HOSTILE, snippet=long)
    return replace(
        full,
        reasons=(HOSTILE,),
        warnings=(HOSTILE,),
        data=replace(
            full.data, name=HOSTILE, split=HOSTILE, counts={HOSTILE: 1}, warnings=(HOSTILE,)
        ),
        inversions=replace(full.inversions, items=(bad,)),
        lifts=replace(full.lifts, items=(bad,)),
        strata=replace(
            full.strata,
            rows=(stratum(HOSTILE, HOSTILE, -0.1, regression=True, losers=(HOSTILE,)),),
        ),
        refusals=replace(
            full.refusals, wrongly_refused=(HOSTILE,), unanswerable={HOSTILE: rate(1, 2)}
        ),
        worst_queries=(worst(HOSTILE, 0.3, words=long, snippet=long),),
        per_query=(
            question(HOSTILE, 0.9, 0.1, words=long, strata=(HOSTILE,), reason=HOSTILE),
            question("-2+3", 0.5, 0.6, words="@SUM(A1)", group=HOSTILE),
        ),
        unanswerable=(unanswerable("u", words=HOSTILE, stratum=HOSTILE),),
        snippets={f"{HOSTILE}-d1": long},
        made=replace(
            full.made,
            command=HOSTILE,
            first_stage=HOSTILE,
            scorer={"id": HOSTILE},
            policy=replace(full.made.policy, name=HOSTILE, provenance={HOSTILE: {"a": HOSTILE}}),
        ),
        end_to_end=ANSWERS | {"reasons": [HOSTILE], HOSTILE: HOSTILE},
    )


def _side(arm, score):
    return {
        "arm": arm,
        "contexts": [{"passage_id": "c1", "snippet": HOSTILE, "relevant": True}],
        "answer": f"The answer of {arm}.",
        "refused": False,
        "judgements": {"faithfulness": score, "answer_relevancy": None},
    }


ANSWERS = {
    "verdict": "dont_ship",
    "reasons": ["Faithfulness falls."],
    "notes": ["No language model was involved."],
    "arms": {
        "policy": {"faithfulness": {"mean": 0.7654, "ci": [0.71, 0.82], "n": 48, "missing": 2}}
    },
    "differences": {
        "policy-first_stage": {"faithfulness": {"mean": -0.0456, "ci": [-0.08, -0.01], "p": 0.02}}
    },
    "changed": [
        {
            "query_id": "e1",
            "query": "what of e1?",
            "kind": "worse",
            "moves": ["inversion"],
            "because": "fewer claims hold",
            "references": ["the known answer"],
            "before": _side("first_stage", 0.911),
            "after": _side("policy", 0.322),
        }
    ],
    "n": 57,
    "clusters": 33,
    "queries_needed": 911,
    "refusals": {"policy": {"right_refusal": 6, "wrong_refusal": 19}},
    "contexts": {"policy-first_stage": {"moves": {"lift": {"n": 21, "better": 13, "worse": 8}}}},
    "calls": {"judge": 4321},
}
