"""One training from end to end, as `rankgate train` runs it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from rankgate.encoders import TokenStore
from rankgate.encoders.locate import file_sha256
from rankgate.errors import ConfigError, InputError, MissingExtraError
from rankgate.retrieve import Embedder
from rankgate.scorers.onnx import OnnxScorer
from rankgate_eval.stats.significance import Difference, compare
from rankgate_eval.train.card import TrainingCard
from rankgate_eval.train.course import Report, RunFolder, TrainingResult
from rankgate_eval.train.export import Exported, export_onnx, quantise
from rankgate_eval.train.lists import FirstStagePrior, ListBuilder
from rankgate_eval.train.looks import JudgedList, Score, judge, raw_scores
from rankgate_eval.train.mining import MarginRule
from rankgate_eval.train.plan import TrainingPlan, make_plan
from rankgate_eval.train.query import QUERY_FILE, QueryRanker, load_query_ranker
from rankgate_eval.train.settings import TrainingSettings
from rankgate_eval.train.sources import Source
from rankgate_eval.train.trainer import Trainer, held_out_lists
from rankgate_eval.verdict.provenance import git_state, hardware, now, package_version

__all__ = ["METHODS", "Trained", "TrainingJob", "check_method", "run_training"]

METHODS = ("query", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What the user asked for.

    Attributes:
        out: folder of the run.
        method: `query`, the layers that read questions for late interaction, or `full`, a
            cross-encoder that reads question and passage together.
        start: see `load_query_ranker` and `full.load_cross_encoder`.
        settings: of the training; its `prior` is for `query` alone.
        max_length: of a cross-encoder, tokens of query and passage together; None: 256.
        adapting: small data: a cross-encoder's word embeddings stay as they are.
        margin: of the rule by which likely answers are left out; see `MarginRule`.
        candidates: of each question.
        dev_questions: of a corpus in each half of dev, at most.
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
    method: str = "query"
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
        difference: nDCG@10 of the policy's order, best step against start, on the half of dev
            that decides; None where the start itself was the best on the half that chooses.
        kept: whether the result is better than its start beyond noise.
        exports: float32 first; none where it was not kept.
    """

    card: TrainingCard
    difference: Difference | None
    kept: bool
    exports: tuple[Exported, ...]


def check_method(method: str) -> None:
    """Raise for a method that there is not, with what to use instead.

    Raises:
        ConfigError: always, but for `query` and `full`.
    """
    if method == "head":
        raise ConfigError(
            "--method head is gone: on our data it added nothing beyond noise to the mix of whole "
            "passage and best window, which late interaction has without training. Use --method "
            "query, which needs as few questions and nothing indexed again"
        )
    if method not in METHODS:
        raise ConfigError(f"the method is {' or '.join(METHODS)}, got {method!r}")


