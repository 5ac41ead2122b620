"""Comma-separated values: one row per decoded frame, for spreadsheets, pandas and R; all at once, or as they come."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from avgate.core.files import atomic_write
from avgate.core.text import as_cell
from avgate.core.types import Trace
from avgate.report.writers.base import TIME_DECIMALS, VALUE_DECIMALS, presence, rounded

_BLOCK = 4096
"""Rows that are made at once; as text, all of a long trace would take several times its memory."""


@dataclass(frozen=True)
class CsvWriter:
    """One row per decoded frame, in columns.

    They are `time_s`, one per target (`valence`), the ends of its interval (`valence_low`, `valence_high`) and the
    share of true values that it is made to hold (`interval_level`) where the model has intervals, one per target
    before post-processing (`valence_raw`), `face_present`, `voice_present` and `audio_present` (0 or 1), and one per
    gate. Estimates of weights that were trained on rendered people alone say so in a last column, `weights`.

    Times, targets and gates have six decimals; an unknown value is an empty field. UTF-8, lines end with a line feed.
    A target whose name a spreadsheet would run as a formula, such as =x, gets an apostrophe before it.
    """

    name: str = "csv"
    suffix: str = ".csv"

    def write(self, trace: Trace, path: Path) -> None:
        """Write `trace` to `path`; see Writer."""
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            CsvRows(file).add(trace)


class CsvRows:
    """The rows of a trace that comes part by part; together they are what CsvWriter makes of the whole.

    Args:
        file: where to; text that is encoded as UTF-8, with newline="".
    """

    def __init__(self, file: TextIO):
        self._file, self._rows = file, csv.writer(file, lineterminator="\n")
        self._begun = False

    def add(self, part: Trace) -> None:
        """Write the rows of the next part, before the first one the titles, and hand them to the system."""
        for first in range(0, max(1, len(part)), _BLOCK):
            columns = _columns(part, slice(first, first + _BLOCK))
            if not self._begun:
                self._rows.writerow([as_cell(title) for title in columns])
                self._begun = True
            self._rows.writerows(zip(*columns.values(), strict=True))
        self._file.flush()


def _columns(trace: Trace, rows: slice) -> dict[str, Sequence[object]]:
    """Title -> the texts and numbers below it, of some of the rows."""
    n = len(trace.time_s[rows])
    columns: dict[str, Sequence[object]] = {"time_s": _texts(trace.time_s[rows], TIME_DECIMALS)}
    columns |= {name: _texts(values[rows], VALUE_DECIMALS) for name, values in trace.targets.items()}
    for name in trace.low:
        ends = {f"{name}_low": trace.low[name], f"{name}_high": trace.high[name]}
        columns |= {end: _texts(values[rows], VALUE_DECIMALS) for end, values in ends.items()}
    if trace.low:
        columns["interval_level"] = [f"{trace.level:g}"] * n
    columns |= {f"{name}_raw": _texts(values[rows], VALUE_DECIMALS) for name, values in trace.raw.items()}
    columns |= {f"{name}_present": mask[rows].astype(int).tolist() for name, mask in presence(trace).items()}
    columns |= {gate.name: _texts(values[rows], VALUE_DECIMALS) for gate, values in trace.gates.items()}
    if trace.provenance.get("demonstration"):
        columns["weights"] = ["demonstration"] * n
    return columns


def _texts(values: np.ndarray, decimals: int) -> list[str]:
    return ["" if value != value else f"{value:.{decimals}f}" for value in rounded(values, decimals).tolist()]
