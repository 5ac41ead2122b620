"""File formats for traces. A new one is a file here and a line in WRITERS; the contract tests then cover it."""

from __future__ import annotations

from avgate.report.writers.base import Writer
from avgate.report.writers.csv import CsvWriter
from avgate.report.writers.json import JsonWriter

__all__ = ["WRITERS", "Writer"]

WRITERS: tuple[Writer, ...] = (CsvWriter(), JsonWriter())
