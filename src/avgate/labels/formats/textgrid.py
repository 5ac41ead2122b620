"""Praat: TextGrid files with one tier per target and a number in every interval or at every point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.text import reason
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames
from avgate.labels.formats.praat import text_of, tiers_of
from avgate.labels.formats.tiers import Tier, labels_of_tiers
from avgate.labels.tracks import intervals

_HINT = "save the TextGrid in Praat again as a text file, with a tier of numbers for each target"


@dataclass(frozen=True)
class TextGrid:
    """A tier whose intervals or points are all numbers is a target; a point lasts until the next one.

    Long, short, chronological and binary TextGrids are read, in UTF-8, UTF-16 or Latin-1; long ones with interval tiers
    are written. Where a label is unknown, the interval is empty. Times have six decimals.
    """

    name: str = "textgrid"
    program: str = "Praat"
    suffix: str = ".TextGrid"
    single: bool = False
    scaled: bool = False

    def recognises(self, path: Path) -> bool:
        """Any file of that suffix."""
        return True

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """Read all numeric tiers; see LabelFormat."""
        try:
            tiers = tiers_of(path.read_bytes())
        except (OSError, ValueError) as error:
            raise CorpusError(f"it can't be read as a TextGrid: {reason(error)}", where=path, hint=_HINT) from error
        return labels_of_tiers(tiers, path, _HINT)

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write one interval tier per target; see LabelFormat."""
        start_s, until_s = intervals(labels)
        tiers = []
        for k, target in enumerate(labels.targets):
            rows = zip(start_s.tolist(), until_s.tolist(), labels.values[:, k].tolist(), strict=True)
            known = [(start, end, f"{value:.{DECIMALS}f}") for start, end, value in rows if not math.isnan(value)]
            tiers.append(Tier(target, known))
        with atomic_write(path) as temporary:
            temporary.write_text(text_of(tiers, min(0.0, float(start_s[0])), float(until_s[-1])), "utf-8")
