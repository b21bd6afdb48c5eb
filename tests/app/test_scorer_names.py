"""The setting `scorer`: late interaction with question layers of one's own."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError
from tiny_models import build_encoder, layers_of

from rag_app.ask.scorer import scorer_for
from rag_app.checks import diagnose
from rag_app.settings import Settings
from rankgate import Policy
from rankgate.encoders import TokenEncoder, TokenStore, save_query_layers
from rankgate.errors import ConfigError, ModelNotFoundError
from rankgate.scorers.wrappers.traits import innermost


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_encoder(tmp_path_factory.mktemp("tiny"), max_length=256)


def test_a_file_behind_late_interaction_reads_the_questions(folder, tmp_path):
    encoder = TokenEncoder.load(folder)
    file = tmp_path / "mine.safetensors"
    sha256 = save_query_layers(layers_of(encoder), file, encoder=encoder.sha256)
    store = TokenStore(tmp_path / "t.sqlite", encoder="tiny", dimension=encoder.dimension)
    settings = Settings(scorer=f"late-interaction:{file}", embedder_path=folder)
    scorer = innermost(scorer_for(settings, store))
    assert scorer.query_encoder.sha256 == sha256
    assert scorer.token_store is store and scorer.encoder is encoder
    plain = innermost(scorer_for(Settings(scorer="late-interaction", embedder_path=folder), store))
    assert plain.query_encoder is None and plain.info.weights != scorer.info.weights


def test_a_file_that_is_not_there_is_named(folder, tmp_path):
    settings = Settings(scorer=f"late-interaction:{tmp_path / 'none'}", embedder_path=folder)
    with pytest.raises(ModelNotFoundError, match="no query encoder at"):
        scorer_for(settings, None)


@pytest.mark.parametrize("name", ["late-interaction:", "late-interaction: ", "query:x", "late"])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(ValidationError, match="late-interaction:FILE"):
        Settings(scorer=name)


# --- paths in the config file -----------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder of the config file that is not the working folder, and a home."""
    for name in list(os.environ):
        if name.upper().startswith("RANKGATE_"):
            monkeypatch.delenv(name)
    (tmp_path / "work").mkdir()
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "etc"


def scorer_in(file, value):
    file.write_text(f'scorer = "{value}"\n', "utf-8")
    return Settings.load(config=file).scorer


def test_question_layers_start_at_the_config_files_folder(elsewhere, tmp_path):
    file = elsewhere / "rankgate.toml"
    assert scorer_in(file, "late-interaction:q.st") == f"late-interaction:{elsewhere / 'q.st'}"
    assert scorer_in(file, "late-interaction:/a/q.st") == "late-interaction:/a/q.st"
    at_home = f"late-interaction:{tmp_path / 'home' / 'q.st'}"
    assert scorer_in(file, "late-interaction:~/q.st") == at_home
    assert scorer_in(file, "late-interaction") == "late-interaction"


def test_a_cross_encoders_folder_starts_there_too_and_a_hub_name_stays(elsewhere, tmp_path):
    file = elsewhere / "rankgate.toml"
    (elsewhere / "models" / "mine").mkdir(parents=True)
    found = f"cross-encoder:{elsewhere / 'models' / 'mine'}"
    assert scorer_in(file, "cross-encoder:models/mine") == found
    assert scorer_in(file, "cross-encoder:org/name") == "cross-encoder:org/name"
    assert scorer_in(file, "cross-encoder:~/m") == f"cross-encoder:{tmp_path / 'home' / 'm'}"


def test_outside_of_a_file_only_home_is_filled_in(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKGATE_SCORER", "late-interaction:~/q.st")
    assert Settings.load().scorer == f"late-interaction:{tmp_path / 'home' / 'q.st'}"
    given = Settings.load(overrides={"scorer": "late-interaction:q.st"})
    assert given.scorer == "late-interaction:q.st"


def test_home_is_filled_in_where_the_file_lies_in_the_working_folder(elsewhere, tmp_path):
    Path("rankgate.toml").write_text('policy = "~/p.json"\ndata_dir = "index"\n', "utf-8")
    settings = Settings.load()
    assert settings.policy == tmp_path / "home" / "p.json"
    assert settings.data_dir == Path("index")


@pytest.mark.parametrize("value", ["late-interaction:", "cross-encoder: ", "bm25:x"])
def test_a_bad_name_in_a_file_is_still_refused(elsewhere, value):
    with pytest.raises(ConfigError, match="late-interaction:FILE"):
        scorer_in(elsewhere / "rankgate.toml", value)


# --- what doctor says -------------------------------------------------------------------------


def looked_at(folder, file, tmp_path):
    settings = Settings(
        scorer=f"late-interaction:{file}", embedder_path=folder, data_dir=tmp_path / "none"
    )
    (found,) = [check for check in diagnose(settings) if check.name == "scorer"]
    return found


def test_doctor_reads_question_layers(folder, tmp_path):
    encoder = TokenEncoder.load(folder)
    file = tmp_path / "mine.st"
    sha256 = save_query_layers(layers_of(encoder), file, encoder=encoder.sha256)
    found = looked_at(folder, file, tmp_path)
    assert found.verdict == "ok"
    assert f"questions by {file} (sha256 {sha256[:12]}...)" in found.detail


def test_doctor_names_layers_that_are_missing_damaged_or_anothers(folder, tmp_path):
    encoder = TokenEncoder.load(folder)
    state = layers_of(encoder)
    save_query_layers(state, tmp_path / "foreign", encoder="0" * 64)
    save_query_layers(state, tmp_path / "whole", encoder=encoder.sha256)
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-1])
    said = {
        "none": "rankgate train DATA --method query",
        "cut": "is not a query encoder",
        "foreign": "was tuned for the encoder 000000000000",
    }
    for name, expected in said.items():
        found = looked_at(folder, tmp_path / name, tmp_path)
        assert found.verdict == "problem" and expected in found.detail, name
        assert str(tmp_path / name) in found.detail


# --- memory -----------------------------------------------------------------------------------


def test_collections_share_the_layers_of_a_file(folder, tmp_path, monkeypatch):
    encoder = TokenEncoder.load(folder)
    state = layers_of(encoder)
    save_query_layers(state, tmp_path / "mine.st", encoder=encoder.sha256)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("mine.st")
    one, other, third = (
        innermost(
            scorer_for(Settings(scorer=f"late-interaction:{name}", embedder_path=folder), None)
        )
        for name in (tmp_path / "mine.st", "mine.st", "link")
    )
    assert one is not other
    assert one.query_encoder is other.query_encoder is third.query_encoder


# --- what doctor says of the policy -----------------------------------------------------------


def test_doctor_says_what_is_active_and_what_is_off(folder, tmp_path):
    def lines(policy):
        settings = Settings(policy=policy, embedder_path=folder, data_dir=tmp_path / "none")
        return {c.name: c for c in diagnose(settings)}

    usual = lines(None)
    assert usual["policy"].detail.endswith("analyser bm25s/english/2")
    assert usual["floor"].verdict == "ok" and "refuses a query below" in usual["floor"].detail
    assert "skips where clear_winner" in usual["gate"].detail
    Policy.unfitted().save(tmp_path / "p.json")
    bare = lines(tmp_path / "p.json")
    for name in ("gate", "floor", "probabilities"):
        assert bare[name].verdict == "note"
        assert bare[name].detail.startswith("off") and "rankgate calibrate" in bare[name].detail
