"""Sufficiency: what is told of whether the best passages hold the answer, and who is asked."""

import json
from dataclasses import replace

import pytest
from reranker_kit import BY_DENSE, PLATT, SKIP_ALL, TABLE, abcd, policy, slow, texts
from waiting import Clock

from rankgate import Candidate, Deadline, Floor, Policy, Reranker, Status
from rankgate.decide.evidence import EVIDENCE, evidence_of, names_in
from rankgate.decide.floor import Band
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.rank import rank
from rankgate.decide.sufficiency import ReaderName, Sufficiency, reading_features
from rankgate.encoders.locate import file_sha256
from rankgate.errors import ConfigError, PolicyError
from rankgate.testing import FailingScorer, FakeScorer


def over(name, intercept=0.0):
    return Logistic(intercept=intercept, features=(Feature(name=name, weight=1.0),))


# The best of TABLE has logit 3, p = .95; a reader that says -4 makes it p = .02.
ASKS = Sufficiency(
    evidence=over("best"),
    read=over("reads_best"),
    reader="nli:x",
    low=0.5,
    high=0.99,
    floor=Floor(refuse_below=0.1, weak_below=0.5),
)


def reranker(reader, scorer=None, **section):
    section = {"reranked": PLATT, "sufficiency": ASKS, **section}
    given = FakeScorer(TABLE) if scorer is None else scorer
    return Reranker(given, policy=policy(**section), sufficiency=reader)


def says(value):
    return FakeScorer(dict.fromkeys("abcd", value))


@pytest.mark.parametrize(
    ("value", "band", "kept"), [(4.0, Band.ANSWER, 4), (-1.0, Band.WEAK, 4), (-4.0, Band.REFUSE, 0)]
)
def test_a_reader_decides_the_band_where_likeness_leaves_doubt(value, band, kept):
    out = reranker(says(value)).rerank("q", abcd())
    assert out.band is band and len(out.kept) == kept
    assert out.sufficiency == pytest.approx(1 / (1 + 2.718281828 ** (-value)))
    assert texts(out.passages) == ["b", "c", "a", "d"], "it orders nothing"
    assert "read" in out.timings_ms


def test_refusal_says_what_was_too_low():
    out = reranker(says(-4.0)).rerank("q", abcd())
    assert (out.status, out.reason) == (Status.REFUSED, "below_floor")
    assert "hold the answer" in out.detail and "0.018" in out.detail


def test_no_reader_is_asked_outside_the_bounds():
    for low, high in ((0.96, 0.99), (0.1, 0.9)):
        asks = replace(ASKS, low=low, high=high)
        out = reranker(FailingScorer(RuntimeError("asked")), sufficiency=asks).rerank("q", abcd())
        assert out.sufficiency == pytest.approx(0.9526, abs=1e-3) and not out.notes


def test_a_reader_sees_the_best_five_in_their_final_order():
    seen = []

    def value(_query, text):
        seen.append(text)
        return 1.0

    reranker(FakeScorer(value)).rerank("q", [*"abcd", "e", "f"][:4])
    assert seen == ["b", "c", "a", "d"]


@pytest.mark.parametrize(
    ("reader", "says_why"),
    [
        (FailingScorer(RuntimeError("gone")), "RuntimeError: gone"),
        (FakeScorer(dict.fromkeys("abcd", float("nan"))), "BadScoresError"),
        ("off", "no reader is on"),
    ],
)
def test_without_a_reading_the_evidence_decides_and_a_note_says_so(reader, says_why):
    out = reranker(reader).rerank("q", abcd())
    assert out.band is Band.ANSWER and out.sufficiency == pytest.approx(0.9526, abs=1e-3)
    (note,) = out.notes
    assert note.startswith("sufficiency_not_read: ") and says_why in note


def test_a_reader_has_the_time_that_is_left():
    clock = Clock()
    limit = Deadline.after(5.0, clock=clock)
    late = reranker(slow(clock, 3.0))
    out = late.rerank("q", abcd(), deadline=limit)
    assert out.status is Status.RERANKED and out.notes[0].startswith("sufficiency_not_read: ")


def test_what_was_read_in_part_refuses_nothing():
    clock = Clock()
    out = reranker(says(-9.0), slow(clock, 3.0)).rerank(
        "q", abcd(), deadline=Deadline.after(5.0, clock=clock)
    )
    assert out.status is Status.DEGRADED and out.sufficiency is None
    assert any(n.startswith("sufficiency_not_applied: ") for n in out.notes)


def test_skipped_questions_are_judged_too():
    asks = replace(ASKS, evidence=over("best", intercept=-4.0), low=0.0)
    out = reranker(says(-4.0), gate=SKIP_ALL, first_stage=BY_DENSE, sufficiency=asks).rerank(
        "q", abcd(dense=[0.9, 0.5, 0.4, 0.3])
    )
    assert out.refused and out.path.value == "skipped"


