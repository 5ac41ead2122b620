"""Text tables: CSV files as programs and spreadsheets of all countries write them."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from avgate.core.errors import CorpusError
from avgate.core.files import is_file
from avgate.core.text import from_cell, number, quoted, reason

_SEPARATOR = re.compile(r"sep=(.)", re.IGNORECASE)
"""A first line by which spreadsheets tell the separator."""

_UNKNOWN = re.compile(r"na|[+-]?nan(\(\w*\))?|[+-]?1\.#(qnan|snan|ind)0*", re.ASCII | re.IGNORECASE)
"""NaN may have a sign and a kind, such as -nan(ind); programs of older Windows write 1.#QNAN."""


@dataclass(frozen=True)
class TextTable:
    """A table's rows, without blanks around cells.

    Attributes:
        path: the file.
        rows: cells of each row, titles included.
        lines: number of the line on which each row begins, as an editor counts.
        separator: what separates cells.
    """

    path: Path
    rows: list[list[str]]
    lines: list[int]
    separator: str

    @property
    def comma(self) -> bool:
        """Whether numbers may have a decimal comma: where commas don't separate cells."""
        return self.separator != ","

    def number(self, row: int, column: int, title: str, hint: str | None = None) -> float:
        """The number in a cell, NaN where it is empty, NaN or NA; CorpusError where it is anything else."""
        text = self.rows[row][column]
        if unknown(text):
            return math.nan
        value = number(text, comma=self.comma)
        if value is None:
            what = f"line {self.lines[row]}, column {quoted(title)}: '{quoted(text)}' isn't a number"
            usual = "write numbers with a decimal point; leave unknown ones empty"
            if number(text, comma=True) is not None:
                usual = "write a decimal point, or separate cells by semicolons or tabs"
            raise CorpusError(what, where=self.path, hint=hint or usual)
        return value


def unknown(text: str) -> bool:
    """Whether a cell says that a value is unknown: it is empty, NA, or NaN as any program writes it."""
    return not text or _UNKNOWN.fullmatch(text) is not None


def read_rows(path: Path, separator: str | None = None, *, blank: bool = False, hint: str | None = None) -> TextTable:
    """Read a text table; rows without any text are left out.

    Args:
        path: the file; UTF-8, with or without a byte order mark.
        separator: unless given, tab or semicolon where the first line has one outside of quotes, else comma.
        blank: keep rows without any text (except at the end), for formats in which row i is frame i.
        hint: the next step where the file can't be read or is empty.

    Raises:
        CorpusError: the file isn't text, or is empty.
    """
    if not is_file(path):
        raise CorpusError("there is no such file", where=path, hint=hint or "check the path")
    try:
        text = path.read_text("utf-8-sig")
        first = text.split("\n", 1)[0]
        told = _SEPARATOR.fullmatch(first.strip())
        if separator is None:
            plain = re.sub(r'"[^"]*"', "", first)
            separator = told[1] if told else next((mark for mark in "\t;" if mark in plain), ",")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        rows, lines, before = [], [], 0
        for cells in reader:
            stripped = [from_cell(cell.strip()) for cell in cells]
            if (blank or any(stripped)) and not (told and before == 0):
                rows.append(stripped)
                lines.append(before + 1)
            before = reader.line_num
    except (OSError, ValueError, csv.Error) as error:
        what = f"the file can't be read as a text table: {reason(error)}"
        raise CorpusError(what, where=path, hint=hint or "check the path, and that the file is UTF-8 text") from error
    while blank and rows and not any(rows[-1]):
        rows.pop()
    if not rows:
        raise CorpusError("the file is empty", where=path, hint=hint or "check what the program exported")
    return TextTable(path, rows, lines[: len(rows)], separator)
