"""OpenAI's chat interface: `/v1/chat/completions` and `/v1/models`.

A collection is a model: `rankgate` is the usual one, `rankgate:NAME` any other. Sources and, for
evaluators, the trace stand in the extension field `rankgate`, which other clients pass over.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from rag_app.conversations import Conversation
from rag_app.pipeline import Pipeline
from rag_app.result import AnswerResult
from rag_app.server.access import Principal, SignedIn
from rag_app.server.errors import ApiError, error_body, mapped
from rag_app.server.shapes import answer_shape
from rag_app.server.state import Server, ServerState
from rankgate.errors import RankgateError

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["chat"])

MODEL = "rankgate"


class Part(BaseModel):
    """A part of a message; only text is read."""

    model_config = ConfigDict(extra="ignore")

    type: str
    text: str | None = None


class Message(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """The words of the message."""
        if isinstance(self.content, list):
            return "\n".join(p.text for p in self.content if p.type == "text" and p.text)
        return "" if self.content is None else self.content


class StreamOptions(BaseModel):
    """What a stream ends with."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class ChatRequest(BaseModel):
    """As OpenAI's; settings of the language model are the server's own and passed over."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "model": "rankgate",
                    "messages": [{"role": "user", "content": "How is a gate fitted?"}],
                    "stream": False,
                }
            ]
        },
    )

    model: str = MODEL
    messages: Annotated[list[Message], Field(min_length=1, max_length=500)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int | None = None
    conversation: str | None = Field(
        None, description="id of a kept conversation; the turn is added to it (our extension)"
    )


@router.get("/models")
async def models(server: Server, principal: SignedIn) -> dict[str, Any]:
    """The collections that the caller may ask, as models."""
    return {"object": "list", "data": [_model(n) for n in _names(server, principal)]}


@router.get("/models/{model}")
async def model(model: str, server: Server, principal: SignedIn) -> dict[str, Any]:
    """One of them."""
    if model not in _names(server, principal):
        raise _unknown(model)
    return _model(model)


@router.post(
    "/chat/completions",
    response_model=None,
    responses={
        200: {
            "content": {
                "application/json": {
                    "example": {
                        "id": "chatcmpl-5f1c",
                        "object": "chat.completion",
                        "created": 1790000000,
                        "model": "rankgate",
                        "choices": [
                            {
                                "index": 0,
                                "message": {
                                    "role": "assistant",
                                    "content": "A gate is fitted on labelled queries. [1]",
                                },
                                "finish_reason": "stop",
                            }
                        ],
                        "usage": {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17},
                        "rankgate": {"status": "answered", "sources": [{"number": 1}]},
                    }
                },
                "text/event-stream": {},
            }
        }
    },
)
async def completions(
    request: ChatRequest, server: Server, principal: SignedIn
) -> dict[str, Any] | StreamingResponse:
    """Answer the last user message from the documents."""
    if request.n is not None and request.n != 1:
        raise ApiError(400, "invalid_request", "n: only 1 answer is given", param="n")
    if request.messages[-1].role != "user" or not request.messages[-1].text.strip():
        raise ApiError(
            400,
            "invalid_request",
            "messages: the last one must be the user's, with a question in it",
            param="messages",
        )
    collection = _collection(request.model, server, principal)
    asked = _Asked(
        server=server,
        principal=principal,
        collection=collection,
        question=request.messages[-1].text,
        conversation=request.conversation,
    )
    if asked.conversation is not None:
        kept = await asyncio.to_thread(asked.kept)
        if kept.collection != collection:
            raise ApiError(
                400,
                "invalid_request",
                f"conversation: it asks collection {kept.collection!r}, not {collection!r}",
                param="conversation",
            )
    head = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": request.model,
    }
    if request.stream:
        usage = request.stream_options is not None and request.stream_options.include_usage
        pieces = server.slots.iterate(lambda: asked.stream(pieces=True))
        # The first item is waited for, so that what fails at once has an HTTP status.
        first = await anext(pieces)
        return StreamingResponse(
            _events(first, pieces, head, usage),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
    done = await server.slots.run(asked.answer)
    if done.result.answer is None:
        raise ApiError(502, "generator_failed", done.result.error)
    return {
        **head,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": done.result.answer.text,
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": done.usage,
        "rankgate": done.shape,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """An answered question, as it is sent."""

    result: AnswerResult
    shape: dict[str, Any]
    usage: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A question on its way; everything here runs in a worker's thread."""

    server: ServerState
    principal: Principal
    collection: str
    question: str
    conversation: str | None

    def kept(self) -> Conversation:
        """The conversation that the question belongs to."""
        return self.server.conversations.get(str(self.conversation), owner=self.principal.id)

    def answer(self) -> _Done:
        """The whole answer."""
        for event in self.stream(pieces=False):
            if isinstance(event, _Done):
                return event
        raise ApiError(500, "internal", "the pipeline ended without a result")

    def stream(self, *, pieces: bool) -> Iterator[str | _Done]:
        """Pieces of the answer, then all of it."""
        pipeline = self.server.pipeline(self.collection, self.principal)
        for event in pipeline.stream(self.question, pieces=pieces):
            if isinstance(event, str):
                yield event
                continue
            self.server.verify(pipeline, [p.candidate.id for p in event.passages])
            self.server.metrics.answered(event)
            shape = answer_shape(event, self.principal)
            if self.conversation is not None:
                shape |= self._keep(event, shape)
            yield _Done(result=event, shape=shape, usage=_usage(pipeline, self.question, event))

    def _keep(self, result: AnswerResult, shape: dict[str, Any]) -> dict[str, Any]:
        turn = self.server.conversations.append(
            str(self.conversation),
            owner=self.principal.id,
            question=self.question,
            answer="" if result.answer is None else result.answer.text,
            status=result.status,
            details={k: v for k, v in shape.items() if k not in ("answer", "html", "status")},
        )
        return {"conversation": self.conversation, "turn": turn.id}