def test_the_gate_may_not_skip_what_sufficiency_cannot_judge():
    out = reranker("off", gate=SKIP_ALL).rerank("q", abcd())
    assert out.reason == "floor_needs_score"


def test_where_a_feature_is_missing_the_floor_of_the_section_stands():
    asks = replace(ASKS, evidence=over("dense"))
    out = reranker("off", sufficiency=asks, floor=Floor(refuse_below=0.99)).rerank("q", abcd())
    assert out.refused and out.sufficiency is None
    assert out.notes == ("sufficiency_not_applied: a feature that it reads is missing",)


def test_no_candidates_is_no_refusal():
    assert not reranker("off").rerank("q", []).refused


def test_a_batch_changes_no_outcome():
    from rankgate.plan import Request

    one = reranker(says(-1.0))
    alone = one.rerank("q", abcd())
    both = one.rerank_many([Request(query="q", candidates=abcd()) for _ in range(2)])
    assert [o.sufficiency for o in both] == [alone.sufficiency] * 2


def test_a_policy_with_it_is_written_and_read_back_and_older_ones_have_none(tmp_path):
    made = policy(reranked=PLATT, sufficiency=ASKS)
    made.save(tmp_path / "p.json")
    assert Policy.load(tmp_path / "p.json") == made
    plain = policy(reranked=PLATT)
    assert "sufficiency" not in json.dumps(plain.to_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low": 0.9, "high": 0.2}, "in order"),
        ({"reader": "off"}, "go together"),
        ({"read": None}, "go together"),
        ({"evidence": over("raw")}, "unknown feature 'raw'"),
        ({"evidence": over("reads_best")}, "unknown feature 'reads_best'"),
        ({"floor": Floor(drop_below=0.1)}, "for passages"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, message):
    with pytest.raises(PolicyError, match=message):
        replace(ASKS, **change)


def test_another_reader_than_the_policys_is_refused_with_the_command():
    with pytest.raises(ConfigError, match=r"fitted with: nli:x.*--sufficiency nli:y"):
        reranker("nli:y")
    with pytest.raises(ConfigError, match="fitted with: off"):
        Reranker(FakeScorer(TABLE), policy=policy(), sufficiency="nli:x")


@pytest.mark.parametrize("text", ["", "bundled", "llm:", "nli", "cross-encoder: ", "on", None])
def test_unknown_settings_name_the_known_ones(text):
    with pytest.raises(ConfigError, match="cross-encoder:NAME, nli:NAME, llm:MODEL@URL or off"):
        ReaderName.parse(text)


def test_settings_that_are_known():
    for text in ("nli:x", "off", "llm", "reader:a b/c", "cross-encoder:a/b", "llm:@cf/m@http://x"):
        assert str(ReaderName.parse(f" {text} ")) == text
    assert ReaderName.parse("llm:@cf/m@http://x").fitted == "llm:@cf/m"


def test_an_llm_is_the_policys_wherever_it_is_served():
    asks = replace(ASKS, reader="llm:m")
    with pytest.raises(ConfigError, match="llm:m@URL"):
        reranker(None, sufficiency=asks)
    with pytest.raises(ConfigError, match="fitted with: llm:m"):
        reranker("llm:other@http://127.0.0.1:9", sufficiency=asks)
    assert reranker("llm:m@http://127.0.0.1:9", sufficiency=asks).reader.info.id.endswith("/m")


def test_a_file_is_the_policys_by_its_bytes_wherever_it_lies(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    asks = replace(ASKS, reader="reader:gone", provenance={"weights": file_sha256(tmp_path / "a")})
    assert reranker(f"reader:{tmp_path / 'a'}", sufficiency=asks).reader is not None
    with pytest.raises(ConfigError, match="fitted with: reader:gone"):
        reranker(f"reader:{tmp_path / 'b'}", sufficiency=asks)
    with pytest.raises(ConfigError, match="no such file"):
        reranker(None, sufficiency=asks)


def test_what_reading_took_is_counted_with_the_scorers():
    plain = reranker("off").rerank("q", abcd()).stats
    assert reranker(says(1.0)).rerank("q", abcd()).stats.pairs == plain.pairs + 4


PASSAGES = [
    Candidate(id="1", text="The warranty lasts long. It began in May 2019 for pumps.", rank=1),
    Candidate(id="2", text="Ask Maria Lopez about pumps.", rank=2),
]


def test_evidence_is_of_these_passages_alone():
    found = evidence_of("When did the warranty for pumps begin?", PASSAGES, [1.0, -2.0])
    words = {"coverage": pytest.approx(0.55, abs=0.3), "names": 1.0}
    assert found == {"best": 1.0, "gap": 3.0, **words}
    assert evidence_of("q", PASSAGES[:1], [1.0])["gap"] == 0.0
    assert evidence_of("warranty", PASSAGES, [None, None]) == {"coverage": 1.0, "names": 1.0}
    near = [replace(PASSAGES[0], dense=0.4), replace(PASSAGES[1], dense=0.6)]
    assert evidence_of("x", near, [0.0, 0.0])["dense"] == 0.6
    assert "dense" not in evidence_of("x", [near[0], PASSAGES[1]], [0.0, 0.0])


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("Does it run beside Elasticsearch and MongoDB?", ["Elasticsearch", "MongoDB"]),
        ("Who was Panthers' coach in 2015?", ["Panther", "2015"]),
        ("How does this work? Can I use Word 97 files?", ["Word", "97"]),
        ("MongoDB or chunk_tokens?", ["MongoDB"]),
        ("WHY DOES IT NOT WORK", []),
        ("what is a gate", []),
        ("Wann wurde der Vertrag von Wien geschlossen?", []),
        ("Wie lange galt der Vertrag von 1815?", ["1815"]),
        ("2015\u5e74\u9ed1\u8c79\u961f\u7684\u9632\u5b88", ["2015"]),
        (
            "\u041a\u043e\u0433\u0434\u0430 \u0443\u043c\u0435\u0440 \u041f\u0435\u0442\u0440?",
            ["\u041f\u0435\u0442\u0440"],
        ),
        ("", []),
    ],
)
def test_names_and_numbers_of_a_question(question, names):
    assert names_in(question) == names


