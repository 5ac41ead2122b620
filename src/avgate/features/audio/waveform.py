"""The samples of each step, for a network of sound that is trained together with the fusion."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, FeatureTrack, Modality, Waveform
from avgate.features.audio.chunks import Chunks
from avgate.features.base import Need, fingerprint

VERSION = 2
"""Raise it whenever this file or chunks.py change the features."""


@dataclass(frozen=True)
class WaveformConfig:
    """What to extract.

    Args:
        rate: steps per second. 16,000 must be a multiple of it, so that there are no gaps between steps.
    """

    rate: float

    def __post_init__(self):
        """Refuse what can't be extracted."""
        if not (self.rate > 0 and SAMPLE_RATE % self.rate == 0):
            raise UsageError(
                f"sound at {SAMPLE_RATE} samples per second can't be cut into {self.rate:g} equal steps a second",
                where="waveform",
                hint="choose a label rate such as 5, 10, 20, 25 or 50",
            )


class WaveformBackbone:
    """The samples of each step in [-1, 1]; a step is absent if less than half of it has sound."""

    modality: Modality = "audio"
    needs: frozenset[Need] = frozenset()

    def __init__(self, config: WaveformConfig, name: str = "waveform"):
        self.config, self.name, self.grid = config, name, Grid(config.rate)
        self.columns = tuple(f"s{i}" for i in range(round(SAMPLE_RATE / config.rate)))

    @property
    def fingerprint(self) -> str:
        """See Backbone."""
        return fingerprint("waveform", VERSION, self.config)

    def start(self) -> WaveformExtraction:
        """Begin a clip."""
        return WaveformExtraction(self)


class WaveformExtraction:
    """One clip's extraction; keeps all of its samples."""

    def __init__(self, backbone: WaveformBackbone):
        self._backbone = backbone
        self._chunks = Chunks(1, 0)
        self._starts: list[int] = []
        self._pieces: list[np.ndarray] = []

    def push(self, piece: Waveform) -> None:
        """Take the next piece; FeatureError where it isn't finite or begins before the previous one ends."""
        self._chunks.push(piece)
        self._starts.append(round(piece.start_s * SAMPLE_RATE))
        self._pieces.append(np.asarray(piece.samples, np.float32))

    def finish(self, end_s: float, start_s: float = 0.0) -> FeatureTrack:
        """See Extraction."""
        self._chunks.close()
        backbone, width = self._backbone, len(self._backbone.columns)
        grid, first_step, last_step = backbone.grid.part(start_s, end_s)
        n, begin = last_step - first_step, first_step * width
        sound = np.zeros(n * width, np.float32)
        for i in range(max(0, bisect_right(self._starts, begin) - 1), bisect_left(self._starts, last_step * width)):
            start, samples = self._starts[i] - begin, self._pieces[i]
            first, last = max(0, start), min(len(sound), start + len(samples))
            if first < last:
                sound[first:last] = samples[first - start : last - start]
        values, present = sound.reshape(n, width), self._chunks.covered(grid, n, end_s)
        values[~present] = np.nan
        return FeatureTrack(values, present, grid, backbone.name, "audio", backbone.columns, backbone.fingerprint)
