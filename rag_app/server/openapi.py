"""The description of the interface, `/openapi.json`: with keys, and with errors as they are.

FastAPI describes its own errors, which this server never sends.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_ERROR: dict[str, Any] = {
    "title": "Error",
    "description": "OpenAI's shape; the second message is for clients of Cohere's interface.",
    "type": "object",
    "required": ["error", "message"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        },
        "message": {"type": "string"},
    },
    "examples": [
        {
            "error": {
                "message": "there is no collection 'minutes'",
                "type": "invalid_request_error",
                "param": None,
                "code": "collection_not_found",
            },
            "message": "there is no collection 'minutes'",
        }
    ],
}
_ANYWHERE = {
    "400": "the request cannot be read or done",
    "401": "no key, or not a valid one",
    "403": "the key's role is not enough, or another site's page asked",
    "404": "there is no such thing, or not for this key",
    "409": "nothing is ingested yet, or the feature is off",
    "413": "the request is too large",
    "421": "the server is not addressed by a name of its own",
    "429": "too many requests; Retry-After says when to ask again",
    "500": "something broke in the server",
    "502": "the generator or the scorer failed",
    "503": "the index cannot be used, or the server is stopping",
    "504": "it took too long",
}

_ONE = "/v1/conversations/{conversation}"
# What an answer has of what other requests want: where, its link's name, to where, and what.
_LINKS: tuple[tuple[str, str, str, str, str, dict[str, str]], ...] = (
    ("/v1/conversations", "post", "201", "read", f"get {_ONE}", {"conversation": "id"}),
    ("/v1/conversations", "post", "201", "delete", f"delete {_ONE}", {"conversation": "id"}),
    (
        *("/v1/chat/completions", "post", "200", "ask_anew", f"delete {_ONE}/turns/{{turn}}"),
        {"conversation": "rankgate/conversation", "turn": "rankgate/turn"},
    ),
    (
        *("/v1/documents", "get", "200", "read", "get /v1/documents/{document}/text"),
        {"document": "data/0/id"},
    ),
    ("/v1/documents", "get", "200", "next", "get /v1/documents", {"after": "last_id"}),
    ("/v1/documents", "post", "202", "watch", "get /v1/jobs/{job}", {"job": "id"}),
)


def describe(app: FastAPI) -> None:
    """Let the application describe itself."""

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _described(app: FastAPI) -> dict[str, Any]:
    whole = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    parts = whole.setdefault("components", {})
    parts.setdefault("schemas", {})["Error"] = _ERROR
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in whole["paths"].items():
        for operation in operations.values():
            _errors(path, operation["responses"])
            if path.startswith(("/v1/", "/v2/")):
                # Needed only once there is a key.
                operation["security"] = [{"key": []}, {}]
    for path, method, status, name, target, parameters in _LINKS:
        to, where = target.split(" ")
        links = whole["paths"][path][method]["responses"][status].setdefault("links", {})
        links[name] = {
            "operationId": whole["paths"][where][to]["operationId"],
            "parameters": {name: f"$response.body#/{at}" for name, at in parameters.items()},
        }
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)
    return whole


def _errors(path: str, responses: dict[str, Any]) -> None:
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses.pop("422", None)
    texts = _ANYWHERE
    if path.startswith("/v2/"):
        texts = {**texts, "422": "the request has a field that is not known, or a bad value"}
    for status, text in texts.items():
        responses.setdefault(status, {"description": text, "content": body})
