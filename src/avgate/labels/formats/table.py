"""CSV tables: a column of times in seconds or milliseconds, and one column per target."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames, checked_times, finite, number, rows_of, unknown

UNITS = {
    **dict.fromkeys(("time_s", "time", "t", "seconds", "second", "time (s)", "timestamp_s", "start_s"), 1.0),
    **dict.fromkeys(("time_ms", "ms", "milliseconds", "timestamp_ms", "time (ms)", "start_ms"), 1e-3),
}
"""Names of the column of times -> seconds per unit."""

ENDS = {"until_s": 1.0, "end_s": 1.0, "until_ms": 1e-3, "end_ms": 1e-3}
"""Names of the column of end times, for labels of intervals -> seconds per unit."""

_HINT = f"name the column of times {', '.join(UNITS)}; every other column is a target"


@dataclass(frozen=True)
class Table:
    """One row per label, cells separated by commas, semicolons or tabs; the cell of an unknown label is empty.

    Columns of words, without any number, are ignored; so are the ends of a target's interval, such as valence_low and
    valence_high beside valence, which `avgate predict` writes.
    """

    name: str = "csv"
    suffix: str = ".csv"
    single: bool = False
    scaled: bool = False

    def recognises(self, path: Path) -> bool:
        """Any file of that suffix; other formats are asked first."""
        return True

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """Read all numeric columns; see LabelFormat."""
        rows = rows_of(path)
        titles = rows[0]
        lower = [title.lower() for title in titles]
        clocks = [i for i, title in enumerate(lower) if title in UNITS]
        if len(clocks) != 1:
            found = "there are several" if clocks else f"there is none among: {', '.join(titles)}"
            what = f"there must be one column of times, but {found}"
            raise CorpusError(what, where=path, hint=_HINT)
        clock = clocks[0]
        end = next((i for i, title in enumerate(lower) if title in ENDS), None)
        twice = {title for title in titles if title and titles.count(title) > 1}
        if twice:
            raise CorpusError(f"these columns are there twice: {', '.join(sorted(twice))}", where=path, hint=_HINT)
        for i, row in enumerate(rows[1:], 1):
            if len(row) != len(titles):
                what = f"row {i} has {len(row)} cells, but there are {len(titles)} columns"
                raise CorpusError(what, where=path, hint=_HINT)
        other = {clock, end} | {i for i, title in enumerate(titles) if _end_of_interval(title, titles)}
        targets = [i for i in range(len(titles)) if i not in other and not _words([row[i] for row in rows[1:]])]
        if not targets or not all(titles[i] for i in targets):
            raise CorpusError("there must be a named column of numbers for each target", where=path, hint=_HINT)

        def column(i: int) -> np.ndarray:
            return np.array([number(row[i], n, titles[i], path) for n, row in enumerate(rows[1:], 1)], np.float64)

        time_s = checked_times(column(clock) * UNITS[lower[clock]], path, _HINT)
        until_s = None if end is None else column(end) * ENDS[lower[end]]
        if until_s is not None:
            _check_ends(time_s, until_s, path)
        values = np.stack([column(i) for i in targets], axis=1).astype(np.float32)
        return LabelTrack(time_s, values, tuple(titles[i] for i in targets), until_s)

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write columns time_s, until_s (labels of intervals only) and the targets; see LabelFormat."""
        clocks = {"time_s": labels.time_s} | ({} if labels.until_s is None else {"until_s": labels.until_s})
        columns = np.stack([*clocks.values(), *labels.values.T], axis=1)
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*clocks, *labels.targets])
            writer.writerows(["" if np.isnan(x) else f"{x:.{DECIMALS}f}" for x in row] for row in columns.tolist())


def _end_of_interval(title: str, titles: list[str]) -> bool:
    """Whether a column is one end of the interval about another column's values."""
    name, _, side = title.rpartition("_")
    return side in ("low", "high") and {name, f"{name}_low", f"{name}_high"} <= set(titles)


def _words(cells: list[str]) -> bool:
    """Whether a column holds text, and no number."""
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(finite(cell) is None for cell in filled) and not any(unknown(c) for c in filled)


def _check_ends(time_s: np.ndarray, until_s: np.ndarray, path: Path) -> None:
    if not (until_s > time_s).all():
        wrong = int(np.argmin(until_s > time_s)) + 1
        raise CorpusError(f"row {wrong} must end later than it begins", where=path, hint=_HINT)
    late = np.flatnonzero(until_s[:-1] > time_s[1:] + 1e-6)
    if len(late):
        raise CorpusError(f"row {late[0] + 1} ends after the next one begins", where=path, hint=_HINT)
