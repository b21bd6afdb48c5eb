"""`rankgate judge SESSION`: questions one by one, a key for each passage, and the interval."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankgate.cli import grouped
from rankgate_eval.cli.inputs import Inputs
from rankgate_eval.cli.judging import ModelOptions
from rankgate_eval.cli.options import (
    FirstStageOption,
    JsonOption,
    KOption,
    LimitOption,
    PolicyOption,
    ScorerOption,
    SeedOption,
    TopNOption,
    debugging,
    typed_command,
)
from rankgate_eval.cli.progress import Teller, guarded

if TYPE_CHECKING:
    from rankgate_eval.data.dataset import Dataset
    from rankgate_eval.judging import Question, Session, Standing

_EPILOG = (
    "Keys: 0 not relevant, 1 partly, 2 fully; n none of those left; u nowhere in these documents; "
    "s skip; b back; q leave. Every answer is kept at once, and the same command goes on where it "
    "was left. From a pipe, one key after the other. Exit codes: 0 ok, also when left early; 2 "
    "wrong usage, setting or data; 70 a crash."
)
_KEYS = "0 no  1 partly  2 fully  n none left  u nowhere  s skip  b back  q leave"
_WIDEST = 96
_FEW = 10  # labels, before which no mean is shown


def judge(
    ctx: typer.Context,
    model: ModelOptions,
    session: Annotated[
        Path,
        typer.Argument(metavar="SESSION", help="File of the session; made where it is not there."),
    ],
    questions: Annotated[
        str | None,
        typer.Option(
            help="To begin with: a list (one a line), .csv, .jsonl, feedback log or BEIR folder."
        ),
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Passages, as corpus.jsonl or its folder.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="Your own first stage, as module:attribute.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="An ingested collection as first stage.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the collection.")] = None,
    id_key: Annotated[str | None, typer.Option(help="Metadata key with the passage's id.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for vectors; usually ./.rankgate/eval.")
    ] = None,
    first_stage: FirstStageOption = "hybrid",
    scorer: ScorerOption = None,
    policy: PolicyOption = None,
    k: KOption = None,
    top_n: TopNOption = None,
    limit: LimitOption = None,
    at_random: Annotated[
        float, typer.Option(help="Share of the chance that all questions have alike.")
    ] = 0.3,
    seed: SeedOption = 0,
    name: Annotated[str, typer.Option(help="Yours, where several judge.")] = "me",
    count: Annotated[
        int, typer.Option(min=0, help="Questions to judge; 0 only says how it stands.")
    ] = 100,
    export: Annotated[
        Path | None, typer.Option(help="Folder for what was judged, for `rankgate eval`.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Label passages of your own questions by key press, chosen where labels decide most."""
    from rankgate.errors import InputError
    from rankgate_eval.judging import Session, standing
    from rankgate_eval.judging.export import export as write

    inputs = Inputs(
        data="" if questions is None else questions,
        corpus=corpus,
        system=system,
        collection=collection,
        data_dir=data_dir,
        id_key=id_key,
        cache=cache,
    )
    with guarded(debug=debugging(ctx)) as tell:
        data: Dataset | None = None
        if questions is not None:
            data = inputs.read_asked()
        if session.exists():
            opened = Session.open(session)
        elif data is None:
            raise InputError(f"there is no session at {session}: --questions FILE begins one")
        else:
            opened = _begun(
                session,
                inputs,
                data,
                first_stage=first_stage,
                scorer=scorer,
                policy=policy,
                sizes=(k, top_n),
                limit=limit,
                at_random=at_random,
                seed=seed,
                tell=tell,
            )
        tell.end()
        if model.llm_judge:
            model.fill(opened, tell)
        elif count:
            _Desk(opened, name, count, quiet=as_json).work()
        found = standing(opened)
        written = []
        if export is not None:
            texts = None if data is None or not data.corpus else data.corpus
            documents = None if data is None else data.documents
            written = write(opened, export, corpus=texts, documents=documents)
        if as_json:
            typer.echo(json.dumps(found.to_dict(), indent=1))
            return
        typer.echo("\n".join(standing_lines(found)))
        if written:
            typer.echo("Written: " + ", ".join(map(str, written)))
            if texts is None:
                typer.echo(
                    "corpus.jsonl holds only the passages that were shown, among which every "
                    "first stage looks good: name --questions and --corpus, or evaluate "
                    "judged.jsonl over your own --corpus."
                )


