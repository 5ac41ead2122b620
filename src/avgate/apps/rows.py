"""The CSV file of a stream, which grows while the stream lasts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from avgate.apps.predict.outputs import refuse_strangers
from avgate.core.errors import OutputError, UsageError
from avgate.core.files import refuse_overwriting
from avgate.core.text import reason
from avgate.core.types import Trace
from avgate.report.writers.csv import CsvRows, CsvWriter

STDOUT = Path("-")
"""As an output: rows go to stdout."""


class Rows:
    """The CSV file of a stream, which grows by a row with every result; or stdout, or nothing.

    The file is made, and an earlier one replaced, when the first rows come.

    Args:
        path: the file, STDOUT, or None.
        inputs: files that are read, which it mustn't be.

    Raises:
        UsageError: the name doesn't end in .csv, or it is an input.
        OutputError: it can't be written, or would replace a file that avgate didn't write.
    """

    def __init__(self, path: Path | None, inputs: Sequence[Path] = ()):
        self.path, self._scope = path, ExitStack()
        self._rows: CsvRows | None = None
        if path is None or path == STDOUT:
            return
        if path.suffix != CsvWriter.suffix:
            raise UsageError(f"'{path.name}' is no name of a CSV file", where="--out", hint="let it end in .csv")
        refuse_overwriting(inputs, {"--out": path})
        refuse_strangers({path: "csv"})

    @property
    def on_terminal(self) -> bool:
        """Whether the rows are what the terminal shows."""
        return self.path == STDOUT and sys.stdout is not None and sys.stdout.isatty()

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._scope.close()
        except OSError as error:
            if kind is None:  # else this is what failed before: rows that couldn't be written are tried once more
                raise self._failed(error) from error

    def add(self, part: Trace) -> None:
        """Write the rows of the next results; OutputError where they can't be written."""
        if self.path is None:
            return
        try:
            if self._rows is None:
                self._rows = CsvRows(self._open(self.path))
            self._rows.add(part)
        except OSError as error:
            if self.path == STDOUT:
                _abandon_stdout()
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputError:
        where = "stdout" if self.path == STDOUT else self.path
        hint = "check the free space on the disk; the rows until then are there"
        if isinstance(error, BrokenPipeError):
            hint = "the program that reads the rows may have ended"
        return OutputError(f"can't be written ({reason(error)})", where=where, hint=hint)

    def _open(self, path: Path) -> TextIO:
        if path != STDOUT:
            return self._scope.enter_context(path.open("w", encoding="utf-8", newline=""))
        if sys.stdout is None:
            raise OutputError("it is closed, and rows can't go there", where="stdout", hint="give --out a file")
        return sys.stdout


def _abandon_stdout() -> None:
    """Let what is still to be written to stdout go nowhere, so that Python doesn't complain of it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
