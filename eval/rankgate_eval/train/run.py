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
from rankgate_eval.train.course import Report, RunFolder, TrainingJob, TrainingResult
from rankgate_eval.train.export import Exported, export_onnx, quantise
from rankgate_eval.train.lists import FirstStagePrior
from rankgate_eval.train.looks import JudgedList, Score, judge, raw_scores
from rankgate_eval.train.mining import MarginRule
from rankgate_eval.train.plan import TrainingPlan, make_plan
from rankgate_eval.train.query import QUERY_FILE, QueryRanker, load_query_ranker
from rankgate_eval.train.sources import Source
from rankgate_eval.verdict.provenance import git_state, hardware, now, package_version

METHODS = ("query", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """How it ended.

    Attributes:
        exports: float32 first; none where it was not kept.
    """

    card: TrainingCard
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
        embedder: for mining; None: BM25 alone.
        store: of token vectors, for `query`; None: they are kept in memory.

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
    needed = ("torch", "safetensors", "sentence_transformers", "accelerate", "datasets")
    if any(find_spec(name) is None for name in needed):
        raise MissingExtraError("training a reranker", "train")
    way = (_Query if job.method == "query" else _Full)(job, store)
    plan = make_plan(sources, job, embedder=embedder, report=say)
    folder = RunFolder(job.out)
    start_sha256 = way.start_sha256
    identity = _identity(job, plan, start_sha256, way.max_length)
    result = way.train(plan, folder, say, going_on=folder.begin(identity, resume=job.resume))
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
        rule=MarginRule(margin=job.margin),
        result=result,
        first_stage=before.first_stage,
        before=before.by_corpus,
        after=after.by_corpus,
        difference=difference,
        against_first_stage=against,
        kept=kept,
        weights=weights | {f"{e.folder.name}/model.onnx": e.sha256 for e in exports},
        environment=_environment(job),
        notes=tuple(notes),
    )
    card.write(job.out)
    return Trained(card=card, exports=tuple(exports))


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

    def train(
        self, plan: TrainingPlan, folder: RunFolder, say: Report, *, going_on: bool
    ) -> TrainingResult:
        from rankgate_eval.train.trainer import train_query_layers

        return train_query_layers(
            self._ranker,
            _with_prior(plan, self._ranker, say) if self._job.settings.prior else plan,
            folder=folder,
            resume=going_on,
            time_limit=self._job.time_limit,
            report=say,
        )


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

    def train(
        self, plan: TrainingPlan, folder: RunFolder, say: Report, *, going_on: bool
    ) -> TrainingResult:
        from rankgate_eval.train.full import train_cross_encoder

        if self._job.adapting:
            # Half of a small model's parameters are words, most of which small data never shows.
            for name, parameter in self._model.named_parameters():
                if "embeddings." in name:
                    parameter.requires_grad_(False)
        return train_cross_encoder(
            self._model,
            plan,
            folder=folder,
            resume=going_on,
            bfloat16=self._job.bfloat16,
            time_limit=self._job.time_limit,
            report=say,
        )


def _identity(
    job: TrainingJob, plan: TrainingPlan, start_sha256: str, max_length: int
) -> dict[str, object]:
    """What must be equal for a resumed training to be the same training."""
    same = ("method", "adapting", "margin", "candidates", "dev_questions", "kept_back")
    return {
        "settings": asdict(job.settings),
        "data": {u.name: u.sha256 for u in plan.used},
        "start": start_sha256 or job.start,
        "max_length": max_length,
        **{name: getattr(job, name) for name in same},
    }


def _with_prior(plan: TrainingPlan, ranker: QueryRanker, say: Report) -> TrainingPlan:
    """The plan with the first stage's part, which sets the ranker's scale too."""
    fit = plan.dev.fit
    raw = raw_scores(
        ranker.values, fit, progress=lambda d, t: say("fitting the first stage's part", d, t)
    )
    prior = FirstStagePrior.fitted(fit, raw)
    ranker.rescale(prior.slope)
    return replace(plan, builder=replace(plan.builder, prior=prior))


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
