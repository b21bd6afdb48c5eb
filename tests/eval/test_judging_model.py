"""A model as judge: what real ones write, what it costs, and how people's labels rectify it."""

import json
import re

import eval_world as w
import judging_kit as kit
import numpy as np
import pytest
from e2e_server import Fault, ScriptedServer, serving
from typer.testing import CliRunner

from rankgate.cli import build_app
from rankgate.errors import InputError
from rankgate_eval.judging import Kind, Session, Verdict, drawn_questions, standing
from rankgate_eval.judging.model import estimate, fill, read_grades
from rankgate_eval.judging.plan import gain

LISTS = [
    '{"grades": [0, 2, 1]}',
    "[0, 2, 1]",
    '```json\n{"grades": [0, 2, 1]}\n```',
    "Sure! Here are my grades:\n\n```\n[0, 2, 1]\n```\nLet me know if you need more.",
    '<think>Maybe [2, 2, 2]? The first is about zinc {so 0}.</think>\n{"grades": [0, 2, 1]}',
    'I thought of [2, 2, 2] first.</think>{"grades": [0, 2, 1]}',
    '{"1": 0, "2": 2, "3": 1}',
    '{"grades": {"1": 0, "2": "2", "3": 1.0}}',
    '[{"id": 2, "grade": 2}, {"id": 1, "grade": 0}, {"id": 3, "grade": 1}]',
    '{"results": [{"passage": "1", "score": 0}, {"passage": "3", "score": 1}, '
    '{"passage": "2", "score": 2}]}',
    'First draft [1, 1, 1]. On reflection: {"grades": [0, 2, 1]}',
]
UNREADABLE = [
    "",
    "I'm sorry, but I can't help with that.",
    '{"grades": [0, 2]}',
    '{"grades": [0, 2, 3]}',
    '{"grades": [0, 2, true]}',
    '{"grades": [0, 2, 1.5]}',
    '{"grades": "0 2 1"}',
    "<think>[0, 2, 1] seems right, but",
    '[{"id": 1, "grade": 0}, {"id": 1, "grade": 2}, {"id": 3, "grade": 1}]',
    '{"grades": [0, 2, 1',
    "[" * 5000,
]


@pytest.mark.parametrize("text", LISTS)
def test_grades_are_read_out_of_what_models_write(text):
    assert read_grades(text, 3) == [0, 2, 1]


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda t: t[:20])
def test_nothing_is_guessed_of_what_cannot_be_read(text):
    assert read_grades(text, 3) is None


def passages(body):
    said = body["messages"][1]["content"]
    found = re.findall(r'<passage id="\d+">\n(.*?)\n</passage>', said, re.S)
    assert found
    return found


def truthful(body, count):
    """Knows gold when it reads it."""
    return Fault(text=json.dumps({"grades": [2 * t.startswith("gold") for t in passages(body)]}))


def model(server, **changes):
    from rankgate_eval.answers import Endpoint, Model

    return Endpoint(Model(name="judge", base_url=server.url, max_retries=0, **changes))


def session(n=24, seed=0):
    data = w.world(n)
    return data, kit.memory(*kit.drawn(data, w.knowing(), seed=seed))


def test_a_model_judges_every_question_and_nothing_is_paid_twice(tmp_path):
    data, opened = session()
    with serving(ScriptedServer(fault=truthful)) as server:
        found = fill(opened, model(server), folder=tmp_path / "calls")
        assert found.judged == 24 and not found.missing and len(server.requests) == 24
        fill(Session.open(opened.file), model(server), folder=tmp_path / "calls")
        assert len(server.requests) == 24
    kit.answer(opened, data, count=12)
    stands = standing(Session.open(opened.file))
    truth = np.mean([gain(q, kit.truth(data, q)) for q in opened.questions])
    assert (stands.people, stands.modelled) == (12, 24)
    assert stands.guessed["ndcg@10"] == pytest.approx(truth)
    (pair,) = stands.agreements
    assert pair.judges == ("people", "model:judge") and pair.relevant == 1.0
    assert stands.gains["ndcg@10"].trust > 0.3
    assert stands.gains["ndcg@10"].low < truth <= stands.gains["ndcg@10"].high + 1e-9


def test_a_model_that_is_wrong_about_everything_does_not_move_the_answer():
    """It calls gold irrelevant, and every rival relevant: alone it would say the opposite."""

    def lying(body, count):
        return Fault(text=json.dumps([int(not t.startswith("gold")) for t in passages(body)]))

    data, opened = session(40)
    with serving(ScriptedServer(fault=lying)) as server:
        fill(opened, model(server))
    kit.answer(opened, data, count=12)
    found = standing(opened)
    truth = np.mean([gain(q, kit.truth(data, q)) for q in opened.questions])
    assert found.guessed["ndcg@10"] < 0.0 < truth
    assert found.gains["ndcg@10"].low < truth <= found.gains["ndcg@10"].high + 1e-9
    assert found.gains["ndcg@10"].trust == 0.0 and found.gains["ndcg@10"].mean > 0.0


