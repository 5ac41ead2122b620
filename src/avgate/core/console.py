"""The terminal: messages, progress bars, and no log lines of native libraries."""

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
"""Messages and progress go to stderr, so that the output on stdout can be piped."""

_native_lock = threading.RLock()


def progress() -> Progress:
    """A progress bar with count, elapsed and remaining time; shown only if stderr is a terminal."""
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
    """Discard what native libraries log to stderr while a model loads, runs for the first time or closes.

    They write to file descriptor 2 directly, which `contextlib.redirect_stderr` can't catch. Errors raise as usual.
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
