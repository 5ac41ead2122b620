"""CARMA and DARMA: CSV files with a header of settings, one row per time bin (Girard 2014; Girard and Wright 2018)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.tables import read_rows
from avgate.core.text import as_cell, listed
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames, beginning, checked_ends, checked_times, scale
from avgate.labels.tracks import intervals

_RULE = "%%%%%%"
_HINT = "export the ratings from CARMA or DARMA again, as comma-separated values"
_FLAT = ("Minimum Value", "Maximum Value", "Second", "Rating")
"""Columns of files from CARMA's first versions, which have no header and repeat the settings in every row."""


@dataclass(frozen=True)
class Carma:
    """Each row holds the end of a time bin in seconds, and the mean rating in the bin.

    CARMA's files hold one rating, between the header's minimum and maximum. DARMA's hold two, named by their axes,
    between minus and plus the header's magnitude; their column for the joystick's button is ignored. Both have a row of
    percent signs between titles and ratings. What stands above it differs between versions.
    """

    name: str = "carma"
    program: str = "CARMA"
    suffix: str = ".csv"
    single: bool = True
    scaled: bool = True

    def recognises(self, path: Path) -> bool:
        """Whether there is a row of percent signs near the beginning, or the first line is that of an old version."""
        begins = beginning(path).replace('"', "")
        first = begins.split("\n", 1)[0].strip()
        return f"\n{_RULE}" in begins or all(column in re.split("[,;\t]", first) for column in _FLAT)

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """CARMA's rating, or DARMA's two axes; see LabelFormat."""
        text = read_rows(path, self._separator(path))
        if all(column in text.rows[0] for column in _FLAT):
            columns = [text.rows[0].index(column) for column in ("Second", "Rating")]
            head, names = 1, ["rating"]
            settings = {title: (1, k) for k, title in enumerate(text.rows[0])}
        else:
            head = next((i for i, row in enumerate(text.rows) if row[0] == _RULE), 0) + 1
            titles = text.rows[head - 2]
            if head < 3 or titles[0] != "Second":
                raise CorpusError(f"there is no row of {_RULE} below a row of titles", where=path, hint=_HINT)
            settings = {row[0]: (i, 1) for i, row in enumerate(text.rows[: head - 2])}
            columns = [0, 1, 2] if "Magnitude" in settings else [0, 1]
            names = [title.lower() for title in titles[1 : len(columns)]]
            if len(names) < len(columns) - 1 or not all(names) or len(set(names)) < len(names):
                there = listed(f"'{title}'" for title in titles[1 : len(columns)])
                what = f"line {text.lines[head - 2]} must name each rating once, not {there or 'none'}"
                raise CorpusError(
                    what, where=path, hint="write the names of the axes there, as labels of these columns"
                )

        def setting(name: str) -> float:
            row, column = settings.get(name, (-1, 0))
            there = 0 <= row < len(text.rows) and column < len(text.rows[row])
            return text.number(row, column, name) if there else np.nan

        high = setting("Magnitude" if "Magnitude" in settings else "Maximum Value")
        low = -high if "Magnitude" in settings else setting("Minimum Value")
        if not high > low:
            raise CorpusError("its header doesn't state a minimum below its maximum", where=path, hint=_HINT)
        body = range(head, len(text.rows))
        short = next((i for i in body if len(text.rows[i]) <= max(columns)), None)
        if short is not None:
            what = f"line {text.lines[short]} has {len(text.rows[short])} cells, but {max(columns) + 1} are needed"
            raise CorpusError(what, where=path, hint=_HINT)
        numbers = [[text.number(i, k, ("Second", *names)[n]) for n, k in enumerate(columns)] for i in body]
        table = np.array(numbers).reshape(-1, len(columns))
        # A bin without a rating may have no time either.
        timed = ~np.isnan(table[:, 0])
        lines = np.array(text.lines)[head:][timed]
        until_s = checked_times(table[timed, 0], path, _HINT, lines.tolist())
        bin_s = float(np.median(np.diff(until_s))) if len(until_s) > 1 else float(until_s[0])
        start_s = np.maximum(until_s - bin_s, np.append(-np.inf, until_s[:-1]))
        values = scale(table[timed, 1:], low, high).astype(np.float32)
        return checked_ends(LabelTrack(start_s, values, tuple(names), until_s), path, _HINT, lines.tolist())

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write a file as CARMA does; see LabelFormat."""
        head = [
            ("Time of Rating", ""),
            ("Multimedia File", ""),
            ("Lower Label", f"low {labels.targets[0]}"),
            ("Upper Label", f"high {labels.targets[0]}"),
            ("Minimum Value", "-1"),
            ("Maximum Value", "1"),
            ("Number of Steps", "9"),
            ("Second", as_cell(labels.targets[0])),
            (_RULE, _RULE),
        ]
        _, until_s = intervals(labels)
        body = [
            (f"{end:.{DECIMALS}f}", "NaN" if np.isnan(value) else f"{value:.{DECIMALS}f}")
            for end, value in zip(until_s.tolist(), labels.values[:, 0].tolist(), strict=True)
        ]
        with atomic_write(path) as temporary:
            temporary.write_text("".join(f"{a},{b}\n" for a, b in [*head, *body]), "utf-8")

    @staticmethod
    def _separator(path: Path) -> str | None:
        """What separates the cells of the row of percent signs; None where there is no such row."""
        found = re.search(rf'^"?{_RULE}"?([,;\t])', beginning(path), re.MULTILINE)
        return found[1] if found else None
