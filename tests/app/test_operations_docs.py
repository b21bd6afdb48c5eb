"""docs/operations.md says what is so: metrics, files, commands, settings, the alerts' names."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import Counter

from rag_app.server.metrics import Metrics
from rag_app.settings import ENV_PREFIX, Settings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_every_metric_with_its_labels():
    rows = dict(re.findall(r"^\| `(rankgate_\w+)` \|([^|]*)\|", TEXT, re.MULTILINE))
    metrics = Metrics()
    known = {}
    for held in vars(metrics).values():
        if hasattr(held, "_labelnames"):
            name = held._name + ("_total" if isinstance(held, Counter) else "")
            known[name] = list(held._labelnames)
    assert known, "the registry was looked at"
    assert {name: re.findall(r"`(\w+)`", labels) for name, labels in rows.items()} == known


def test_alerts_are_about_metrics_that_there_are():
    (rules,) = [y for b in blocks("yaml") if "groups" in (y := yaml.safe_load(b))]
    names = {
        n
        for g in rules["groups"]
        for r in g["rules"]
        for n in re.findall(r"rankgate_\w+", r["expr"])
    }
    exposed = {
        n
        for family in Metrics().registry.collect()
        for n in (family.name, f"{family.name}_total", f"{family.name}_bucket")
    }
    assert names and names <= exposed


def test_prometheus_is_told_to_bring_a_key():
    (scrape,) = [y for b in blocks("yaml") if "scrape_configs" in (y := yaml.safe_load(b))]
    (job,) = scrape["scrape_configs"]
    assert job["authorization"]["type"] == "Bearer" and job["authorization"]["credentials_file"]
    assert job.get("metrics_path", "/metrics") == "/metrics"
    assert not Settings().metrics_open and Settings().conversation_days is None
    assert Settings().trusted_proxies == ("127.0.0.1",) and "only `127.0.0.1` unless" in TEXT


def test_settings_that_are_named_exist_with_these_defaults():
    fields = Settings.model_fields
    for name in (
        "max_concurrent",
        "max_waiting",
        "request_timeout_s",
        "trusted_hosts",
        "chroma_url",
        "chroma_timeout_s",
        "log_format",
        "feedback",
        "max_upload_mb",
        "trusted_proxies",
        "metrics_open",
        "conversation_days",
    ):
        assert name in fields and f"{name}" in TEXT, name
    assert f"{Settings().chroma_timeout_s:g} seconds by default" in TEXT
    (caddy,), (nginx,) = blocks("caddy"), blocks("nginx")
    assert f"client_max_body_size {Settings().max_upload_mb:g}m" in nginx
    assert f"max_size {Settings().max_upload_mb:g}MB" in caddy
    timeout = int(re.search(r"proxy_read_timeout (\d+)s", nginx).group(1))
    assert timeout > Settings().request_timeout_s
    for variable in re.findall(rf"{ENV_PREFIX}([A-Z_]+)", TEXT):
        assert variable.lower() in fields, variable


@pytest.mark.parametrize("name", ["backup", "doctor", "ingest", "keys", "serve"])
def test_commands_that_are_named_exist(name):
    import typer

    from rankgate.cli import build_app

    assert f"`rankgate {name}" in TEXT
    assert name in typer.main.get_command(build_app()).commands
