"""`rankgate calibrate --sufficiency` seen whole: fitted, written, and served by what was fitted."""

import json
import sys
from pathlib import Path

import fake_openai
import pytest
import tiny_models
from command_kit import invoke
from waiting import Clock

from rankgate import Deadline, Policy, Reranker
from rankgate.decide.floor import Band
from rankgate.judge.reading import load_reader
from rankgate.scorers.wrappers.traits import close
from rankgate.testing import FakeScorer

# Questions about a dog are answered nowhere; the search notices nothing, the scorer little.
SYSTEM = """
import hashlib
from rankgate import Candidate
from rankgate.scorers import ScorerInfo
from rankgate.testing import FakeScorer

def noise(*words):
    digest = hashlib.sha256(" ".join(words).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32

def search(query, k):
    number = int(query.split()[-1])
    rows = []
    for name in (f"p{number + d}" for d in range(8)):
        right = name == f"p{number}"
        rows.append((0.3 + 0.2 * noise("d", query, name) + 0.15 * right,
                     4.0 * noise("b", query, name) + 2.0 * right, name))
    rows.sort(reverse=True)
    return [Candidate(id=n, text=f"the river {n[1:]}", rank=i, dense=d, bm25=b)
            for i, (d, b, n) in enumerate(rows[:k], start=1)]

def read(query, text):
    right = text.split()[-1] == query.split()[-1]
    return (1.2 if "dog" in query else 2.4) * right + 2.0 * noise("s", query, text)

scorer = FakeScorer(read, info=ScorerInfo(id="planted", scale="planted"))
"""
DEV = 110