def run_training(
    sources: Sequence[Source],
    job: TrainingJob,
    *,
    embedder: Embedder | None,
    store: TokenStore | None = None,
    report: Report | None = None,
) -> Trained:
    """Mine, train, compare with the start, export, and write the card.

    One half of dev chooses the step, the other decides: the result is kept only if it is better
    than what it started from beyond noise, that is if the lower end of the 95% interval of the
    paired difference, drawn by document, is above 0. Where it is not, there is no export, and the
    card says so.

    Args:
        sources: to learn from and to look at.
        job: what the user asked for.
        embedder: for mining; None: BM25 alone.
        store: of token vectors, for `query`; None: they are kept in memory.
        report: told about progress.

    Raises:
        InputError: the data cannot be learned from, or a prior with another method than `query`.
        ConfigError: the folder holds another training, or a setting cannot be used.
        ModelNotFoundError: no model to start from.
        MissingExtraError: torch, accelerate or datasets is not installed.
    """
    say: Report = (lambda *_: None) if report is None else report
    check_method(job.method)
    if job.settings.prior and job.method != "query":
        raise InputError(
            f"the first stage's prior is for --method query, got --method {job.method}: its scale "
            "is matched with the scores of question layers only; leave --prior out"
        )
    rule = MarginRule(margin=job.margin)
    needed = ("torch", "safetensors", "sentence_transformers", "accelerate", "datasets")
    if any(find_spec(name) is None for name in needed):
        raise MissingExtraError("training a reranker", "train")
    way = (_Query if job.method == "query" else _Full)(job, store)
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
    folder = RunFolder(job.out)
    result = way.train(plan, folder, say)
    start_sha256 = way.start_sha256
    before = plan.dev.look(
        way.score(job.start), deciding=True, progress=lambda d, t: say("judging the start", d, t)
    )
    after, difference = before, None
    if result.best_step > 0:
        after = plan.dev.look(
            way.score(str(folder.best)),
            deciding=True,
            progress=lambda d, t: say("judging the result", d, t),
        )
        difference = _difference(plan.dev.decide, before.per_query, after.per_query, job)
    kept = difference is not None and difference.low > 0.0
    against = _difference(plan.dev.decide, after.first_stage_per_query, after.per_query, job)
    exports: list[Exported] = []
    notes = [*(f"{s.corpus.name}: {s.note}." for s in sources), *plan.notes]
    if kept and job.method == "full":
        exports, more = _exports(folder.best, way.max_length, plan, job, say)
        notes += more
    elif not kept:
        for stale in ("onnx", "onnx-int8"):
            shutil.rmtree(job.out / stale, ignore_errors=True)
    weights = {
        f"best/{name}": file_sha256(folder.best / name)
        for name in ("model.safetensors", QUERY_FILE)
        if (folder.best / name).is_file()
    }
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
        weights=weights | {f"{e.folder.name}/model.onnx": e.sha256 for e in exports},
        environment=_environment(job),
        notes=tuple(notes),
    )
    card.write(job.out)
    return Trained(card=card, difference=difference, kept=kept, exports=tuple(exports))


class _Query:
    """Question layers: our own loop over stored token vectors of passages."""

    def __init__(self, job: TrainingJob, store: TokenStore | None) -> None:
        self._job = job
        self._store = store
        import torch

        torch.manual_seed(job.settings.seed)
        self._ranker = load_query_ranker(job.start, store=store)
        self.start_sha256 = self._ranker.start_sha256
        self.max_length = self._ranker.max_length

    def score(self, start: str) -> Score:
        return load_query_ranker(start, store=self._store).values

    def train(self, plan: TrainingPlan, folder: RunFolder, say: Report) -> TrainingResult:
        trainer = Trainer(
            self._ranker,
            _with_prior(plan, self._ranker, say) if self._job.settings.prior else plan.builder,
            questions=plan.questions,
            held_out=plan.held_out,
            dev=plan.dev,
            settings=self._job.settings,
            folder=folder,
            identity=_identity(self._job, plan, self.start_sha256, self.max_length),
            report=say,
        )
        return trainer.run(resume=self._job.resume, time_limit=self._job.time_limit)


class _Full:
    """A cross-encoder: sentence-transformers' trainer."""

    def __init__(self, job: TrainingJob, store: TokenStore | None) -> None:
        from rankgate_eval.train.full import load_cross_encoder

        self._job = job
        self._model = load_cross_encoder(
            job.start, max_length=job.max_length, device=job.device, allow_hub=job.allow_hub
        )
        self.max_length = int(self._model.max_seq_length)
        weights = Path(job.start) / "model.safetensors"
        self.start_sha256 = file_sha256(weights) if weights.is_file() else ""

    def score(self, start: str) -> Score:
        from rankgate_eval.train.full import load_cross_encoder, scores_of

        return scores_of(
            load_cross_encoder(
                start,
                max_length=self.max_length,
                device=self._job.device,
                allow_hub=self._job.allow_hub,
            )
        )

    def train(self, plan: TrainingPlan, folder: RunFolder, say: Report) -> TrainingResult:
        from rankgate_eval.train.full import train_cross_encoder

        settings = self._job.settings
        identity = _identity(self._job, plan, self.start_sha256, self.max_length)
        going_on = folder.begin({**identity, "settings": asdict(settings)}, resume=self._job.resume)
        if self._job.adapting:
            # Half of a small model's parameters are words, most of which small data never shows.
            for name, parameter in self._model.named_parameters():
                if "embeddings." in name:
                    parameter.requires_grad_(False)
        return train_cross_encoder(
            self._model,
            plan.builder,
            questions=plan.questions,
            held_out=held_out_lists(plan.builder, plan.held_out, seed=settings.seed),
            dev=plan.dev,
            settings=settings,
            folder=folder,
            resume=going_on,
            bfloat16=self._job.bfloat16,
            time_limit=self._job.time_limit,
            report=say,
        )


