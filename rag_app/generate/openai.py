"""Answers by an LLM behind any OpenAI-compatible API, whole or streamed.

Only used where the setting `generator` says so: the passages leave the machine.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rag_app.generate import prompt
from rag_app.generate.answer import REFUSAL, Answer, is_refusal, refusal
from rag_app.generate.citations import CitationNumbering, Cited, supported
from rag_app.generate.context import Context
from rag_app.generate.errors import GeneratorError
from rankgate.deadline import Deadline
from rankgate.errors import ConfigError, MissingExtraError
from rankgate.scorers import ScoreContext
from rankgate.scorers.remote.spoken import Spoken, may_deny, spoken

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    from rag_app.settings import Settings

OPENAI_URL = "https://api.openai.com/v1"
_ATTEMPTS = 3
_FIRST_PAUSE_S = 0.5
_LINE_S = 10.0  # for rewording a question, before anything is searched
# Leading characters that a refusal may have: quotes, emphasis.
_LEAD = " \t\r\n\"'*_>`\u2018\u2019"


class OpenAIGenerator:
    """Asks the LLM, repeats a refused call within the time, verifies the citations.

    Args:
        base_url: of the API, such as `http://127.0.0.1:11434/v1`; None: OpenAI's own.
        api_key: None for a server that wants none. Never taken from the environment.
        timeout_s: until an answer begins, repetitions included, and between two of its pieces.
        sleep: waits between attempts, in seconds.

    Raises:
        ConfigError: OpenAI's own API without a key.
        MissingExtraError: the client `openai` is not installed.
    """

    mode = "openai"

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if base_url is None and api_key is None:
            raise ConfigError(
                "OpenAI's own API needs a key: set RANKGATE_OPENAI_API_KEY, or set "
                "openai_base_url to a server that needs none"
            )
        self.model = model
        # Given explicitly, because the client would otherwise read the environment.
        self.base_url = OPENAI_URL if base_url is None else base_url
        self.timeout_s = timeout_s
        self._sleep = sleep
        self._client = self._build("none" if api_key is None else api_key)

    @classmethod
    def of(cls, settings: Settings) -> OpenAIGenerator:
        """The generator that the settings describe.

        Raises:
            ConfigError: no model is named.
        """
        if settings.openai_model is None:
            raise ConfigError(
                "the generator openai needs openai_model; set it in rankgate.toml or as "
                "RANKGATE_OPENAI_MODEL"
            )
        key = settings.openai_api_key
        return cls(
            model=settings.openai_model,
            base_url=settings.openai_base_url,
            api_key=None if key is None else key.get_secret_value(),
            timeout_s=settings.openai_timeout_s,
        )

    def _build(self, api_key: str) -> OpenAI:
        try:
            from openai import Omit, OpenAI
        except ImportError as exc:
            raise MissingExtraError("the generator openai", "app") from exc
        # The client would take both from the environment.
        unnamed: Any = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
        return OpenAI(
            api_key=api_key,
            base_url=self.base_url,
            max_retries=0,  # ours look at the whole time that is left
            default_headers=unnamed,
        )

    def answer(self, question: str, context: Context) -> Answer:
        """The whole answer, in one response.

        Raises:
            GeneratorError: there is none.
        """
        deadline = self._until(context.limits)
        with self._mapped():
            done: ChatCompletion = self._repeated(
                lambda: self._ask(_said(question, context), deadline.remaining()), deadline
            )
            choice = done.choices[0]
            text = spoken(choice.message.content or "")
        if choice.finish_reason == "length":
            text += " ..."
        if not text.strip(" ."):
            raise self._nothing()
        if is_refusal(text):
            return refusal(self.mode, read=len(context.sources), left_out=context.left_out)
        numbering = CitationNumbering(len(context.sources))
        written = numbering.feed(text)
        written += numbering.finish()
        return self._answer(supported(written, numbering, context.sources), context)

    def stream(self, question: str, context: Context) -> Iterator[str | Answer]:
        """Pieces whose citations are verified already, then the answer.

        Raises:
            GeneratorError: it broke off, also after some pieces.
        """
        numbering = CitationNumbering(len(context.sources))
        written: list[str] = []
        try:
            yield from self._streamed(question, context, numbering, written)
        except GeneratorError as exc:
            if "".join(written).strip():
                # What the reader has seen stays, with its sources.
                text = "".join([*written, numbering.finish(), " ..."])
                exc.said = self._answer(supported(text, numbering, context.sources), context)
            raise

    def _streamed(
        self, question: str, context: Context, numbering: CitationNumbering, written: list[str]
    ) -> Iterator[str | Answer]:
        """The stream; `written` gets each piece before it is given."""
        deadline = self._until(context.limits)
        thoughts, head, decided, finish = Spoken(), "", False, None
        with self._mapped():
            # The client's own timeout is between two pieces: a stream lives as long as words come.
            chunks, chunk = self._repeated(
                lambda: _opened(
                    self._ask(_said(question, context), deadline.remaining(), stream=True)
                ),
                deadline,
            )
            with contextlib.closing(chunks):
                while chunk is not None:
                    text, why = _told(chunk)
                    finish = finish if why is None else why
                    head += thoughts.feed(text)
                    decided = decided or not (is_refusal(head) or _may_become_refusal(head))
                    if decided:
                        piece, head = numbering.feed(head), ""
                        written.append(piece)
                        if piece:
                            yield piece
                    if context.limits.cancelled.is_set():
                        raise GeneratorError("nobody waits for the answer any more")
                    if context.limits.deadline is not None and context.limits.deadline.expired:
                        raise GeneratorError(
                            f"{self.model} at {self.base_url} was still writing when the "
                            "request's time was over"
                        )
                    chunk = next(chunks, None)
        head += thoughts.finish()
        if not decided and is_refusal(head):
            yield REFUSAL
            yield refusal(self.mode, read=len(context.sources), left_out=context.left_out)
            return
        if finish is None:
            raise GeneratorError(
                f"{self.model} at {self.base_url}: the answer was cut off before its end"
            )
        piece = numbering.feed(head) + numbering.finish()
        piece += " ..." if finish == "length" else ""
        written.append(piece)
        whole = "".join(written)
        if not whole.strip(" ."):
            raise self._nothing()
        if piece:
            yield piece
        yield self._answer(supported(whole, numbering, context.sources), context)

    def line(self, task: str, text: str, limits: ScoreContext) -> str:
        """What the LLM says to a task about a text; asked once, for at most ten seconds.

        Raises:
            GeneratorError: it failed; whoever asks has another way.
        """
        seconds = min(_LINE_S, self._until(limits).remaining())
        with self._mapped():
            done = self._ask([_message("system", task), _message("user", text)], seconds)
            return spoken(done.choices[0].message.content or "")

    def _nothing(self) -> GeneratorError:
        return GeneratorError(
            f"{self.model} at {self.base_url} answered with nothing, or with thoughts alone"
        )

    def _until(self, limits: ScoreContext) -> Deadline:
        """When an answer that is begun now has to be there."""
        return Deadline.after(self.timeout_s).sooner_of(limits.deadline)

    def _ask(self, messages: list[Any], seconds: float, *, stream: bool = False) -> Any:
        return self._client.chat.completions.create(
            model=self.model, messages=messages, temperature=0.0, stream=stream, timeout=seconds
        )

    def _answer(self, cited: Cited, context: Context) -> Answer:
        return Answer(
            text=cited.text,
            sources=cited.sources,
            mode=self.mode,
            removed_citations=cited.removed,
            weak_citations=cited.weak,
            read=len(context.sources),
            left_out=context.left_out,
        )

    def _repeated(self, call: Callable[[], Any], deadline: Deadline) -> Any:
        """Call; again where the server asks for it (429, 5xx, connection) and time is left."""
        import openai

        pause = _FIRST_PAUSE_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return call()
            except openai.APITimeoutError:
                raise
            except (openai.APIConnectionError, openai.APIStatusError) as exc:
                status = getattr(exc, "status_code", 503)
                wait = max(pause, _retry_after(exc))
                hopeless = status != 429 and status < 500
                if hopeless or attempt == _ATTEMPTS or wait >= deadline.remaining():
                    raise
                self._sleep(wait)
                pause *= 2
        raise GeneratorError("no attempt was made")  # not reached: the last one raises

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Whatever the client raises becomes one error that says how to mend it."""
        import httpx
        import openai

        where = f"{self.model} at {self.base_url}"
        try:
            yield
        except GeneratorError:
            raise
        except (openai.APITimeoutError, httpx.TimeoutException) as exc:
            raise GeneratorError(
                f"{where} gave no answer within {self.timeout_s:g} s; raise openai_timeout_s, or "
                "use --generator extractive"
            ) from exc
        except openai.APIStatusError as exc:
            raise GeneratorError(f"{where}: {_status_advice(exc)}") from exc
        except openai.APIConnectionError as exc:
            raise GeneratorError(
                f"{where} cannot be reached: {_cause(exc)}. Is the server running, and is "
                "openai_base_url right? Without an LLM: --generator extractive"
            ) from exc
        except httpx.HTTPError as exc:
            raise GeneratorError(f"{where}: the answer was cut off: {_cause(exc)}") from exc
        except (openai.OpenAIError, ValueError, KeyError, TypeError, AttributeError) as exc:
            # What the client raises where a server's answer has another shape than the API's.
            raise GeneratorError(
                f"{where} gave an answer that is not of the chat completions API "
                f"({type(exc).__name__}: {exc}); is openai_base_url right?"
            ) from exc


