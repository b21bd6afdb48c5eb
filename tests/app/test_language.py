"""The encoder is English, and ingestion says so of a text that is not."""

import ingest_files as files
import pytest

from rag_app.ingest.ingestion import ingest
from rag_app.ingest.language import not_english
from rankgate.encoders.locate import MINILM_SHA256
from rankgate_eval.data.dataset import Dataset

GERMAN = "Die Bremse ist nicht mit dem Motor verbunden, und das Rad dreht sich auch ohne sie. " * 4
ENGLISH = "The brake is not connected to the engine, and the wheel turns without it as well. " * 4


@pytest.mark.parametrize("text", [GERMAN, "这是一份关于机器维护的中文手册请仔细阅读每一页。" * 2])
def test_another_language(text):
    assert not_english(text)
    assert not not_english(ENGLISH + text[:40])


@pytest.mark.parametrize("text", ["", "x = 1\n" * 40, "a;b;c\n1;2;3\n" * 20, "naïve café", ENGLISH])
def test_english_numbers_and_code_are_no_other_language(text):
    assert not not_english(text)


@pytest.mark.parametrize("language", ["de", "zh", "ar", "hi", "th", "en"])
def test_real_passages(shared_data, language):
    passages = list(Dataset.load(shared_data / f"xquad-{language}").corpus.values())
    texts = [" ".join(passages[i : i + 4]) for i in range(0, len(passages), 4)]
    said = sum(map(not_english, texts))
    assert said == 0 if language == "en" else said >= 0.95 * len(texts)


def test_a_file_in_another_language_is_noted_once(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "de.txt").write_text(GERMAN, "utf-8")
    (tmp_path / "docs" / "en.txt").write_text(ENGLISH, "utf-8")
    embedder = files.FakeEmbedder()
    settings = files.make_settings(tmp_path)
    assert not ingest([tmp_path / "docs"], settings, embedder=embedder).notes
    embedder.sha256 = MINILM_SHA256
    notes = ingest([tmp_path / "docs"], settings, embedder=embedder, rebuild=True).notes
    ((source, (note,)),) = notes.items()
    assert source.endswith("de.txt") and "not in English" in note
