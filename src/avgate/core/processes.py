"""Processes that work for this one: what is told when one is killed, and Ctrl-C, which reaches all of them."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

from avgate.core.errors import WorkerError


@contextlib.contextmanager
def held_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends; processes started in it never see one, not even while they import."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def lost_workers_named() -> Iterator[None]:
    """Turn the loss of a pool's process into an error that a user can act on: WorkerError."""
    try:
        yield
    except BrokenProcessPool as error:
        raise WorkerError(
            "a process that worked for this one was ended from outside, most often because memory ran out",
            hint="the same command continues with what is missing; fewer --workers need less memory",
        ) from error
