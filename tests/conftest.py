"""Shared by all tests: no network but loopback, and a word on what was not run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no fault of a test's inputs.
settings.register_profile("rankgate", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rankgate")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# No test writes into the cache of whoever runs it; those of the cache name a folder.
os.environ["RANKGATE_TOKEN_CACHE"] = "off"

# Their checks are parts of tests: a failure says what was compared.
pytest.register_assert_rewrite(
    "batched_kit", "breaker_kit", "browser_kit", "reranker_kit", "server_rig"
)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_runtest_setup(item):
    """Only loopback, in every test: an accidental download fails instead of hanging."""
    from pytest_socket import socket_allow_hosts

    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


def pytest_terminal_summary(terminalreporter, config):
    """Name the suites that this run left out."""
    if "slow" in config.option.markexpr:
        terminalreporter.write_line("Slow suites were not run; they are: make test-slow")


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real corpora, which the project does not contain."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the corpora are not in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def encoder():
    """all-MiniLM-L6-v2, loaded once."""
    from rankgate.encoders import TokenEncoder

    return TokenEncoder.load()
