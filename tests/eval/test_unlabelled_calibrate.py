"""Calibration without labels, from questions to a policy that serves."""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from calibrate_world import world
from command_kit import invoke

from rankgate.decide.floor import Floor
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.relevance import RelevanceModel
from rankgate.decide.section import Section
from rankgate.errors import InputError
from rankgate.feedback import Judgement, append_feedback
from rankgate.policy import Policy
from rankgate.reranker import Reranker
from rankgate.scorers import ScorerInfo
from rankgate.testing import FakeScorer
from rankgate.types import Candidate, FirstStageKind
from rankgate_eval.calibrate.serve import serve
from rankgate_eval.calibrate.unlabelled import (
    FidelityOptions,
    Trust,
    calibrate_unlabelled,
    foreign_bank,
    joined,
    read_asked,
    table_lines,
    trust_of,
)
from rankgate_eval.calibrate.unlabelled.certify import certify, kind_of_row, looks, observed
from rankgate_eval.calibrate.unlabelled.path import Forecast, Setting
from rankgate_eval.calibrate.unlabelled.shift import chances, chances_like
from rankgate_eval.errors import DatasetError

TRUSTED = Trust(given=True, reason="told so")
SYSTEM = """
import hashlib
from rankgate import Candidate
from rankgate.scorers import ScorerInfo
from rankgate.testing import FakeScorer

def noise(*words):
    digest = hashlib.sha256(" ".join(words).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32

def number(query):
    last = query.split()[-1]
    return int(last) if last.isdigit() else -1

def search(query, k):
    n = number(query)
    sure = n % 3 != 0
    scored = []
    for j in range(max(0, n - 6), max(0, n - 6) + 14):
        right = j == n
        dense = 0.3 + 0.1 * noise("d", query, str(j)) + right * (0.3 if sure else 0.04)
        bm25 = 1 + 2 * noise("b", query, str(j)) + right * (4.0 if sure else 0.5)
        scored.append((f"p{j}", dense, bm25))
    scored.sort(key=lambda row: -(10 * row[1] + row[2]))
    return [Candidate(id=p, text=f"text of {p}", rank=i + 1, dense=d, bm25=b)
            for i, (p, d, b) in enumerate(scored[:k])]

def reads(query, text):
    return 6.0 * (text.split()[-1] == f"p{number(query)}") + noise("s", query, text)

scorer = FakeScorer(reads, info=ScorerInfo(id="fake", scale="logit"))
"""


@pytest.fixture(scope="module")
def house():
    made = {}
    exec(SYSTEM, made)
    return made


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    file = tmp_path_factory.mktemp("asked") / "questions.txt"
    file.write_text("# ours\n" + "".join(f"where is thing {n}\n" for n in range(500)), "utf-8")
    return file


@pytest.fixture(scope="module")
def found(house, asked):
    scorer = FakeScorer(house["reads"], info=house["scorer"].info)
    return calibrate_unlabelled(
        read_asked(asked), stage=as_stage(house["search"]), scorer=scorer, trust=TRUSTED, k=14
    )


def as_stage(search):
    from rankgate_eval.run.system import as_first_stage

    return as_first_stage(search)


def rows(seed=0, **changed):
    return world(seed, queries=600, per_document=1, first_stage=3.0, **changed)


def test_what_is_claimed_is_what_is_served(found):
    held = found.certified
    claims = found.report["guarantees"]["claims"]
    assert [c["claim"].split()[0] for c in claims] == ["skipped", "foreign", "removed", "your"]
    assert all(c["holds"] and c["upper"] <= c["allowed"] for c in claims)
    kinds = np.array([kind_of_row(s.row) for s in held.served])
    skipped = [s for s in held.served if kind_of_row(s.row) == "asked" and s.skips]
    assert claims[0]["questions"] == len(skipped)
    assert claims[0]["failures"] == sum(s.changed for s in skipped), "conversations of one each"
    answered = sum(s.answers and not s.weak for s in held.served if kind_of_row(s.row) == "removed")
    assert (claims[2]["failures"], claims[2]["n"]) == (answered, (kinds == "removed").sum())


