"""What every label format is: a named way from a file to a LabelTrack and back, and what formats share."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.types import LabelTrack

DECIMALS = 6
"""Decimals of values and of seconds in text files."""

LONGEST_S = 7 * 86400.0
"""Seconds that labels may reach to; times beyond are no times since a video's beginning."""

Frames = Callable[[], np.ndarray]
"""Gives the timestamps of the video's frames, float64 [n] seconds, to formats that have no clock of their own."""


class LabelFormat(Protocol):
    """A file format for labels.

    Attributes:
        name: what the command line calls it.
        suffix: what its file names end with, dot included.
        single: whether a file holds one target only.
        scaled: whether files say which values are lowest and highest, so that reading brings them to [-1, 1].
    """

    @property
    def name(self) -> str:
        """What the command line calls it."""

    @property
    def suffix(self) -> str:
        """What its file names end with, dot included."""

    @property
    def single(self) -> bool:
        """Whether a file holds one target only."""

    @property
    def scaled(self) -> bool:
        """Whether files say which values are lowest and highest."""

    def recognises(self, path: Path) -> bool:
        """Whether a file that has the suffix looks like one of this format; may read its beginning."""

    def read(self, path: Path, frames: Frames | None) -> LabelTrack:
        """What the file says; CorpusError where it can't be read or contradicts itself.

        Where the format isn't `scaled`, values are as they stand in the file.
        """

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write labels, atomically; of one target only if the format is `single`. OutputError where that fails."""


def rows_of(path: Path, delimiter: str | None = None, *, blank: bool = False) -> list[list[str]]:
    """All rows of a text table that aren't empty, cells stripped.

    Args:
        path: the file; UTF-8, with or without a byte order mark.
        delimiter: what stands between cells; unless given, the one of tab, semicolon and comma that the first row has.
        blank: keep empty rows between others, for files whose rows are counted.

    Raises:
        CorpusError: it can't be read as text, or there is none.
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
    """The first line of a text file without a byte order mark, empty where there is none."""
    try:
        with path.open("rb") as file:
            return file.readline(4096).decode("utf-8-sig", "replace").strip()
    except OSError:
        return ""


def number(text: str, row: int, column: str, path: Path) -> float:
    """A cell's number, NaN where it is empty or says NaN; CorpusError for anything else."""
    if unknown(text):
        return math.nan
    value = finite(text)
    if value is None:
        what = f"row {row}, column {column}: '{text}' is no number"
        raise CorpusError(what, where=path, hint="write numbers with a decimal point; leave unknown ones empty")
    return value


def unknown(text: str) -> bool:
    """Whether a cell says that nothing is known: empty, NaN or NA."""
    return not text or text.lower() in ("nan", "na")


def checked_times(time_s: np.ndarray, path: Path, hint: str) -> np.ndarray:
    """Times that are there and increase; CorpusError for others, with the row."""
    if not len(time_s):
        raise CorpusError("there are no labels in it", where=path, hint=hint)
    if (np.abs(time_s) > LONGEST_S).any():
        what = f"its times reach from {np.nanmin(time_s):g} to {np.nanmax(time_s):g} s"
        raise CorpusError(what, where=path, hint="times count from the beginning of the video, in the unit of the file")
    wrong = np.flatnonzero(~(np.diff(time_s, prepend=-np.inf) > 0))
    if len(wrong):
        raise CorpusError(f"times must increase, but row {wrong[0] + 1} doesn't come later", where=path, hint=hint)
    return time_s


def scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """From [low, high] to [-1, 1]."""
    return (values - (high + low) / 2) / ((high - low) / 2)


def numeric(
    tiers: dict[str, list[tuple[float, float, str]]], path: Path, hint: str
) -> dict[str, list[tuple[float, float, float]]]:
    """Those tiers whose texts are numbers, with these numbers; annotations without text say nothing and are left out.

    Raises:
        CorpusError: no tier holds numbers, or one that does holds something else among them.
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
    """The number that a text is, None if it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