def _said(question: str, context: Context) -> list[dict[str, str]]:
    return [_message("system", prompt.SYSTEM), _message("user", prompt.human(question, context))]


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _opened(chunks: Any) -> tuple[Any, ChatCompletionChunk | None]:
    """The stream with its first chunk: only then it is known whether the call succeeded."""
    return chunks, next(chunks, None)


def _told(chunk: ChatCompletionChunk) -> tuple[str, str | None]:
    """Text of a chunk, and why the answer ends with it; the last one may carry usage alone."""
    if not chunk.choices:
        return "", None
    choice = chunk.choices[0]
    return choice.delta.content or "", choice.finish_reason


def _may_become_refusal(head: str) -> bool:
    plain = head.replace("\u2019", "'").lstrip(_LEAD).lower()
    return REFUSAL.lower().startswith(plain) or may_deny(head)


def _retry_after(exc: Exception) -> float:
    response = getattr(exc, "response", None)
    value = "" if response is None else response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:  # a date, or nothing
        return 0.0


def _status_advice(exc: Any) -> str:
    status = exc.status_code
    said = " ".join(str(exc.message).split())[:300]
    advice = {
        401: "the key was refused; set RANKGATE_OPENAI_API_KEY",
        403: "the key may not use this model",
        404: "no such model or address; check openai_model and openai_base_url",
        429: "too many requests or no quota left; try again later",
    }.get(status, "the server failed; try again later" if status >= 500 else "the call was refused")
    return f"HTTP {status}, {advice} ({said})"


def _cause(exc: BaseException) -> str:
    inner = exc.__cause__
    return f"{type(exc).__name__}: {exc}" if inner is None else f"{type(inner).__name__}: {inner}"