def test_progress_goes_forward_and_no_question_is_asked_twice(house, asked):
    """Every question was retrieved and read twice under one heading, which began anew."""
    told, found = [], []

    def search(query, k):
        found.append(query)
        return house["search"](query, k)

    calibrate_unlabelled(
        read_asked(asked).limited(130), stage=as_stage(search), trust=TRUSTED, k=14,
        scorer=FakeScorer(house["reads"], info=house["scorer"].info),
        tell=lambda what, done, total: told.append((what, done, total)),
    )  # fmt: skip
    for what in {w for w, _, _ in told}:
        at = [i for i, row in enumerate(told) if row[0] == what]
        assert at == list(range(at[0], at[-1] + 1)), f"{what} begins anew"
        assert [told[i][1] for i in at] == sorted(told[i][1] for i in at), what
    own = [q for q in found if q.startswith("where is thing")]
    assert max(own.count(q) for q in set(own)) == 2, "as it is, and deeper for the removed"


def test_the_policy_serves_what_was_certified(found, house, tmp_path):
    file = tmp_path / "policy.json"
    found.policy.save(file)
    policy = Policy.load(file)
    assert policy.section(found.kind) == found.certified.section
    scorer = FakeScorer(house["reads"], info=house["scorer"].info)
    reranker = Reranker(scorer, policy=policy, first_stage=found.kind)
    own = [s for s in found.certified.served if s.row.answerable]
    assert any(s.skips for s in own)
    for s in own[::25]:
        text = f"where is thing {int(s.row.query_id.split(':')[1]) - 1}"
        outcome = reranker.rerank(text, house["search"](text, 14))
        assert (outcome.path.value == "skipped") is s.skips
        assert outcome.refused is not s.answers


def test_a_report_never_calls_agreement_relevance(found):
    # The section's own key in the policy file is the schema's.
    told = {k: v for k, v in found.report.items() if k != "section"}
    assert "relevan" not in json.dumps(told).casefold()
    assert "relevan" not in "\n".join(table_lines(found.report)).casefold()
    assert "relevan" not in json.dumps(dict(found.policy.provenance)).casefold()


def test_without_trust_the_gate_stays_off_and_says_why(house, asked):
    scorer = FakeScorer(house["reads"], info=house["scorer"].info)
    found = calibrate_unlabelled(
        read_asked(asked),
        stage=as_stage(house["search"]),
        scorer=scorer,
        trust=trust_of(scorer.info, verdict=None, trusted=False),
        k=14,
    )
    assert found.certified.section.gate.model is None
    assert "--trust-reranker" in found.report["why_not"]["gate"]
    assert found.certified.section.floor.active, "a floor needs no trust in the order"


@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_laid_down_on_what_is_served(seed):
    rng = np.random.default_rng(seed)
    planted = rows(seed, removed=seed % 2 == 0)[:150]
    section = certify(
        rows(seed),
        Section(top_n=5),
        FidelityOptions(),
        kind=FirstStageKind.HYBRID,
        scale="planted",
    ).section
    before = [serve(row, section) for row in planted]
    harm = np.array([1.0 if s.harm is None else s.harm for s in before])
    forecast = Forecast(
        kinds=np.array([kind_of_row(row) for row in planted]),
        groups=np.arange(len(planted)),
        harm=harm,
        missed=np.array([s.missed for s in before]),
        reranked=looks([s.reranked for s in before]),
        skipped=looks([s.skipped for s in before]),
    )
    low, strong = np.sort(rng.random(2)).tolist()
    floor = Floor(refuse_below=low, weak_below=strong)
    threshold = None if section.gate.model is None else section.gate.threshold
    setting = Setting(threshold=threshold, floor=floor, level=1.0)
    predicted = forecast.observe(setting)
    seen = observed([serve(row, replace(section, floor=floor)) for row in planted])
    for name in ("skips", "changed", "refused", "weak"):
        assert (getattr(predicted, name) == getattr(seen, name)).all(), name


