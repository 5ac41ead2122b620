"""The terminal: messages, tables and progress bars, all as plain text; and no log lines of native libraries."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from avgate.core.signals import held_interrupts
from avgate.core.text import one_line, printable

_native_lock = threading.RLock()
"""Of the thread that discards what comes to stderr."""

_LONGEST_QUIET_S = 10.0
"""Models load in less."""


class Terminal(Console):
    """Shows text as it is: control characters as escapes, and brackets in names as brackets, not as markup."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """The way that all strings take, those in tables too."""
        return super().render_str(printable(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does, once stderr isn't another thread's that discards what comes there."""
        mine = False
        try:
            with held_interrupts():
                mine = _native_lock.acquire(timeout=_LONGEST_QUIET_S)
            super().print(*objects, **options)
        finally:
            if mine:
                _native_lock.release()

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Print a message on one line, however long; its parts are texts, or texts with a style."""
        whole = Text()
        for part in parts:
            text, style = (part, "") if isinstance(part, str) else part
            whole.append(one_line(text), style)
        self.print(whole, soft_wrap=True)


console = Terminal(stderr=True)
"""Messages and progress go to stderr, so that the output on stdout can be piped."""


class _Description(ProgressColumn):
    """What a bar is of, often a file's name."""

    def render(self, task: Task) -> Text:
        """The text of a task's bar."""
        return Text(one_line(task.description))


def progress() -> Progress:
    """A progress bar with count, elapsed and remaining time; shown only if stderr is a terminal."""
    return Progress(
        SpinnerColumn(),
        _Description(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=console.quiet or not console.is_terminal,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide messages and progress bars, such as those of work that has one bar for all of it."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


@contextlib.contextmanager
def quiet_native() -> Iterator[None]:
    """Discard what native libraries log to stderr while a model loads, runs for the first time or closes.

    They write to file descriptor 2 directly, which `contextlib.redirect_stderr` can't catch. Errors raise as usual.
    """
    saved: list[int] = []
    with _native_lock:
        try:
            with held_interrupts():
                sys.stderr.flush()
                saved.append(os.dup(2))
                sink = os.open(os.devnull, os.O_WRONLY)
                os.dup2(sink, 2)
                os.close(sink)
            yield
        finally:
            with held_interrupts():
                sys.stderr.flush()
                for file in saved:
                    os.dup2(file, 2)
                    os.close(file)
