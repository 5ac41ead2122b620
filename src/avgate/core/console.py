"""Messages, progress bars and quiet native libraries: what a user sees of avgate in a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True, highlight=False, emoji=False)
"""Messages and progress go to stderr, so that a command's own output can be piped."""

_native_lock = threading.Lock()


def progress() -> Progress:
    """A progress display with the count, the time spent and the time left; silent when stderr isn't a terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=console.quiet or not console.is_terminal,
    )


@contextlib.contextmanager
def quiet_native() -> Iterator[None]:
    """Keep C++ libraries from writing to the process's stderr while a model loads or first runs.

    They write to file descriptor 2 directly, so Python's own redirection can't catch it. What fails raises as usual.
    """
    with _native_lock:
        sys.stderr.flush()
        saved = os.dup(2)
        sink = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(sink, 2)
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            os.close(sink)
