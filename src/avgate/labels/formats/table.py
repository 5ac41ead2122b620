"""CSV tables: a column of times in seconds or milliseconds, and one column per target."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.files import write_csv
from avgate.core.tables import TextTable, read_rows, unknown
from avgate.core.text import listed, number
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames, checked_ends, checked_times, left_out, seconds_per_unit

UNITS: dict[str, float | None] = {
    **dict.fromkeys(("time_s", "seconds", "second", "time (s)", "timestamp_s", "start_s"), 1.0),
    **dict.fromkeys(("time_ms", "ms", "milliseconds", "timestamp_ms", "time (ms)", "start_ms"), 1e-3),
    **dict.fromkeys(("time", "t", "timestamp")),
}
"""Names of the column of times -> seconds per unit, None where it follows from the distance between labels."""

ENDS = {"until_s": 1.0, "end_s": 1.0, "until_ms": 1e-3, "end_ms": 1e-3}
"""Names of the column of end times, for labels of intervals -> seconds per unit."""

LENGTHS: dict[str, float | None] = {"duration_s": 1.0, "duration_ms": 1e-3, "duration": None}
"""Names of the column of lengths, in place of end times -> seconds per unit, None for that of the column of times."""

_COUNTED = ("frame", "frame_index", "frame_number", "index", "id", "confidence")
"""Columns that number rows or say how sure a label is; none is a target."""

_NAMELESS = re.compile(r"|Unnamed: \d+")
"""Titles of an index, as pandas writes and reads it."""

_HINT = f"name the column of times {', '.join(UNITS)}; every other column is a target"


@dataclass(frozen=True)
class Table:
    """One row per label, cells separated by commas, semicolons or tabs; the cell of an unknown label is empty.

    Where commas don't separate cells, numbers may have a decimal comma. Left out and named in the notes are columns of
    words, columns without a title (an index), columns that number rows, such as frame, or say how sure a label is, and
    what `avgate predict` writes beside its estimates, such as valence_low and valence_high beside valence.
    """

    name: str = "csv"
    program: str = "Table"
    suffix: str = ".csv"
    single: bool = False
    scaled: bool = False

    def recognises(self, path: Path) -> bool:
        """Any file of that suffix; other formats are asked first."""
        return True

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """Read all numeric columns; see LabelFormat."""
        text = read_rows(path)
        titles = text.rows[0]
        lower = [title.lower() for title in titles]
        clocks = [i for i, title in enumerate(lower) if title in UNITS]
        if len(clocks) != 1:
            found = "there are several" if clocks else f"there is none among: {listed(titles)}"
            what = f"there must be one column of times, but {found}"
            raise CorpusError(what, where=path, hint=_HINT)
        clock = clocks[0]
        end = next((i for i, title in enumerate(lower) if title in ENDS), None)
        lengths = [i for i, title in enumerate(lower) if title in LENGTHS]
        length = lengths[0] if lengths and end is None else None  # ends say it already, where there are both
        twice = {title for title in titles if title and titles.count(title) > 1}
        if twice:
            raise CorpusError(f"these columns are there twice: {listed(sorted(twice))}", where=path, hint=_HINT)
        for i, row in enumerate(text.rows):
            if len(row) != len(titles):
                what = f"line {text.lines[i]} has {len(row)} cells, but there are {len(titles)} columns"
                raise CorpusError(what, where=path, hint=_HINT)
        nameless = [i for i, title in enumerate(titles) if _NAMELESS.fullmatch(title)]
        counted = [i for i, title in enumerate(lower) if title in _COUNTED]
        beside = [i for i, t in enumerate(titles) if i not in counted and _beside_an_estimate(t, titles)]
        known = {clock, end, *lengths, *nameless, *counted, *beside}
        words = [i for i in range(len(titles)) if _words(text, i) and i not in known]
        targets = [i for i in range(len(titles)) if i not in {*known, *words}]
        if not targets:
            raise CorpusError("there must be a named column of numbers for each target", where=path, hint=_HINT)
        times, *columns = (
            np.array([text.number(n, i, titles[i]) for n in range(1, len(text.rows))], np.float64)
            for i in (clock, *targets, *(i for i in (end, length) if i is not None))
        )
        unit = UNITS[lower[clock]]
        unit = seconds_per_unit(times) if unit is None else unit
        if unit is None:
            what = f"the column '{titles[clock]}' may be seconds or another unit"
            raise CorpusError(what, where=path, hint="call it time_s or time_ms, in seconds or milliseconds")
        time_s = checked_times(times * unit, path, _HINT, text.lines[1:])
        until_s = None if end is None else columns.pop() * ENDS[lower[end]]
        if length is not None:
            until_s = time_s + columns.pop() * (LENGTHS[lower[length]] or unit)
        values = np.stack(columns, axis=1).astype(np.float32)
        notes = left_out([titles[i] for i in words], "columns") + _further(text, nameless, counted, beside)
        labels = LabelTrack(time_s, values, tuple(titles[i] for i in targets), until_s, notes)
        return checked_ends(labels, path, _HINT, text.lines[1:])

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write columns time_s, until_s (labels of intervals only) and the targets; see LabelFormat."""
        clocks = {"time_s": labels.time_s} | ({} if labels.until_s is None else {"until_s": labels.until_s})
        columns = np.stack([*clocks.values(), *labels.values.T], axis=1)
        rows = (["" if math.isnan(x) else f"{x:.{DECIMALS}f}" for x in row] for row in columns.tolist())
        write_csv(path, [*clocks, *labels.targets], rows)


def _beside_an_estimate(title: str, titles: list[str]) -> bool:
    """Whether a column is one end of the interval about another's values, or what `avgate predict` says beside them."""
    name, _, side = title.rpartition("_")
    if side in ("low", "high") and {name, f"{name}_low", f"{name}_high"} <= set(titles):
        return True
    estimated = {title.removesuffix("_raw") for title in titles if title.endswith("_raw")} & set(titles)
    return bool(estimated) and any(t.endswith("_present") for t in titles) and title not in estimated | {"time_s"}


def _words(text: TextTable, column: int) -> bool:
    """Whether a column holds words, and nothing that may be meant as a number."""
    filled = [row[column] for row in text.rows[1:] if row[column]]
    return bool(filled) and not any(unknown(cell) or number(cell, comma=True) is not None for cell in filled)


def _further(text: TextTable, nameless: list[int], counted: list[int], beside: list[int]) -> tuple[str, ...]:
    """Notes on columns of numbers that are no targets; an empty column without a title is no loss."""
    titles = text.rows[0]
    left = {
        "it has no title": [f"column {i + 1}" for i in nameless if any(row[i] for row in text.rows[1:])],
        "they number rows or say how sure a label is": [titles[i] for i in counted],
        "they belong to an estimate": [titles[i] for i in beside],
    }
    lists = {why: listed(names) if why.startswith("it") else f"columns {listed(names)}" for why, names in left.items()}
    return tuple(f"left out, because {why}: {lists[why]}" for why, names in left.items() if names)