@pytest.fixture
def folder(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    for name, key, text, n in (
        ("data/corpus.jsonl", "p", "the river ", DEV + 8),
        ("data/queries.jsonl", "q", "what about the cat ", DEV),
        ("none.jsonl", "u", "what about the dog ", DEV),
    ):
        rows = [json.dumps({"_id": f"{key}{i}", "text": f"{text}{i}"}) for i in range(n)]
        (tmp_path / name).write_text("\n".join(rows), "utf-8")
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\tp{i}\t1" for i in range(DEV))]
    (data / "qrels.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    (tmp_path / "planted_asks.py").write_text(SYSTEM, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("RANKGATE_OPENAI_API_KEY", "k")
    yield tmp_path
    sys.modules.pop("planted_asks", None)


def calibrated(reader):
    found = invoke(
        *("calibrate", "data", "--system", "planted_asks:search"),
        *("--scorer", "planted_asks:scorer", "--unanswerable", "none.jsonl", "--negatives", "none"),
        *("--sufficiency", reader, "--false-refusals", "0.15", "--report", ".", "--k", "8"),
    )
    assert found.exit_code == 0, found.output
    report = json.loads(Path("calibration.json").read_text("utf-8"))
    part = report["parts"]["sufficiency"]
    return found.output, part, Policy.load("policy.json")


def asked(policy, question, reader=None, seconds=0.0):
    """By the policy; the scorer takes so long for each of 8 texts, and 5 s are given for all."""
    import planted_asks

    clock = Clock()

    def read(query, text):
        clock.advance(seconds)
        return planted_asks.read(query, text)

    scorer = FakeScorer(read, info=planted_asks.scorer.info)
    return Reranker(scorer, policy=policy, sufficiency=reader).rerank(
        question, planted_asks.search(question, 8), deadline=Deadline.after(5.0, clock=clock)
    )


def knows_dogs(kind, folder):
    """A model of the form that people bring, trained for a moment: yes where none is asked of."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    labels = 1 if kind == "cross-encoder" else 2
    tiny_models.build_cross_encoder(folder, labels=labels)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.config.id2label, model.config.label2id = (
        ({0: "unanswerable", 1: "answerable"}, {"unanswerable": 0, "answerable": 1})
        if labels == 2
        else (model.config.id2label, model.config.label2id)
    )
    first = [f"what about the {a} {n}" for n in range(16) for a in ("cat", "dog")]
    rows = tokenizer(
        first, [f"the river {n}" for n in range(32)], padding=True, return_tensors="pt"
    )
    y = torch.tensor([1.0, 0.0] * 16)
    step = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(80):
        out = model(**rows).logits
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            out[:, -1] - (out[:, 0] if labels == 2 else 0.0), y
        )
        step.zero_grad()
        loss.backward()
        step.step()
    assert loss < 0.2
    model.save_pretrained(folder)
    return f"{kind}:{folder}"


@pytest.mark.parametrize("kind", ["cross-encoder", "nli"])
def test_a_model_that_knows_is_fitted_written_and_served(folder, kind):
    folder.joinpath("model").mkdir()
    reader = knows_dogs(kind, folder / "model")
    output, part, policy = calibrated(reader)
    assert part["kept"], output
    assert "by the best probability alone" in output and "weak evidence" in output
    fitted = policy.section("hybrid").sufficiency
    assert fitted.reader == reader and part["check"]["after"]["answered"] < 0.2
    # Between the bounds alone a reader is asked.
    assert part["check"]["after"]["read"] < 0.6
    questions = [f"what about the {a} {n}" for n in range(20) for a in ("cat", "dog")]
    found = [asked(policy, q) for q in questions]
    bands = [[o.band for o in found[i::2]] for i in (0, 1)]
    assert bands[0].count(Band.REFUSE) <= 4 < 14 <= bands[1].count(Band.REFUSE)
    assert any("read" in o.timings_ms for o in found) and not any(o.notes for o in found)


def test_an_llm_behind_a_socket_is_fitted_written_and_served(folder):
    yes, no = ({"yes": p, "no": 1.0 - p} for p in (0.9, 0.1))
    with fake_openai.serving(key="k") as llm:
        llm.says = lambda body: fake_openai.Reply(
            text="-", likely=no if "dog" in body["messages"][-1]["content"] else yes
        )
        output, part, policy = calibrated(f"llm:m@{llm.url}")
        assert part["kept"], output
        assert part["check"]["reading"] == {
            "calls": len(llm.requests),
            "tokens": 2 * len(llm.requests),
        }
        assert 2 * DEV == len(llm.requests), "once a question"
        assert policy.section("hybrid").sufficiency.reader == "llm:m", "no address is kept"
        reader = load_reader(f"llm:m@{llm.url}", api_key="k")
        questions = [f"what about the dog {n}" for n in range(20)]
        found = [asked(policy, q, reader) for q in questions]
        assert sum(o.refused for o in found) >= 14
        n = len(llm.requests)
        late = [asked(policy, q, reader, seconds=0.63) for q in questions]
        close(reader)
        assert len(llm.requests) == n
    read = [o for o in found if "read" in o.timings_ms]
    noted = [o for o in late if any("not_read" in n for n in o.notes)]
    assert len(read) == len(noted) >= 2
    assert {o.notes[0] for o in noted} == {"sufficiency_not_read: no time was left"}


def test_a_model_that_knows_nothing_is_not_kept_and_says_so(folder):
    folder.joinpath("model").mkdir()
    tiny_models.build_cross_encoder(folder / "model")
    output, part, policy = calibrated(f"cross-encoder:{folder / 'model'}")
    assert not part["kept"] and "not kept" in part["reason"] and "not kept" in output
    assert policy.section("hybrid").sufficiency is None


def test_names_that_no_passage_has_are_fitted_without_a_reader(folder):
    rows = [{"_id": f"u{i}", "text": f"what about the dog Zendesk {i}"} for i in range(DEV)]
    Path("none.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    _, part, policy = calibrated("evidence")
    assert part["kept"] and part["check"]["reading"]["calls"] == 0, part["reason"]
    found = policy.section("hybrid").sufficiency
    assert found.reader == "off" and found.read is None
    refused = [asked(policy, f"what about the dog Zendesk {n}").refused for n in range(10)]
    assert sum(refused) >= 8
