"""MuSe: CSV files of the MuSe challenges and their toolbox, one target per file (Stappen et al. 2021)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.tables import read_rows
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames, checked_times, first_line, seconds_per_unit

_HINT = "columns are timestamp, value and, in some releases, segment_id"

_LEAST_MS = 20.0
"""Least distance in milliseconds without a `segment_id`: labels of these corpora are never that many seconds apart."""


@dataclass(frozen=True)
class Muse:
    """Columns `timestamp`, `value`, and `segment_id` in some releases.

    The challenges write whole milliseconds, their toolbox seconds: the distance between labels tells which. Where it
    may be either, `segment_id` speaks for milliseconds. The target is the name of the file's folder, as in the
    challenges' data: `label_segments/arousal/17.csv`.
    """

    name: str = "muse"
    program: str = "MuSe challenge"
    suffix: str = ".csv"
    single: bool = True
    scaled: bool = False

    def recognises(self, path: Path) -> bool:
        """Whether the first columns are timestamp and value."""
        return re.split("[,;\t]", first_line(path).lower().replace(" ", ""))[:2] == ["timestamp", "value"]

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """Read the values of all segments; see LabelFormat."""
        text = read_rows(path)
        short = next((i for i, row in enumerate(text.rows) if len(row) < 2), None)
        if short is not None:
            raise CorpusError(f"line {text.lines[short]} has no value", where=path, hint=_HINT)
        numbers = [[text.number(i, k, text.rows[0][k]) for k in (0, 1)] for i in range(1, len(text.rows))]
        times, values = np.array(numbers).reshape(-1, 2).T
        segments = "segment_id" in map(str.lower, text.rows[0])
        unit = seconds_per_unit(times, least_ms=5 if segments else _LEAST_MS)
        if unit is None:
            what = "the column 'timestamp' may be seconds or another unit"
            raise CorpusError(what, where=path, hint="call it time_s or time_ms, in seconds or milliseconds")
        time_s = checked_times(times * unit, path, _HINT, text.lines[1:])
        return LabelTrack(time_s, values[:, None].astype(np.float32), (path.resolve().parent.name or "value",))

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write one segment, times in milliseconds; see LabelFormat."""
        rows = [
            f"{round(time * 1000)},{'' if np.isnan(value) else f'{value:.{DECIMALS}f}'},1\n"
            for time, value in zip(labels.time_s.tolist(), labels.values[:, 0].tolist(), strict=True)
        ]
        with atomic_write(path) as temporary:
            temporary.write_text("timestamp,value,segment_id\n" + "".join(rows), "utf-8")
