"""OpenAI's chat interface: `/v1/chat/completions` and `/v1/models`.

A collection is a model: `rankgate` is the usual one, `rankgate:NAME` any other. Sources and, for
evaluators, the trace stand in the extension field `rankgate`, which other clients pass over.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import ConfigDict, Field

from rag_app.ask.condense import Exchange, history_of
from rag_app.ask.conversations import Conversation
from rag_app.ask.pipeline import Pipeline
from rag_app.ask.result import AnswerResult
from rag_app.generate.errors import GeneratorError
from rag_app.quality.judged import note_reask
from rag_app.server.access import SignedIn
from rag_app.server.errors import ApiError, error_body, invalid, told
from rag_app.server.keys import Principal
from rag_app.server.routes.sse import DONE, EventStream, event
from rag_app.server.shapes import Lenient, Text, answer_shape
from rag_app.server.state import Server, ServerState
from rankgate.errors import RankgateError
from rankgate.live.question_log import QUESTION_LOG, QuestionLog
from rankgate.scorers import ScoreContext

logger = logging.getLogger("rankgate.server")

router = APIRouter(prefix="/v1", tags=["chat"])

MODEL = "rankgate"
_MAX_QUESTION = 8000


class Part(Lenient):
    """A part of a message; only text is read."""

    type: str
    text: Text | None = None


class Message(Lenient):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[Part] | None = None

    @property
    def text(self) -> str:
        """The words of the message."""
        if isinstance(self.content, list):
            return "\n".join(p.text for p in self.content if p.type == "text" and p.text)
        return "" if self.content is None else self.content


class StreamOptions(Lenient):
    """What a stream ends with."""

    include_usage: bool = False


class ChatRequest(Lenient):
    """As OpenAI's; settings of the language model are the server's own and passed over."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "rankgate",
                    "messages": [{"role": "user", "content": "How is a gate fitted?"}],
                    "stream": False,
                }
            ]
        }
    )

    model: Text = MODEL
    messages: Annotated[list[Message], Field(min_length=1, max_length=500)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int | None = None
    conversation: Text | None = Field(
        None, description="id of a kept conversation; the turn is added to it (our extension)"
    )


@router.get("/models")
def models(server: Server, principal: SignedIn) -> dict[str, Any]:
    """The collections that the caller may ask, as models."""
    return {"object": "list", "data": [_model(n) for n in _names(server, principal)]}


@router.get("/models/{model}")
def model(model: str, server: Server, principal: SignedIn) -> dict[str, Any]:
    """One of them."""
    if model not in _names(server, principal):
        raise _unknown(model)
    return _model(model)


def _completion(
    head: dict[str, Any], text: str, usage: dict[str, int], shape: dict[str, Any]
) -> dict[str, Any]:
    """A whole answer, as OpenAI sends it."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {
        **head,
        "object": "chat.completion",
        "choices": [choice],
        "usage": usage,
        "rankgate": shape,
    }


_EXAMPLE = _completion(
    {"id": "chatcmpl-5f1c", "created": 1790000000, "model": MODEL},
    "A gate is fitted on labelled queries. [1]",
    {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17},
    {"status": "answered", "sources": [{"number": 1}]},
)


@router.post(
    "/chat/completions",
    response_model=None,
    responses={
        200: {"content": {"application/json": {"example": _EXAMPLE}, "text/event-stream": {}}}
    },
)
async def completions(
    body: ChatRequest, request: Request, server: Server, principal: SignedIn
) -> dict[str, Any] | StreamingResponse:
    """Answer the last user message from the documents."""
    question = _question(body)

    def answered(limits: ScoreContext) -> Iterator[str | _Done]:
        return _asked(body, question, server, principal).stream(limits)

    head = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": body.model,
    }
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        pieces = server.workers.iterate(answered, request)
        # The first item is waited for, so that what fails at once has an HTTP status.
        first = await anext(pieces)
        if isinstance(first, _Done) and first.result.answer is None:
            await pieces.aclose()
            raise _unwritten(first.result, principal, request.state.request_id)

        def failed(exc: Exception) -> ApiError:
            return _failure(exc, principal, request.state.request_id)

        return EventStream(_events(first, pieces, head, usage, failed))
    done = await server.workers.run(lambda limits: _last(answered(limits)), request)
    if done.result.answer is None:
        raise _unwritten(done.result, principal, request.state.request_id)
    return _completion(head, done.result.answer.text, done.usage, done.shape)


def _question(body: ChatRequest) -> str:
    """What is asked: the last message, which must be a user's."""
    if body.n is not None and body.n != 1:
        raise invalid("n", "n: only 1 answer is given")
    last = body.messages[-1]
    if last.role != "user" or not last.text.strip():
        raise invalid(
            "messages", "messages: the last one must be the user's, with a question in it"
        )
    if len(last.text) > _MAX_QUESTION:
        raise invalid(
            "messages",
            f"messages: a question has at most {_MAX_QUESTION} characters, got {len(last.text)}",
        )
    return last.text


def _asked(body: ChatRequest, question: str, server: ServerState, principal: Principal) -> _Asked:
    """The question with where it is asked; looks into files."""
    asked = _Asked(
        server=server,
        principal=principal,
        collection=_collection(body.model, server, principal),
        question=question,
        conversation=body.conversation,
        history=history_of([(m.role, m.text) for m in body.messages[:-1]]),
    )
    if asked.conversation is None:
        return asked
    kept = asked.kept()
    if kept.collection != asked.collection:
        raise invalid(
            "conversation",
            f"conversation: it asks collection {kept.collection!r}, not {asked.collection!r}",
        )
    # What is kept is the whole story; a client may send as much of it as it likes.
    turns = tuple(Exchange(question=t.question, answer=t.answer) for t in kept.turns)
    return replace(asked, history=turns)


def _failure(exc: Exception, principal: Principal, request_id: str) -> ApiError:
    """What a stream that broke off ends with."""
    if isinstance(exc, ApiError):
        return exc
    if isinstance(exc, RankgateError):
        return told(exc, evaluator=principal.evaluator, request_id=request_id)
    logger.error("request %s failed", request_id, exc_info=exc)
    return ApiError(500, "internal", f"something broke here; its log has request {request_id}")


def _unwritten(result: AnswerResult, principal: Principal, request_id: str) -> ApiError:
    """What is said of a generator that failed: its own words and address to evaluators alone."""
    failed = GeneratorError(result.error)
    return told(failed, evaluator=principal.evaluator, request_id=request_id)


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
    history: tuple[Exchange, ...] = ()

    def kept(self) -> Conversation:
        """The conversation that the question belongs to."""
        return self.server.conversations.get(str(self.conversation), owner=self.principal.id)

    def stream(self, limits: ScoreContext) -> Iterator[str | _Done]:
        """Pieces of the answer, then all of it."""
        pipeline = self.server.pipeline(self.collection, self.principal)
        for item in pipeline.stream(
            self.question, history=self.history, pieces=True, limits=limits
        ):
            if isinstance(item, str):
                yield item
                continue
            self.server.verify(pipeline, [p.candidate.id for p in item.passages])
            self.server.metrics.answered(item)
            shape = answer_shape(item, self.principal)
            if self.conversation is not None:
                shape |= self._keep(item, shape)
            self._count(pipeline, item, shape.get("turn"))
            yield _Done(result=item, shape=shape, usage=_usage(pipeline, self.question, item))

    def _count(self, pipeline: Pipeline, result: AnswerResult, turn: str | None) -> None:
        """For the page Quality; of two policies the first, by what it alone would have done."""
        server, collection = self.server, pipeline.settings.collection
        policy, own, together = pipeline.reranker.policy, result.outcome, result.together
        if together is not None and pipeline.rival is not None:
            own, other = together.a, pipeline.rival.reranker.policy
            sources = () if result.answer is None else result.answer.sources
            if server.trial is not None:
                server.trial.add(
                    together,
                    (policy, other),
                    collection=collection,
                    cited=[source.chunk_id for source in sources],
                    conversation=self.conversation,
                    turn=turn,
                )
        if server.settings.question_log:
            QuestionLog(file=Path(server.settings.data_dir) / QUESTION_LOG).add(
                own,
                session=None if self.conversation is None else str(self.conversation),
                collection=collection,
            )
        server.traffic.add(own, policy, collection)
        # Looked at once nobody waits, this question included.
        server.skip_audit.offer(pipeline, own)

    def _keep(self, result: AnswerResult, shape: dict[str, Any]) -> dict[str, Any]:
        note_reask(self.server.collections, self.server.settings, self.kept(), self.question, shape)
        turn = self.server.conversations.append(
            str(self.conversation),
            owner=self.principal.id,
            question=self.question,
            answer="" if result.answer is None else result.answer.text,
            status=result.status,
            details={
                **{k: v for k, v in shape.items() if k not in ("answer", "html", "status")},
                **({} if result.together is None else {"teams": dict(result.together.teams)}),
            },
        )
        return {"conversation": self.conversation, "turn": turn.id}


def _last(events: Iterator[str | _Done]) -> _Done:
    """The whole answer; made in pieces, so that the work ends where nobody waits any more."""
    *_, done = events
    if isinstance(done, str):
        raise ApiError(500, "internal", "the pipeline ended without a result")
    return done


async def _events(
    first: str | _Done,
    rest: AsyncGenerator[str | _Done],
    head: dict[str, Any],
    with_usage: bool,
    failed: Callable[[Exception], ApiError],
) -> AsyncGenerator[bytes]:
    """The answer as server-sent events, as OpenAI sends them."""

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        body = {**head, "object": "chat.completion.chunk", "choices": [choice], **more}
        if with_usage:
            body.setdefault("usage", None)
        return event(body)

    yield chunk({"role": "assistant", "content": ""})
    try:
        item: str | _Done | None = first
        while item is not None:
            if isinstance(item, str):
                yield chunk({"content": item})
            else:
                if item.result.answer is None:
                    raise GeneratorError(item.result.error)
                yield chunk({}, "stop", rankgate=item.shape)
                if with_usage:
                    last = {"object": "chat.completion.chunk", "choices": []}
                    yield event({**head, **last, "usage": item.usage})
            item = await anext(rest, None)
    except Exception as exc:
        error = failed(exc)
        yield event(error_body(error.status, error.code, error.message))
        return
    finally:
        await rest.aclose()
    yield DONE


def _usage(pipeline: Pipeline, question: str, result: AnswerResult) -> dict[str, int]:
    """Tokens as the embedder counts them: the question with what was read, and the answer."""
    answer, prompt, written = result.answer, 0, 0
    if answer is not None:
        read = [p.candidate.text for p in result.passages[: answer.read]]
        prompt = sum(pipeline.count_tokens(text) for text in (question, *read))
        written = pipeline.count_tokens(answer.text)
    total = prompt + written
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": total}


def _names(server: ServerState, principal: Principal) -> list[str]:
    """The usual collection first, under both of its names."""
    seen, usual = principal.visible(server.collections), server.usual(principal)
    first = [MODEL, f"{MODEL}:{usual}"] if usual in seen else []
    return [*first, *(f"{MODEL}:{name}" for name in seen if name != usual)]


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
