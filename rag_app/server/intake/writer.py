"""The one thread that writes: in turns between owners, and what is urgent before all else."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class _Task:
    owner: str
    collection: str
    work: Callable[[], Any]
    done: Future[Any] = field(default_factory=Future)

    def run(self) -> None:
        if self.done.set_running_or_notify_cancel():
            try:
                self.done.set_result(self.work())
            except BaseException as exc:  # whoever waits for it is told
                self.done.set_exception(exc)


class FairWriter:
    """Runs tasks one after the other. Each owner with tasks has the next turn in a round."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._urgent: deque[_Task] = deque()
        self._waiting: OrderedDict[str, deque[_Task]] = OrderedDict()
        self._running: list[_Task] = []
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="rankgate-writer", daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[], T], *, collection: str, owner: str = "", urgent: bool = False
    ) -> Future[T]:
        """Queue a task that writes to that collection.

        Args:
            urgent: short; runs before all others, also within one that calls `let_through`.
        """
        task = _Task(owner=owner, collection=collection, work=work)
        with self._changed:
            if urgent:
                self._urgent.append(task)
            else:
                self._waiting.setdefault(owner, deque()).append(task)
            self._changed.notify()
        return task.done

    def others_wait(self) -> bool:
        """Whether somebody else than the owner of the running task waits."""
        with self._changed:
            return any(owner != self._running[0].owner for owner in self._waiting)

    def let_through(self) -> None:
        """Called within a long task, where its collection may be written to by another.

        Runs what is urgent, and one task of another owner that writes to another collection.
        """
        while task := self._next(within=self._running[0]):
            self._run(task)

    def close(self) -> None:
        """Let the running task finish, and cancel those that wait."""
        with self._changed:
            self._closing = True
            left = [*self._urgent, *(task for tasks in self._waiting.values() for task in tasks)]
            self._urgent.clear()
            self._waiting.clear()
            self._changed.notify()
        for task in left:
            task.done.cancel()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._urgent or self._waiting)
                if self._closing:
                    return
            if (task := self._next()) is not None:
                self._run(task)

    def _run(self, task: _Task) -> None:
        self._running.append(task)
        try:
            task.run()
        finally:
            self._running.pop()

    def _next(self, within: _Task | None = None) -> _Task | None:
        with self._changed:
            if self._urgent:
                return self._urgent.popleft()
            if len(self._running) > 1:  # within one that was let through itself
                return None
            for owner, tasks in self._waiting.items():
                first = tasks[0]
                if within is not None and (
                    owner == within.owner or first.collection == within.collection
                ):
                    continue
                tasks.popleft()
                del self._waiting[owner]
                if tasks:  # at the end of the round
                    self._waiting[owner] = tasks
                return first
            return None
