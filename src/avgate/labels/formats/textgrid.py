"""Praat: TextGrid files with one tier per target and a number in every interval or at every point."""

from __future__ import annotations

import codecs
import math
from dataclasses import dataclass
from pathlib import Path

from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames, numeric_tiers
from avgate.labels.tracks import intervals, track_of_tiers

_HINT = "save the TextGrid in Praat again as a text file, with a tier of numbers for each target"
_BEGINNINGS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF16_LE, "utf-16"))


@dataclass(frozen=True)
class TextGrid:
    """A tier whose intervals or points are all numbers is a target; a point lasts until the next one.

    Long, short and binary TextGrids are read; long ones with interval tiers are written. Where a label is unknown, the
    interval is empty. Times have six decimals.
    """

    name: str = "textgrid"
    suffix: str = ".TextGrid"
    single: bool = False
    scaled: bool = False

    def recognises(self, path: Path) -> bool:
        """Any file of that suffix."""
        return True

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """Read all numeric tiers; see LabelFormat."""
        import pympi

        tiers: dict[str, list[tuple[float, float, str]]] = {}
        try:
            begins = path.read_bytes()[:4]
            codec = next((name for mark, name in _BEGINNINGS if begins.startswith(mark)), "utf-8")
            grid = pympi.TextGrid(str(path), codec=codec)
            for tier in grid.get_tiers():
                rows = tier.get_intervals(sort=True)
                if tier.tier_type == "TextTier":
                    points = list(rows)
                    ends = [time for time, _ in points[1:]] + [grid.xmax]
                    tiers[tier.name] = [(time, end, text) for (time, text), end in zip(points, ends, strict=True)]
                else:
                    tiers[tier.name] = list(rows)
        except Exception as error:  # pympi raises errors of many kinds, StopIteration among them
            raise CorpusError(f"it can't be read as a TextGrid: {error!r}", where=path, hint=_HINT) from error
        return track_of_tiers(numeric_tiers(tiers, path, _HINT))

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write one interval tier per target; see LabelFormat."""
        import pympi

        start_s, until_s = intervals(labels)
        grid = pympi.TextGrid(xmin=min(0.0, float(start_s[0])), xmax=float(until_s[-1]))
        for k, target in enumerate(labels.targets):
            tier = grid.add_tier(target)
            for start, end, value in zip(start_s.tolist(), until_s.tolist(), labels.values[:, k].tolist(), strict=True):
                if not math.isnan(value):
                    tier.add_interval(start, end, f"{value:.{DECIMALS}f}", check=False)
        with atomic_write(path) as temporary:
            grid.to_file(str(temporary))
