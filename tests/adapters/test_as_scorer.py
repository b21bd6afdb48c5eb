"""Whatever people already have is taken as a scorer, by looking at it, under a name of its own."""

import functools
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from langchain_rankgate import RankGateRerank
from llama_index.postprocessor.rankgate import RankGateRerank as LlamaRerank
from rankgate import Deadline
from rankgate.adapters.as_scorer import as_scorer
from rankgate.errors import BadScoresError, ConfigError, InputError
from rankgate.scorers import ScoreContext
from rankgate.scorers.build import load
from rankgate.testing import FakeScorer

QUERY = "capital of france"
TEXTS = ["a dog", "paris is the capital of france", "bread", "the capital"]


def shared(query, texts):
    """How many of the query's words a text has."""
    return [float(len(set(query.split()) & set(text.split()))) for text in texts]


WANTED = shared(QUERY, TEXTS)


class Pairs(BaseCrossEncoder):
    model_name = "somebody/cross"

    def score(self, text_pairs):
        return [shared(query, [text])[0] for query, text in text_pairs]


class Predicts:
    def predict(self, pairs):
        return np.array([[shared(q, [t])[0]] for q, t in pairs])


class Flag:
    """FlagEmbedding's shape."""

    normalize = True

    def compute_score(self, pairs):
        return Pairs().score(pairs)


class Ranked:
    """The shape of what the package `rerankers` makes: results in order, by document ids."""

    class Result:
        def __init__(self, identifier, score):
            self.document = type("Document", (), {"doc_id": identifier})()
            self.score = score

    model_name_or_path = "somebody/ranker"
    ranking_type = "pointwise"

    def score(self, query, doc):
        raise AssertionError("one by one is slow")

    def rank(self, query, docs, doc_ids=None):
        values = shared(query, docs)
        order = np.argsort(values, kind="stable")[::-1]
        return [self.Result(doc_ids[i], values[i]) for i in order]


class Places(Ranked):
    """A list-wise one: an order, and no scores."""

    ranking_type = "listwise"

    def rank(self, query, docs, doc_ids=None):
        return [self.Result(r.document.doc_id, None) for r in super().rank(query, docs, doc_ids)]


class Hosted:
    """The shape of LangChain's CohereRerank."""

    model = "rerank-v9"

    def compress_documents(self, documents, query, callbacks=None):
        raise AssertionError("it cuts to its own top_n")

    def rerank(self, documents, query, *, top_n=3):
        values = shared(query, documents)
        best = np.argsort(values, kind="stable")[::-1][:top_n]
        return [{"index": int(i), "relevance_score": values[i]} for i in best]


class Bare:
    """A score of query and texts, and nothing that names it."""

    def score(self, query, texts, context=None):
        return shared(query, texts)