async def _events(
    first: str | _Done, rest: AsyncIterator[str | _Done], head: dict[str, Any], with_usage: bool
) -> AsyncIterator[bytes]:
    """The answer as server-sent events, as OpenAI sends them."""

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        body = {**head, "object": "chat.completion.chunk", "choices": [choice], **more}
        if with_usage:
            body.setdefault("usage", None)
        return _event(body)

    yield chunk({"role": "assistant", "content": ""})
    try:
        item: str | _Done | None = first
        while item is not None:
            if isinstance(item, str):
                yield chunk({"content": item})
            else:
                if item.result.answer is None:
                    yield _event(error_body(502, "generator_failed", item.result.error))
                    return
                yield chunk({}, "stop", rankgate=item.shape)
                if with_usage:
                    closing = {"object": "chat.completion.chunk", "choices": []}
                    yield _event({**head, **closing, "usage": item.usage})
            item = await anext(rest, None)
    except ApiError as exc:
        yield _event(error_body(exc.status, exc.code, exc.message))
        return
    except RankgateError as exc:
        error = mapped(exc)
        yield _event(error_body(error.status, error.code, error.message))
        return
    yield b"data: [DONE]\n\n"


def _event(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def _usage(pipeline: Pipeline, question: str, result: AnswerResult) -> dict[str, int]:
    """Tokens as the embedder counts them: the question with what was read, and the answer."""
    answer = result.answer
    if answer is None:
        return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    read = [p.candidate.text for p in result.passages[: answer.read]]
    prompt = sum(pipeline.count_tokens(text) for text in (question, *read))
    written = pipeline.count_tokens(answer.text)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
    }


def _names(server: ServerState, principal: Principal) -> list[str]:
    usual = server.collection(None, principal)
    others = [n for n in principal.visible(server.hub) if n != usual]
    return [MODEL, f"{MODEL}:{usual}", *(f"{MODEL}:{name}" for name in others)]


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "rankgate"}


def _collection(model: str, server: ServerState, principal: Principal) -> str:
    if model == MODEL:
        return server.collection(None, principal)
    if model not in _names(server, principal):
        raise _unknown(model)
    return model.removeprefix(f"{MODEL}:")


def _unknown(model: str) -> ApiError:
    return ApiError(
        404,
        "model_not_found",
        f"there is no model {model!r}; GET /v1/models lists them",
        param="model",
    )
