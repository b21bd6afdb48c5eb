"""One training from end to end, as `rankgate train` runs it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rankgate.encoders import TokenStore
from rankgate.encoders.locate import file_sha256
from rankgate.errors import ConfigError, InputError
from rankgate.retrieve import Embedder
from rankgate.scorers.onnx import OnnxScorer
from rankgate_eval.stats.significance import Difference, compare
from rankgate_eval.train.engine import (
    DevSet,
    FirstStagePrior,
    ListBuilder,
    Look,
    MarginRule,
    PairRanker,
    QueryRanker,
    RunFolder,
    Trainer,
    TrainingSettings,
    load_ranker,
    raw_scores,
)
from rankgate_eval.train.engine.adapt import freeze_embeddings
from rankgate_eval.train.engine.card import TrainingCard
from rankgate_eval.train.engine.export import Exported, export_onnx, quantise
from rankgate_eval.train.engine.head import HEAD_FILE, HeadRanker, load_head_ranker
from rankgate_eval.train.engine.query import QUERY_FILE, load_query_ranker
from rankgate_eval.train.plan import TrainingPlan, make_plan
from rankgate_eval.train.sources import Source
from rankgate_eval.verdict.provenance import git_state, hardware, now, package_version

__all__ = ["Trained", "TrainingJob", "run_training"]

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What the user asked for.

    Attributes:
        out: folder of the run.
        method: `full`, a model that reads question and passage together; `query`, the layers
            that read questions for late interaction; or `head`, a few numbers over it.
        head_parts: of a new head; see `load_head_ranker`.
        start: see `load_ranker`, `load_query_ranker` and `load_head_ranker`.
        settings: of the training; its `prior` is for `query` alone.
        max_length: tokens of query and passage together; None: 256.
        adapting: small data: word embeddings stay as they are.
        margin: of the rule by which likely answers are left out; see `MarginRule`.
        candidates: of each question.
        dev_questions: of a corpus, at most.
        kept_back: training questions of a corpus for fitting the order, at most.
        int8: whether to export int8 beside float32.
        device: `cpu`, `cuda`, ...
        bfloat16: compute in bfloat16 under autocast.
        allow_hub: whether the hub may be asked for `start`.
        resume: go on with what is in `out`.
        time_limit: seconds of training; None: until it is done.
        command: for the card.
    """

    out: Path
    method: str = "full"
    head_parts: tuple[str, ...] = ("salience",)
    start: str = "minilm"
    settings: TrainingSettings
    max_length: int | None = None
    adapting: bool = False
    margin: float = 0.95
    candidates: int = 50
    dev_questions: int = 150
    kept_back: int = 100
    int8: bool = True
    device: str = "cpu"
    bfloat16: bool = False
    allow_hub: bool = False
    resume: bool = False
    time_limit: float | None = None
    command: str = "rankgate train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """How it ended.

    Attributes:
        card: everything about it.
        difference: dev nDCG@10 of the policy's order, trained against start; None where the
            start itself was the best.
        kept: whether the result is better than its start beyond noise.
        exports: float32 first; none where it was not kept.
    """

    card: TrainingCard
    difference: Difference | None
    kept: bool
    exports: tuple[Exported, ...]


def run_training(
    sources: Sequence[Source],
    job: TrainingJob,
    *,
    embedder: Embedder | None,
    store: TokenStore | None = None,
    report: Report | None = None,
) -> Trained:
    """Mine, train, compare with the start, export, and write the card.

    The result is kept only if it is better than what it started from beyond noise: the lower
    end of the 95% interval of the paired difference over dev questions, drawn by document, is
    above 0. Where it is not, there is no export, and the card says so.

    Args:
        sources: to learn from and to look at.
        job: what the user asked for.
        embedder: for mining; None: BM25 alone.
        store: of token vectors, for `query` and `head`; None: they are kept in memory.
        report: told about progress.

    Raises:
        InputError: the data cannot be learned from, or a prior with another method than `query`.
        ConfigError: the folder holds another training, or a setting cannot be used.
        ModelNotFoundError: no model to start from.
    """
    say: Report = (lambda *_: None) if report is None else report
    if job.settings.prior and job.method != "query":
        raise InputError(
            f"the first stage's prior is for --method query, got --method {job.method}: its scale "
            "is matched with the scores of question layers only; leave --prior out"
        )
    rule = MarginRule(margin=job.margin)
    import torch

    torch.manual_seed(job.settings.seed)
    ranker = _loaded(job, job.start, store)
    start_sha256 = _sha256_of(ranker)
    plan = make_plan(
        sources,
        job.settings,
        embedder=embedder,
        rule=rule,
        candidates=job.candidates,
        kept_back=job.kept_back,
        dev_questions=job.dev_questions,
        report=say,
    )
    if job.adapting and job.method == "full":
        freeze_embeddings(ranker.module)
    folder = RunFolder(job.out)
    trainer = Trainer(
        ranker,
        _builder(ranker, plan, job, say),
        questions=plan.questions,
        held_out=plan.held_out,
        dev=plan.dev,
        settings=job.settings,
        folder=folder,
        identity={
            "data": {u.name: u.sha256 for u in plan.used},
            "method": [job.method, *(job.head_parts if job.method == "head" else ())],
            "start": start_sha256,
            "max_length": ranker.max_length,
            "adapting": job.adapting,
            "margin": job.margin,
            "candidates": job.candidates,
            "dev_questions": job.dev_questions,
            "kept_back": job.kept_back,
        },
        report=say,
    )
    result = trainer.run(resume=job.resume, time_limit=job.time_limit)
    best = _loaded(job, str(folder.best), store)
    torch.manual_seed(job.settings.seed)
    before = plan.dev.look(
        _loaded(job, job.start, store), progress=lambda d, t: say("looking at the start", d, t)
    )
    after, difference = before, None
    if result.best_step > 0:
        after = plan.dev.look(best, progress=lambda d, t: say("looking at the result", d, t))
        difference = _difference(plan.dev, before.per_query, after.per_query, job.settings.seed)
    kept = difference is not None and difference.low > 0.0
    against = _difference(plan.dev, after.first_stage_per_query, after.per_query, job.settings.seed)
    exports: list[Exported] = []
    notes = [f"{s.corpus.name}: {s.note}." for s in sources]
    if kept and isinstance(best, PairRanker):
        exports, more = _exports(best, plan, job, after, say)
        notes += more
    elif not kept:
        for stale in ("onnx", "onnx-int8"):
            shutil.rmtree(job.out / stale, ignore_errors=True)
    names = ("model.safetensors", HEAD_FILE, QUERY_FILE)
    weights = {
        f"best/{name}": file_sha256(folder.best / name)
        for name in names
        if (folder.best / name).is_file()
    }
    weights |= {f"{e.folder.name}/model.onnx": e.sha256 for e in exports}
    card = TrainingCard(
        start=job.start,
        start_sha256=start_sha256,
        data=plan.used,
        settings=job.settings,
        rule=rule,
        result=result,
        first_stage=before.first_stage,
        before=before.by_corpus,
        after=after.by_corpus,
        difference=None if difference is None else _plain(difference),
        against_first_stage=_plain(against),
        kept=kept,
        weights=weights,
        environment=_environment(job),
        notes=tuple(notes),
    )
    card.write(job.out)
    return Trained(card=card, difference=difference, kept=kept, exports=tuple(exports))


def _loaded(
    job: TrainingJob, start: str, store: TokenStore | None
) -> PairRanker | HeadRanker | QueryRanker:
    if job.method == "head":
        return load_head_ranker(start, parts=job.head_parts, store=store)
    if job.method == "query":
        return load_query_ranker(start, store=store)
    if job.method != "full":
        raise ConfigError(f"the method is full, query or head, got {job.method!r}")
    return load_ranker(
        start,
        max_length=job.max_length,
        device=job.device,
        bfloat16=job.bfloat16,
        allow_hub=job.allow_hub,
    )


def _builder(
    ranker: PairRanker | HeadRanker | QueryRanker, plan: TrainingPlan, job: TrainingJob, say: Report
) -> ListBuilder:
    """The plan's builder, with a prior where the settings want one; then it sets the scale too."""
    if not job.settings.prior or not isinstance(ranker, QueryRanker):
        return plan.builder
    fit = plan.dev.fit
    raw = raw_scores(ranker, fit, progress=lambda d, t: say("fitting the first stage's part", d, t))
    prior = FirstStagePrior.fitted(fit, raw)
    ranker.rescale(prior.slope)
    return replace(plan.builder, prior=prior)


