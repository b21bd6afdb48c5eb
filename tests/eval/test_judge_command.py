"""`rankgate judge` as it is typed: from a pipe, left and gone on with, exported and evaluated."""

import contextlib
import json
import os
import pty
import subprocess
import sys

import eval_world as w
import pytest
from typer.testing import CliRunner

from rankgate.cli import build_app
from rankgate_eval.data.kinds import Kind as DataKind
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.judging import Kind, Session

QUESTIONS = 24


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A world without judgements: passages, a list of questions, and scorers."""
    data = w.world(QUESTIONS)
    w.write_beir(tmp_path / "data", data)
    (tmp_path / "data" / "qrels.tsv").unlink()
    (tmp_path / "questions.txt").write_text("".join(f"{q}\n" for q in data.queries.values()))
    (tmp_path / "ours.py").write_text(w.SCORERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "ours", raising=False)  # that of another test
    yield tmp_path
    sys.modules.pop("ours", None)


def judge(*arguments, keys="", columns=None):
    environment = {} if columns is None else {"COLUMNS": str(columns), "LINES": "40"}
    return CliRunner().invoke(
        build_app(), ["judge", "s.jsonl", *map(str, arguments)], input=keys, env=environment
    )


BEGIN = (
    *("--questions", "questions.txt", "--corpus", "data/corpus.jsonl"),
    *("--first-stage", "bm25", "--scorer", "ours:knowing", "--k", 20),
)


def right_keys(session, *, judge="me", count=None):
    """What somebody presses who knows gold when he reads it."""
    left = [q for q in session.questions if q.id not in session.by(judge)][:count]
    return ["".join("2" if p.startswith("g") else "0" for p in q.shown) for q in left]


def test_a_pipe_judges_and_the_same_command_goes_on(folder):
    begun = judge(*BEGIN, "--count", 0)
    assert begun.exit_code == 0, begun.output
    assert "Judged 0 of 24 questions" in begun.output and "Not decided yet" in begun.output
    keys = right_keys(Session.open("s.jsonl"))
    first = judge("--count", 10, keys="\n".join(keys[:4]) + "\n2q")
    assert first.exit_code == 0, first.output
    assert "Question 5 of 10" in first.output and "Judged 4 of 24" in first.output
    assert "\x1b" not in first.output
    second = judge("--count", 10, keys="".join(keys[4:]))
    assert "Question 5 of 10" in second.output and "Question 11" not in second.output
    assert "Judged 10 of 24" in second.output
    last = judge("--count", 100, "--json", keys="".join(keys[10:]))
    found = json.loads(last.stdout)
    gain = found["gains"]["ndcg@10"]
    assert found["people"] == 24 and gain["low"] == gain["high"] > 0.1 and found["word"] == "helps"
    assert all(v.seconds is not None for v in Session.open("s.jsonl").by("me").values())


def test_every_key_does_what_it_says(folder):
    judge(*BEGIN, "--count", 0)
    questions = Session.open("s.jsonl").questions
    size = len(questions[3].shown)
    # Skip; nowhere; none of these; back over passages and questions; a key that there is not.
    done = judge(keys="sun2b0bbu2xu1n0nq")
    said = Session.open("s.jsonl").by("me")
    assert "'x' is no key here" in done.output and "b takes that back" in done.output
    kinds = [said[q.id].kind for q in questions[:5]]
    # `bb` on the fourth question goes back to the third, which becomes `u`.
    assert kinds[:3] == [Kind.SKIPPED, Kind.UNANSWERABLE, Kind.UNANSWERABLE]
    assert list(said[questions[3].id].grades.values()) == [2, 1] + [0] * (size - 2)
    assert not any(said[questions[4].id].grades.values()) and len(said) == 5


def test_the_terminal_may_be_narrow_and_wide(folder):
    judge(*BEGIN, "--count", 0)
    for columns in (24, 200):
        shown = judge("--count", 1, keys="q", columns=columns).output.splitlines()
        body = shown[: next(i for i, line in enumerate(shown) if line.startswith("> "))]
        assert max(map(len, body)) <= min(columns, 96)


def test_nothing_is_coloured_for_a_file_and_questions_stand_out_on_a_terminal(folder):
    judge(*BEGIN, "--count", 0)
    script = "import sys; from rankgate.cli import main; sys.argv = sys.argv[1:]; main()"
    ours, theirs = pty.openpty()
    os.write(ours, b"00q")  # before anybody asks: what is typed ahead counts
    with subprocess.Popen(
        [sys.executable, "-c", script, "rankgate", "judge", "s.jsonl"],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.STDOUT,
    ) as running:
        os.close(theirs)
        shown = b"".join(_read(ours))
    assert running.returncode == 0
    assert b"\x1b[1mwhat about" in shown and b"3 of " in shown and b"Judged 0 of 24" in shown


def _read(descriptor):
    with contextlib.suppress(OSError):  # the other side is closed
        while data := os.read(descriptor, 4096):
            yield data
    os.close(descriptor)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--questions FILE begins one"),
        (("--questions", "questions.txt"), "name where the passages come from"),
        (("--questions", "none.txt", "--corpus", "data"), "no file of questions"),
        ((*BEGIN, "--system", "ours:nothing"), "nothing"),
        ((*BEGIN, "--at-random", 0), "random share"),
        ((*BEGIN, "--k", 2, "--top-n", 5), "at least top_n"),
    ],
)
def test_what_is_wrong_is_said(folder, arguments, said):
    done = judge(*arguments)
    assert done.exit_code != 0
    assert said in done.output + str(done.exception) and not (folder / "s.jsonl").exists()


def test_a_system_of_ones_own_needs_no_corpus(folder):
    done = judge(
        *("--questions", "questions.txt", "--system", "ours:passages"),
        *("--scorer", "ours:knowing", "--count", 0),
    )
    assert done.exit_code != 0 and "passages" in done.output + str(done.exception)
    with (folder / "ours.py").open("a") as stream:
        stream.write(
            "\nfrom rankgate import Candidate\ndef texts(query, k=10):\n"
            "    return [Candidate(id=f'{query[-2:]}-{i}', text=f'{query} {i}', rank=i + 1)"
            " for i in range(k)]\n"
        )
    sys.modules.pop("ours", None)
    done = judge(
        *("--questions", "questions.txt", "--system", "ours:texts", "--scorer", "ours:knowing"),
        *("--count", 0, "--limit", 6),
    )
    assert done.exit_code == 0, done.output
    assert len(Session.open("s.jsonl").questions) == 6


@pytest.mark.parametrize("made", ["f'{next(count)}'", "f'document-{i + 1}'"], ids=["new", "rank"])
def test_passages_are_known_by_their_texts(folder, made):
    """Ids made up at each call doubled every passage; ids that number ranks mixed them up."""
    (folder / "mine.py").write_text(
        "import itertools\nfrom rankgate import Candidate\nfrom ours import knowing\n"
        "count = itertools.count()\ndef texts(query, k=10):\n"
        f"    return [Candidate(id={made}, rank=i + 1,"
        " text=f'text {(i + len(query) + int(query[-1:])) % 12}') for i in range(9)]\n"
    )
    sys.modules.pop("mine", None)
    (folder / "asked.txt").write_text("".join(f"what about {n}\n" for n in range(10, 30)))
    given = ("--questions", "asked.txt", "--system", "mine:texts", "--scorer", "ours:knowing")
    done = judge(*given, "--count", 0)
    assert done.exit_code == 0, done.output
    assert "equal texts are one passage" in done.output
    session = Session.open("s.jsonl")
    assert sorted(session.passages.values()) == sorted({f"text {n}" for n in range(12)})
    for q in session.questions:
        number = int(q.text[-1:])
        there = {f"text {(i + len(q.text) + number) % 12}" for i in range(9)}
        assert {session.passages[p] for p in q.shown} <= there, "its own passages"
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"c{n}", "text": f"text {n % 12}"}) + "\n" for n in range(14))
    )
    keys = "2" * len(session.questions[0].shown)
    done = judge(*given, "--corpus", "corpus.jsonl", "--count", 1, "--export", "out", keys=keys)
    assert done.exit_code == 0, done.output
    data, _ = load_dataset("out")
    assert set(data.corpus) == {f"c{n}" for n in range(14)}, "the corpus's ids, copies as well"
    shown = {session.passages[p] for p in session.questions[0].shown}
    assert {data.corpus[p] for p in data.relevant(session.questions[0].id)} == shown


@pytest.fixture
def exported(folder):
    """Twenty judged, of which two are nowhere and one has nothing among those shown."""
    judge(*BEGIN, "--count", 0)
    keys = right_keys(Session.open("s.jsonl"))
    done = judge(*BEGIN, "--count", 20, "--export", "out", keys="".join(["u", "n", "u", *keys[3:]]))
    assert done.exit_code == 0, done.output
    assert "only the passages that were shown" not in done.output
    return folder


def test_what_was_judged_is_a_data_set(exported):
    session = Session.open("s.jsonl")
    data, _ = load_dataset("out")
    first = [q.id for q in session.questions[:3]]
    kinds = [DataKind.UNANSWERABLE, DataKind.GRADED_0, DataKind.UNANSWERABLE]
    assert [data.kind_of(q) for q in first] == kinds
    assert len(data.judged()) == 17 and len(data.unanswerable()) == 3
    assert len(data.corpus) == QUESTIONS * 7 and list(data.splits) == ["judged"]
    chances = [float(data.fields[q]["propensity"]) for q in data.queries]
    assert all(0.0 < c <= 1.0 for c in chances)
    weights = {q.id: q.weight for q in session.questions}
    by_weight = sorted((weights[q], c) for q, c in zip(data.queries, chances, strict=True))
    assert sorted(chances) == [c for _, c in by_weight]
    lines, _ = load_dataset("out/judged.jsonl", corpus="data/corpus.jsonl")
    assert {q: set(lines.relevant(q)) for q in lines.judged()} == {
        q: set(data.relevant(q)) for q in data.judged()
    }
    assert set(lines.unanswerable()) == {first[0], first[2]}


@pytest.mark.parametrize("form", ["folder", "lines"])
def test_eval_and_calibrate_read_it(exported, form):
    given = ["out"] if form == "folder" else ["out/judged.jsonl", "--corpus", "data/corpus.jsonl"]
    stage = ["--first-stage", "bm25", "--scorer", "ours:knowing", "--k", "20"]
    found = CliRunner().invoke(build_app(), ["eval", *given, *stage, "--out", "report", "--json"])
    assert found.exit_code in (0, 1, 3), found.output
    result = json.loads(found.stdout)
    assert result["data"]["judged"] == 17
    assert "with unequal chances (`propensity`), which are not weighed here" in found.stderr
    done = CliRunner().invoke(build_app(), ["calibrate", *given, *stage, "--folds", "2"])
    assert done.exit_code in (0, 1), done.output


def test_without_the_corpus_it_is_said_what_is_missing(folder):
    judge(*BEGIN, "--count", 0)
    nothing = judge("--count", 0, "--export", "out")
    assert nothing.exit_code != 0 and "nothing to export" in nothing.output + str(nothing.exception)
    keys = right_keys(Session.open("s.jsonl"), count=3)
    done = judge("--count", 3, "--export", "out", keys="".join(keys))
    assert done.exit_code == 0 and "only the passages that were shown" in done.output
    assert len(load_dataset("out")[0].judged()) == 3
