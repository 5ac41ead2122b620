"""Comma-separated values: one row per decoded frame, for spreadsheets, pandas and R."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.files import write_csv
from avgate.core.types import Trace
from avgate.report.writers.base import TIME_DECIMALS, VALUE_DECIMALS, presence, rounded


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
        columns: dict[str, Sequence[object]] = {"time_s": _texts(trace.time_s, TIME_DECIMALS)}
        columns |= {name: _texts(values, VALUE_DECIMALS) for name, values in trace.targets.items()}
        for name in trace.low:
            ends = {f"{name}_low": trace.low[name], f"{name}_high": trace.high[name]}
            columns |= {end: _texts(values, VALUE_DECIMALS) for end, values in ends.items()}
        if trace.low:
            columns["interval_level"] = [f"{trace.level:g}"] * len(trace)
        columns |= {f"{name}_raw": _texts(values, VALUE_DECIMALS) for name, values in trace.raw.items()}
        columns |= {f"{name}_present": mask.astype(int).tolist() for name, mask in presence(trace).items()}
        columns |= {gate.name: _texts(values, VALUE_DECIMALS) for gate, values in trace.gates.items()}
        if trace.provenance.get("demonstration"):
            columns["weights"] = ["demonstration"] * len(trace)
        write_csv(path, columns, zip(*columns.values(), strict=True))


def _texts(values: np.ndarray, decimals: int) -> list[str]:
    return ["" if value != value else f"{value:.{decimals}f}" for value in rounded(values, decimals).tolist()]
