"""Aff-Wild2's annotation files: line i is frame i, -5 is unknown (Kollias and Zafeiriou 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.tables import read_rows
from avgate.core.text import as_cell
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames, checked_times, first_line

UNKNOWN = -5.0
"""Value of an unknown label. A frame that is unknown in one target is unknown in all."""

_HINT = "the first line names the targets, as in valence,arousal; each further line is one frame"


@dataclass(frozen=True)
class AffWild2:
    """One row per video frame, without times: row i is at the time of frame i.

    Where the numbers of rows and frames differ, the surplus is ignored; `avgate inspect` reports it.
    """

    name: str = "affwild2"
    program: str = "Aff-Wild2 challenge"
    suffix: str = ".txt"
    single: bool = False
    scaled: bool = False

    def recognises(self, path: Path) -> bool:
        """Whether the first line holds names rather than numbers."""
        return first_line(path).replace(" ", "").replace(",", "").replace("_", "").isalpha()

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """Labels at the times of the video's frames; CorpusError where no frames are given. See LabelFormat."""
        targets, values = self.rows(path)
        if frames is None:
            hint = "give the video that the labels belong to"
            raise CorpusError("the file has no times: it has one row per video frame", where=path, hint=hint)
        time_s = np.asarray(frames(), np.float64)
        n = min(len(time_s), len(values))
        return LabelTrack(checked_times(time_s[:n], path, _HINT), values[:n], targets)

    def rows(self, path: Path) -> tuple[tuple[str, ...], np.ndarray]:
        """Names of the targets, and their values float32 [n k], one row per frame; NaN where unknown."""
        text = read_rows(path, ",", blank=True)
        if len(text.rows) < 2:
            raise CorpusError("there are no labels in it", where=path, hint=_HINT)
        targets = tuple(text.rows[0])
        if not all(targets) or len(set(targets)) < len(targets):
            raise CorpusError("the first line must name each target once", where=path, hint=_HINT)
        table = []
        for i, row in enumerate(text.rows[1:], 1):
            if len(row) != len(targets) or not any(row):
                count = len(list(filter(None, row)))
                what = f"line {text.lines[i]} has {count} numbers, but there are {len(targets)} targets"
                raise CorpusError(what, where=path, hint=_HINT)
            table.append([text.number(i, k, name) for k, name in enumerate(targets)])
        values = np.array(table, np.float32)
        invalid = (values == UNKNOWN) | np.isnan(values)
        values[invalid.any(1)] = np.nan
        return targets, values

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write values only, since the format has no times. See LabelFormat."""
        unknown = np.isnan(labels.values).any(1)
        rows = [
            ",".join(f"{UNKNOWN:g}" if gone else f"{v:.{DECIMALS}f}" for v in row)
            for row, gone in zip(labels.values.tolist(), unknown.tolist(), strict=True)
        ]
        with atomic_write(path) as temporary:
            temporary.write_text("\n".join([",".join(map(as_cell, labels.targets)), *rows, ""]), "utf-8")