@pytest.mark.parametrize(
    ("question", "share"),
    [
        ("Who is Maria Lopez?", 1.0),
        ("Who is Maria Lopes?", 1.0),  # misspelt
        ("Who is Maria Sanchez?", pytest.approx(5 / 12)),
        ("Was it May 2019?", 1.0),
        ("Was it in 2018?", 0.0),  # no misspelling: another year
        ("Who is MARIA's friend?", 1.0),
        ("How long is the warranty?", 1.0),
        ("Are Pumps covered?", 1.0),
        ("Is Zendesk covered?", 0.0),
    ],
)
def test_what_share_of_the_names_stands_in_the_passages(question, share):
    assert evidence_of(question, PASSAGES, [0.0, 0.0])["names"] == share


def test_who_asks_about_something_that_no_passage_names_is_told_by_default():
    """Once 24 of 30 questions about what the documents do not speak of were plainly answered."""
    section = Policy.default().section("hybrid")
    logit = -1.5  # likely enough for the floor on likeness alone, p = .18
    there, gone = (
        section.sufficiency.judge(evidence_of(q, PASSAGES, [logit, -3.0]))
        for q in ("How long is the warranty for pumps?", "How long is the warranty for Zendesk?")
    )
    assert section.sufficiency.floor.band(there.probability) is Band.ANSWER
    assert section.sufficiency.floor.band(gone.probability) is Band.WEAK
    assert not section.floor.refuses(1 / (1 + 2.718281828 ** (-logit)))


def test_evidence_of_nothing_much():
    for question, passages in (("", PASSAGES), ("?!", PASSAGES), ("who", []), ("x", PASSAGES[:1])):
        found = evidence_of(question, passages, [0.0] * len(passages))
        assert set(found) <= set(EVIDENCE)
        assert all(v == v for v in found.values())


def test_reading_features():
    assert reading_features([1.0, -3.0]) == {"reads_best": 1.0, "reads_mean": -1.0}


def test_without_a_refusal_of_its_own_likeness_refuses_and_names_call_it_weak():
    own = Sufficiency(
        evidence=Logistic(intercept=-2.0, features=(Feature(name="names", weight=4.0),)),
        floor=Floor(weak_below=0.5),
    )
    policy = Policy.default()
    hybrid = policy.section("hybrid")
    plain = policy.with_section("hybrid", sufficiency=None)
    judged = policy.with_section("hybrid", sufficiency=own)
    assert judged.section("hybrid").refuses_by == hybrid.floor
    for dense, text, band in (
        (0.8, "The warranty of Bosch machines lasts two years.", Band.ANSWER),
        (0.8, "The warranty of such machines lasts two years.", Band.WEAK),
        (-0.2, "The warranty of such machines lasts two years.", Band.REFUSE),
    ):
        candidates = [Candidate(id="a", text=text, rank=1, dense=dense, bm25=dense * 10)]
        question = "how long is the warranty of a Bosch machine"
        found, before = (
            rank(question, candidates, None, p.section("hybrid")) for p in (judged, plain)
        )
        assert found.band is band
        assert found.refused == before.refused and found.order.tolist() == before.order.tolist()


def test_the_default_floor_refuses_nobody_for_a_name_alone():
    floor = Policy.default().section("hybrid").sufficiency.floor
    assert floor.refuse_below is None and floor.weak_below is not None