def test_what_cannot_be_read_is_asked_for_once_more_and_then_missing():
    def half(body, count):
        again = len(body["messages"]) > 2
        hopeless = "alpha1 " in body["messages"][1]["content"]
        if hopeless or not again:
            return Fault(text="I'm sorry, I cannot judge people.")
        return truthful(body, count)

    _, opened = session(6)
    with serving(ScriptedServer(fault=half)) as server:
        found = fill(opened, model(server))
        assert len(server.requests) == 12
        assert "grades" in server.requests[-1]["messages"][-1]["content"]
    assert found.judged == 5 and found.missing == {"unreadable": 1}
    refused = ScriptedServer(fault=lambda body, count: Fault(refusal="No."))
    _, opened = session(3)
    with serving(refused) as server:
        assert fill(opened, model(server)).missing == {"refused": 3}
    assert standing(opened).modelled == 0


def test_a_limit_of_cost_is_kept():
    from rankgate_eval.answers import Prices

    prices = Prices.model_validate({"models": {"judge": {"input": 1000.0, "output": 0.0}}})
    _, opened = session(20)
    calls, usage, cost = estimate(opened, "judge", prices)
    assert calls == 20 and cost == pytest.approx(usage.input * 1000.0 / 1e6)
    with serving(ScriptedServer(fault=truthful)) as server:
        found = fill(opened, model(server), prices=prices, max_cost=cost / 3.0, concurrency=1)
    assert 0 < found.judged < 12 and found.stopped and found.cost <= cost / 3.0


def test_a_persons_name_is_never_a_models():
    _, opened = session(3)
    q = opened.questions[0]
    for judge, is_model in (("model:judge", False), ("ann", True)):
        with pytest.raises(InputError, match="begins with model:"):
            opened.add(Verdict(question=q.id, judge=judge, kind=Kind.SKIPPED, model=is_model))


def judge(*arguments, keys=""):
    return CliRunner().invoke(build_app(), ["judge", *map(str, arguments)], input=keys)


def test_the_command_says_the_cost_first_and_reports_what_rectified_it(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "sk-secret")
    data, opened = session()
    kit.answer(opened, data, count=12)
    prices = tmp_path / "prices.toml"
    prices.write_text('currency = "EUR"\n[models.judge]\ninput = 0.5\noutput = 1.0\n')
    with serving(ScriptedServer(fault=truthful, key="sk-secret")) as server:
        asked = (
            *(opened.file, "--llm-judge", "--judge-model", "judge", "--judge-base-url", server.url),
            *("--judge-api-key-env", "JUDGE_KEY", "--prices", prices),
        )
        silent = judge(*asked)
        assert silent.exit_code != 0 and "--yes" in silent.output + str(silent.exception)
        shut = judge(*asked[:6], "--yes")
        assert shut.exit_code != 0 and "key was refused" in shut.output + str(shut.exception)
        assert re.search(r"24 calls to judge at .*: cost 0\.\d+ EUR", silent.stderr)
        assert "leave this machine" in silent.stderr and not server.requests
        done = judge(*asked, "--yes")
        assert done.exit_code == 0, done.output
        assert len(server.requests) == 24
        assert server.requests[0]["temperature"] == 0.0
        found = json.loads(judge(*asked, "--yes", "--json").stdout)
        assert len(server.requests) == 24
    assert "24 questions are judged by the model, 0.0" in done.stderr
    assert "Judged 12 of 24 questions" in done.stdout and "A model judged 24" in done.stdout
    assert "people and model:judge: kappa 1.00" in done.stdout
    assert found["people"] == 12 and found["modelled"] == 24
    assert "sk-secret" not in opened.file.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--judge-model"),
        (("--judge-model", "m"), "address"),
        (("--judge-model", "m", "--judge-base-url", "ftp://x"), "base URL"),
        (
            ("--judge-model", "m", "--judge-base-url", "http://x/v1", "--max-cost", 1, "--yes"),
            "price",
        ),
        (("--judge-model", "fake", "--judge-base-url", "http://x/v1"), "never judges"),
    ],
)
def test_what_is_missing_for_a_model_is_said(options, said):
    ways = kit.ways(w.world(14), w.knowing())
    drawn, texts = drawn_questions(ways, top_n=5)
    file = kit.memory(drawn, texts).file.with_name("own.jsonl")
    Session.create(file, drawn, texts, top_n=5, made={"scorer": "fake"})
    done = judge(file, "--llm-judge", *options)
    assert done.exit_code != 0 and said in done.output + str(done.exception)


def test_labels_of_a_model_are_exported_only_when_asked(tmp_path):
    from rankgate_eval.data.loading import load_dataset
    from rankgate_eval.judging.export import export

    data, opened = session()
    with serving(ScriptedServer(fault=truthful)) as server:
        fill(opened, model(server))
    with pytest.raises(InputError, match="nothing"):
        export(opened, tmp_path / "none")
    kit.answer(opened, data, count=5)
    export(opened, tmp_path / "people")
    export(opened, tmp_path / "both", with_model=True)
    assert len(load_dataset(tmp_path / "people")[0].judged()) == 5
    both, _ = load_dataset(tmp_path / "both")
    assert len(both.judged()) == 24
    by = [both.fields[q]["labelled_by"] for q in both.queries]
    assert by.count("people") == 5 and by.count("model") == 19
