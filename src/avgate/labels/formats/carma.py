"""CARMA and DARMA: CSV files with a header of settings, one row per time bin (Girard 2014; Girard and Wright 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames, checked_times, first_line, number, rows_of, scale
from avgate.labels.tracks import intervals

_RULE = "%%%%%%"
_HINT = "export the ratings from CARMA or DARMA again, as comma-separated values"
_FLAT = ("Minimum Value", "Maximum Value", "Second", "Rating")
"""Columns of files from CARMA's first versions, which have no header and repeat the settings in every row."""


@dataclass(frozen=True)
class Carma:
    """Each row holds the end of a time bin in seconds, and the mean rating in the bin.

    CARMA's files hold one rating, between the header's minimum and maximum. DARMA's hold two, named by their axes,
    between minus and plus the header's magnitude; their column for the joystick's button is ignored.
    """

    name: str = "carma"
    suffix: str = ".csv"
    single: bool = True
    scaled: bool = True

    def recognises(self, path: Path) -> bool:
        """Whether the first line is that of CARMA or DARMA."""
        first = first_line(path).replace('"', "")
        return first.startswith("Time of Rating") or all(column in first.split(",") for column in _FLAT)

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """CARMA's rating, or DARMA's two axes; see LabelFormat."""
        rows = rows_of(path, ",")
        if rows[0][0] == "Time of Rating":
            settings, titles, body = self._with_head(rows, path)
        elif all(column in rows[0] for column in _FLAT):
            settings, titles, body = self._flat(rows)
        else:
            raise CorpusError("it doesn't begin like a file of CARMA or DARMA", where=path, hint=_HINT)
        if "Magnitude" in settings:
            high = number(settings["Magnitude"], 3, "Magnitude", path)
            low, titles = -high, titles[:3]
        else:
            low, high = (number(settings.get(n, ""), 0, n, path) for n in ("Minimum Value", "Maximum Value"))
        if not high > low:
            raise CorpusError("its header doesn't state a minimum below its maximum", where=path, hint=_HINT)
        table = np.array(
            [
                [number(cell, i, title, path) for cell, title in zip(row, titles, strict=False)]
                for i, row in enumerate(body, 1)
                if len(row) >= len(titles)
            ]
        )
        if table.ndim != 2 or len(table) != len(body):
            raise CorpusError(f"every row must have {len(titles)} cells", where=path, hint=_HINT)
        # A bin without a rating has no time either.
        table = table[~np.isnan(table[:, 0])]
        until_s = checked_times(table[:, 0], path, _HINT)
        bin_s = float(np.median(np.diff(until_s))) if len(until_s) > 1 else float(until_s[0])
        start_s = np.maximum(until_s - bin_s, np.append(-np.inf, until_s[:-1]))
        values = scale(table[:, 1:], low, high).astype(np.float32)
        return LabelTrack(start_s, values, tuple(title.lower() for title in titles[1:]), until_s)

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
            ("Second", labels.targets[0]),
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
    def _with_head(rows: list[list[str]], path: Path) -> tuple[dict[str, str], list[str], list[list[str]]]:
        rule = next((i for i, row in enumerate(rows) if row[0] == _RULE), None)
        if rule is None or rows[rule - 1][0] != "Second":
            raise CorpusError(f"there is no row of {_RULE} below a row of titles", where=path, hint=_HINT)
        settings = {row[0]: row[1] if len(row) > 1 else "" for row in rows[: rule - 1]}
        return settings, [title for title in rows[rule - 1] if title], rows[rule + 1 :]

    @staticmethod
    def _flat(rows: list[list[str]]) -> tuple[dict[str, str], list[str], list[list[str]]]:
        titles, body = rows[0], rows[1:]
        at = [titles.index(name) for name in ("Second", "Rating")]
        settings = dict(zip(titles, body[0], strict=False)) if body else {}
        return settings, ["Second", "Rating"], [[row[i] for i in at if i < len(row)] for row in body]
