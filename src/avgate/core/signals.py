"""Signals that end a process: cleaned up after like Ctrl-C, and never in the midst of what must not be cut."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeVar

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks a process to end: a system that stops, a scheduler, a container; a terminal that is closed."""

NOTICE_S = 0.5
"""How many seconds the main thread waits at a time, for something that may take as long as it likes.

Python handles a signal between two steps of the main thread. One that comes between the last step and the beginning of
a wait is handled when the wait is over.
"""

_Item = TypeVar("_Item")


class Ended(SystemExit):
    """This process was asked to end by a signal; its exit code is the one that shells give for it, such as 143."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


@contextlib.contextmanager
def orderly_end() -> Iterator[None]:
    """Let the signals that ask this process to end raise Ended in the block, so that it cleans up as it does at Ctrl-C.

    They come once: further ones don't interrupt the cleaning. What somebody else has decided on a signal, such as
    nohup, stays.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        for sign in before:
            signal.signal(sign, signal.SIG_IGN)
        raise Ended(number)

    before = [sign for sign in ENDING if signal.getsignal(sign) == signal.SIG_DFL]
    for sign in before:
        signal.signal(sign, end)
    try:
        yield
    finally:
        for sign in before:
            signal.signal(sign, signal.SIG_DFL)


@contextlib.contextmanager
def held_interrupts() -> Iterator[None]:
    """Hold back Ctrl-C and the signals that ask to end until the block ends.

    An exception that came in between could leave a lock locked for ever. Processes started in the block, by
    `start` of core/processes.py, never see a Ctrl-C, not even while they import. By `let_in` they let the signals that
    ask to end in again.
    """
    held = {signal.SIGINT, *ENDING}
    came: list[int] = []
    masked = _mask("SIG_BLOCK", ())
    # The mask is this thread's own: what another thread is given is handled in the main one all the same.
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {sign: handler for sign in held if callable(handler := signal.getsignal(sign))}
    try:  # in which all is changed: each of the calls may raise what has just come
        _mask("SIG_BLOCK", held)
        for sign in handlers:
            signal.signal(sign, lambda number, _: came.append(number))
        yield
    finally:
        try:
            for sign, handler in handlers.items():
                signal.signal(sign, handler)
        finally:
            _mask("SIG_SETMASK", masked)
            if came:
                signal.raise_signal(came[-1])


def let_in() -> None:
    """Let the signals that ask to end in again, in a process that was started while they were held back."""
    _mask("SIG_UNBLOCK", ENDING)


def take(waiting: SimpleQueue[_Item]) -> _Item:
    """The next item of a queue; as long as there is none, signals are handled. Their handlers may put one in."""
    while True:
        with contextlib.suppress(Empty):
            return waiting.get(timeout=NOTICE_S)


def _mask(how: str, signs: Iterable[int]) -> set[int]:
    """What this thread let wait before it was told how; Windows lets nothing wait."""
    return set() if sys.platform == "win32" else set(signal.pthread_sigmask(getattr(signal, how), signs))
