"""What is read from disk once a process, however many hold it."""

from __future__ import annotations

import functools
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["loaded_once"]

T = TypeVar("T")


def loaded_once(load: Callable[..., T]) -> Callable[..., T]:
    """`load`, giving one object for equal arguments for as long as anybody holds it.

    The four latest are kept besides, so that what is dropped and asked for again is not read
    again. A bounded cache alone would read a model twice while the first is in use.

    Args:
        load: of hashable positional arguments; what it raises is not remembered.
    """
    known: weakref.WeakValueDictionary[tuple[Any, ...], T] = weakref.WeakValueDictionary()
    latest: deque[T] = deque(maxlen=4)
    loading = threading.Lock()

    @functools.wraps(load)
    def once(*key: Any) -> T:
        with loading:
            found = known.get(key)
            if found is None:
                found = known[key] = load(*key)
            if not any(found is one for one in latest):
                latest.append(found)
            return found

    return once
