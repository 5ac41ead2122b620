"""ELAN: EAF files with one tier per target and a number in every annotation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames, numeric_tiers
from avgate.labels.tracks import intervals, track_of_tiers

_HINT = "save the annotation in ELAN again, with a tier of numbers for each target"


@dataclass(frozen=True)
class Elan:
    """A tier whose annotations are all numbers is a target; other tiers (words, gestures) are ignored.

    Times are whole milliseconds. Where a label is unknown, there is no annotation.
    """

    name: str = "elan"
    suffix: str = ".eaf"
    single: bool = False
    scaled: bool = False

    def recognises(self, path: Path) -> bool:
        """Any file of that suffix."""
        return True

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """Read all numeric tiers; see LabelFormat."""
        from pympi import Eaf

        try:
            document = Eaf(str(path), suppress_version_warning=True)
            tiers = {name: _timed(document, name) for name in document.get_tier_names()}
        except Exception as error:  # pympi raises errors of many kinds
            raise CorpusError(f"it can't be read as an EAF file: {error!r}", where=path, hint=_HINT) from error
        return track_of_tiers(
            numeric_tiers(
                {
                    name: [(start / 1000, end / 1000, text) for start, end, text in annotations]
                    for name, annotations in tiers.items()
                },
                path,
                _HINT,
            )
        )

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write one tier per target; see LabelFormat."""
        from pympi import Eaf

        document = Eaf(author="avgate")
        document.remove_tier("default")
        for k, target in enumerate(labels.targets):
            document.add_tier(target)
            for start, end, value in zip(*intervals(labels), labels.values[:, k].tolist(), strict=True):
                first, last = round(start * 1000), round(end * 1000)
                if not math.isnan(value) and first < last:
                    document.add_annotation(target, first, last, f"{value:.{DECIMALS}f}")
        with atomic_write(path) as temporary:
            document.to_file(str(temporary))


def _timed(document: Any, tier: str) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds, and text, of a tier's annotations, without those that have no times of their own.

    Annotations in tiers that refer to other tiers have none; annotations in subdivided tiers may have none.
    """
    if document.tiers[tier][1]:
        return []
    found = [(start, end, text) for start, end, text, *_ in document.get_annotation_data_for_tier(tier)]
    return [annotation for annotation in found if annotation[0] is not None and annotation[1] is not None]
