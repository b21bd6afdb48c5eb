"""The project's own golden set: its quotes still stand in docs/, and the policy still holds.

A page that was edited fails here with the question to mend, not with a lower score.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import record
from corpus import write_corpus
from typer.testing import CliRunner

from rankgate.cli import build_app
from rankgate_eval import Result, load_dataset

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "eval" / "golden"
DOCS = ROOT / "docs"
MARGIN = "0.07"
ROWS = [json.loads(line) for line in (GOLDEN / "questions.jsonl").read_text("utf-8").splitlines()]
ANSWERABLE = [row for row in ROWS if row["answerability"] == "answerable"]
UNANSWERABLE = [row for row in ROWS if row["answerability"] == "unanswerable"]


def pages():
    return {p.relative_to(DOCS).as_posix(): p.read_text("utf-8") for p in DOCS.rglob("*.md")}


def broken_quotes(rows, texts):
    """One sentence for each quote that does not stand in its page, and in no other."""
    found = []
    for row in rows:
        for page, quote in zip(row["documents"], row["spans"], strict=True):
            inside = sorted(name for name, text in texts.items() if quote in text)
            if inside != [page]:
                what = f"also stands in {inside}" if page in inside else f"is gone (in: {inside})"
                found.append(
                    f"{row['_id']} ({row['question']!r}): the quote {quote!r} of {page} {what}. "
                    "Quote the page as it is now, or give the question to the page that answers it."
                )
    return found


def now_answered(rows, texts):
    """One sentence for each word of an unanswerable question that a page now holds."""
    return [
        f"{row['_id']} ({row['question']!r}) counts as unanswerable, but {page} has {word!r}. "
        "Read the page: if it answers the question, replace the question; if not, the word."
        for row in rows
        for word in row["absent"]
        for page, text in texts.items()
        if re.search(rf"\b{re.escape(word)}", text, re.IGNORECASE)
    ]


def test_every_quote_stands_verbatim_in_its_page_and_in_no_other():
    assert not (broken := broken_quotes(ANSWERABLE, pages())), "\n".join(broken)


def test_an_edited_page_is_told_which_question_to_mend():
    row, texts = ANSWERABLE[0], pages()
    page, quote = row["documents"][0], row["spans"][0]
    gone = {**texts, page: texts[page].replace(quote, quote.upper())}
    assert any(row["_id"] in message and page in message for message in broken_quotes([row], gone))
    doubled = {**texts, "new.md": quote}
    assert any("also stands in" in message for message in broken_quotes([row], doubled))


def test_no_page_has_the_words_that_unanswerable_questions_need():
    assert not (answered := now_answered(UNANSWERABLE, pages())), "\n".join(answered)
    word = UNANSWERABLE[0]["absent"][0]
    assert now_answered(UNANSWERABLE[:1], {"new.md": f"Works with {word.title()} too."})


def test_it_is_as_large_and_as_varied_as_its_card_says():
    assert len(ANSWERABLE) >= 80 and len(UNANSWERABLE) >= 20
    kinds = Counter(row["kind"] for row in ROWS)
    assert min(kinds.values()) >= 5, kinds
    card = (GOLDEN / "README.md").read_text("utf-8")
    for kind, count in kinds.items():
        assert f"| {kind} | {count} |" in card, (kind, count)


def test_ids_and_questions_are_unique_and_unanswerable_ones_have_no_gold():
    assert len({row["_id"] for row in ROWS}) == len(ROWS)
    assert len({row["question"].casefold() for row in ROWS}) == len(ROWS)
    assert all(row["spans"] and row["answer"].strip() for row in ANSWERABLE)
    assert all(row["absent"] and "spans" not in row for row in UNANSWERABLE)


def test_it_has_none_of_the_questions_of_the_demo():
    from rag_app.cli.demo import QUESTIONS

    asked = {q.question.casefold() for q in QUESTIONS}
    assert not asked & {row["question"].casefold() for row in ROWS}


def test_two_source_questions_have_gold_in_two_places():
    for row in ROWS:
        if row["kind"] == "two_sources":
            assert len(row["spans"]) >= 2, row["_id"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """docs/ as the application cuts them."""
    folder = tmp_path_factory.mktemp("golden")
    write_corpus(DOCS, folder)
    return folder / "corpus.jsonl"


@pytest.fixture(scope="module")
def vectors(request):
    """Vectors of the passages, kept from run to run by the hash of their text."""
    return request.config.cache.mkdir("golden")


def run_check(corpus, vectors, out, *options):
    """`rankgate eval check` as `make golden` runs it: (exit code, check.json)."""
    told = CliRunner().invoke(
        build_app(),
        [
            *("eval", "check", str(GOLDEN / "questions.jsonl"), "--corpus", str(corpus)),
            *("--baseline", str(GOLDEN / "baseline.json"), "--margin", MARGIN),
            *("--cache", str(vectors), "--out", str(out), *options),
        ],
    )
    assert (out / "check.json").is_file(), told.output
    return told.exit_code, json.loads((out / "check.json").read_text("utf-8"))


@pytest.mark.model
@pytest.mark.timeout(900)
def test_every_quote_is_found_whole_in_a_passage(corpus):
    data, report = load_dataset(GOLDEN / "questions.jsonl", corpus=corpus)
    assert report.ok and "common_span" not in report.warning_counts
    assert data.judged() == [row["_id"] for row in ANSWERABLE]
    assert data.unanswerable() == [row["_id"] for row in UNANSWERABLE]
    for row in ANSWERABLE:
        pages_hit = {p.split("#")[0] for p in data.relevant(row["_id"])}
        assert pages_hit == set(row["documents"]), row["_id"]
    # Too few groups, and the verdict could only be `not_enough_data`.
    assert len({data.group_of(q) for q in data.judged()}) >= 40


@pytest.mark.model
@pytest.mark.timeout(900)
def test_the_policy_is_as_good_as_its_baseline(corpus, vectors, tmp_path):
    """Fails where a change costs more than the margin; `make golden` shows which questions."""
    code, check = run_check(corpus, vectors, tmp_path)
    assert code == 0, "\n".join(check["reasons"])
    assert check["n"] == len(ANSWERABLE) and not check["gone"] and not check["new"]


@pytest.mark.model
@pytest.mark.timeout(900)
def test_a_bad_ranking_fails_the_check(corpus, vectors, tmp_path, monkeypatch):
    """A scorer that prefers passages without the question's words, as `--scorer` takes it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "bad_scorer.py").write_text(
        "from rankgate.testing import FakeScorer, word_overlap\n"
        "scorer = FakeScorer(lambda query, text: -word_overlap(query, text))\n",
        "utf-8",
    )
    code, check = run_check(corpus, vectors, tmp_path, "--scorer", "bad_scorer:scorer")
    assert code == 1 and check["outcome"] == "fail"
    assert check["changes"]["ndcg@10"]["ci"][1] < -float(MARGIN)
    assert any("scorer changed" in warning for warning in check["warnings"])


def test_the_committed_result_is_that_of_the_baseline():
    baseline = Result.load(GOLDEN / "baseline.json")
    brief = json.loads((ROOT / "eval" / "results" / "golden.json").read_text("utf-8"))
    assert brief == json.loads(json.dumps(record.brief(baseline)))
    assert f"--margin {MARGIN}" in (ROOT / "Makefile").read_text("utf-8")
