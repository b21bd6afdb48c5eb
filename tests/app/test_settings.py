"""Settings: where values come from, and that nothing unknown is believed."""

import re

import pytest
from pydantic import ValidationError

from rag_app.settings import Settings
from rankgate.errors import ConfigError


@pytest.fixture(autouse=True)
def _clean_place(tmp_path, monkeypatch):
    """An empty working folder and no RANKGATE_ variable from outside."""
    import os

    for name in list(os.environ):
        if name.upper().startswith("RANKGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults_are_the_documented_ones():
    settings = Settings.load()
    assert str(settings.data_dir) == ".rankgate"
    assert (settings.generator, settings.scorer) == ("extractive", "late-interaction")
    assert (settings.chunk_tokens, settings.chunk_overlap) == (200, 40)
    assert settings.k is None and settings.top_n is None and settings.policy is None
    assert set(settings.origins.values()) == {"default"}
    assert settings.file is None


def test_each_layer_overrules_the_one_below_and_origins_say_so(tmp_path, monkeypatch):
    (tmp_path / "rankgate.toml").write_text("k = 10\ntop_n = 3\ncontext_tokens = 700\n")
    monkeypatch.setenv("RANKGATE_TOP_N", "4")
    monkeypatch.setenv("RANKGATE_CONTEXT_TOKENS", "800")
    settings = Settings.load(overrides={"context_tokens": 900, "collection": None})
    assert (settings.k, settings.top_n, settings.context_tokens) == (10, 4, 900)
    origins = settings.origins
    assert origins["k"] == "file"
    assert origins["top_n"] == "environment"
    assert origins["context_tokens"] == "command line"
    assert origins["collection"] == "default"


def test_constructor_reads_neither_file_nor_environment(tmp_path, monkeypatch):
    (tmp_path / "rankgate.toml").write_text("k = 10\n")
    monkeypatch.setenv("RANKGATE_TOP_N", "4")
    settings = Settings(context_tokens=900)
    assert (settings.k, settings.top_n) == (None, None)
    assert settings.origins["context_tokens"] == "command line"
    assert settings.origins["k"] == "default"


def test_unknown_key_in_file_names_it_and_the_nearest(tmp_path):
    (tmp_path / "rankgate.toml").write_text("chunk_token = 100\n")
    with pytest.raises(ConfigError, match=r"'chunk_token'; did you mean chunk_tokens\?"):
        Settings.load()


def test_unknown_environment_variable_is_refused(monkeypatch):
    monkeypatch.setenv("RANKGATE_GENERATR", "openai")
    with pytest.raises(ConfigError, match=r"RANKGATE_GENERATR'; did you mean RANKGATE_GENERATOR\?"):
        Settings.load()


def test_unknown_override_is_refused():
    with pytest.raises(ConfigError, match="unknown setting 'topn'"):
        Settings.load(overrides={"topn": 3})


def test_unknown_constructor_argument_is_refused():
    with pytest.raises(ValidationError, match="topn"):
        Settings(topn=3)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RANKGATE_K", "many", "k (environment)"),
        ("RANKGATE_K", "0", "k (environment)"),
        ("RANKGATE_SPACE", "manhattan", "space (environment)"),
        ("RANKGATE_SCORER", "cross-encoder:", "unknown scorer"),
        ("RANKGATE_SCORER", "bm25", "late-interaction:FILE"),
        ("RANKGATE_COLLECTION", "../up", "a collection's name"),
        ("RANKGATE_CHUNK_OVERLAP", "200", "must be smaller than chunk_tokens (200)"),
        ("RANKGATE_GENERATOR", "openai", "needs openai_model"),
    ],
)
def test_bad_values_say_which_key_and_from_where(monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=re.escape(expected)):
        Settings.load()


def test_bad_value_in_file_names_the_file(tmp_path):
    (tmp_path / "mine.toml").write_text("max_pages = -1\n")
    with pytest.raises(ConfigError, match=r"max_pages \(mine\.toml\).*got -1"):
        Settings.load(config="mine.toml")


def test_config_file_by_variable_and_its_relative_paths(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.toml").write_text('data_dir = "index"\npolicy = "p.json"\n')
    monkeypatch.setenv("RANKGATE_CONFIG", str(elsewhere / "a.toml"))
    settings = Settings.load()
    assert settings.data_dir == elsewhere / "index"
    assert settings.policy == elsewhere / "p.json"
    assert settings.file == elsewhere / "a.toml"


def test_named_config_file_must_exist():
    with pytest.raises(ConfigError, match=r"--config names nowhere\.toml"):
        Settings.load(config="nowhere.toml")


@pytest.mark.parametrize("content", [b"k = ", b"\xff\xfe"])
def test_malformed_file_is_named(tmp_path, content):
    (tmp_path / "rankgate.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"rankgate\.toml is not a readable TOML file"):
        Settings.load()


def test_a_key_in_the_environment_switches_nothing(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-lying-around")
    settings = Settings.load()
    assert settings.generator == "extractive"
    assert settings.openai_api_key is None


def test_secrets_are_never_shown(monkeypatch):
    monkeypatch.setenv("RANKGATE_OPENAI_API_KEY", "sk-secret")
    settings = Settings.load()
    assert settings.openai_api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(settings) + str(settings.shown())
    assert settings.shown()["openai_api_key"] == "**********"


def test_secret_of_a_wrong_type_is_not_quoted(tmp_path):
    (tmp_path / "rankgate.toml").write_text("openai_api_key = 123456789\n")
    with pytest.raises(ConfigError) as caught:
        Settings.load()
    assert "openai_api_key" in str(caught.value)
    assert "123456789" not in str(caught.value)


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError):
        Settings().k = 3


def test_none_in_the_environment_takes_a_value_back(tmp_path, monkeypatch):
    (tmp_path / "rankgate.toml").write_text("k = 10\n")
    monkeypatch.setenv("RANKGATE_K", "none")
    settings = Settings.load()
    assert settings.k is None
    assert settings.origins["k"] == "environment"


def test_a_setting_that_was_renamed_is_named(tmp_path, monkeypatch):
    (tmp_path / "rankgate.toml").write_text("shadow_rate = 0.1\n")
    with pytest.raises(ConfigError, match="'shadow_rate' is called skip_audit_rate now"):
        Settings.load(config=tmp_path / "rankgate.toml")
    monkeypatch.setenv("RANKGATE_SHADOW_RATE", "0.1")
    with pytest.raises(ConfigError, match="is called skip_audit_rate now"):
        Settings.load()
