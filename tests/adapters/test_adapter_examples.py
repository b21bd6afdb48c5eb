"""Every example of the framework components runs offline, without a warning, and says something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
EXPECTED = {
    "langchain_over_chroma.py": ["skipped (clear_winner", "E24 means", "refused (below_floor"],
    "langchain_hybrid.py": ["net-2: rank 1 -> 1", "without the second stage"],
    "langchain_compressor.py": ["Returns are accepted", "nothing relevant"],
    "langchain_batch.py": [
        "The television updates its firmware at night.",
        "missing ['vectors']",
        "calls of the scorer for 3 questions: 1",
        "a question that is none: InputError",
    ],
    "langchain_chain.py": [
        "Within |thirty |days, |if |they |are |unused.",
        "streamed untouched: True",
        "I don't have this information.",
    ],
    "langchain_agent.py": [
        "According to the manuals: Error E24 means",
        "According to the manuals: No relevant document was found for this question.",
    ],
    "migration/langchain_cross_encoder.py": [
        "the same documents in the same order: True",
        "before, when the model fails: RuntimeError",
        "after, when the model fails: degraded",
    ],
    "migration/langchain_cohere_rerank.py": [
        "the same documents in the same order: True; asked for ['rerank-v3.5', 'rerank-v3.5']",
        "before, without the server: ConnectError",
        "after, without the server: degraded, 2 found",
    ],
    "migration/langchain_flashrank.py": [
        "before, not run: FlashrankRerank",
        "Rubbish is collected on Thursdays",
        "capital of Mongolia nothing relevant",
    ],
    "migration/langchain_embeddings_filter.py": [
        "before: 12 texts embedded for 2 questions",
        "after: who wrote the opera Carmen? []",
        "after: 2 texts embedded for 2 questions",
    ],
    "llamaindex_rerank.py": ["Tickets cost twelve", "nothing relevant"],
    "llamaindex_query_engine.py": [
        "Guided tours begin",
        "Tickets cost twelve",
        "Empty Response (refused, below_floor: best probability",
        "Photographs are allowed without flash.\nCoats and bags",
    ],
    "llamaindex_chat.py": [
        "Parcels up to two kilograms",
        "kept at the depot for seven days",
        "[refused, below_floor; 0 of 4 passages kept]\n  I don't have this information.",
    ],
    "migration/llamaindex_sentence_transformer.py": [
        "before, the first stage's scores are gone: True",
        "after, they are where they were: True",
        "nodes in the same order: True, with the same scores: True",
        "after, when the model fails: degraded, ['n0', 'n1']",
    ],
}


def test_each_example_is_listed_here():
    patterns = ("langchain_*.py", "llamaindex_*.py")
    found = {f for pattern in patterns for f in FOLDER.rglob(pattern)}
    assert {f.relative_to(FOLDER).as_posix() for f in found} == set(EXPECTED)


@pytest.mark.model
@pytest.mark.parametrize("name", EXPECTED)
def test_example(name, tmp_path):
    # That the default policy reads no cosine of an embedder without a name is no error.
    told = "default::UserWarning:rankgate.adapters.late"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", told, str(FOLDER / name)],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in EXPECTED[name]:
        assert words in done.stdout
    assert list(tmp_path.iterdir()) == [], "an example left files behind"
