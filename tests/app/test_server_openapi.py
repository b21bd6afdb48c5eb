"""The description of the interface, and requests made up from it."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


files = _load("ingest_files")
rig = _load("server_rig")

PATHS = {
    "/healthz",
    "/metrics",
    "/readyz",
    "/v1/chat/completions",
    "/v1/collections",
    "/v1/compare",
    "/v1/compare/scorers",
    "/v1/conversations",
    "/v1/conversations/{conversation}",
    "/v1/conversations/{conversation}/export",
    "/v1/conversations/{conversation}/turns/{turn}",
    "/v1/documents",
    "/v1/documents/{document}",
    "/v1/documents/{document}/file",
    "/v1/documents/{document}/text",
    "/v1/feedback",
    "/v1/jobs/{job}",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/rerank",
    "/v1/search",
    "/v2/rerank",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    from rag_app.server.app import create_app

    settings, hub = rig.make(tmp_path_factory.mktemp("described"), files, feedback=True)
    yield create_app(settings, hub=hub)
    hub.close()


def test_it_names_every_route_with_its_errors(app):
    whole = app.openapi()
    assert set(whole["paths"]) == PATHS
    for path, operations in whole["paths"].items():
        for operation in operations.values():
            refused = set(operation["responses"])
            assert {"400", "401", "403", "404", "413", "429", "500"} <= refused
            assert ("422" in refused) is path.startswith("/v2/")
            assert operation["summary"]
    assert "HTTPValidationError" not in str(whole)
    for name in ("ChatRequest", "SearchRequest", "CompareRequest", "CohereRequest", "JinaRequest"):
        assert whole["components"]["schemas"][name]["examples"], name


def test_its_examples_work(app):
    from starlette.testclient import TestClient

    whole = app.openapi()
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        for path, name in (
            ("/v1/chat/completions", "ChatRequest"),
            ("/v1/search", "SearchRequest"),
            ("/v1/compare", "CompareRequest"),
            ("/v1/rerank", "JinaRequest"),
            ("/v2/rerank", "CohereRequest"),
        ):
            for example in whole["components"]["schemas"][name]["examples"]:
                answer = client.post(path, json=example)
                assert answer.status_code == 200, (path, answer.text)


# Its pytest plug-in and its parser warn of things of their own.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_made_up_requests_never_break_the_server(app):
    """Whatever the description allows or forbids gets an answer that it describes."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st
    from schemathesis.checks import load_all_checks, not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import (
        response_schema_conformance,
        status_code_conformance,
    )

    load_all_checks()
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    cases = st.one_of(
        *[
            operation.ok().as_strategy(generation_mode=mode)
            for operation in schema.get_all_operations()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        ]
    )
    seen = set()

    @seed(20261121)
    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def run(case):
        response = case.call(base_url="http://127.0.0.1:8000", session=client)
        seen.add((case.operation.path, response.status_code))
        case.validate_response(
            response,
            checks=[not_a_server_error, status_code_conformance, response_schema_conformance],
        )

    from starlette.testclient import TestClient

    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        run()
    assert len({path for path, _ in seen}) > 15
    assert len({status for _, status in seen}) > 3
