"""Blocking work beside the event loop: so many at once, a short queue, a time limit.

Inference cannot be interrupted. A request that times out, or whose client has gone, is answered
or forgotten at once, but its slot is free only when its thread is: otherwise the machine would be
given more work than it can do.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from rag_app.server.errors import ApiError

__all__ = ["Slots"]

T = TypeVar("T")

_END = object()
_BUFFERED = 16


class Slots:
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
        self._pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="rankgate-worker")

    @property
    def taken(self) -> int:
        """Calls that run or wait."""
        return self._taken

    def close(self) -> None:
        """Wait for what is running."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        if self._taken >= self.at_once + self.waiting:
            raise ApiError(
                429,
                "too_many_requests",
                f"{self._taken} requests are being answered or waiting; try again in a moment",
                headers={"Retry-After": "1"},
            )
        self._taken += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._free)
        return future

    def _free(self, future: asyncio.Future[Any]) -> None:
        self._taken -= 1
        if not future.cancelled():
            future.exception()  # looked at, so that an abandoned one is not complained about

    async def run(self, work: Callable[[], T]) -> T:
        """The result of a blocking call.

        Raises:
            ApiError: 429 where everything is taken, 504 where it took too long.
        """
        future = self._submit(work)
        try:
            async with asyncio.timeout(self.timeout_s):
                return await asyncio.shield(future)
        except TimeoutError as exc:
            raise self._late() from exc

    async def iterate(self, make: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
        """The items of a blocking iterator, as they come.

        The thread waits while nobody takes them, and stops at the next item once the consumer
        has gone.

        Raises:
            ApiError: as `run`; it may come after items.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Any] = asyncio.Queue(_BUFFERED)
        gone = threading.Event()

        def put(item: Any) -> bool:
            """Hand over; False where nobody listens any more."""
            handed = asyncio.run_coroutine_threadsafe(queue.put(item), loop)
            while not gone.is_set():
                try:
                    handed.result(timeout=0.2)
                except TimeoutError:
                    continue
                return True
            handed.cancel()
            return False

        def produce() -> None:
            if gone.is_set():  # left while waiting for the slot
                return
            items = make()
            try:
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

        until = loop.time() + self.timeout_s
        self._submit(produce)
        try:
            # Not `asyncio.timeout`: its scope must not stretch over a yield.
            while (item := await asyncio.wait_for(queue.get(), until - loop.time())) is not _END:
                if isinstance(item, BaseException):
                    raise item
                yield item
        except TimeoutError as exc:
            raise self._late() from exc
        finally:
            gone.set()

    def _late(self) -> ApiError:
        return ApiError(
            504, "timeout", f"no answer within {self.timeout_s:g} seconds; the question was dropped"
        )