def _identity(
    job: TrainingJob, plan: TrainingPlan, start_sha256: str, max_length: int
) -> dict[str, object]:
    """What must be equal for a resumed training to be the same training, beside the settings."""
    return {
        "data": {u.name: u.sha256 for u in plan.used},
        "method": job.method,
        "start": start_sha256 or job.start,
        "max_length": max_length,
        "adapting": job.adapting,
        "margin": job.margin,
        "candidates": job.candidates,
        "dev_questions": job.dev_questions,
        "kept_back": job.kept_back,
    }


def _with_prior(plan: TrainingPlan, ranker: QueryRanker, say: Report) -> ListBuilder:
    """The plan's builder with the first stage's part, which sets the ranker's scale too."""
    fit = plan.dev.fit
    raw = raw_scores(
        ranker.values, fit, progress=lambda d, t: say("fitting the first stage's part", d, t)
    )
    prior = FirstStagePrior.fitted(fit, raw)
    ranker.rescale(prior.slope)
    return replace(plan.builder, prior=prior)


def _difference(
    judged: Sequence[JudgedList],
    before: Mapping[tuple[str, str], float],
    after: Mapping[tuple[str, str], float],
    job: TrainingJob,
) -> Difference:
    keys = [(j.corpus, j.query_id) for j in judged]
    return compare(
        [before[key] for key in keys],
        [after[key] for key in keys],
        [f"{j.corpus}:{j.group}" for j in judged],
        seed=job.settings.seed,
    )


def _exports(
    best: Path, max_length: int, plan: TrainingPlan, job: TrainingJob, say: Report
) -> tuple[list[Exported], list[str]]:
    say("writing ONNX", 1, 1)
    whole = export_onnx(best, job.out / "onnx", plan.examples, max_length=max_length)
    exports, notes = (
        [whole],
        [f"onnx: {whole.megabytes:.1f} MB, largest difference of a score {whole.largest:.2g}."],
    )
    if not job.int8:
        return exports, notes
    judged = (*plan.dev.fit, *plan.dev.choose)

    def quality(folder: Path) -> float:
        scorer = OnnxScorer(folder, file="model.onnx", max_length=max_length)
        raw = raw_scores(
            lambda query, texts: scorer.score(query, texts).values,
            judged,
            progress=lambda d, t: say("measuring int8 on dev", d, t),
        )
        return judge(plan.dev.fit, plan.dev.choose, raw).ndcg

    say("writing ONNX int8", 1, 1)
    try:
        small = quantise(
            whole, job.out / "onnx-int8", plan.examples, max_length=max_length, quality=quality
        )
    except ConfigError as exc:
        return exports, [*notes, f"No int8: {exc}"]
    notes.append(
        f"onnx-int8: {small.megabytes:.1f} MB, correlation {small.correlation:.4f}, nDCG@10 on "
        f"the choosing half {small.quality:.4f}, {len(small.float32_nodes)} products left in "
        "float32."
    )
    return [*exports, small], notes


def _plain(difference: Difference) -> dict[str, float | int]:
    return {
        name: getattr(difference, name)
        for name in ("mean", "low", "high", "p", "n", "clusters", "level")
    }


def _environment(job: TrainingJob) -> dict[str, str]:
    commit, changed = git_state()
    libraries = ("torch", "transformers", "sentence-transformers")
    return {
        "command": job.command,
        "date": now(),
        "rankgate": package_version(),
        "commit": "" if commit is None else commit + (" (with changes)" if changed else ""),
        "hardware": hardware(),
        "device": job.device,
        **{name: metadata.version(name) for name in libraries},
    }
