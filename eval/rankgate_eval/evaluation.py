"""`evaluate`: from a data set to a verdict, in one call."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rankgate.adapters.as_scorer import as_scorer
from rankgate.errors import InputError
from rankgate.policy import Policy
from rankgate.scorers import Scorer
from rankgate.scorers.build import MEASURED
from rankgate.types import FirstStageKind
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.dataset_check import DatasetReport
from rankgate_eval.data.fingerprint import fingerprint
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.data.readers.run import write_run
from rankgate_eval.result.result import Result
from rankgate_eval.result.rows import DataResult, Made
from rankgate_eval.run.collection_stage import CollectionStage
from rankgate_eval.run.experiment import (
    EvalSettings,
    Experiment,
    Teller,
    choose_queries,
    passages_kept,
    run_experiment,
)
from rankgate_eval.run.metrics import check_depth
from rankgate_eval.run.scorer_choice import choose_scorer, reads_tokens
from rankgate_eval.run.system import (
    FirstStage,
    IndexStage,
    RunStage,
    as_first_stage,
)
from rankgate_eval.run.system_choice import choose_system, index_kind, index_stage
from rankgate_eval.verdict.analysis import analyse
from rankgate_eval.verdict.provenance import (
    git_state,
    hardware,
    now,
    package_version,
    policy_made,
    scorer_made,
)


class UnderTest(contextlib.ExitStack):
    """First stage and scorer, sharing one encoder and one memory of what it encoded.

    A context manager: leaving it closes the files of the memory.

    Attributes:
        scorers: name to scorer, in the order asked for.
    """

    stage: FirstStage
    scorers: dict[str, Scorer]
    stage_words: str

    @property
    def scorer(self) -> Scorer:
        """The first of the scorers."""
        return next(iter(self.scorers.values()))


def open_under_test(
    data: Dataset,
    *,
    stage: Any = None,
    scorers: tuple[Any, ...] = (None,),
    policy: Policy | None = None,
    first_stage: FirstStageKind | str = FirstStageKind.HYBRID,
    id_key: str | None = None,
    cache: str | Path | None = None,
    tell: Teller | None = None,
) -> UnderTest:
    """Make first stage and scorers of what the user named or handed over.

    Args:
        stage: a first stage in any form that `as_first_stage` knows, or `module:attribute`; None:
            an index over the data set's passages.
        scorers: each a scorer, its name as in `choose_scorer`, or None for the default.
        policy: whose fusion the index uses.
        first_stage: what kind of index, where `stage` is None or a `MemoryIndex`.
        id_key: for LangChain, the metadata key with the passage's id.
        cache: folder for vectors; None: they are kept until the end only.
    """
    if stage is None:
        index_kind(first_stage)  # before anything is loaded
    opened = UnderTest()
    try:
        store = None
        if any(reads_tokens(s) for s in scorers):
            from rankgate.encoders import TokenEncoder, TokenStore

            encoder = TokenEncoder.load()
            store = (
                TokenStore(":memory:", encoder=encoder.name, dimension=encoder.dimension)
                if cache is None
                else TokenStore.in_folder(cache, encoder)
            )
            opened.callback(store.close)
        opened.scorers = {}
        for given in scorers:
            made = (
                choose_scorer(given, token_store=store)
                if given is None or isinstance(given, str)
                else as_scorer(given, wrapping=MEASURED)
            )
            name = made.info.id
            opened.scorers[name if name not in opened.scorers else f"{name} ({given})"] = made
        fusion = None
        if policy is not None and FirstStageKind(first_stage) in policy.sections:
            fusion = policy.section(first_stage).fusion
        if stage is None:
            found: FirstStage = index_stage(
                data,
                kind=first_stage,
                fusion=fusion,
                store=store,
                cache=cache,
                progress=None
                if tell is None
                else lambda done, total: tell("encoding passages", done, total),
            )
        elif isinstance(stage, str):
            found = choose_system(stage, data, id_key=id_key)
        else:
            found = as_first_stage(
                stage, data=data, id_key=id_key, kind=FirstStageKind(first_stage), fusion=fusion
            )
        if stage is None and isinstance(found, IndexStage):
            opened.callback(found.index.close)
        if isinstance(found, CollectionStage):
            found.fusion = fusion
            opened.enter_context(found)
        opened.stage = found
        opened.stage_words = _in_words(stage, found)
    except BaseException:
        opened.close()
        raise
    return opened


def evaluate(
    data: Dataset | str | Path,
    *,
    stage: Any = None,
    scorer: Any = None,
    policy: Policy | str | Path | None = None,
    split: str | None = None,
    first_stage: FirstStageKind | str = FirstStageKind.HYBRID,
    id_key: str | None = None,
    cache: str | Path | None = None,
    settings: EvalSettings | None = None,
    report: DatasetReport | None = None,
    command: str | None = None,
    tell: Teller | None = None,
    runs: Path | None = None,
    **changes: Any,
) -> Result:
    """Measure whether a reranker helps, and decide.

    The arms `first_stage`, `tuned_first_stage`, `skipped`, `rerank` and `policy` order the same
    candidates, and are measured as served, after the policy's floor. The verdict compares the
    policy with the *tuned* first stage and with itself, everything skipped, by nDCG@10 and
    recall@top_n.

    Args:
        data: a data set, or the path of one; see `load_dataset`.
        stage: your own first stage: an object that `as_first_stage` knows, or
            `module:attribute`. None: an index over the data set's passages.
        scorer: whatever `as_scorer` takes, or a name as in `choose_scorer`. None: late
            interaction.
        policy: a policy or its file; None: the default one if it fits the scorer, else always
            reranking.
        split: of the data set; None: all queries.
        first_stage: `hybrid`, `dense` or `bm25`, for the index.
        id_key: for LangChain, the metadata key with the passage's id.
        cache: folder for vectors, so that the next run encodes nothing again; None: nothing kept.
        settings: how to measure; None: the defaults.
        report: of the data set, where it was checked before.
        command: how this was called, for the record.
        tell: told of progress: what, done, total.
        runs: folder, made if need be, for a TREC run of every arm; None: none are written.
        **changes: fields of `EvalSettings`, such as `limit=200`, in place of `settings`.

    Raises:
        DatasetError: the data set has errors; all of them are in the message.
        InputError: an argument cannot be used.
        SystemFailedError: first stage or scorer failed on too many queries.
        PolicyError: the policy does not fit.
    """
    begun = time.perf_counter()
    if settings is not None and changes:
        raise InputError(f"give settings or {', '.join(changes)}, not both")
    asked = _settings(changes) if settings is None else settings
    if not isinstance(data, Dataset):
        data, report = load_dataset(data)
    chosen, source = as_policy(policy)
    # What is wrong with the question is told before anything is encoded.
    choose_queries(data, split, asked.limit, fields=asked.fields, prior=asked.prior)
    if asked.k is not None:
        kept = [passages_kept(None, None)] if chosen is None else _kept(chosen)
        check_depth(asked.k, min(kept) if asked.top_n is None else asked.top_n)
    with open_under_test(
        data,
        stage=stage,
        scorers=(scorer,),
        policy=chosen,
        first_stage=first_stage,
        id_key=id_key,
        cache=cache,
        tell=tell,
    ) as under:
        experiment = run_experiment(
            data,
            under.stage,
            under.scorer,
            policy=chosen,
            split=split,
            settings=asked,
            tell=tell,
        )
        if tell is not None:
            tell("computing statistics", 0, 1)
        made = _made(
            experiment,
            source=source,
            command="rankgate_eval.evaluate(...)" if command is None else command,
            stage=under.stage_words,
            begun=begun,
        )
        notes = [*_notes(experiment), *_written(experiment, runs)]
        return analyse(
            experiment, made=made, report=_data_result(experiment, report), warnings=notes
        )


def _notes(e: Experiment) -> list[str]:
    """What the first stage has to say of itself."""
    notes = list(getattr(e.stage, "notes", ()))
    absent = [q for q in e.unanswerable if not e.pool[q].found.candidates]
    if isinstance(e.stage, RunStage) and absent:
        notes.append(
            f"The run has no list for {len(absent)} of {len(e.unanswerable)} unanswerable queries, "
            f"such as {absent[0]!r}; they count as refused, whether they were or are lost."
        )
    return notes


def _written(e: Experiment, folder: Path | None) -> list[str]:
    """Write every arm's lists; why not, where the format cannot hold an id."""
    if folder is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for arm, lists in e.arms.orders.items():
            write_run(folder / f"{arm}.trec", lists, tag=arm)
    except InputError as exc:
        return [f"No run files of the arms were written: {exc}."]
    return []


