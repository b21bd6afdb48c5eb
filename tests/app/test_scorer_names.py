"""The setting `scorer`: late interaction with question layers of one's own."""

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))
from test_training_models import build_encoder

from rag_app.scorer import scorer_for
from rag_app.settings import Settings
from rankgate.errors import ModelNotFoundError
from rankgate.models import TokenEncoder, TokenStore, save_query_layers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_encoder(tmp_path_factory.mktemp("tiny"), max_length=256)


def test_a_file_behind_late_interaction_reads_the_questions(folder, tmp_path):
    encoder = TokenEncoder.load(folder)
    file = tmp_path / "mine.safetensors"
    sha256 = save_query_layers(encoder.copied_model().state_dict(), file, encoder=encoder.sha256)
    store = TokenStore(tmp_path / "t.sqlite", encoder="tiny", dimension=encoder.dimension)
    settings = Settings(scorer=f"late-interaction:{file}", embedder_path=folder)
    scorer = scorer_for(settings, store)
    assert scorer.query_encoder.sha256 == sha256
    assert scorer.token_store is store and scorer.encoder is encoder
    plain = scorer_for(Settings(scorer="late-interaction", embedder_path=folder), store)
    assert plain.query_encoder is None and plain.info.weights != scorer.info.weights


def test_a_file_that_is_not_there_is_named(folder, tmp_path):
    settings = Settings(scorer=f"late-interaction:{tmp_path / 'none'}", embedder_path=folder)
    with pytest.raises(ModelNotFoundError, match="no query encoder at"):
        scorer_for(settings, None)


@pytest.mark.parametrize("name", ["late-interaction:", "late-interaction: ", "query:x", "late"])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(ValidationError, match="late-interaction:FILE"):
        Settings(scorer=name)