HERE = __name__
TAKEN = {
    "BaseCrossEncoder": (Pairs(), "Pairs/somebody/cross", "raw"),
    "predict": (Predicts(), f"{HERE}:Predicts", "raw"),
    "compute_score": (Flag(), f"{HERE}:Flag", "sigmoid"),
    "rerankers": (Ranked(), "Ranked/somebody/ranker", "raw"),
    "compressor": (Hosted(), "Hosted/rerank-v9", "raw"),
    "score": (Bare(), f"{HERE}:Bare", "raw"),
    "function": (shared, f"{HERE}:shared", "raw"),
    "partial": (functools.partial(shared), f"{HERE}:shared", "raw"),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_it_scores_under_a_name_of_its_own(kind):
    thing, name, scale = TAKEN[kind]
    scorer = as_scorer(thing)
    scores = scorer.score(QUERY, TEXTS)
    assert scores.values.tolist() == WANTED and scores.complete
    assert (scorer.info.id, scorer.info.scale, scores.scale) == (name, scale, scale)
    assert scorer.score(QUERY, []).values.shape == (0,)
    again = pickle.loads(pickle.dumps(scorer))
    assert again.info == scorer.info and again.score(QUERY, TEXTS).values.tolist() == WANTED
    named = as_scorer(thing, id="mine", scale="logit")
    assert (named.info.id, named.info.scale) == ("mine", "logit")


@pytest.mark.parametrize("kind", TAKEN)
def test_both_frameworks_take_it(kind):
    thing = TAKEN[kind][0]
    documents = [Document(page_content=t) for t in TEXTS]
    kept = RankGateRerank(scorer=thing, top_n=2).compress_documents(documents, QUERY)
    nodes = [NodeWithScore(node=TextNode(text=t)) for t in TEXTS]
    found = LlamaRerank(2, scorer=thing).postprocess_nodes(nodes, query_str=QUERY)
    assert [d.page_content for d in kept] == [TEXTS[1], TEXTS[3]]
    assert [n.text for n in found] == [TEXTS[1], TEXTS[3]]


def test_scorers_and_names_are_what_they_were():
    own = FakeScorer()
    assert as_scorer(own) is own
    assert as_scorer("somebody/model").info.id == "cross-encoder/somebody/model"
    with pytest.raises(InputError, match="name themselves"):
        as_scorer(own, id="another")


def test_a_list_wise_ranker_is_asked_once_and_gives_places():
    scorer = as_scorer(Places())
    late = ScoreContext(deadline=Deadline.after(60))
    scores = scorer.score(QUERY, TEXTS * 5, late)
    assert not scorer.pointwise and scores.stats.calls == 1
    assert sorted(scores.values.tolist()) == [float(-i) for i in range(20, 0, -1)]
    best = np.argsort(-scores.values)[:5]
    assert {(TEXTS * 5)[i] for i in best} == {TEXTS[1]}


def test_the_clock_is_read_between_chunks_under_a_deadline_alone():
    asked = []
    deadline = ScoreContext(deadline=Deadline.after(60))

    def noting(query, texts):
        asked.append(len(texts))
        if len(asked) == 3:
            deadline.cancelled.set()
        return shared(query, texts)

    assert as_scorer(noting).score(QUERY, TEXTS * 10).complete and asked == [40]
    scores = as_scorer(noting).score(QUERY, TEXTS * 10, deadline)
    assert asked == [40, 8, 8] and scores.scored.sum() == 16
    assert scores.values[:16].tolist() == WANTED * 4


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([1.0], "given 4 texts and returned numbers of the shape"),
        (np.zeros((4, 2)), r"2 numbers a text.*\[:, 1\]"),
        ([1.0, float("nan"), 0.0, 0.0], "score 1 of 4 is nan"),
        (["a", "b", "c", "d"], "one number for each"),
        (3.0, "one number for each, got float"),
        (None, "one number for each, got NoneType"),
    ],
)
def test_an_answer_that_is_no_number_a_text_says_so(answer, message):
    with pytest.raises(BadScoresError, match=message):
        as_scorer(lambda query, texts: answer).score(QUERY, TEXTS)


def test_what_cannot_score_says_what_can():
    async def later(query, texts):
        return []

    for thing, message in (
        (object(), "scorer cannot be object.*HuggingFaceCrossEncoder"),
        (Pairs, "got the class Pairs: make one"),
        (later, "is async"),
        (lambda query: 1.0, r"must take \(query, texts\)"),
        (3, "scorer cannot be int"),
    ):
        with pytest.raises(InputError, match=message):
            as_scorer(thing)
        with pytest.raises(InputError, match=message):
            LlamaRerank(scorer=thing)  # at construction, not at the first question


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    import tiny_models as tiny

    return tiny.build_cross_encoder(tmp_path_factory.mktemp("models") / "mine")


def test_a_cross_encoder_is_the_same_however_it_comes(saved):
    from langchain_community.cross_encoders import HuggingFaceCrossEncoder
    from llama_index.core.postprocessor import SentenceTransformerRerank
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(saved))
    named = load(f"cross-encoder:{saved}")
    wanted = named.score(QUERY, TEXTS).values
    assert not np.allclose(model.predict([(QUERY, t) for t in TEXTS]), wanted)  # its sigmoid
    given = (
        model,
        HuggingFaceCrossEncoder(model_name=str(saved)),
        SentenceTransformerRerank(model=str(saved), top_n=2, device="cpu", trust_remote_code=False),
    )
    for thing in given:
        scorer = as_scorer(thing)
        assert scorer.info.id == named.info.id and scorer.info.weights == named.info.weights != ""
        assert scorer.info.scale == "logit"
        assert np.allclose(scorer.score(QUERY, TEXTS).values, wanted, atol=1e-5)
    assert type(model.activation_fn).__name__ == "Sigmoid"  # the caller's stays as it was
    again = pickle.loads(pickle.dumps(as_scorer(model)))
    assert np.allclose(again.score(QUERY, TEXTS).values, wanted, atol=1e-5)
    assert as_scorer(model, id="tuned").info.id == "cross-encoder/tuned"


