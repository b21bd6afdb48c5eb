"""Errors over HTTP, in the shape that OpenAI's clients read.

`{"error": {"message", "type", "param", "code"}, "message"}`: the second message is for clients of
Cohere's interface. What was raised on purpose is told, but what is wrong with the server itself
(settings, files, models) to evaluators only, because it names folders and hosts. Anything
unforeseen is a 500 of `rag_app.server.transport`, with the request's id and nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rag_app.ask.conversations import UnknownConversationError
from rag_app.ask.pipeline import EmptyIndexError
from rag_app.errors import QuotaError, RequestOverError, StoreError, UnknownDocumentError
from rag_app.generate.errors import GeneratorError
from rag_app.names import UnknownCollectionError
from rankgate.errors import ConfigError, InputError, RankgateError, ScorerError

logger = logging.getLogger("rankgate.server")
# As pydantic calls the alternatives of a union.
_TYPES = ("str", "int", "float", "bool", "none")


# Status and code of each kind; the first that fits counts.
_MEANT: tuple[tuple[type[RankgateError], int, str], ...] = (
    (UnknownCollectionError, 404, "collection_not_found"),
    (UnknownConversationError, 404, "conversation_not_found"),
    (UnknownDocumentError, 404, "document_not_found"),
    (InputError, 400, "invalid_request"),
    (QuotaError, 403, "quota_exceeded"),
    (RequestOverError, 504, "timeout"),
    (GeneratorError, 502, "generator_failed"),
    (ScorerError, 502, "scorer_failed"),
    (StoreError, 503, "store_unavailable"),
    (ConfigError, 500, "configuration"),
    (RankgateError, 500, "internal"),
)


class ApiError(Exception):
    """Ends a request with this answer.

    Args:
        status: HTTP's.
        code: short and stable, for programs.
        message: for people: what, and what to do.
        param: the field that is wrong, if one is.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})


def invalid(param: str, message: str) -> ApiError:
    """A field of the request has a value that it cannot have."""
    return ApiError(400, "invalid_request", message, param=param)


def error_body(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """The JSON of an error."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {
        "error": {"message": message, "type": kind, "param": param, "code": code},
        "message": message,
    }


def error_response(error: ApiError) -> JSONResponse:
    """The answer to a request that ends with this error."""
    return JSONResponse(
        error_body(error.status, error.code, error.message, error.param),
        status_code=error.status,
        headers=error.headers,
    )


def mapped(exc: RankgateError) -> ApiError:
    """What our own errors mean to a client."""
    if isinstance(exc, EmptyIndexError):
        return ApiError(
            409,
            "empty_collection",
            "nothing is ingested in this collection yet: upload documents (POST /v1/documents), or "
            "have whoever runs the server call `rankgate ingest`",
        )
    status, code = next((s, c) for kind, s, c in _MEANT if isinstance(exc, kind))
    return ApiError(status, code, str(exc))


def told(exc: RankgateError, *, evaluator: bool, request_id: str) -> ApiError:
    """One of our own errors as far as a caller may know it; logged where the server is to blame."""
    error = mapped(exc)
    if error.status >= 500:
        logger.error("request %s: %s: %s", request_id, type(exc).__name__, exc)
        if not evaluator:
            error.message = (
                "this cannot be answered right now; whoever runs the server finds the reason in "
                f"its log, request {request_id}"
            )
    return error


def _names_a_field(part: object) -> bool:
    """Whether a part of a complaint's place is a field or index, not a type that was tried."""
    if isinstance(part, int):
        return True
    return bool(re.fullmatch(r"[a-z_][a-z0-9_]*", str(part))) and part not in _TYPES


def add_error_handlers(app: FastAPI) -> None:
    """Answer every exception in the one shape."""

    @app.exception_handler(ApiError)
    async def _api(_: Request, exc: ApiError) -> JSONResponse:
        return error_response(exc)

    @app.exception_handler(RankgateError)
    async def _ours(request: Request, exc: RankgateError) -> JSONResponse:
        principal = getattr(request.state, "principal", None)
        inside = principal is not None and principal.evaluator
        return error_response(told(exc, evaluator=inside, request_id=request.state.request_id))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, exc: RequestValidationError) -> JSONResponse:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:] if _names_a_field(part))
        if first["type"] == "json_invalid":
            where, what = "", "the body is not valid JSON"
        else:
            what = f"{where}: {first['msg']}" if where else f"the body: {first['msg']}"
        # Cohere answers 422 to what it cannot read, OpenAI 400.
        status = 422 if request.url.path.startswith("/v2/") else 400
        return error_response(ApiError(status, "invalid_request", what, param=where or None))

    @app.exception_handler(HTTPException)
    async def _http(_: Request, exc: HTTPException) -> JSONResponse:
        codes = {404: "not_found", 405: "method_not_allowed"}
        error = ApiError(
            exc.status_code,
            codes.get(exc.status_code, "http_error"),
            str(exc.detail),
            headers=exc.headers,
        )
        return error_response(error)
