"""The pipeline: what comes out for answered, refused, skipped, degraded and failed questions."""

import hashlib
import json

import fake_index
import pytest

from rag_app.ask.condense import Exchange
from rag_app.ask.pipeline import EmptyIndexError, Pipeline
from rag_app.ask.scorer import scorer_for
from rag_app.generate.answer import REFUSAL, refusal
from rag_app.generate.errors import GeneratorError
from rag_app.settings import Settings
from rankgate import Floor, Policy, RelevanceModel, ScorerInfo
from rankgate.decide.gate import Action, Condition, Gate, Rule
from rankgate.decide.logistic import Feature, Logistic
from rankgate.errors import ConfigError, InputError, ModelNotFoundError, PolicyError
from rankgate.scorers.wrappers.lazy import Lazy
from rankgate.scorers.wrappers.traits import innermost
from rankgate.testing import FailingScorer, FakeScorer

INDEX = fake_index.FakeIndex()
QUESTION = "When does the gate skip reranking?"


def policy_file(tmp_path, *, refuse_below=None, rules=()):
    """A policy for the fake scorer: probability = sigmoid(10 * (raw - 0.3))."""
    model = RelevanceModel(
        model=Logistic(features=(Feature(name="raw", weight=10.0, mean=0.3),)), scale="fake"
    )
    first = RelevanceModel(model=Logistic(features=(Feature(name="dense", weight=10.0, mean=0.2),)))
    policy = Policy.unfitted(k=50, top_n=2).with_section(
        "hybrid",
        reranked=model,
        first_stage=first,
        floor=Floor(refuse_below=refuse_below),
        gate=Gate(rules=rules),
    )
    file = tmp_path / "policy.json"
    policy.save(file)
    return file


ALWAYS_SKIP = (Rule(name="always", conditions=(Condition(signal="candidates", op=">=", value=0),)),)


def pipeline(settings=None, scorer=None, index=INDEX, **kwargs):
    return Pipeline(
        Settings() if settings is None else settings,
        index,
        scorer=FakeScorer() if scorer is None else scorer,
        **kwargs,
    )


def test_an_answered_question(tmp_path):
    result = pipeline(Settings(policy=policy_file(tmp_path))).answer(QUESTION)
    assert result.status == "answered"
    assert result.outcome.status.value == "reranked"
    assert "It skips reranking when the first stage is already right. [1]" in result.answer.text
    assert result.answer.sources[0].heading == "Gate > Purpose"
    assert len(result.passages) == 2
    assert result.nearest_topics == ()
    assert result.exit_code == 0


def test_the_result_is_plain_json_that_says_everything(tmp_path):
    result = pipeline(Settings(policy=policy_file(tmp_path))).answer(QUESTION)
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["status"] == "answered"
    quote = data["sources"][0]["quotes"][0]
    document = INDEX.document_text(data["sources"][0]["document_id"])
    assert document[quote["start"] : quote["end"]] == quote["text"]
    trace = data["trace"]
    assert trace["gate"]["action"] == "rerank"
    assert [row["after"] for row in trace["kept"]] == [1, 2]
    assert all(row["raw_score"] is not None and row["bm25"] is not None for row in trace["kept"])
    assert set(trace["timings_ms"]) == {"retrieve", "rerank", "generate", "total"}
    assert trace["timings_ms"]["total"] >= trace["timings_ms"]["retrieve"] > 0


def test_a_refused_question_says_so_and_what_is_near(tmp_path):
    asked = []

    class Spy:
        mode = "extractive"

        def answer(self, question, context):
            asked.append(question)

    settings = Settings(policy=policy_file(tmp_path, refuse_below=0.9))
    result = pipeline(settings, generator=Spy()).answer("Which bananas ripen first in bowls?")
    assert result.refused
    assert result.answer.text == REFUSAL == "I don't have this information"
    assert result.answer.sources == ()
    assert 1 <= len(result.nearest_topics) <= 3
    assert len(set(result.nearest_topics)) == len(result.nearest_topics)
    assert asked == []  # the generator was not even asked
    assert result.lines()[0].startswith("Refused (below_floor): best probability")


def test_a_floor_of_zero_refuses_nothing(tmp_path):
    settings = Settings(policy=policy_file(tmp_path, refuse_below=0.0))
    assert pipeline(settings).answer("bananas").status == "answered"


