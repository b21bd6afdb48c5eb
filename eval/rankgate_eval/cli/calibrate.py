"""`rankgate calibrate DATA`: fit a policy, confirm it on fresh queries, and write it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankgate.cli import grouped
from rankgate.retrieve import DEFAULT_K
from rankgate_eval.cli.options import (
    JsonOption,
    LimitOption,
    PriorOption,
    ScorerOption,
    SeedOption,
    SplitOption,
    debugging,
    typed_command,
)
from rankgate_eval.cli.progress import guarded
from rankgate_eval.cli.unlabelled import (
    CalibrateInputs,
    UnlabelledOptions,
    calibrate_without,
    write_calibration,
)

if TYPE_CHECKING:
    from rankgate_eval.calibrate import Question
    from rankgate_eval.data.dataset import Dataset

_EPILOG = (
    "Exit codes: 0 a policy was written, also where parts of it are null or stay as they were; "
    "1 it was written, but the reranker is worse than the first stage; 2 wrong usage, setting or "
    "data; 70 a crash."
)


def calibrate_data(
    ctx: typer.Context,
    inputs: CalibrateInputs,
    unlabelled: UnlabelledOptions,
    out: Annotated[Path, typer.Option(help="The policy file to write.")] = Path("policy.json"),
    split: SplitOption = None,
    first_stage: Annotated[
        str | None,
        typer.Option(
            help="hybrid, dense, bm25 or order: which scores the candidates carry. Without it "
            "hybrid, or with --system what they are seen to carry."
        ),
    ] = None,
    scorer: ScorerOption = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="Name of the model that made the vectors of --system, where it cannot say."
        ),
    ] = None,
    k: Annotated[
        int, typer.Option(min=1, help="Candidates to ask for; it is fitted for those that come.")
    ] = DEFAULT_K,
    top_n: Annotated[int, typer.Option(min=1, help="Passages to keep.")] = 5,
    max_loss: Annotated[
        float | None,
        typer.Option(min=0.0, help="Mean nDCG@10 that skipping may cost; usually 0.002."),
    ] = None,
    skip_rate: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Share of the queries to skip, in place of --max-loss."
        ),
    ] = None,
    false_refusals: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of answerable queries that may be refused."),
    ] = 0.05,
    confidence: Annotated[
        float, typer.Option(min=0.0, max=0.9999, help="Of the bound on false refusals.")
    ] = 0.95,
    prior: PriorOption = None,
    sufficiency: Annotated[
        str,
        typer.Option(
            help="Who reads question and passages where the floor is unsure: reader:FILE, "
            "cross-encoder:NAME, nli:NAME, llm:MODEL@URL (it is sent them; key in "
            "RANKGATE_OPENAI_API_KEY), evidence (nobody: what the passages tell by themselves), "
            "or off.",
        ),
    ] = "off",
    base: Annotated[
        Path | None,
        typer.Option(help="Policy whose other sections are kept; without it the default one."),
    ] = None,
    foreign: Annotated[
        list[str] | None,
        typer.Option(
            help="Another data set, of questions that DATA cannot answer; a sibling collection's "
            "are near misses, a stranger's are easy."
        ),
    ] = None,
    unanswerable: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSONL of questions (`text` or `turns`) that DATA does not answer; repeatable."
        ),
    ] = None,
    negatives: Annotated[
        str,
        typer.Option(
            help="Unanswerable questions to make of DATA's own: removed (their passages are gone), "
            "near-miss (another name or number), both with a comma, or none."
        ),
    ] = "removed",
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-fitting inside the half.")] = 5,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    report: Annotated[
        Path | None, typer.Option(help="Write everything measured there, as JSON.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit gate, floor and relevance models on half of DATA, confirm each on the other half.

    Without labels: --questions, --from-log or --documents in DATA's place fits a gate that agrees
    with the reranker and a floor, and says what is guaranteed of them.
    """
    from rankgate.errors import InputError
    from rankgate.policy import Policy
    from rankgate.types import FirstStageKind
    from rankgate_eval.calibrate import calibrate
    from rankgate_eval.calibrate.table import table_lines
    from rankgate_eval.run.experiment import choose_queries
    from rankgate_eval.run.metrics import check_depth

    if max_loss is not None and skip_rate is not None:
        raise InputError("give --max-loss or --skip-rate, not both")
    try:
        kind = None if first_stage is None else FirstStageKind(first_stage)
    except ValueError as exc:
        known = ", ".join(FirstStageKind)
        raise InputError(f"--first-stage is one of {known}; got {first_stage!r}") from exc
    if unlabelled.asked:
        _writable(out)
        labelled = {
            "--split": split,
            "--max-loss": max_loss,
            "--skip-rate": skip_rate,
            "--prior": prior,
            "--sufficiency": None if sufficiency == "off" else sufficiency,
            "--foreign": foreign,
            "--unanswerable": unanswerable,
        }
        given = [name for name, value in labelled.items() if value]
        if inputs.data or given:
            raise InputError(
                f"{'DATA' if inputs.data else given[0]} goes with labelled data; with --questions, "
                "--from-log or --documents nothing is judged. --max-changed, --false-answers and "
                "--false-refusals say what may go wrong"
            )
        calibrate_without(
            ctx,
            inputs,
            unlabelled,
            out=out,
            kind=kind,
            scorer=scorer,
            embedder=embedder,
            k=k,
            top_n=top_n,
            false_refusals=false_refusals,
            confidence=confidence,
            base=base,
            seed=seed,
            limit=limit,
            report=report,
            as_json=as_json,
        )
        return
    if not inputs.data:
        raise InputError(
            "give DATA with judged questions; or, where nobody judged any, --questions FILE, "
            "--from-log FILE or --documents FOLDER"
        )
    made = _made(negatives)
    _writable(out)
    with guarded(debug=debugging(ctx)) as tell:
        known_base = None if base is None else Policy.load(base)
        dataset, _ = inputs.read()
        check_depth(k, top_n)
        choose_queries(dataset, split, None)  # a split without judgements is told before encoding
        questions, notes = _questions(dataset, foreign or [], unanswerable or [], split)
        searched = FirstStageKind.HYBRID if kind in (None, FirstStageKind.ORDER) else kind
        with inputs.open(
            dataset,
            scorers=(scorer,),
            policy=known_base,
            first_stage=FirstStageKind.HYBRID if searched is None else searched,
            tell=tell,
        ) as under:
            found = calibrate(
                dataset,
                stage=under.stage,
                scorer=under.scorer,
                split=split,
                kind=kind,
                base=known_base,
                questions=questions,
                negatives=made,
                k=k,
                top_n=top_n,
                max_loss=0.002 if max_loss is None else max_loss,
                skip_rate=skip_rate,
                false_refusals=false_refusals,
                confidence=confidence,
                prior=prior,
                sufficiency=sufficiency,
                folds=folds,
                seed=seed,
                limit=limit,
                embedder=embedder,
                command=typed_command(),
                notes=notes,
                tell=tell,
            )
        tell.end()
        write_calibration(found, table_lines(found), out=out, report=report, as_json=as_json)
    if found.harmful:
        raise typer.Exit(1)


