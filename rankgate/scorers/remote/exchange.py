"""One batch's exchange with a remote reranker: when to ask again, and when to give up.

Knows no socket: it yields what to send and how long to wait, and receives replies.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from rankgate.errors import (
    RemoteAuthError,
    RemoteLimitError,
    RemoteProtocolError,
    RemoteScorerError,
    ScorerError,
    ScorerTimeoutError,
)
from rankgate.scorers.protocol import ScoreContext
from rankgate.scorers.remote.dialects import Answer, Dialect, Question, server_message
from rankgate.scorers.remote.secret import Secret
from rankgate.scorers.remote.transport import Exchange, Failure, Pause, Reply, Send, Unanswered

__all__ = ["Asker", "Part"]

_BACKOFF_S = 0.25
# A timeout of exactly 0 would mean "do not block" to a socket.
_LEAST_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What came of one batch.

    Attributes:
        answer: the scores; None where there are none.
        late: why the deadline passed without an answer. With neither, the batch was refused
            as too large.
    """

    calls: int
    answer: Answer | None = None
    late: ScorerError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Asks one server in its dialect; the fields are `RemoteScorer`'s.

    Attributes:
        shown: the endpoint as it stands in messages, without its query string.
    """

    dialect: Dialect
    model: str
    raw_scores: bool
    max_tokens_per_doc: int | None
    timeout_s: float
    max_retries: int
    shown: str
    key: Secret | None

    def ask(self, query: str, texts: Sequence[str], context: ScoreContext) -> Exchange[Part]:
        """One batch, with its further attempts.

        Raises:
            RemoteAuthError, RemoteLimitError, RemoteProtocolError, RemoteScorerError: what the
                server's refusal amounts to, once no further attempt can help.
            ScorerTimeoutError: no answer within `timeout_s`.
        """
        body = self.dialect.body(
            Question(
                query=query,
                texts=texts,
                model=self.model,
                raw_scores=self.raw_scores,
                max_tokens_per_doc=self.max_tokens_per_doc,
            )
        )
        sent = 0
        error: ScorerError = ScorerTimeoutError(f"{self.shown}: no time was left to ask")
        while not context.should_stop:
            left = context.remaining()
            reply = yield Send(body=body, timeout=max(_LEAST_S, min(self.timeout_s, left)))
            sent += 1
            if isinstance(reply, Reply) and 200 <= reply.status < 300:
                return Part(calls=sent, answer=self.dialect.answer(reply.body, len(texts)))
            if isinstance(reply, Reply) and reply.status in (413, 422) and len(texts) > 1:
                return Part(calls=sent)
            error = self._error(reply)
            if isinstance(error, RemoteScorerError) and isinstance(reply, Reply):
                error.status = reply.status
            if isinstance(error, ScorerTimeoutError) and left <= self.timeout_s:
                break
            wait = _wait(reply, sent)
            if wait is None or sent > self.max_retries:
                raise error
            if wait >= context.remaining():
                break
            if wait > self.timeout_s:  # a server that asks for minutes is not waited for
                raise error
            yield Pause(seconds=wait)
        return Part(calls=sent, late=error)

    def _error(self, reply: Reply | Unanswered | None) -> ScorerError:
        """The error that a reply without scores amounts to."""
        if not isinstance(reply, Reply):
            return self._unanswered(reply)
        status, said = reply.status, server_message(reply.body)
        if self.key is not None:
            said = self.key.scrubbed(said)
        what = f"{self.shown} answered {status}" + (f" ({said})" if said else "")
        if status in (401, 403):
            return RemoteAuthError(f"{what}: check api_key and what it may do")
        if status in (413, 422):
            return RemoteLimitError(
                f"{what} to a single text: check that the model's name is right and that the text "
                "is not too long for it"
            )
        if status == 429:
            return RemoteLimitError(f"{what}: too many requests; ask less often or pay for more")
        if 300 <= status < 400:
            return RemoteScorerError(f"{what}: give the URL that it redirects to")
        if status in (404, 405):
            return RemoteScorerError(f"{what}: check the URL, the dialect and the model's name")
        return RemoteScorerError(what)

    def _unanswered(self, reply: Unanswered | None) -> ScorerError:
        if reply is None:
            return RemoteScorerError(f"{self.shown}: nothing came back")
        kind = type(reply.cause).__name__
        error: ScorerError
        if reply.failure is Failure.TIMEOUT:
            error = ScorerTimeoutError(
                f"{self.shown} gave no answer in time ({kind}); raise timeout_s, or send it less"
            )
        elif reply.failure is Failure.BROKEN:
            error = RemoteScorerError(
                f"{self.shown} could not be reached, or hung up ({kind}: {reply.cause}); "
                "check that the server runs there"
            )
        else:
            error = RemoteProtocolError(f"{self.shown}: {kind}: {reply.cause}")
        error.__cause__ = reply.cause
        return error


def _wait(reply: Reply | Unanswered | None, sent: int) -> float | None:
    """Seconds until the next attempt; None where another one cannot help."""
    # Spread out, so that callers who failed together do not come back together.
    backoff: float = _BACKOFF_S * 2 ** (sent - 1) * random.uniform(0.5, 1.0)
    if isinstance(reply, Unanswered):
        return backoff if reply.failure is Failure.BROKEN else None
    if reply is None or (reply.status != 429 and not 500 <= reply.status < 600):
        return None
    asked = _retry_after(reply.headers.get("retry-after", ""))
    return backoff if asked is None else asked


def _retry_after(value: str) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or an HTTP date."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        seconds = (when - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None
