"""MuSe: CSV files of the MuSe challenges; one target per file, times in milliseconds (Stappen et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames, checked_times, first_line, number, rows_of

_HINT = "columns are timestamp (in milliseconds), value and, in some releases, segment_id"


@dataclass(frozen=True)
class Muse:
    """Columns `timestamp` in milliseconds, `value`, and `segment_id` in some releases.

    The target is the name of the file's folder, as in the challenges' data: `label_segments/arousal/17.csv`.
    """

    name: str = "muse"
    suffix: str = ".csv"
    single: bool = True
    scaled: bool = False

    def recognises(self, path: Path) -> bool:
        """Whether the first columns are timestamp and value."""
        return first_line(path).lower().replace(" ", "").split(",")[:2] == ["timestamp", "value"]

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """Read the values of all segments; see LabelFormat."""
        table = []
        for i, row in enumerate(rows_of(path, ",")[1:], 1):
            if len(row) < 2:
                raise CorpusError(f"row {i} has no value", where=path, hint=_HINT)
            table.append(
                [number(cell, i, title, path) for cell, title in zip(row, ("timestamp", "value"), strict=False)]
            )
        times, values = np.array(table).reshape(-1, 2).T
        time_s = checked_times(times / 1000, path, _HINT)
        return LabelTrack(time_s, values[:, None].astype(np.float32), (path.resolve().parent.name or "value",))

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write one segment, times in whole milliseconds; see LabelFormat."""
        rows = [
            f"{round(time * 1000)},{'' if np.isnan(value) else f'{value:.{DECIMALS}f}'},1\n"
            for time, value in zip(labels.time_s.tolist(), labels.values[:, 0].tolist(), strict=True)
        ]
        with atomic_write(path) as temporary:
            temporary.write_text("timestamp,value,segment_id\n" + "".join(rows), "utf-8")