def test_a_skipped_question_does_not_touch_the_scorer(tmp_path):
    loads = []

    def load():
        loads.append(1)
        return FakeScorer()

    lazy = Lazy(ScorerInfo(id="fake", scale="fake"), load)
    settings = Settings(policy=policy_file(tmp_path, rules=ALWAYS_SKIP))
    line = pipeline(settings, scorer=lazy)
    result = line.answer(QUESTION)
    assert result.outcome.status.value == "skipped"
    assert (loads, lazy.loaded) == ([], False)
    assert result.lines()[0].startswith("Reranking skipped (always)")
    forced = line.answer(QUESTION, force=Action.RERANK)
    assert forced.outcome.status.value == "reranked"
    assert forced.outcome.reason == "forced"
    assert loads == [1]


def test_a_scorer_that_cannot_be_loaded_degrades_and_is_not_tried_again():
    tries = []

    def load():
        tries.append(1)
        raise ModelNotFoundError("no such model; name another")

    lazy = Lazy(ScorerInfo(id="fake", scale="fake"), load)
    line = pipeline(scorer=lazy)
    for _ in range(2):
        result = line.answer(QUESTION)
        assert result.status == "answered"
        assert result.outcome.status.value == "degraded"
        assert "no such model; name another" in result.lines()[0]
    assert tries == [1]


def test_a_cross_encoder_is_named_before_it_is_loaded(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"weights")
    local = scorer_for(Settings(scorer=f"cross-encoder:{tmp_path / 'mine'}"), None)
    assert (local.info.id, local.info.scale) == ("cross-encoder/mine", "logit")
    assert local.info.weights == hashlib.sha256(b"weights").hexdigest()
    hub = scorer_for(Settings(scorer="cross-encoder:BAAI/bge-reranker-v2-m3"), None)
    assert hub.info.id == "cross-encoder/BAAI/bge-reranker-v2-m3"
    assert not innermost(hub).loaded and not innermost(local).loaded


def test_force_skip_overrules_a_gate_that_would_rerank():
    scorer = FakeScorer()
    result = pipeline(scorer=scorer).answer(QUESTION, force=Action.SKIP)
    assert result.outcome.status.value == "skipped"
    assert scorer.calls == 0


def test_a_failing_scorer_never_fails_the_question():
    result = pipeline(scorer=FailingScorer(RuntimeError("out of memory"))).answer(QUESTION)
    assert result.status == "answered"
    assert result.outcome.status.value == "degraded"
    assert "out of memory" in result.lines()[0]
    assert [p.candidate.rank for p in result.passages] == list(range(1, len(result.passages) + 1))


class BrokenGenerator:
    mode = "extractive"

    def answer(self, question, context):
        raise GeneratorError("the model is down; start it")

    def stream(self, question, context):
        yield "It "
        raise GeneratorError("the model is down; start it")


def test_a_failing_generator_still_shows_what_was_found():
    result = pipeline(generator=BrokenGenerator()).answer(QUESTION)
    assert (result.status, result.answer, result.exit_code) == ("generator_failed", None, 5)
    assert result.error == "the model is down; start it"
    assert len(result.passages) > 0
    data = result.to_dict()
    assert data["error"] == result.error
    assert data["passages"][0]["heading"]
    assert "Generator failed: the model is down; start it" in result.lines()


def test_a_stream_that_breaks_off_ends_with_the_failure():
    events = list(pipeline(generator=BrokenGenerator()).stream(QUESTION, pieces=True))
    assert events[0] == "It "
    assert events[-1].status == "generator_failed"


def test_stream_and_answer_agree():
    line = pipeline()
    events = list(line.stream(QUESTION, pieces=True))
    assert "".join(events[:-1]) == events[-1].answer.text == line.answer(QUESTION).answer.text


@pytest.mark.parametrize("question", ["", "   ", "\n"])
def test_an_empty_question_is_an_error(question):
    with pytest.raises(InputError, match="the question is empty"):
        pipeline().answer(question)


def test_settings_overrule_the_policy():
    line = pipeline(Settings(k=2, top_n=1, deadline_ms=5000))
    outcome = line.answer(QUESTION).outcome
    assert len(outcome.passages) == 2
    assert len(outcome.kept) == 1
    assert line.reranker.policy.section("hybrid").deadline_ms == 5000
    assert len(line.answer(QUESTION, top_n=2).passages) == 2


def test_a_deadline_shorter_than_the_reserve_is_refused_at_once():
    with pytest.raises(PolicyError, match="must exceed reserve_ms"):
        pipeline(Settings(deadline_ms=1))


