"""`rankgate train DATA...`: fine-tune a reranker, and keep it only if it is better."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankgate.cli import grouped
from rankgate_eval.cli.inputs import MinGradeOption
from rankgate_eval.cli.options import JsonOption, debugging
from rankgate_eval.cli.progress import guarded

if TYPE_CHECKING:
    from rankgate.encoders import TokenStore
    from rankgate.retrieve import Embedder
    from rankgate_eval.train.course import TrainingSettings
    from rankgate_eval.train.run import Trained

EXIT_NOT_BETTER = 6
# Not the evaluation's folder: questions are kept here, and there they would spoil latencies.
_CACHE = Path(".rankgate") / "train"

_EPILOG = (
    "Exit codes: 0 the trained model is better than its start beyond noise, and was exported; "
    "6 it is not: nothing was exported; 2 wrong usage, setting or data; 70 a crash."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What differs from the usual settings: fields of `TrainingSettings`, None as it is usual."""

    lists: Annotated[int | None, typer.Option(min=1, help="An epoch.")] = None
    epochs: Annotated[int | None, typer.Option(min=1, help="At most.")] = None
    negatives: Annotated[
        int | None, typer.Option(min=1, help="Mined, a list; usually 4, and 45 with query.")
    ] = None
    batch: Annotated[int | None, typer.Option(min=1, help="Lists a step.")] = None
    micro_batch: Annotated[int | None, typer.Option(min=1, help="Lists computed at once.")] = None
    learning_rate: Annotated[
        float | None, typer.Option("--lr", help="Highest learning rate of the schedule.")
    ] = None
    temperature: Annotated[
        float, typer.Option(help="Of the corpora: 1 by size, higher more equal.")
    ] = 2.0
    spoiled: Annotated[
        float | None,
        typer.Option(
            help="Share of questions with typos or speech errors; usually .15, and .3 with query."
        ),
    ] = None
    prior: Annotated[
        bool | None,
        typer.Option(
            "--prior/--no-prior",
            help="Learn beside the first stage's part of the order; with query only, and usual "
            "there.",
        ),
    ] = None
    evaluate_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between looks at dev.")
    ] = None
    patience: Annotated[
        int | None, typer.Option(min=1, help="Looks without gain before stopping.")
    ] = None
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between checkpoints.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Fields of `TrainingJob` that are options as they are."""

    max_length: Annotated[
        int | None, typer.Option(min=8, help="Tokens of question and passage; usually 256.")
    ] = None
    margin: Annotated[
        float,
        typer.Option(
            help="Candidates that dense and BM25 both give this share of the best positive's "
            "score are taken for answers and left out; above 1 fewer are."
        ),
    ] = 0.95
    candidates: Annotated[int, typer.Option("--k", min=2, help="Candidates a question.")] = 50
    dev_questions: Annotated[
        int, typer.Option(min=1, help="Of a corpus, in each half, at most.")
    ] = 150
    kept_back: Annotated[
        int, typer.Option(min=1, help="Training questions for the order's weights.")
    ] = 100
    int8: Annotated[bool, typer.Option("--int8/--no-int8", help="Export int8 too.")] = True
    allow_hub: Annotated[
        bool, typer.Option("--allow-hub", help="Ask the Hugging Face hub for --start.")
    ] = False
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in --out.")] = False


def train(
    ctx: typer.Context,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="BEIR folders, CSV of questions, triples (.jsonl, .tsv), feedback logs (.jsonl), "
            "and folders of documents without labels (.md, .html, .py).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    changes: Changes,
    work: Work,
    split: Annotated[
        str | None, typer.Option(help="To learn from; usually train, else dev is parted.")
    ] = None,
    dev: Annotated[str, typer.Option(help="Half of it chooses the step, half judges it.")] = "dev",
    min_grade: MinGradeOption = 1,
    method: Annotated[
        str | None,
        typer.Option(
            help="query: the layers that read questions for late interaction; full: a "
            "cross-encoder. Without it full where --start names one, else query."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="With query: bundled (usual), minilm, or a folder of one; with full: a "
            "cross-encoder, by folder or hub name (--allow-hub)."
        ),
    ] = None,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Settings for small data, 50 to 5,000 questions.")
    ] = False,
    remine: Annotated[
        bool | None,
        typer.Option(
            "--remine/--no-remine",
            help="A cross-encoder's own hard negatives later on; query takes them all anyway.",
        ),
    ] = None,
    bm25_only: Annotated[
        bool, typer.Option("--bm25-only", help="Mine without an encoder.")
    ] = False,
    licence: Annotated[
        list[str] | None, typer.Option(help="NAME=LICENCE of a source, for the card; repeatable.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; without it what is there.")
    ] = None,
    bfloat16: Annotated[
        bool | None, typer.Option("--bf16/--no-bf16", help="Without it: on a GPU only.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    time_limit: Annotated[
        float | None, typer.Option(min=0.0, help="Minutes of training; then stop, resumable.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for vectors; usually ./.rankgate/train.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune a reranker on your own data; the result is kept only if it is better on dev."""
    from rankgate.errors import InputError

    with guarded(debug=debugging(ctx)) as teller:
        from rankgate_eval.train.course import TrainingJob
        from rankgate_eval.train.run import check_method, run_training
        from rankgate_eval.train.sources import load_sources

        way = _method(start, adapt=adapt) if method is None else method
        check_method(way)
        if way == "query" and device not in (None, "cpu"):
            raise InputError(f"--method query computes on the CPU; --device {device} is for full")
        if way == "full" and start is None:
            raise InputError(
                "--method full starts from a cross-encoder: name it with --start, by folder or, "
                "with --allow-hub, from the hub (cross-encoder/ms-marco-MiniLM-L-6-v2)"
            )
        sources = load_sources(
            data,
            train=split,
            dev=dev,
            licences=dict(map(_named, licence or [])),
            min_grade=min_grade,
            seed=seed,
        )
        for said in (said for source in sources for said in source.told):
            typer.echo(f"Note: {said}", err=True)
        settings = _settings(
            sum(len(s.train) for s in sources),
            method=way,
            adapt=adapt,
            seed=seed,
            changes=changes,
            remine=remine,
        )
        chosen = ("cpu" if way == "query" else _device()) if device is None else device
        job = TrainingJob(
            out=out,
            method=way,
            start="bundled" if start is None else start,
            settings=settings,
            adapting=adapt,
            device=chosen,
            bfloat16=chosen != "cpu" if bfloat16 is None else bfloat16,
            **asdict(work),
            time_limit=None if time_limit is None else time_limit * 60.0,
            command="rankgate " + " ".join(sys.argv[1:]) if sys.argv[1:] else "rankgate train",
        )
        embedder, store = _reading(
            bm25_only=bm25_only, tokens=way == "query", cache=_CACHE if cache is None else cache
        )
        trained = run_training(sources, job, embedder=embedder, store=store, report=teller)
        teller.end()
        if as_json:
            typer.echo(json.dumps(_as_json(trained, out), ensure_ascii=False))
        else:
            _tell(trained, out)
    if not trained.card.kept:
        raise typer.Exit(EXIT_NOT_BETTER)


