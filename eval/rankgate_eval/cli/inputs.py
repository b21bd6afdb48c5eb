"""What every command of the evaluation is given: a data set, and the first stage over it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankgate_eval.data.kinds import Unjudged

if TYPE_CHECKING:
    from rankgate.policy import Policy
    from rankgate_eval.data.dataset import Dataset
    from rankgate_eval.data.dataset_check import DatasetReport
    from rankgate_eval.evaluation import UnderTest

MinGradeOption = Annotated[
    int,
    typer.Option("--min-grade", min=1, help="Least grade that is relevant; lower ones count as 0."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Options of `grouped` commands, and the two things that are made of them."""

    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A BEIR folder, a CSV or JSONL file of questions with their gold, TREC qrels, a "
            "retrieval task of the hub (folder), or ir_datasets:NAME.",
        ),
    ]
    queries: Annotated[
        str | None, typer.Option(help="Another file of queries (in a BEIR folder).")
    ] = None
    corpus: Annotated[
        str | None, typer.Option(help="Passages, where DATA has none of its own.")
    ] = None
    qrels: Annotated[
        str | None, typer.Option(help="Another file of judgements (in a BEIR folder).")
    ] = None
    unjudged: Annotated[
        Unjudged,
        typer.Option(
            help="What becomes of queries without any judgement: ignore (left out), irrelevant "
            "(left out, and averages with 0 for them told too), or unanswerable (the floor should "
            "refuse them)."
        ),
    ] = Unjudged.IGNORE
    min_grade: MinGradeOption = 1
    system: Annotated[
        str | None,
        typer.Option(
            help="Your own first stage, as module:attribute: a vector store or retriever of "
            "LangChain, an index or retriever of LlamaIndex, an object with candidates(query, k), "
            "a function of query and k, or what makes one. Without it an index over DATA."
        ),
    ] = None
    run: Annotated[
        list[Path] | None,
        typer.Option(
            help="A TREC run (query Q0 passage rank score tag, plain or .gz) as the first stage. "
            "`rankgate eval` takes several: the first is the baseline, the others are judged "
            "against it as they are, and nothing is scored."
        ),
    ] = None
    collection: Annotated[
        str | None,
        typer.Option(
            help="An ingested collection as the first stage, as `rankgate ask` searches it. "
            "Without a corpus of its own, DATA's questions are about its passages."
        ),
    ] = None
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the collection; usually ./.rankgate.")
    ] = None
    id_key: Annotated[
        str | None,
        typer.Option(help="Metadata key with the passage's id, for --system."),
    ] = None
    cache: Annotated[
        Path | None, typer.Option(help="Folder for vectors; usually ./.rankgate/eval.")
    ] = None

    @property
    def folder(self) -> Path:
        """Where vectors are kept."""
        from rankgate_eval.run.encoding import DEFAULT_CACHE

        return DEFAULT_CACHE if self.cache is None else self.cache

    def read(self) -> tuple[Dataset, DatasetReport]:
        """Read and check the data set; on stderr, what must be known before any number.

        Raises:
            DatasetError: it has errors.
            InputError: nothing is there, or an option does not go with its form.
        """
        from rankgate_eval.data.loading import load_dataset

        with contextlib.ExitStack() as stack:
            corpus: str | Path | None = self.corpus
            if self.collection is not None and corpus is None and Path(self.data).is_file():
                corpus = stack.enter_context(self._collection_corpus())
            dataset, report = load_dataset(
                self.data,
                corpus=corpus,
                queries=self.queries,
                qrels=self.qrels,
                unjudged=self.unjudged,
                min_grade=self.min_grade,
            )
        for said in report.said_first:
            typer.echo(f"Note: {said}", err=True)
        return dataset, report

    def read_asked(self) -> Dataset:
        """DATA's questions, whatever was judged of them left out.

        A folder's own corpus, else `--corpus` or the collection's passages; none where only a
        system is named, which then has to give texts with its ids.

        Raises:
            DatasetError: rows that cannot be read.
            InputError: no question, or nothing says where passages come from.
        """
        from rankgate.errors import InputError
        from rankgate_eval.data.dataset import Dataset
        from rankgate_eval.data.loading import read_dataset
        from rankgate_eval.data.normalise import normalised
        from rankgate_eval.data.raw import RawDataset
        from rankgate_eval.data.readers.asked import read_asked
        from rankgate_eval.data.readers.gold import GoldQuestion, assemble
        from rankgate_eval.errors import DatasetError

        with contextlib.ExitStack() as stack:
            corpus: str | Path | None = self.corpus
            if Path(self.data).is_dir():
                raw = read_dataset(self.data, corpus=corpus, queries=self.queries)
                raw.judgements.clear()
            else:
                if self.collection is not None and corpus is None:
                    corpus = stack.enter_context(self._collection_corpus())
                if corpus is None and self.system is None:
                    raise InputError(
                        "name where the passages come from: --corpus, --system or --collection"
                    )
                once: dict[str, GoldQuestion] = {}
                for row in read_asked(self.data):
                    one = GoldQuestion(id=row.id, text=row.text, place=row.place)
                    once.setdefault(normalised(row.text), one)
                asked = list(once.values())
                raw = assemble(RawDataset(name=Path(self.data).stem), asked, corpus=corpus)
        if raw.errors:
            raise DatasetError(raw.name, raw.errors)
        return Dataset.from_raw(raw)

    @contextlib.contextmanager
    def _collection_corpus(self) -> Iterator[Path]:
        """The collection's passages as a corpus, for questions that have none of their own."""
        from rankgate.adapters.stores import listed
        from rankgate_eval.stores.collections import open_collection
        from rankgate_eval.stores.listing import write_corpus

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{self.collection}.jsonl"
            with open_collection(self.collection, data_dir=self.data_dir) as opened:
                write_corpus(file, listed(opened))
            yield file

    def read_for_runs(self) -> Dataset:
        """As `read`; of TREC judgements alone, no passages and queries are needed.

        Raises:
            DatasetError: it has errors.
            InputError: nothing is there, or an option does not go with its form.
        """
        from rankgate_eval.data.loading import is_qrels, load_judgements

        if self.corpus is None and self.queries is None and is_qrels(self.data):
            return load_judgements(self.data, unjudged=self.unjudged, min_grade=self.min_grade)
        return self.read()[0]

    def stage(self, dataset: Dataset) -> Any:
        """The first stage that was named; None where it is an index over the data set.

        Raises:
            DatasetError: a run that cannot be used.
            InputError: two are named.
        """
        from rankgate.errors import InputError

        named = {"--system": self.system, "--run": self.run, "--collection": self.collection}
        given = [name for name, value in named.items() if value]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} are two first stages: give one of them")
        if self.data_dir is not None and self.collection is None:
            raise InputError("--data-dir is the folder of a --collection, and none is named")
        if self.collection is not None:
            from rankgate_eval.run.collection_stage import CollectionStage

            return CollectionStage(self.collection, dataset, data_dir=self.data_dir)
        if not self.run:
            return self.system
        if len(self.run) > 1:
            raise InputError(
                "one --run is a first stage; only `rankgate eval DATA` compares several"
            )
        from rankgate_eval.data.readers.run import read_run

        return read_run(self.run[0], passages=dataset.corpus, queries=dataset.queries)

    def open(
        self,
        dataset: Dataset,
        *,
        scorers: tuple[str | None, ...],
        policy: Policy | None,
        first_stage: str,
        tell: Any,
    ) -> UnderTest:
        """First stage and scorers over the data set; see `open_under_test`."""
        from rankgate_eval.evaluation import open_under_test

        return open_under_test(
            dataset,
            stage=self.stage(dataset),
            scorers=scorers,
            policy=policy,
            first_stage=first_stage,
            id_key=self.id_key,
            cache=self.folder,
            tell=tell,
        )