def _sha256_of(ranker: PairRanker | HeadRanker | QueryRanker) -> str:
    if isinstance(ranker, QueryRanker):
        return ranker.start_sha256
    if isinstance(ranker, HeadRanker):
        return ranker.encoder.sha256
    return file_sha256(ranker.source / "model.safetensors")


def _difference(
    dev: DevSet,
    before: Mapping[tuple[str, str], float],
    after: Mapping[tuple[str, str], float],
    seed: int,
) -> Difference:
    keys = [(j.corpus, j.query_id) for j in dev.dev]
    return compare(
        [before[key] for key in keys],
        [after[key] for key in keys],
        [f"{j.corpus}:{j.group}" for j in dev.dev],
        seed=seed,
    )


def _exports(
    best: PairRanker, plan: TrainingPlan, job: TrainingJob, after: Look, say: Report
) -> tuple[list[Exported], list[str]]:
    say("writing ONNX", 1, 1)
    whole = export_onnx(best, job.out / "onnx", plan.examples)
    exports, notes = (
        [whole],
        [f"onnx: {whole.megabytes:.1f} MB, largest difference of a score {whole.largest:.2g}."],
    )
    if not job.int8:
        return exports, notes

    def quality(folder: Path) -> float:
        scorer = OnnxScorer(folder, file="model.onnx", max_length=best.max_length)
        raw = []
        for done, one in enumerate(plan.dev.every, 1):
            raw.append(scorer.score(one.query, [c.text for c in one.candidates]).values)
            say("measuring int8 on dev", done, len(plan.dev.every))
        return plan.dev.judge(raw).ndcg

    say("writing ONNX int8", 1, 1)
    try:
        small = quantise(
            whole,
            job.out / "onnx-int8",
            plan.examples,
            max_length=best.max_length,
            quality=quality,
        )
    except ConfigError as exc:
        return exports, [*notes, f"No int8: {exc}"]
    said = f"onnx-int8: {small.megabytes:.1f} MB, correlation {small.correlation:.4f}"
    if small.quality is not None:
        said += f", dev nDCG@10 {small.quality:.4f} (float32 {after.ndcg:.4f})"
    notes.append(f"{said}, {len(small.float32_nodes)} products left in float32.")
    return [*exports, small], notes


def _plain(difference: Difference) -> dict[str, float | int]:
    return {
        name: getattr(difference, name)
        for name in ("mean", "low", "high", "p", "n", "clusters", "level")
    }


def _environment(job: TrainingJob) -> dict[str, str]:
    import torch
    import transformers

    commit, changed = git_state()
    return {
        "command": job.command,
        "date": now(),
        "rankgate": package_version(),
        "commit": "" if commit is None else commit + (" (with changes)" if changed else ""),
        "hardware": hardware(),
        "device": job.device,
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
    }
