"""The in-memory index with the real encoder."""

import pytest

from rankgate.retrieve import BM25Index, MemoryIndex
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.metrics import measure


def ids(candidates):
    return [c.id for c in candidates]


@pytest.mark.model
def test_real_encoder_on_real_questions(shared_data, encoder, tmp_path):
    data = Dataset.load(shared_data / "xquad-en")
    few = dict(list(data.corpus.items())[:40])
    index = MemoryIndex.build(few, encoder=encoder, cache=tmp_path)
    queries = [q for q in data.judged() if set(data.relevant(q)) <= set(few)][:60]
    hits = 0
    for q in queries:
        gold = data.relevant(q)[0]
        found = index.search(data.queries[q], 5)
        hits += gold in ids(found)
        assert gold not in ids(index.search(data.queries[q], 40, hidden={gold}))
    index.close()
    assert hits >= 0.9 * len(queries) > 40


@pytest.mark.parametrize("language", ["de", "zh", "ar", "hi", "th"])
def test_words_are_found_in_every_language(shared_data, language):
    def ndcg(name):
        data = Dataset.load(shared_data / f"xquad-{name}")
        index, asked = BM25Index.build(data.corpus.items()), data.splits["dev"]
        found = {q: list(index.search(data.queries[q], 10)) for q in asked}
        return measure(data.qrels, found, asked, names=["ndcg@10"]).values["ndcg@10"].mean()

    assert ndcg(language) >= 0.9 * ndcg("en")