def _writable(out: Path) -> None:
    """An hour later is too late to find that the folder is not there."""
    from rankgate.errors import InputError

    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name the policy file in it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.absolute().parent}")


def _made(negatives: str) -> list[str]:
    """The strata that are asked for."""
    from rankgate.errors import InputError
    from rankgate_eval.negatives.unanswerable import NEGATIVES

    known = {name.replace("_", "-"): name for name in NEGATIVES}
    asked = [name.strip() for name in negatives.split(",")]
    if asked == ["none"]:
        return []
    strange = [name for name in asked if name not in known]
    if strange:
        raise InputError(f"--negatives takes {', '.join(known)} or none; got {strange[0]!r}")
    return [known[name] for name in asked]


def _questions(
    data: Dataset, foreign: list[str], unanswerable: list[Path], split: str | None
) -> tuple[list[Question], list[str]]:
    from rankgate_eval.calibrate import foreign_questions, read_questions
    from rankgate_eval.data.loading import load_dataset

    found: list[Question] = []
    notes: list[str] = []
    if foreign:
        others = [load_dataset(path)[0] for path in foreign]
        found, notes = foreign_questions(
            others,
            split=split,
            at_most=min(200, max(60, len(data.judged(split)))),
            own=set(data.queries.values()),
        )
    for path in unanswerable:
        found += read_questions(path, split=split)
    first = {q.id: q for q in reversed(found)}  # of equal ones the first
    return [q for q in found if first[q.id] is q], notes


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate", epilog=_EPILOG)(grouped(calibrate_data))
