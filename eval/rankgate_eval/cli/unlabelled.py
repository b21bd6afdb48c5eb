"""`rankgate calibrate --questions FILE`: gate and floor without a label."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankgate_eval.cli.inputs import Inputs
from rankgate_eval.cli.judging import endpoint_of
from rankgate_eval.cli.options import debugging, typed_command
from rankgate_eval.cli.progress import Teller, guarded

if TYPE_CHECKING:
    from rankgate.types import FirstStageKind
    from rankgate_eval.calibrate import Calibration
    from rankgate_eval.calibrate.unlabelled import Asked
    from rankgate_eval.calibrate.unlabelled.calibration import Unlabelled


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateInputs(Inputs):
    """The usual ones; DATA may be left out where questions without labels are given."""

    data: Annotated[
        str,
        typer.Argument(
            metavar="[DATA]",
            help="A BEIR folder, a CSV or JSONL file of questions with their gold, TREC qrels, a "
            "retrieval task of the hub (folder), or ir_datasets:NAME; or nothing, with "
            "--questions, --from-log or --documents.",
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelledOptions:
    """Options of a calibration without labels."""

    questions: Annotated[
        list[Path] | None,
        typer.Option(
            help="Questions that nobody judged: one a line, JSONL or CSV with `question` and, "
            "where known, `conversation`; repeatable."
        ),
    ] = None
    from_log: Annotated[
        list[Path] | None,
        typer.Option(help="A log of questions (setting question_log); repeatable."),
    ] = None
    documents: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of your documents (.md, .html, .py): headings and first sentences are "
            "asked as questions; repeatable."
        ),
    ] = None
    llm: Annotated[
        str | None,
        typer.Option(
            help="Model that writes the questions about --documents, passages of which leave this "
            "machine for it."
        ),
    ] = None
    llm_base_url: Annotated[
        str | None, typer.Option(help="Of an OpenAI-compatible API, such as .../v1.")
    ] = None
    llm_api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds its key.")
    ] = None
    verdict: Annotated[
        Path | None,
        typer.Option(
            help="result.json of `rankgate eval` for this scorer; only where it says ship is a "
            "gate fitted to agree with the scorer."
        ),
    ] = None
    trust_reranker: Annotated[
        bool, typer.Option("--trust-reranker", help="Fit a gate to agree with the scorer unproved.")
    ] = False
    max_changed: Annotated[
        float,
        typer.Option(
            help="Share of the skipped questions for which skipping may change what is handed over."
        ),
    ] = 0.05
    false_answers: Annotated[
        float,
        typer.Option(
            help="Share of each kind of made negatives that may be answered without the words "
            "weak evidence."
        ),
    ] = 0.05

    @property
    def asked(self) -> bool:
        """Whether any source of questions is given."""
        return bool(self.questions or self.from_log or self.documents)


def calibrate_without(
    ctx: typer.Context,
    inputs: Inputs,
    unlabelled: UnlabelledOptions,
    *,
    out: Path,
    kind: FirstStageKind | None,
    scorer: str | None,
    embedder: str | None,
    k: int,
    top_n: int,
    false_refusals: float,
    confidence: float,
    base: Path | None,
    seed: int,
    limit: int | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Fit, certify, write and tell; see `calibrate_data`."""
    from rankgate.policy import Policy
    from rankgate.types import FirstStageKind
    from rankgate_eval.calibrate.unlabelled import (
        FidelityOptions,
        calibrate_unlabelled,
        table_lines,
        trust_of,
    )
    from rankgate_eval.data.dataset import Dataset

    options = FidelityOptions(
        changed=unlabelled.max_changed,
        false_answers=unlabelled.false_answers,
        refusals=false_refusals,
        confidence=confidence,
    )
    with guarded(debug=debugging(ctx)) as tell, contextlib.ExitStack() as stack:
        known_base = None if base is None else Policy.load(base)
        asked = _asked(unlabelled, tell).limited(limit)
        passages = stack.enter_context(_passages(inputs, unlabelled))
        data = Dataset(
            name=_name(inputs, unlabelled),
            corpus={} if passages is None else passages,
            queries=asked.questions,
            qrels={},
            splits={},
        )
        searched = (
            FirstStageKind.HYBRID if kind in (None, FirstStageKind.ORDER) else FirstStageKind(kind)
        )
        with inputs.open(
            data, scorers=(scorer,), policy=known_base, first_stage=searched, tell=tell
        ) as under:
            found = calibrate_unlabelled(
                asked,
                stage=under.stage,
                scorer=under.scorer,
                trust=trust_of(
                    under.scorer.info, verdict=unlabelled.verdict, trusted=unlabelled.trust_reranker
                ),
                corpus=passages,
                name=data.name,
                options=options,
                kind=kind,
                base=known_base,
                k=k,
                top_n=top_n,
                seed=seed,
                embedder=embedder,
                command=typed_command(),
                tell=tell,
            )
        tell.end()
        write_calibration(found, table_lines(found.report), out=out, report=report, as_json=as_json)


