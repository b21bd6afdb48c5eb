"""Blocking work beside the event loop: so many at once, a short queue, a time limit.

Inference cannot be interrupted. A request that times out, or whose client has gone, is answered
or forgotten at once, but its slot is free only when its thread is: otherwise the machine would be
given more work than it can do. The thread is told, and ends at the next chunk of its scorer or
piece of its answer; what has not begun by then never begins.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request

from rag_app.server.errors import ApiError
from rankgate.deadline import Deadline
from rankgate.scorers import ScoreContext

T = TypeVar("T")

_END = object()
_BUFFERED = 16
_LOOK_S = 0.2


class Workers:
    """Runs blocking calls in threads.

    Args:
        at_once: calls that run at the same time.
        waiting: calls that may wait for a slot; more are refused with 429.
        timeout_s: from the request to its answer, waiting included.
    """

    def __init__(self, *, at_once: int, waiting: int, timeout_s: float) -> None:
        self.at_once = at_once
        self.waiting = waiting
        self.timeout_s = timeout_s
        self._taken = 0
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="rankgate-worker")

    @property
    def taken(self) -> int:
        """Calls that run or wait."""
        return self._taken

    async def close(self) -> None:
        """Wait for what is running; streams stop at their next piece."""
        self._closing.set()
        # Beside the loop: a thread that hands over a piece needs it to find that nobody listens.
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        if self._closing.is_set():
            raise ApiError(503, "closing", "the server is stopping", headers={"Retry-After": "5"})
        if self._taken >= self.at_once + self.waiting:
            raise ApiError(
                429,
                "too_many_requests",
                f"{self._taken} requests are being answered or waiting; try again in a moment",
                headers={"Retry-After": "1"},
            )
        loop = asyncio.get_running_loop()
        # With the context, for who traces: its thread knows of no request.
        future = self._pool.submit(contextvars.copy_context().run, work)
        self._taken += 1

        def freed(_: Future[T]) -> None:
            # Closed: the server has stopped meanwhile, and nobody counts any more.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._free)

        future.add_done_callback(freed)
        return future

    def _free(self) -> None:
        self._taken -= 1

    async def run(self, work: Callable[[ScoreContext], T], request: Request) -> T:
        """The result of a blocking call.

        Args:
            work: gets the limits of the request: the one deadline for everything that is done
                for it, and an event that is set once nobody waits for its result any more.
            request: which it answers; when its client has gone, so has the interest.

        Raises:
            ApiError: 429 where everything is taken, 504 where it took too long.
        """
        limits = self._limits()
        future = self._submit(lambda: work(limits))
        result = asyncio.wrap_future(future)
        left = _watched(request, limits)
        try:
            await self._either(result, left, limits)
            return result.result()
        finally:
            limits.cancelled.set()
            left.cancel()
            future.cancel()  # one that runs already runs on, in its slot
            result.add_done_callback(_look)

    async def iterate(
        self, make: Callable[[ScoreContext], Iterator[T]], request: Request
    ) -> AsyncGenerator[T]:
        """The items of a blocking iterator, as they come.

        The thread waits while nobody takes them, and stops at the next item once the consumer or
        the client has gone: also before the first item, which takes longest. Whoever leaves early
        has to close this iterator.

        Args:
            make: gets the limits, as `run`.

        Raises:
            ApiError: as `run`; it may come after items.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Any] = asyncio.Queue(_BUFFERED)
        limits = self._limits()
        gone = limits.cancelled

        def put(item: Any) -> bool:
            """Hand over; False where nobody listens any more."""
            if loop.is_closed():
                return False
            handed = asyncio.run_coroutine_threadsafe(queue.put(item), loop)
            while not gone.is_set():
                try:
                    handed.result(timeout=_LOOK_S)
                except TimeoutError:
                    if self._closing.is_set():
                        break
                    continue
                return True
            handed.cancel()
            return False

        def produce() -> None:
            items: Iterator[T] | None = None
            try:
                if gone.is_set():  # left while waiting for the slot
                    return
                items = make(limits)
                for item in items:
                    if gone.is_set() or not put(item):
                        return
            except BaseException as exc:
                put(exc)
            else:
                put(_END)
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()

        future = self._submit(produce)
        left = _watched(request, limits)
        try:
            while True:
                taken = asyncio.ensure_future(queue.get())
                try:
                    # Not `asyncio.timeout`: its scope must not stretch over a yield.
                    await self._either(taken, left, limits)
                    item = taken.result()
                finally:
                    taken.cancel()
                if item is _END:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            gone.set()
            left.cancel()
            future.cancel()

    def _limits(self) -> ScoreContext:
        return ScoreContext(deadline=Deadline.after(self.timeout_s))

    async def _either(
        self, wanted: asyncio.Future[Any], left: asyncio.Future[None], limits: ScoreContext
    ) -> None:
        """Wait until that is there.

        Raises:
            ApiError: the client left before, or the time is over.
        """
        await asyncio.wait(
            (wanted, left), timeout=limits.remaining(), return_when=asyncio.FIRST_COMPLETED
        )
        if wanted.done():
            return
        if left.done():
            raise ApiError(499, "client_gone", "the client left before its answer")
        raise self._late()

    def _late(self) -> ApiError:
        """The answer to whoever has waited too long."""
        return ApiError(
            504, "timeout", f"no answer within {self.timeout_s:g} seconds; the question was dropped"
        )


def _watched(request: Request, limits: ScoreContext) -> asyncio.Future[None]:
    """Done when the client has gone, and then the work knows; the body must have been read."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        limits.cancelled.set()

    return asyncio.ensure_future(left())


def _look(future: asyncio.Future[Any]) -> None:
    """At the failure of abandoned work, so that asyncio does not complain about it."""
    if not future.cancelled():
        future.exception()