def test_what_fitted_never_judges():
    """The stated error holds for conversations that fitted nothing: spoiling those that judge
    moves every bound and not one weight."""

    def certified(planted):
        return certify(
            planted,
            Section(top_n=5),
            FidelityOptions(),
            kind=FirstStageKind.HYBRID,
            scale="planted",
        )

    planted = rows()
    before = certified(planted)
    judged = {(s.row.query_id, s.row.stratum) for s in before.served}
    assert 0.4 < len(judged) / len(planted) < 0.6
    spoilt = [
        replace(row, listed=replace(row.listed, scores=None))
        if (row.query_id, row.stratum) in judged
        else row
        for row in planted
    ]
    after = certified(spoilt)
    assert before.setting is not None and after.tested[1] == before.tested[1]  # one path
    for model in ("reranked", "first_stage"):
        assert getattr(after.section, model) == getattr(before.section, model)
    assert after.bounds != before.bounds
    fitted = {row.group for row in planted} - {s.row.group for s in before.served}
    assert fitted and all(s.row.group not in fitted for s in after.served)


def test_a_scorer_that_knows_nothing_gets_no_floor_and_no_lie():
    found = certify(
        rows(scorer="constant"),
        Section(top_n=5),
        FidelityOptions(),
        kind=FirstStageKind.HYBRID,
        scale="planted",
    )
    assert not found.section.floor.active
    assert "do not tell your questions" in found.notes["floor"]


def test_an_order_alone_has_a_floor_and_a_gate_that_rests():
    found = certify(
        rows(kind="order"),
        Section(top_n=5),
        FidelityOptions(),
        kind=FirstStageKind.ORDER,
        scale="planted",
    )
    assert found.section.gate.model is None
    assert "by its order alone the first stage does not tell" in found.notes["gate"]
    assert found.section.floor.judges


def test_a_gate_that_rests_names_its_own_cause():
    """Of every cause it was said that the first stage gives no score."""
    raw = Logistic(features=(Feature(name="raw", weight=1.0),))
    base = Section(top_n=5, reranked=RelevanceModel(model=raw, scale="planted"))
    found = certify(rows(), base, FidelityOptions(), kind=FirstStageKind.HYBRID, scale="planted")
    assert "the base policy has none for skipped questions" in found.notes["gate"]


def test_one_conversation_is_not_parted():
    planted = [replace(row, group="all") for row in rows()[:200]]
    with pytest.raises(InputError, match="at least two conversations, got 1"):
        certify(
            planted,
            Section(),
            FidelityOptions(),
            kind=FirstStageKind.HYBRID,
            scale="planted",
        )


def test_few_questions_claim_nothing():
    found = certify(
        rows()[:160],
        Section(top_n=5),
        FidelityOptions(),
        kind=FirstStageKind.HYBRID,
        scale="planted",
    )
    assert found.setting is None
    assert found.bounds == ()
    assert "59 are needed" in found.notes["floor"]


def test_sources_are_read_and_conversations_known(tmp_path):
    lines = tmp_path / "q.txt"
    lines.write_text("# a comment\nWhere is it?\n\nWhere is it?\nWhy?\n", "utf-8")
    log = tmp_path / "log.jsonl"
    said = [("a", "s1"), ("b", "s1"), ("why?", "s2"), ("c", None)]
    log.write_text(
        "".join(json.dumps({"query": q, **({"session": s} if s else {})}) + "\n" for q, s in said),
        "utf-8",
    )
    table = tmp_path / "q.csv"
    table.write_text("question,conversation\nhow,7\nwho,7\n", "utf-8")
    found = joined([read_asked(lines), read_asked(log, source="log"), read_asked(table)])
    groups = found.conversations()
    of = {found.questions[q]: groups[q] for q in found.questions}
    assert set(found.sources.values()) == {"questions", "log"}
    assert of["a"] == of["b"] != of["c"]
    assert of["Why?"] == of["why?"], "the same words are one question"


def test_a_feedback_log_gives_its_questions_and_not_its_verdicts(tmp_path):
    file = tmp_path / "feedback.jsonl"
    append_feedback(
        file,
        [
            Judgement(
                query=query,
                passage_id="p",
                passage_text="t",
                relevant=True,
                source="thumb",
                time=datetime.now(UTC),
                session="visit",
            )
            for query in ("how", "how", "who")
        ],
    )
    found = read_asked(file, source="log")
    assert sorted(found.questions.values()) == ["how", "who"]
    assert len(set(found.conversations().values())) == 1


