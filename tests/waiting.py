"""Waiting without guessing how long: for a condition, or on a clock that the test sets.

The one place in the tests that sleeps. Where what is waited for has an event, a thread or a
future, wait for that; where the thing under test takes a clock, give it `Clock`.
"""

import asyncio
import inspect
import time

__all__ = ["Clock", "auntil", "until"]

_PAUSE_S = 0.005


class Clock:
    """Seconds that pass only when the test says so."""

    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


def until(condition, within=60.0):
    """Wait until `condition()` is true, and return what it said; an error after `within` s."""
    end = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < end, f"it did not happen within {within:g} s"
        time.sleep(_PAUSE_S)
    return found


async def auntil(condition, within=60.0):
    """`until` in an event loop, which goes on meanwhile; the condition may be a coroutine's."""
    end = time.monotonic() + within
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < end, f"it did not happen within {within:g} s"
        await asyncio.sleep(_PAUSE_S)