def _reading(
    *, bm25_only: bool, tokens: bool, cache: Path
) -> tuple[Embedder | None, TokenStore | None]:
    """Encoder for mining and a store of token vectors; each text is encoded once for both."""
    if bm25_only and not tokens:
        return None, None
    from rankgate.encoders import TokenEncoder, TokenStore
    from rankgate.retrieve import TokenCache, VectorCache

    encoder = TokenEncoder.load()
    store = TokenStore.in_folder(cache, encoder) if tokens else None
    if bm25_only:
        return None, store
    # Pooled vectors from their own cache: out of the store, all token vectors would come along.
    reader = encoder if store is None else TokenCache(encoder, store)
    return VectorCache(reader, cache), store


def _method(start: str | None, *, adapt: bool) -> str:
    """Where nobody says: a cross-encoder only where one is named to start from."""
    return "query" if adapt or start in (None, "bundled", "minilm") else "full"


def _named(text: str) -> tuple[str, str]:
    from rankgate.errors import InputError

    name, equals, licence = text.partition("=")
    if not (name and equals and licence):
        raise InputError(f"--licence takes NAME=LICENCE, got {text!r}")
    return name, licence


def _settings(
    questions: int, *, method: str, adapt: bool, seed: int, changes: Changes, remine: bool | None
) -> TrainingSettings:
    from rankgate.errors import InputError
    from rankgate_eval.train.course import full_settings, query_settings

    if changes.prior and method != "query":
        raise InputError(
            f"--prior is for --method query; the scores of --method {method} have no scale that "
            "is matched with the first stage's part"
        )
    if method == "query" and remine:
        raise InputError("--remine chooses among candidates, and --method query takes them all")
    base = (
        query_settings(questions, seed=seed)
        if method == "query"
        else full_settings(questions, adapting=adapt, seed=seed)
    )
    changed = {name: value for name, value in asdict(changes).items() if value is not None}
    if changes.micro_batch is None and changes.batch is not None:
        changed["micro_batch"] = changes.batch
    base = replace(base, **changed)
    return replace(base, mine_again=None) if remine is False else base


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _as_json(trained: Trained, out: Path) -> dict[str, object]:
    return {
        "kept": trained.card.kept,
        "out": str(out),
        "exports": [str(e.folder) for e in trained.exports],
        "card": trained.card.to_dict(),
    }


def _tell(trained: Trained, out: Path) -> None:
    card = trained.card
    r = card.result
    start, best = card.choosing
    typer.echo(
        f"{r.steps} steps in {r.seconds / 60.0:.1f} min ({r.stopped}); the best was {r.best_step}."
    )
    typer.echo(
        f"nDCG@10 of the policy's order on the half of dev that chose the step: start {start:.4f}, "
        f"best step {best:.4f}."
    )
    typer.echo("On the half that decides: first stage, start, best step")
    for name, value in card.after.items():
        typer.echo(f"  {name}: {card.first_stage[name]:.4f}  {card.before[name]:.4f}  {value:.4f}")
    typer.echo(card.verdict)
    if not card.kept:
        typer.echo("Not kept: nothing was exported.")
    elif not trained.exports:
        _tell_part(out / "best")
    for export in trained.exports:
        typer.echo(
            f"Kept: {export.folder} ({export.megabytes:.1f} MB); use it as --scorer "
            f"onnx:{export.folder}, and fit a policy: rankgate calibrate"
        )
    if r.stopped == "time":
        typer.echo("The time limit stopped it; the same command with --resume goes on.")
    typer.echo(f"Card: {out / 'CARD.md'}")


def _tell_part(best: Path) -> None:
    """How to use question layers."""
    from rankgate_eval.train.query import QUERY_FILE

    file = best / QUERY_FILE
    typer.echo(
        f"Kept: {file} ({file.stat().st_size / 1e6:.1f} MB). Nothing has to be indexed again.\n"
        f"Use it as --scorer late-interaction:{file}, as the setting scorer of the application, or "
        "as LateInteractionScorer.load(query=...).\n"
        f"It needs a policy of its own: rankgate calibrate DATA --scorer late-interaction:{file}"
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", epilog=_EPILOG)(grouped(train))
