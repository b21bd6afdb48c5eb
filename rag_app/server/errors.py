"""Errors over HTTP, in the shape that OpenAI's clients read.

`{"error": {"message", "type", "param", "code"}, "message"}`: the second message is for clients of
Cohere's interface. What was raised on purpose is told; anything else is a 500 that gives the
request's id and nothing of what happened inside.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rag_app.conversations import UnknownConversationError
from rag_app.errors import StoreError, UnknownDocumentError
from rag_app.generate.errors import GeneratorError
from rag_app.pipeline import EmptyIndexError
from rag_app.server.hub import UnknownCollectionError
from rankgate.errors import ConfigError, InputError, RankgateError, ScorerError

__all__ = ["ApiError", "add_error_handlers", "error_body", "error_response", "mapped"]

logger = logging.getLogger("rankgate.server")


class ApiError(Exception):
    """Ends a request with this answer.

    Args:
        status: HTTP's.
        code: short and stable, for programs.
        message: for people: what, and what to do.
        param: the field that is wrong, if one is.
        headers: such as Retry-After.
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
    message = str(exc)
    if isinstance(exc, UnknownCollectionError):
        return ApiError(404, "collection_not_found", message)
    if isinstance(exc, UnknownConversationError):
        return ApiError(404, "conversation_not_found", message)
    if isinstance(exc, UnknownDocumentError):
        return ApiError(404, "document_not_found", message)
    if isinstance(exc, EmptyIndexError):
        return ApiError(409, "empty_collection", message)
    if isinstance(exc, InputError):
        return ApiError(400, "invalid_request", message)
    if isinstance(exc, GeneratorError):
        return ApiError(502, "generator_failed", message)
    if isinstance(exc, ScorerError):
        return ApiError(502, "scorer_failed", message)
    if isinstance(exc, StoreError):
        return ApiError(503, "store_unavailable", message)
    if isinstance(exc, ConfigError):
        return ApiError(500, "configuration", message)
    return ApiError(500, "internal", message)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every exception in the one shape."""

    @app.exception_handler(ApiError)
    async def _api(_: Request, exc: ApiError) -> JSONResponse:
        return error_response(exc)

    @app.exception_handler(RankgateError)
    async def _ours(_: Request, exc: RankgateError) -> JSONResponse:
        error = mapped(exc)
        if error.status >= 500:
            logger.error("%s: %s", type(exc).__name__, exc)
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, exc: RequestValidationError) -> JSONResponse:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        what = f"{where}: {first['msg']}" if where else str(first["msg"])
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

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, exc: Exception) -> JSONResponse:
        identifier = getattr(request.state, "request_id", "unknown")
        logger.error("request %s failed", identifier, exc_info=exc)
        return error_response(
            ApiError(500, "internal", f"something broke here; its log has request {identifier}")
        )
