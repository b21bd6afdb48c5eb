"""The setting `sufficiency`: who reads where the policy is unsure, and what becomes of it."""

from contextlib import closing

import fake_index
import fake_openai
import pytest
import tiny_models
from pydantic import ValidationError

from rag_app.ask.pipeline import Pipeline
from rag_app.ask.scorer import reader_of
from rag_app.checks import diagnose
from rag_app.settings import Settings
from rankgate import Floor, Policy, RelevanceModel
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.sufficiency import Sufficiency
from rankgate.errors import ConfigError
from rankgate.scorers.wrappers.traits import close
from rankgate.testing import FakeScorer

INDEX = fake_index.FakeIndex()
QUESTION = "When does the gate skip reranking?"


def over(name, weight=1.0):
    return Logistic(features=(Feature(name=name, weight=weight),))


def policy_file(tmp_path, reader, name="policy.json"):
    """It always asks; refuses below .1 and calls what is below .5 weak evidence."""
    asks = Sufficiency(
        evidence=over("best", 0.0),
        read=None if reader == "off" else over("reads_best"),
        reader=reader,
        floor=Floor(refuse_below=0.1, weak_below=0.5),
    )
    policy = Policy.unfitted(k=50, top_n=2).with_section(
        "hybrid", reranked=RelevanceModel(model=over("raw"), scale="fake"), sufficiency=asks
    )
    policy.save(tmp_path / name)
    return tmp_path / name


@pytest.fixture
def llm():
    with fake_openai.serving(key="k") as fake:
        yield fake


def settings_of(tmp_path, llm, **changes):
    given = {"policy": policy_file(tmp_path, "llm:m"), "sufficiency": "llm", "openai_model": "m"}
    return Settings(**{**given, "openai_base_url": llm.url, "openai_api_key": "k", **changes})


def answers(settings, *, times=1, **parts):
    with closing(Pipeline(settings, INDEX, scorer=FakeScorer(), **parts)) as asked:
        return [asked.answer(QUESTION) for _ in range(times)]


def answer(settings, **parts):
    return answers(settings, **parts)[0]


@pytest.mark.parametrize(
    ("likely", "status", "weak"),
    [
        ({"yes": 0.9, "no": 0.1}, "answered", False),
        ({"no": 0.7, "yes": 0.3}, "answered", True),
        ({"No": 0.97, "yes": 0.03}, "refused", False),
    ],
)
def test_the_llm_of_the_settings_decides_the_band(tmp_path, llm, likely, status, weak):
    llm.will(fake_openai.Reply(text="-", likely=likely))
    found = answers(settings_of(tmp_path, llm), times=2)
    assert [(r.status, r.weak) for r in found] == [(status, weak)] * 2
    assert len(llm.requests) == 1, "the second time it is remembered"
    assert [r.outcome.stats.tokens for r in found] == [2, 0]
    assert found[0].outcome.sufficiency == pytest.approx(
        sum(p for word, p in likely.items() if word == "yes"), abs=1e-3
    )


def test_a_server_without_log_probabilities_is_asked_for_the_word(tmp_path, llm):
    llm.will(fake_openai.Reply(text="no"))
    found = answer(settings_of(tmp_path, llm))
    assert found.refused and ["logprobs" in body for body in llm.requests] == [True, False]


@pytest.mark.parametrize("reply", [fake_openai.Reply(status=401), fake_openai.Reply(garbage="{}")])
def test_an_llm_that_fails_costs_a_note(tmp_path, llm, reply):
    llm.will(reply)
    found = answer(settings_of(tmp_path, llm))
    assert found.status == "answered"
    assert any("sufficiency_not_read: Remote" in line for line in found.lines())


def test_off_asks_nobody(tmp_path, llm):
    found = answer(settings_of(tmp_path, llm, sufficiency="off"))
    assert found.outcome.sufficiency == pytest.approx(0.5) and llm.requests == []
    assert any("no reader is on" in line for line in found.lines())


