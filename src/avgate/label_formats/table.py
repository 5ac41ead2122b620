"""A plain table: CSV with a column of times, in seconds or milliseconds, and one column per target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.errors import CorpusError
from avgate.files import atomic_write
from avgate.label_formats.base import DECIMALS, Frames, checked_times, number, rows_of
from avgate.types import LabelTrack

UNITS = {
    **dict.fromkeys(("time_s", "time", "t", "seconds", "second", "time (s)", "timestamp_s", "start_s"), 1.0),
    **dict.fromkeys(("time_ms", "ms", "milliseconds", "timestamp_ms", "time (ms)", "start_ms"), 1e-3),
}
"""What the column of times may be called -> seconds per unit."""

ENDS = {"until_s": 1.0, "end_s": 1.0, "until_ms": 1e-3, "end_ms": 1e-3}
"""What the column may be called that says when each label ends, where labels are of stretches."""

_HINT = f"name the column of times {', '.join(UNITS)}; every other column is a target"


@dataclass(frozen=True)
class Table:
    """One row per label; cells between commas, semicolons or tabs; unknown values are empty."""

    name: str = "csv"
    suffix: str = ".csv"
    single: bool = False
    scaled: bool = False

    def recognises(self, path: Path) -> bool:
        """Any file of that suffix that no other format recognises."""
        return True

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """All columns; see LabelFormat."""
        rows = rows_of(path)
        titles = rows[0]
        lower = [title.lower() for title in titles]
        clocks = [i for i, title in enumerate(lower) if title in UNITS]
        if len(clocks) != 1:
            what = "there must be one column of times, and there is " + (
                f"none among: {', '.join(titles)}" if not clocks else "more than one"
            )
            raise CorpusError(what, where=path, hint=_HINT)
        clock = clocks[0]
        end = next((i for i, title in enumerate(lower) if title in ENDS), None)
        targets = [i for i in range(len(titles)) if i not in (clock, end)]
        if not targets or not all(titles[i] for i in targets):
            raise CorpusError("there must be a column with a name for each target", where=path, hint=_HINT)
        table = []
        for i, row in enumerate(rows[1:], 1):
            if len(row) != len(titles):
                what = f"row {i} has {len(row)} cells, but there are {len(titles)} columns"
                raise CorpusError(what, where=path, hint=_HINT)
            table.append([number(cell, i, title, path) for cell, title in zip(row, titles, strict=True)])
        numbers = np.array(table).reshape(-1, len(titles))
        time_s = checked_times(numbers[:, clock] * UNITS[lower[clock]], path, _HINT)
        until_s = None if end is None else numbers[:, end] * ENDS[lower[end]]
        if until_s is not None and not (until_s > time_s).all():
            wrong = int(np.argmin(until_s > time_s)) + 1
            raise CorpusError(f"row {wrong} must end after it begins", where=path, hint=_HINT)
        values = numbers[:, targets].astype(np.float32)
        return LabelTrack(time_s, values, tuple(titles[i] for i in targets), until_s)

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Columns time_s, until_s where labels are of stretches, and the targets. See LabelFormat."""
        clocks = {"time_s": labels.time_s} | ({} if labels.until_s is None else {"until_s": labels.until_s})
        columns = [*clocks.values(), *labels.values.T]
        lines = [
            ",".join("" if np.isnan(x) else f"{x:.{DECIMALS}f}" for x in row) for row in np.stack(columns, 1).tolist()
        ]
        with atomic_write(path) as temporary:
            temporary.write_text("\n".join([",".join([*clocks, *labels.targets]), *lines, ""]), "utf-8")
