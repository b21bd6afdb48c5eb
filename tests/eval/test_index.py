"""The in-memory index with the real encoder."""

import pytest

from rankgate.retrieve import MemoryIndex
from rankgate_eval.data.dataset import Dataset


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