def _kept(policy: Policy) -> list[int]:
    return [section.top_n for section in policy.sections.values()]


def as_policy(policy: Policy | str | Path | None) -> tuple[Policy | None, str]:
    """The policy, read from its file where a path is given, and where it came from.

    Raises:
        PolicyError: the file is unusable.
        InputError: neither a policy nor a path.
    """
    if policy is None:
        return None, ""
    if isinstance(policy, Policy):
        return policy, "given"
    if isinstance(policy, str | Path):
        return Policy.load(policy), str(policy)
    raise InputError(f"policy is a rankgate.Policy or a path, got {type(policy).__name__}")


def _settings(changes: Mapping[str, Any]) -> EvalSettings:
    try:
        return EvalSettings(**changes)
    except TypeError as exc:
        known = ", ".join(EvalSettings.__dataclass_fields__)
        raise InputError(f"{exc}; settings are: {known}") from exc


def _in_words(given: Any, stage: FirstStage) -> str:
    if isinstance(stage, IndexStage):
        what = {
            FirstStageKind.HYBRID: "dense and BM25, fused",
            FirstStageKind.DENSE: "dense",
            FirstStageKind.BM25: "BM25",
        }[stage.kind]
        return f"index over the data set ({what})"
    named = given if isinstance(given, str) else type(given).__name__
    return str(getattr(stage, "words", named))


