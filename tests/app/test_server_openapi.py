"""The description of the interface, and requests made up from it."""

import ingest_files as files
import pytest
import server_rig as rig
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

PATHS = {
    "/healthz",
    "/metrics",
    "/readyz",
    "/v1/chat/completions",
    "/v1/collections",
    "/v1/collections/{name}",
    "/v1/documents/delete",
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
    "/v1/judge/sessions",
    "/v1/judge/sessions/{name}",
    "/v1/judge/sessions/{name}/export",
    "/v1/judge/sessions/{name}/verdicts",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/rerank",
    "/v1/search",
    "/v2/rerank",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    from rag_app.server.app import create_app

    settings, opened = rig.make(tmp_path_factory.mktemp("described"), files, feedback=True)
    yield create_app(settings, collections=opened)
    opened.close()


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


def test_its_links_lead_where_the_answers_point(app):
    from starlette.testclient import TestClient

    whole = app.openapi()
    operations = {
        o["operationId"]: (method, path)
        for path, found in whole["paths"].items()
        for method, o in found.items()
    }
    followed = set()
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 9)) as client:
        made = client.post("/v1/conversations", json={}).json()
        body = {"messages": [{"role": "user", "content": "gate?"}], "conversation": made["id"]}
        answers = {
            ("/v1/conversations", "post"): made,
            ("/v1/chat/completions", "post"): client.post("/v1/chat/completions", json=body).json(),
            ("/v1/documents", "get"): client.get("/v1/documents").json(),
            ("/v1/documents", "post"): client.post(
                "/v1/documents", files={"files": ("new.txt", b"Gulls cry.")}
            ).json(),
        }
        # What deletes comes last.
        links = [
            (operations[link["operationId"]], link["parameters"], answers[path, method])
            for path, found in whole["paths"].items()
            for method, operation in found.items()
            for response in operation["responses"].values()
            for link in response.get("links", {}).values()
        ]
        for (method, path), parameters, answer in sorted(
            links, key=lambda found: (found[0][0] == "delete", -len(found[0][1]))
        ):
            values = {}
            for name, pointer in parameters.items():
                value = answer
                for step in pointer.removeprefix("$response.body#/").split("/"):
                    value = value[int(step)] if step.isdecimal() else value[step]
                values[name] = value
            inside = {n: v for n, v in values.items() if f"{{{n}}}" in path}
            query = {n: v for n, v in values.items() if n not in inside}
            done = client.request(method, path.format(**inside), params=query)
            assert done.status_code == 200, (method, path, done.text)
            followed.add((method, path))
    assert len(followed) == 6


def test_its_examples_work(app):
    from starlette.testclient import TestClient

    whole = app.openapi()
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 9)) as client:
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


GOOD = st.sampled_from(
    ["How long does a sourdough rest?", "What does the gate decide?", "And where?", "Wo?", "x"]
)


def known(case, client, data):
    """The same request about what there is: a collection, a conversation with a turn, words."""
    draw = data.draw
    parameters, body = case.path_parameters, case.body
    collection = draw(st.sampled_from(["default", None]))
    path = case.operation.path
    if "{conversation}" in path or path in ("/v1/feedback", "/v1/chat/completions"):
        made = client.post("/v1/conversations", json={}).json()["id"]
        asked = {
            "messages": [{"role": "user", "content": "What does the gate decide?"}],
            "conversation": made,
        }
        turn = client.post("/v1/chat/completions", json=asked).json()["rankgate"]["turn"]
        if "conversation" in parameters:
            parameters["conversation"] = made
        if "turn" in parameters:
            parameters["turn"] = turn
    document = client.get("/v1/documents").json()["data"][0]["id"]
    if "document" in parameters:
        parameters["document"] = document
    if "model" in parameters:
        parameters["model"] = "rankgate"
    if case.query is not None and "collection" in case.query:
        case.query["collection"] = "default"
    if path == "/v1/documents" and case.method == "GET":
        case.query = draw(
            st.fixed_dictionaries(
                {}, optional={"limit": st.integers(1, 1000), "after": st.just(document)}
            )
        )
    if not isinstance(body, dict):
        return case
    if path == "/v1/chat/completions":
        before = draw(st.lists(st.sampled_from(["user", "assistant", "system"]), max_size=4))
        body["messages"] = [{"role": r, "content": draw(GOOD)} for r in (*before, "user")]
        body["model"] = draw(st.sampled_from(["rankgate", "rankgate:default"]))
        body["conversation"] = draw(st.sampled_from([made, None]))
        body["n"] = draw(st.sampled_from([1, None]))
    if path == "/v1/feedback":
        case.body = {
            "conversation": made,
            "turn": turn,
            **draw(st.sampled_from(
                [{"verdict": "up"}, {"verdict": "down", "reason": "sources"}, {"opened": 1}]
            )),
        }  # fmt: skip
    if "query" in body:
        body["query"] = draw(GOOD)
    if "question" in body:
        body["question"] = draw(GOOD)
    if "collection" in body:
        body["collection"] = collection
    return case


