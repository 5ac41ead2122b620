"""File formats for traces. A new one is a file here and a line in WRITERS; the contract tests then cover it."""

from __future__ import annotations

from avgate.core.errors import choose
from avgate.report.writers.base import Writer
from avgate.report.writers.csv import CsvWriter
from avgate.report.writers.json import JsonWriter

__all__ = ["WRITERS", "Writer", "find_writer"]

WRITERS: tuple[Writer, ...] = (CsvWriter(), JsonWriter())


def find_writer(name: str) -> Writer:
    """The writer of this name.

    Raises:
        UsageError: there is none; the hint lists those that exist.
    """
    return choose("output format", name, {writer.name: writer for writer in WRITERS})