def _made(e: Experiment, *, source: str, command: str, stage: str, begun: float) -> Made:
    commit, dirty = git_state()
    return Made(
        command=command,
        version=package_version(),
        commit=commit,
        dirty=dirty,
        seed=e.settings.seed,
        hardware=hardware(),
        python=platform.python_version(),
        date=now(),
        seconds=round(time.perf_counter() - begun, 3),
        scorer=scorer_made(e.scorer.info),
        policy=policy_made(e.arms.policy, source=source or e.arms.policy.name, kind=e.arms.kind),
        first_stage=stage,
        kind=e.arms.kind.value,
        fusions=tuple(asdict(f) for f in e.arms.fusion.fusions),
        k=e.k,
        depth=e.depth,
        top_n=e.top_n,
        folds=e.settings.folds,
        resamples=e.settings.resamples,
        permutations=e.settings.permutations,
    )


def _data_result(e: Experiment, report: DatasetReport | None) -> DataResult:
    groups: dict[str, int] = {}
    for q in e.judged:
        groups[e.data.group_of(q)] = groups.get(e.data.group_of(q), 0) + 1
    return DataResult(
        name=e.data.name,
        split=e.split,
        judged=len(e.judged),
        unjudged=len(e.unanswerable),
        limit=e.settings.limit,
        groups=len(groups),
        largest_group=max(groups.values()),
        counts={
            "passages": len(e.data.corpus),
            "queries": len(e.data.queries),
            "judged_queries": len(e.data.judged()),
        }
        if report is None
        else dict(report.counts),
        warning_counts={} if report is None else report.warning_counts,
        warnings=() if report is None else tuple(str(w) for w in report.shown_warnings()),
        fingerprint=fingerprint(e.data, e.judged),
    )