def _begun(
    file: Path,
    inputs: Inputs,
    data: Dataset,
    *,
    first_stage: str,
    scorer: str | None,
    policy: Path | None,
    sizes: tuple[int | None, int | None],
    limit: int | None,
    at_random: float,
    seed: int,
    tell: Teller,
) -> Session:
    from rankgate_eval.evaluation import as_policy
    from rankgate_eval.judging import Session, drawn_questions
    from rankgate_eval.judging.ways import read_ways
    from rankgate_eval.run.experiment import spread

    chosen, _ = as_policy(policy)
    with inputs.open(
        data, scorers=(scorer,), policy=chosen, first_stage=first_stage, tell=tell
    ) as under:
        answered = read_ways(
            data,
            under.stage,
            under.scorer,
            query_ids=spread(data.query_ids(), limit),
            policy=chosen,
            k=sizes[0],
            top_n=sizes[1],
            tell=tell,
        )
        drawn, texts = drawn_questions(
            answered.ways, top_n=answered.top_n, at_random=at_random, seed=seed
        )
        ids = {p.candidate.id for w in answered.ways.values() for p in w.reranked.passages}
        words = {p.candidate.text for w in answered.ways.values() for p in w.reranked.passages}
        if len(words) != len(ids):
            typer.echo(
                f"Note: {len(ids)} ids stand for {len(words)} texts: equal texts are one passage "
                "here, to be judged once. Where the system makes ids up, name one that stays: "
                "--id-key",
                err=True,
            )
        made = {
            "command": typed_command(),
            "first_stage": under.stage_words,
            "scorer": under.scorer.info.id,
            "policy": answered.policy,
            "k": answered.k,
            "at_random": at_random,
            "seed": seed,
        }
    return Session.create(file, drawn, texts, top_n=answered.top_n, made=made)


class _Left(Exception):
    """The judge leaves, or the input has ended."""


class _Desk:
    """One judge at a terminal or a pipe."""

    def __init__(self, session: Session, name: str, count: int, *, quiet: bool) -> None:
        self.session = session
        self.name = name
        self.count = min(count, len(session.questions))
        self.quiet = quiet
        self.width = min(_WIDEST, max(20, shutil.get_terminal_size().columns - 1))
        self.keys = _keys()

    def work(self) -> None:
        """Ask until enough is judged, or the judge leaves."""
        before: list[Question] = []
        question = self.session.next(self.name)
        try:
            while question is not None and len(self.session.by(self.name)) < self.count:
                if self._judged(question):
                    before.append(question)
                elif before:
                    question = before.pop()
                    continue
                question = self.session.next(self.name)
        except _Left:
            pass
        finally:
            self.keys.close()

    def _judged(self, question: Question) -> bool:
        """Whether a verdict was given; False: the judge wants the question before."""
        from rankgate_eval.judging import Kind, Verdict

        begun = time.monotonic()
        self._head(question)
        grades: list[int] = []
        kind: Kind | None = None
        while kind is None:
            shown = question.shown
            if len(grades) < len(shown):
                text = self.session.passages[shown[len(grades)]]
                self._say(f"\n{len(grades) + 1} of {len(shown)}")
                self._say(_paragraphs(text, self.width))
            elif shown:
                kind = Kind.GRADED
                break
            else:
                self._say("\nNothing was found for it.")
            key = self._key()
            if key in "012" and shown:
                grades.append(int(key))
            elif key == "n":
                grades += [0] * (len(shown) - len(grades))
                kind = Kind.GRADED
            elif key == "s":
                kind = Kind.SKIPPED
            elif key == "u" and not any(grades):
                kind = Kind.UNANSWERABLE
            elif key == "u":
                self._say("A passage of it is relevant already: b takes that back.")
            elif key == "b" and grades:
                grades.pop()
            elif key == "b":
                return False
            else:
                self._say(f"{key!r} is no key here. {_KEYS}")
        told = dict(zip(question.shown, grades, strict=True)) if kind is Kind.GRADED else {}
        spent = round(time.monotonic() - begun, 1)
        self.session.add(
            Verdict(question=question.id, judge=self.name, kind=kind, grades=told, seconds=spent)
        )
        return True

    def _head(self, question: Question) -> None:
        if self.quiet:
            return
        from rankgate_eval.judging import standing

        done = len(self.session.by(self.name))
        found = standing(self.session)
        gain = found.gains["ndcg@10"]
        line = f"Question {done + 1} of {self.count}"
        if found.people:
            line += f"   gain in nDCG@10 {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        self._say("\n" + "\u2500" * self.width)
        self._say(textwrap.fill(line, self.width))
        typer.echo(typer.style(textwrap.fill(question.text, self.width), bold=True))
        self._say(textwrap.fill(_KEYS, self.width, break_long_words=False))

    def _key(self) -> str:
        if not self.quiet:
            typer.echo("> ", nl=False)
        key = next(self.keys, "q")
        if not self.quiet:
            typer.echo(key)
        if key == "q":
            raise _Left
        return key

    def _say(self, text: str) -> None:
        if not self.quiet:
            typer.echo(text)


