"""The samples of each step, for a network of sound that is trained together with the fusion."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.state import Stateful
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, Modality, Waveform
from avgate.features.audio.causal import CausalSound, Seen
from avgate.features.audio.chunks import Chunks
from avgate.features.base import Extraction, Need, Steps, fingerprint

VERSION = 2
"""Raise it whenever this file or chunks.py change the features."""


@dataclass(frozen=True)
class WaveformConfig:
    """What to extract.

    Args:
        rate: steps per second. 16,000 must be a multiple of it, so that there are no gaps between steps.
        causal: whether a step is known as soon as its cell ends, for live use. Quiet that may become a digital silence
            is then sound until it is one.
    """

    rate: float
    causal: bool = False

    def __post_init__(self) -> None:
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
        self.causal = config.causal
        self.columns = tuple(f"s{i}" for i in range(round(SAMPLE_RATE / config.rate)))

    @property
    def fingerprint(self) -> str:
        """See Backbone."""
        return fingerprint("waveform", VERSION, self.config)

    def start(self) -> Extraction:
        """Begin a clip."""
        return _Causal(self.grid, len(self.columns), 0) if self.causal else WaveformExtraction(self)


class WaveformExtraction(Stateful):
    """One clip's extraction; it keeps the samples of the steps that aren't known yet."""

    STATE = ("_chunks", "_starts", "_pieces", "_next")

    def __init__(self, backbone: WaveformBackbone):
        self._grid, self._width = backbone.grid, len(backbone.columns)
        self._chunks = Chunks(1, 0)
        self._starts: list[int] = []
        self._pieces: list[np.ndarray] = []
        self._next = 0  # all steps before it have been given

    def push(self, piece: Waveform) -> Steps:
        """Take the next piece; FeatureError where it isn't finite or begins before the previous one ends."""
        self._chunks.push(piece)
        if len(piece.samples):
            self._starts.append(round(piece.start_s * SAMPLE_RATE))
            self._pieces.append(np.array(piece.samples, np.float32))
        return self._known()

    def advance(self, time_s: float) -> Steps:
        """See Extraction."""
        self._chunks.advance(round(time_s * SAMPLE_RATE))
        return self._known()

    def finish(self, end_s: float) -> Steps:
        """See Extraction."""
        self._chunks.close()
        return self._steps(max(self._next, self._grid.steps(end_s)), end_s)

    def _known(self) -> Steps:
        return self._steps(max(self._next, self._chunks.settled // self._width))

    def _steps(self, stop: int, end_s: float = np.inf) -> Steps:
        steps, width = self._chunks.covered(self._grid, self._next, stop, end_s), self._width
        values = np.zeros((len(steps), width), np.float32)
        for row, begin in zip(values, (steps * width).tolist(), strict=True):
            _write(row, begin, self._starts, self._pieces)
        ends = [start + len(samples) for start, samples in zip(self._starts, self._pieces, strict=True)]
        done = bisect_right(ends, stop * width)
        self._starts, self._pieces, self._next = self._starts[done:], self._pieces[done:], stop
        self._chunks.forget(stop * width)
        return Steps(steps, values, stop)


class _Causal(CausalSound):
    def _see(self, step: int, runs: list[tuple[int, int]], covered: bool) -> Seen | None:
        if not covered:
            return None
        row = np.zeros(self._width, np.float32)
        _write(row, step * self._width, self._starts, self._pieces)
        return Seen(row, 0.0)

    def _activity(self, active: list[float]) -> None:
        return None


def _write(row: np.ndarray, begin: int, starts: list[int], pieces: list[np.ndarray]) -> None:
    """Write the samples from `begin` on into a row of zeros, from pieces with these positions."""
    for start, samples in zip(starts, pieces, strict=True):
        first, last = max(0, start - begin), min(len(row), start - begin + len(samples))
        if first < last:
            row[first:last] = samples[first + begin - start : last + begin - start]