def test_questions_that_cannot_be_read_are_named(tmp_path):
    bad = tmp_path / "q.jsonl"
    bad.write_text('{"question": "fine"}\n{"nothing": 1}\n', "utf-8")
    with pytest.raises(DatasetError, match=r"q\.jsonl"):
        read_asked(bad)
    with pytest.raises(InputError, match="no file of questions"):
        read_asked(tmp_path / "none.txt")
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n", "utf-8")
    with pytest.raises(InputError, match="no question"):
        read_asked(empty)


def test_two_files_of_questions_keep_their_ids_apart(tmp_path):
    parts = []
    for name in ("a", "b"):
        file = tmp_path / f"{name}.txt"
        file.write_text(f"where is {name}\n", "utf-8")
        parts.append(read_asked(file))
    assert sorted(joined(parts).questions.values()) == ["where is a", "where is b"]


def test_the_bank_names_fields_and_leaves_out_ones_own():
    bank = foreign_bank()
    assert len(bank) > 250
    assert len({q.stratum for q in bank}) > 10
    assert len(foreign_bank([bank[0].text])) == len(bank) - 1


def test_a_model_writes_questions_and_what_it_cannot_is_counted():
    import httpx

    from rankgate_eval.calibrate.unlabelled.written import written_questions
    from rankgate_eval.paid.endpoint import Endpoint, Model

    def answered(request):
        text = json.loads(request.content)["messages"][-1]["content"]
        said = "" if "snow" in text else '<think>hm</think>"Why does\nit rain?"'
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
        made = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
        return httpx.Response(200, json={**made, "choices": [choice], "usage": usage})

    endpoint = Endpoint(
        Model(name="m", base_url="http://127.0.0.1:1/v1"), transport=httpx.MockTransport(answered)
    )
    found = written_questions(
        {"a": "rain falls", "b": "snow falls"}, endpoint, documents={"a": "d", "b": "d"}
    )
    assert list(found.questions.values()) == ["Why does it rain?"]
    assert list(found.groups.values()) == ["documents:d"]
    assert "1 it could not write" in found.notes[0]


def test_questions_like_the_log_are_heard_more_often():
    planted = rows()[:1000]
    own = [row for row in planted if row.answerable]
    tops = {row.query_id: row.signals.dense_top1 for row in own}
    middle = float(np.median(list(tops.values())))
    rng = np.random.default_rng(0)
    sources = {
        q: "log" if top > middle and rng.random() < 0.5 else "questions" for q, top in tops.items()
    }
    found, notes = chances(planted, sources)
    of = {row.query_id: c for row, c in zip(planted, found, strict=True) if row.answerable}
    assert all(of[q] == 1.0 for q, source in sources.items() if source == "log")
    like = np.array([of[q] for q, s in sources.items() if s != "log" and tops[q] > middle])
    unlike = np.array([of[q] for q, s in sources.items() if s != "log" and tops[q] <= middle])
    assert like.mean() > 2.0 * unlike.mean()
    assert "chance" in notes[0]
    assert chances(planted, dict.fromkeys(tops, "log")) == (None, [])


def test_a_log_of_a_few_questions_says_that_it_decides_nothing():
    planted = [row for row in rows()[:400] if row.answerable]
    sources = {row.query_id: "log" if i < 20 else "documents" for i, row in enumerate(planted)}
    found, notes = chances(planted, sources)
    assert found is None
    assert "20 conversations, and 59" in notes[0]


def test_one_long_document_does_not_count_as_many_others():
    """Its headings once made the log's own look rare wherever a heading looked like one."""
    rng = np.random.default_rng(1)
    others = np.concatenate([rng.normal(1.0, 1.0, 60), rng.normal(-1.0, 0.1, 600)])
    x = np.concatenate([rng.normal(0.0, 1.0, 100), others])[:, None]
    logged = np.arange(x.size) < 100
    groups = [*range(160), *["long"] * 600]
    alone = chances_like(x[:160], logged[:160], groups[:160])[100:]
    beside = chances_like(x, logged, groups)[100:160]
    assert np.corrcoef(alone, beside)[0, 1] > 0.99


