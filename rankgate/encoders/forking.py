"""Lets torch be used in a forked child: without this it waits for threads that were not copied."""

from __future__ import annotations

import functools
import os

__all__ = ["survive_fork"]


def _one_thread() -> None:
    import torch

    # A parent that has run torch leaves the child an OpenMP pool whose threads do not exist;
    # with one thread the pool is never asked.
    torch.set_num_threads(1)


@functools.cache
def survive_fork() -> None:
    """Make forked children of this process run torch on one thread; once is enough.

    Where a worker shall use several threads, start it with `spawn`, or fork before loading.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_one_thread)