def write_calibration(
    found: Calibration | Unlabelled,
    table: Sequence[str],
    *,
    out: Path,
    report: Path | None,
    as_json: bool,
) -> None:
    """The policy, the report where one is wanted, and what stands on the terminal."""
    found.policy.save(out)
    plain = json.dumps(found.report, indent=1, allow_nan=False)
    written = [out]
    if report is not None:
        written.append(report / "calibration.json" if report.is_dir() else report)
        written[-1].write_text(plain + "\n", "utf-8")
    typer.echo(plain if as_json else "\n".join(table))
    if not as_json:
        typer.echo("\nWritten: " + ", ".join(str(path) for path in written))


def _asked(unlabelled: UnlabelledOptions, tell: Teller) -> Asked:
    from rankgate.errors import InputError
    from rankgate_eval.calibrate.unlabelled import joined, read_asked
    from rankgate_eval.calibrate.unlabelled.shift import LOG

    parts = [read_asked(file) for file in unlabelled.questions or []]
    parts += [read_asked(file, source=LOG) for file in unlabelled.from_log or []]
    if unlabelled.llm is not None and not unlabelled.documents:
        raise InputError("--llm writes questions about --documents, and none are given")
    parts += [_pseudo(folder, unlabelled, tell) for folder in unlabelled.documents or []]
    return joined(parts)


def _pseudo(folder: Path, unlabelled: UnlabelledOptions, tell: Teller) -> Asked:
    from rankgate_eval.calibrate.unlabelled import Asked
    from rankgate_eval.train.readers import read_documents

    corpus = read_documents(folder)
    made = corpus.queries
    if unlabelled.llm is not None:
        from rankgate_eval.calibrate.unlabelled.written import written_questions

        return written_questions(
            corpus.passages,
            endpoint_of("llm", unlabelled.llm, unlabelled.llm_base_url, unlabelled.llm_api_key_env),
            documents={p: q.group for q in made for p in q.positives},
            tell=tell,
        )
    return Asked(
        questions={q.id: q.text for q in made},
        groups={q.id: f"documents:{q.group}" for q in made},
        sources=dict.fromkeys((q.id for q in made), "documents"),
        notes=(
            f"{len(made)} of the questions are headings and first sentences of {folder}, which "
            "nobody asked; all of one document count as one conversation",
        ),
    )


@contextlib.contextmanager
def _passages(inputs: Inputs, unlabelled: UnlabelledOptions) -> Iterator[dict[str, str] | None]:
    """The passages of --corpus, of --collection or of --documents; None: the system knows them."""
    from rankgate.errors import InputError
    from rankgate_eval.data.raw import RawDataset
    from rankgate_eval.data.readers.passages import read_passages
    from rankgate_eval.errors import DatasetError
    from rankgate_eval.train.readers import read_documents

    if inputs.corpus is not None:
        raw = RawDataset(name=Path(inputs.corpus).name)
        read_passages(Path(inputs.corpus), raw)
        if raw.errors:
            raise DatasetError(raw.name, raw.errors)
        yield {p.id: p.text for p in raw.passages}
    elif inputs.collection is not None:
        from rankgate_eval.stores.collections import open_collection

        with open_collection(inputs.collection, data_dir=inputs.data_dir) as opened:
            passages = {p.id: p.text for p in opened.passages()}
        yield passages
    elif inputs.system is not None:
        yield None
    elif unlabelled.documents:
        yield {
            i: text
            for folder in unlabelled.documents
            for i, text in read_documents(folder).passages.items()
        }
    else:
        raise InputError(
            "questions need passages: give --corpus FILE, --collection NAME or --system "
            "module:attribute"
        )


def _name(inputs: Inputs, unlabelled: UnlabelledOptions) -> str:
    files = [*(unlabelled.questions or []), *(unlabelled.from_log or [])]
    return inputs.collection or (files or unlabelled.documents or [Path("unlabelled")])[0].stem