def result_of(tmp_path, **changed):
    from report_example import example

    made = example()
    file = tmp_path / "result.json"
    replace(made, **changed).save(file)
    return file, made


@pytest.mark.parametrize(
    ("call", "given", "told"),
    [("ship", True, "says ship"), ("ship_behind_gate", False, "says ship_behind_gate")],
)
def test_only_a_verdict_of_this_scorer_that_says_ship_gives_trust(tmp_path, call, given, told):
    from rankgate_eval.result.call import Call

    file, made = result_of(tmp_path, verdict=Call(call))
    scorer = ScorerInfo(id=made.made.scorer["id"], scale="logit")
    found = trust_of(scorer, verdict=file, trusted=False)
    assert (found.given, told in found.reason) == (given, True)
    other = trust_of(replace(scorer, id="another"), verdict=file, trusted=False)
    assert not other.given
    assert trust_of(scorer, verdict=None, trusted=True).given


@pytest.fixture
def typed(tmp_path, monkeypatch):
    (tmp_path / "my_house.py").write_text(SYSTEM, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_house", raising=False)
    return ["--system", "my_house:search", "--scorer", "my_house:scorer"]


def test_the_command(typed, asked, tmp_path):
    out = tmp_path / "policy.json"
    ran = invoke("calibrate", "--questions", asked, *typed, "--out", out, "--trust-reranker")
    assert ran.exit_code == 0, ran.output
    assert "Guaranteed together at 95% confidence" in ran.output
    assert "of your 500 questions" in ran.output.casefold()
    assert Policy.load(out).provenance["labels"] is False


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give DATA with judged questions"),
        (("--max-loss", "0.1", "--questions"), "goes with labelled data"),
        (("--max-changed", "0", "--questions"), "changed must be above 0"),
    ],
)
def test_the_command_says_what_is_wrong(typed, asked, tmp_path, arguments, told):
    given = [*arguments, asked] if arguments else []
    ran = invoke("calibrate", *given, *typed, "--out", tmp_path / "policy.json")
    assert ran.exit_code == 2
    assert told in " ".join(ran.output.split())


def test_too_few_for_any_guarantee_is_said_before_a_question_is_asked(typed, asked, tmp_path):
    house = tmp_path / "my_house.py"
    asks = "def search(query, k):\n"
    house.write_text(house.read_text("utf-8").replace(asks, f"{asks}    raise SystemExit\n"))
    given = ("--questions", asked, *typed, "--out", tmp_path / "policy.json")
    ran = invoke("calibrate", *given, "--trust-reranker", "--limit", "30")
    assert ran.exit_code == 2, ran.output
    told = " ".join(ran.output.split())
    assert "questions of 30 conversations are too few" in told
    assert "59 are needed there" in told and "at least 118 conversations" in told
    assert not (tmp_path / "policy.json").exists()


def test_a_system_that_gives_fewer_than_k_is_said(house):
    stage = as_stage(lambda query, k: house["search"](query, min(k, 4)))
    scorer = FakeScorer(house["reads"], info=house["scorer"].info)
    few = read_asked_of([f"where is thing {n}" for n in range(118)])
    found = calibrate_unlabelled(few, stage=stage, scorer=scorer, trust=TRUSTED, k=14)
    told = "\n".join(table_lines(found.report))
    assert "gives at most 4 candidates, though 14 were asked for" in told
    assert found.policy.section(found.kind).k == 5, "never fewer than are kept"


def test_candidates_may_be_none():
    def nothing(query, k):
        return [Candidate(id="p", text="t", rank=1, dense=0.1)] if "thing" in query else []

    asked = read_asked_of([f"where is thing {n}" for n in range(130)])
    found = calibrate_unlabelled(
        asked, stage=as_stage(nothing), scorer=FakeScorer(), trust=TRUSTED, k=5
    )
    assert found.certified.section.gate.model is None or found.certified.setting is not None


def read_asked_of(texts):
    from rankgate_eval.calibrate.unlabelled import Asked

    ids = [f"q{i}" for i in range(len(texts))]
    return Asked(
        questions=dict(zip(ids, texts, strict=True)),
        groups={},
        sources=dict.fromkeys(ids, "questions"),
    )