def test_a_model_of_two_labels(tmp_path):
    import tiny_models as tiny
    from langchain_community.cross_encoders import HuggingFaceCrossEncoder
    from sentence_transformers import CrossEncoder

    folder = str(tiny.build_cross_encoder(tmp_path / "two", labels=2))
    model = CrossEncoder(folder)
    with pytest.raises(ConfigError, match=r"2 outputs.*\[:, 1\]"):
        as_scorer(model)
    pairs = [(QUERY, t) for t in TEXTS]
    wanted = np.asarray(model.predict(pairs))[:, 1]
    column = as_scorer(lambda query, texts: model.predict([(query, t) for t in texts])[:, 1])
    assert np.allclose(column.score(QUERY, TEXTS).values, wanted, atol=1e-5)
    # LangChain's class knows the column that counts.
    theirs = as_scorer(HuggingFaceCrossEncoder(model_name=folder))
    assert theirs.info.id == "HuggingFaceCrossEncoder/two"
    assert np.allclose(theirs.score(QUERY, TEXTS).values, wanted, atol=1e-5)


# --- identity ----------------------------------------------------------------------------------


def scaled(by, query, texts):
    return [by * value for value in shared(query, texts)]


def made(by):
    def score(query, texts):
        return [by * len(text) for text in texts]

    return score


def test_functions_that_have_no_name_of_their_own_share_none():
    """Two lambdas once had one identity: one read the other's cache, and met its floor."""
    twice = functools.partial(scaled, 2.0)
    functions = [
        lambda query, texts: [1.0 for _ in texts],
        lambda query, texts: [2.0 for _ in texts],
        lambda query, texts: [float(len(query)) for _ in texts],
        made(1.0),
        made(2.0),
        twice,
        functools.partial(scaled, 3.0),
        functools.partial(twice, by=3.0),
        shared,
    ]
    ids = [as_scorer(f).info.id for f in functions]
    assert len(set(ids)) == len(ids), ids
    assert as_scorer(shared).info.id == f"{__name__}:shared", "a name that says all stays"


def test_the_same_function_has_the_same_identity_again():
    one, other = ((lambda query, texts: [len(t) / 7 for t in texts]) for _ in range(2))
    assert as_scorer(one).info.id == as_scorer(other).info.id
    assert as_scorer(made(2.0)).info.id == as_scorer(made(2.0)).info.id
    code = (
        "from rankgate.adapters.as_scorer import as_scorer\n"
        "words = {'a', 'b', 'c', 'dd'}\n"
        "f = lambda query, texts: [float(t in words or t in {'x', 'y', 'zz'}) for t in texts]\n"
        "print(as_scorer(f).info.id)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1, said
    assert next(iter(said)).startswith("__main__:<lambda>#")


def test_what_a_lambda_captures_names_it_or_it_is_like_no_other():
    def over(model):
        return lambda query, texts: model.score([(query, text) for text in texts])

    class Other(Pairs):
        model_name = "somebody/else"

    assert as_scorer(over(Pairs())).info.id != as_scorer(over(Other())).info.id
    unnamed = [as_scorer(over(Predicts())) for _ in range(2)]
    assert len({s.info.id for s in unnamed}) == 2
    assert all("<lambda>#unnamed-" in s.info.id for s in unnamed)
    assert as_scorer(over(Predicts()), id="mine-1").info.id == "mine-1"
    assert RankGateRerank(scorer=over(Predicts())).compress_documents([], QUERY) == []


def test_a_local_function_that_calls_itself_has_an_identity():
    def count(query, texts):
        return [0.0] if not texts else [1.0, *count(query, texts[1:])]

    assert "#" in as_scorer(count).info.id