def _keys() -> Generator[str, None, None]:
    """Keys as they are pressed; from a pipe its characters, blanks left out."""
    with contextlib.closing(_pressed() if sys.stdin.isatty() else _piped()) as read:
        yield from (char.casefold() for char in read if char.strip())


def _piped() -> Generator[str, None, None]:
    while char := sys.stdin.read(1):
        yield char


def _pressed() -> Generator[str, None, None]:
    """Keys of a terminal. Its mode is set once, so that what is typed ahead is not lost."""
    try:
        import termios
        import tty
    except ImportError:  # Windows
        while (key := typer.getchar()) not in ("\x03", "\x04", "\x1a"):
            yield key
        return
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    tty.setcbreak(stdin, termios.TCSANOW)
    try:
        while (key := os.read(stdin, 1).decode("ascii", "replace")) not in ("", "\x04"):
            yield key
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def _paragraphs(text: str, width: int) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines() if line.strip())


def standing_lines(found: Standing) -> list[str]:
    """Where a session stands, for people."""
    words = {
        "helps": "Reranking helps on these questions.",
        "hurts": "Reranking hurts on these questions.",
        "open": "Not decided yet: the interval holds both signs, or nothing at all.",
    }
    kinds = found.kinds
    lines = [
        f"Judged {found.people} of {found.questions} questions: "
        f"{kinds['graded'] - kinds['none']} with a relevant passage, {kinds['none']} without, "
        f"{kinds['unanswerable']} that no document answers, {kinds['skipped']} skipped."
    ]
    if found.modelled:
        gain = found.gains["ndcg@10"]
        alone = found.guessed["ndcg@10"]
        lines.append(
            f"A model judged {found.modelled}; alone it would say {alone:+.3f}. People's labels "
            f"give it a weight of {gain.trust:.2f} and move that by {gain.mean - alone:+.3f}."
        )
    for name, gain in found.gains.items():
        lines.append(
            # Of so few a mean is no finding, and would be read as one.
            f"  {name:<10} with minus without "
            f"{f'{gain.mean:+.3f}' if found.people >= _FEW else 'not to be told yet'}, "
            f"{gain.level:.0%} interval [{gain.low:+.3f}, {gain.high:+.3f}]"
        )
    for pair in found.agreements:
        said = ["-" if v is None else f"{v:.2f}" for v in (pair.relevant, pair.graded)]
        lines.append(
            f"  {pair.judges[0]} and {pair.judges[1]}: kappa {said[0]} (relevant or not), "
            f"{said[1]} (grades, squared) on {pair.passages} passages"
        )
    return [*lines, words[found.word]]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("judge", epilog=_EPILOG)(grouped(judge))
