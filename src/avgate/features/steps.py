"""Steps as an extraction gives them, collected into tracks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from avgate.core.types import FeatureTrack
from avgate.features.base import Backbone, Steps


class Collected:
    """All steps of one clip that have become known so far.

    Args:
        backbone: whose features they are.
    """

    def __init__(self, backbone: Backbone):
        self._backbone = backbone
        self._parts: list[Steps] = []
        self._last: list[int] = []  # the last step of each part
        self._tells_activity = False
        self._new = 0  # the first part that `news` hasn't told

    def add(self, steps: Steps) -> None:
        """Take the next steps of the extraction."""
        self._tells_activity |= steps.active is not None
        if len(steps):
            self._parts.append(steps)
            self._last.append(int(steps.index[-1]))

    def news(self) -> dict[str, Any]:
        """What was added since the last call, for add_news: plain values and arrays."""
        parts, self._new = self._parts[self._new :], len(self._parts)
        none = np.zeros((0, len(self._backbone.columns)), np.float32)
        return {
            "index": np.concatenate([np.zeros(0, np.int64), *(part.index for part in parts)]),
            "values": np.concatenate([none, *(part.values for part in parts)]),
            "active": np.concatenate([none[:, 0], *(part.active for part in parts if part.active is not None)])
            if self._tells_activity
            else None,
        }

    def add_news(self, news: Mapping[str, Any]) -> None:
        """Take what `news` told of another run over the same clip."""
        self.add(Steps(news["index"], news["values"], 0, news["active"]))
        self._new = len(self._parts)

    def track(self, end_s: float, start_s: float = 0.0) -> FeatureTrack:
        """The features on a grid that covers [start_s, end_s) seconds; steps that aren't known are absent."""
        backbone, (grid, first, last) = self._backbone, self._backbone.grid.part(start_s, end_s)
        values = np.full((last - first, len(backbone.columns)), np.nan, np.float32)
        present, active = np.zeros(last - first, bool), np.full(last - first, np.nan, np.float32)
        for part in self._parts[bisect_left(self._last, first) :]:
            low, high = np.searchsorted(part.index, (first, last))
            rows = part.index[low:high] - first
            values[rows], present[rows] = part.values[low:high], True
            if part.active is not None:
                active[rows] = part.active[low:high]
            if high < len(part):
                break
        origin = (backbone.name, backbone.modality, backbone.columns, backbone.fingerprint)
        return FeatureTrack(values, present, grid, *origin, active if self._tells_activity else None)


def features_of(backbone: Backbone, pieces: Iterable[Any], end_s: float) -> FeatureTrack:
    """The features of a whole clip: FaceTracks or Waveforms in order, of any lengths."""
    extraction, collected = backbone.start(), Collected(backbone)
    for piece in pieces:
        collected.add(extraction.push(piece))
    collected.add(extraction.finish(end_s))
    return collected.track(end_s)