# Whatever is sent often enough about things that there are has to work, too.
SUCCEED = {
    ("GET", "/v1/conversations/{conversation}"),
    ("GET", "/v1/conversations/{conversation}/export"),
    ("DELETE", "/v1/conversations/{conversation}"),
    ("DELETE", "/v1/conversations/{conversation}/turns/{turn}"),
    ("GET", "/v1/documents"),
    ("GET", "/v1/documents/{document}/file"),
    ("GET", "/v1/models/{model}"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/conversations"),
    ("POST", "/v1/feedback"),
    ("POST", "/v1/rerank"),
    ("POST", "/v1/search"),
    ("POST", "/v2/rerank"),
}


# Its pytest plug-in and its parser warn of things of their own.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_made_up_requests_never_break_the_server(app):
    """Whatever the description allows or forbids gets an answer that it describes."""
    import schemathesis
    from schemathesis.checks import load_all_checks, not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import (
        response_schema_conformance,
        status_code_conformance,
    )
    from starlette.testclient import TestClient

    load_all_checks()
    schema = schemathesis.openapi.from_dict(app.openapi())

    async def from_here(scope, receive, send):
        # Its own client is no address, and a server without keys wants one of this machine.
        await app({**scope, "client": ("127.0.0.1", 9)}, receive, send)

    schema.app = from_here
    operations = [operation.ok() for operation in schema.get_all_operations()]
    # What deletes the only documents is left to requests that hit nothing.
    usable = [o for o in operations if (o.method.upper(), o.path) in SUCCEED]
    assert len(usable) == len(SUCCEED)
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    made_up = st.one_of(*[o.as_strategy(generation_mode=m) for o in operations for m in modes])
    seen = set()

    def look(case):
        response = case.call(base_url="http://127.0.0.1:8000", session=client)
        seen.add((case.method.upper(), case.operation.path, response.status_code))
        case.validate_response(
            response,
            checks=[not_a_server_error, status_code_conformance, response_schema_conformance],
        )

    bounded = settings(
        max_examples=150,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @seed(20261121)
    @bounded
    @given(case=made_up)
    def anything(case):
        look(case)

    @seed(20261121)
    @settings(bounded, max_examples=10)
    @given(data=st.data())
    def about_what_there_is(data):
        # Each operation in each example: drawn one by one, some would hardly ever come.
        for operation in usable:
            case = data.draw(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
            look(known(case, client, data))
        # The only interface that refuses with 422; among so many it may be drawn rightly or never.
        for operation in (o for o in operations if o.path.startswith("/v2/")):
            wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
            look(data.draw(wrong))

    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 9)) as client:
        anything()
        about_what_there_is()
    assert len({path for _, path, _ in seen}) > 15
    assert {200, 201, 400, 404, 422} <= {status for *_, status in seen}
    succeeded = {(method, path) for method, path, status in seen if 200 <= status < 300}
    assert SUCCEED - succeeded == set()
