"""The interface of a label format, and helpers that formats share."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.timeline import LONGEST_S
from avgate.core.types import LabelTrack

DECIMALS = 6
"""Decimals of values and of seconds in the text files that are written."""

Frames = Callable[[], np.ndarray]
"""Gives the timestamps of the video's frames, float64 [n] seconds, to formats without times."""


class LabelFormat(Protocol):
    """A file format for labels: it reads a file to a LabelTrack, and writes one.

    Attributes:
        name: its name on the command line.
        suffix: how its file names end, dot included.
        single: whether a file holds one target only.
        scaled: whether files state their lowest and highest value; reading then maps these to [-1, 1].
    """

    @property
    def name(self) -> str:
        """Its name on the command line."""

    @property
    def suffix(self) -> str:
        """How its file names end, dot included."""

    @property
    def single(self) -> bool:
        """Whether a file holds one target only."""

    @property
    def scaled(self) -> bool:
        """Whether files state their lowest and highest value."""

    def recognises(self, path: Path) -> bool:
        """Whether a file with this suffix looks like this format; may read its first line."""

    def read(self, path: Path, frames: Frames | None) -> LabelTrack:
        """Read a file.

        Args:
            path: the file.
            frames: gives the timestamps of the video's frames; used by formats without times.

        Returns:
            The labels; values as in the file unless the format is `scaled`.

        Raises:
            CorpusError: it can't be read, or is malformed.
        """

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write labels atomically.

        Args:
            labels: one target only if the format is `single`.
            path: the file.

        Raises:
            OutputError: it can't be written.
        """


def rows_of(path: Path, delimiter: str | None = None, *, blank: bool = False) -> list[list[str]]:
    """The rows of a text table, without empty rows, and without blanks around cells.

    Args:
        path: the file; UTF-8, with or without a byte order mark.
        delimiter: unless given, tab or semicolon where the first line has one, else comma.
        blank: keep empty rows (except at the end), for formats in which row i is frame i.

    Raises:
        CorpusError: the file isn't text, or is empty.
    """
    try:
        text = path.read_text("utf-8-sig")
        if delimiter is None:
            delimiter = next((d for d in "\t;" if d in text.split("\n", 1)[0]), ",")
        rows = list(csv.reader(text.splitlines(), delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        what = f"the file can't be read as a text table: {getattr(error, 'strerror', None) or error}"
        raise CorpusError(what, where=path, hint="check the path, and that the file is UTF-8 text") from error
    stripped = [[cell.strip() for cell in row] for row in rows]
    while blank and stripped and not any(stripped[-1]):
        stripped.pop()
    filled = stripped if blank else [row for row in stripped if any(row)]
    if not filled:
        raise CorpusError("the file is empty", where=path, hint="check what the program exported")
    return filled


def first_line(path: Path) -> str:
    """First line of a text file without its byte order mark; empty where the file can't be read."""
    try:
        with path.open("rb") as file:
            return file.readline(4096).decode("utf-8-sig", "replace").strip()
    except OSError:
        return ""


def number(text: str, row: int, column: str, path: Path) -> float:
    """Number in a cell, NaN where it is empty, NaN or NA; CorpusError where it is anything else."""
    if unknown(text):
        return math.nan
    value = finite(text)
    if value is None:
        what = f"row {row}, column {column}: '{text}' isn't a number"
        raise CorpusError(what, where=path, hint="write numbers with a decimal point; leave unknown ones empty")
    return value


def unknown(text: str) -> bool:
    """Whether a cell is empty, NaN or NA."""
    return not text or text.lower() in ("nan", "na")


def checked_times(time_s: np.ndarray, path: Path, hint: str) -> np.ndarray:
    """The same times, float [n] seconds; CorpusError where there are none, or they are too late or don't increase."""
    if not len(time_s):
        raise CorpusError("there are no labels in it", where=path, hint=hint)
    if (np.abs(time_s) > LONGEST_S).any():
        what = f"its times reach from {np.nanmin(time_s):g} to {np.nanmax(time_s):g} s"
        raise CorpusError(what, where=path, hint="times count from the beginning of the video, in the unit of the file")
    wrong = np.flatnonzero(~(np.diff(time_s, prepend=-np.inf) > 0))
    if len(wrong):
        what = f"times must increase, but row {wrong[0] + 1} has no time or isn't later than the row before"
        raise CorpusError(what, where=path, hint=hint)
    return time_s


def scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values mapped linearly from [low, high] to [-1, 1]."""
    return (values - (high + low) / 2) / ((high - low) / 2)


def numeric_tiers(
    tiers: dict[str, list[tuple[float, float, str]]], path: Path, hint: str
) -> dict[str, list[tuple[float, float, float]]]:
    """The tiers whose annotations are all numbers, without annotations that have no text.

    Args:
        tiers: tier -> (start, end, text) of its annotations, times in seconds.
        path: the file, for messages.
        hint: the next step, for messages.

    Returns:
        Tier -> (start, end, value).

    Raises:
        CorpusError: no tier is numeric, or a tier of mostly numbers has other text, too.
    """
    found: dict[str, list[tuple[float, float, float]]] = {}
    for name, tier in tiers.items():
        spoken = [(start, end, text.strip()) for start, end, text in tier if text.strip()]
        numbers = [(start, end, value) for start, end, text in spoken if (value := finite(text)) is not None]
        if len(numbers) == len(spoken) > 0:
            found[name] = numbers
        elif len(numbers) > len(spoken) / 2:
            start, text = next((start, text) for start, _, text in spoken if finite(text) is None)
            what = f"tier '{name}' holds numbers, but at {start:.2f} s '{text[:40]}'"
            raise CorpusError(what, where=path, hint="correct it, or leave it empty where the value is unknown")
    if not found:
        what = f"no tier holds numbers; tiers: {', '.join(tiers) or 'none'}"
        raise CorpusError(what, where=path, hint=hint)
    return found


def finite(text: str) -> float | None:
    """The text as a finite number, None if it isn't one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