def test_no_policy_sends_anything_of_its_own(tmp_path, llm):
    with pytest.raises(ConfigError, match="sent questions and passages: set sufficiency = 'llm'"):
        answer(settings_of(tmp_path, llm, sufficiency=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"openai_model": None}, "needs openai_model"),
        ({"openai_base_url": None, "openai_api_key": None}, "OpenAI's own"),
        ({"openai_model": "other"}, "fitted with: llm:m"),
        ({"policy": None}, "fitted with: off"),
        ({"sufficiency": "nli:x"}, "fitted with: llm:m"),
        ({"sufficiency": "reader:gone"}, "fitted with: llm:m"),
    ],
)
def test_what_does_not_fit_is_told_before_any_question(tmp_path, llm, changes, message):
    with pytest.raises(ConfigError, match=message):
        answer(settings_of(tmp_path, llm, **changes))


@pytest.mark.parametrize("value", ["bundled", "llm:m@http://x", "reader", "yes"])
def test_what_cannot_be_meant_is_told_by_the_setting(value):
    with pytest.raises(ValidationError, match="sufficiency"):
        Settings(sufficiency=value)


def test_a_cross_encoder_of_a_folder_reads(tmp_path):
    folder = tiny_models.build_cross_encoder(tmp_path / "ce")
    settings = Settings(policy=policy_file(tmp_path, f"cross-encoder:{folder}"))
    found = answer(settings)
    assert found.outcome.sufficiency != pytest.approx(0.5) and not found.outcome.notes


def test_paths_are_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    (tmp_path / "here").mkdir()
    for text, found in (
        ("reader:a/r", f"reader:{tmp_path}/a/r"),
        ("reader:~/r", "reader:/home/x/r"),
        ("nli:here", f"nli:{tmp_path}/here"),
        ("nli:org/name", "nli:org/name"),
        ("off", "off"),
    ):
        file = tmp_path / "rankgate.toml"
        file.write_text(f'sufficiency = "{text}"', "utf-8")
        assert Settings.load(config=file).sufficiency == found


def test_of_two_policies_one_may_have_a_reader(tmp_path, llm):
    llm.will(fake_openai.Reply(text="no", likely={"no": 0.97, "yes": 0.03}))
    plain = policy_file(tmp_path, "off", "plain.json")
    for first, second in ((None, plain), (plain, tmp_path / "policy.json")):
        changes = {"policy_b": second} | ({} if first is None else {"policy": first})
        found = answer(settings_of(tmp_path, llm, **changes)).together
        assert {found.a.refused, found.b.refused} == {True, False}


def says(settings):
    return next((c.verdict, c.detail) for c in diagnose(settings) if c.name == "reader")


def test_doctor_says_who_reads(tmp_path, llm):
    assert says(Settings()) == ("ok", "nobody: the policy asks for none")
    verdict, detail = says(settings_of(tmp_path, llm))
    assert verdict == "note" and f"sent to {llm.url}" in detail and llm.requests == []
    verdict, detail = says(settings_of(tmp_path, llm, sufficiency="off"))
    assert verdict == "note" and "off, although" in detail
    verdict, detail = says(settings_of(tmp_path, llm, sufficiency=None))
    assert verdict == "problem" and "'off'" in detail
    gone = Settings(policy=policy_file(tmp_path, "reader:gone"))
    assert says(gone)[0] == "problem" and "no such file" in says(gone)[1]
    hub = Settings(policy=policy_file(tmp_path, "nli:org/name"))
    assert says(hub)[0] == "note" and "downloaded" in says(hub)[1]


def test_one_reader_for_a_whole_server(tmp_path, llm):
    settings = settings_of(tmp_path, llm)
    reader = reader_of(settings, shared=True)
    llm.will(fake_openai.Reply(text="-", likely={"yes": 0.9, "no": 0.1}))
    for _ in range(2):  # a write makes the pipeline anew
        assert answer(settings, reader=reader).outcome.sufficiency == pytest.approx(0.9, abs=1e-3)
    close(reader)
    assert len(llm.requests) == 1