def test_context_tokens_limit_what_the_generator_reads():
    one = INDEX.embedder.count_tokens(max(INDEX.texts.values(), key=len))
    assert one < 50  # the smallest budget that settings allow holds one passage, not all
    result = pipeline(Settings(context_tokens=50, top_n=4)).answer(QUESTION)
    assert result.answer.read + result.answer.left_out == 4
    assert result.answer.left_out >= 1
    assert any("did not fit into context_tokens" in line for line in result.lines())


def test_an_empty_index_says_what_to_do(tmp_path):
    with pytest.raises(EmptyIndexError, match="rankgate ingest FOLDER"):
        pipeline(index=fake_index.FakeIndex({"d": ("D", [])}))
    missing = Settings(data_dir=tmp_path / "nowhere")
    with pytest.raises(EmptyIndexError, match="nowhere"), Pipeline.open(missing):
        pass
    assert not (tmp_path / "nowhere").exists()


def test_an_unknown_generator_is_refused():
    with pytest.raises(ConfigError, match="extractive or openai"):
        pipeline().answer(QUESTION, generator="oracle")


def test_search_gives_every_candidate_and_no_answer():
    trace = pipeline().search(QUESTION)
    assert len(trace.outcome.passages) == INDEX.count()
    assert trace.answer is None
    assert trace.timings_ms["total"] > 0


def test_same_question_same_result():
    line = pipeline()
    first, second = line.answer(QUESTION), line.answer(QUESTION)
    assert first.answer == second.answer
    assert first.passages == second.passages


HISTORY = (Exchange(question="When does the gate skip reranking?", answer="When it is right. [1]"),)


def test_a_follow_up_is_scored_with_its_history_and_answered_in_the_users_words(tmp_path):
    asked = []

    class Spy:
        mode = "extractive"

        def answer(self, question, context):
            asked.append(question)
            return refusal("extractive")

        stream = None

    scorer = FakeScorer()
    followed = pipeline(scorer=scorer, generator=Spy()).answer("And who fits it?", history=HISTORY)
    assert followed.question == "And who fits it?"
    assert asked == ["And who fits it?"]
    trace = followed
    assert trace.outcome.query == "And who fits it? When does the gate skip reranking?"
    assert trace.searched.by == "rule"
    assert "wording" in trace.timings_ms
    lines = [line for line in trace.lines() if line.startswith("Also searched for: ")]
    assert len(lines) == 2 and lines[0].endswith("(history)")
    assert trace.trace()["searched"]["scored"] == trace.outcome.query


def test_without_history_the_result_is_what_it_was(tmp_path):
    plain = pipeline(Settings(condense="off", rewrite="off")).answer(QUESTION)
    same = pipeline(Settings(rewrite="off")).answer(QUESTION, history=())
    assert same.searched.others == ()
    assert same.outcome.passages == plain.outcome.passages
    assert same.answer == plain.answer
    assert same.trace()["searched"] is None


@pytest.mark.parametrize(("condense", "asked"), [("auto", 1), ("rule", 0), ("off", 0)])
def test_an_llm_condenses_only_where_it_also_answers(condense, asked):
    class Writer:
        mode = "openai"
        heard = ()

        def line(self, task, text, limits):
            self.heard = (*self.heard, text)
            return "Who fits the gate?"

        def answer(self, question, context):
            self.told = question
            return refusal("openai")

        stream = None

    writer = Writer()
    settings = Settings(
        generator="openai", openai_model="m", openai_base_url="http://127.0.0.1:1", rewrite="off"
    ).model_copy(update={"condense": condense})
    result = pipeline(settings, generator=writer).answer("And who fits it?", history=HISTORY)
    assert len(writer.heard) == asked
    assert writer.told == ("Who fits the gate?" if asked else "And who fits it?")
    assert result.question == "And who fits it?"
    # Answered by extraction, nothing is sent to it.
    writer.heard = ()
    pipeline(settings, generator=writer).answer(
        "And who fits it?", history=HISTORY, generator="extractive"
    )
    assert writer.heard == ()


def test_why_no_policy_applies_is_said_also_where_k_is_set():
    plain = pipeline().answer(QUESTION).outcome.notes
    assert any(note.startswith("no_policy") for note in plain)
    assert pipeline(Settings(k=7)).answer(QUESTION).outcome.notes == plain
