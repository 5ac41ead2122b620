"""What the sound backbones share: chunks of sound in, frames pooled around each step, voice activity beside them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from avgate.backbones.base import Backbone
from avgate.framing import Chunk, Chunks, StepPool
from avgate.timeline import Grid
from avgate.types import SAMPLE_RATE, FeatureTrack, Waveform
from avgate.voice import CONTEXT_S, HOP, voice_activity


class Listening:
    """One clip's extraction; holds a chunk of sound and the pooled rows, whatever the length of the clip.

    Args:
        backbone: whose features these are.
        grid: the steps.
        chunk_s: whole seconds of sound that are analysed at once.
        pool: what pools the frames around each step.
        analyse: samples float32 [n] -> the frames' centres in samples, int64 [m], and values [m c].
        arrange: pooled means and deviations [steps c] -> features float32 [steps d], NaN where there are none.
    """

    def __init__(
        self,
        backbone: Backbone,
        grid: Grid,
        chunk_s: int,
        pool: StepPool,
        analyse: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        arrange: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ):
        self._backbone, self._grid, self._pool = backbone, grid, pool
        self._analyse, self._arrange = analyse, arrange
        self._chunks = Chunks(chunk_s, CONTEXT_S)
        self._activity = StepPool(grid, max(1 / grid.rate, HOP / SAMPLE_RATE), np.ones(1))

    def push(self, piece: Waveform) -> None:
        """Take the next piece of sound.

        Raises:
            FeatureError: samples that aren't finite, or a clock that jumps back.
        """
        self._take(self._chunks.push(piece))

    def finish(self, end_s: float) -> FeatureTrack:
        """The clip's features; absent where half of the step has no sound, or too little to analyse."""
        self._take(self._chunks.close())
        backbone, n = self._backbone, self._grid.steps(end_s)
        values = self._arrange(*self._pool.rows(n))
        active = self._activity.rows(n)[0][:, 0]
        present = self._chunks.covered(self._grid, n, end_s) & np.isfinite(values).all(axis=1) & np.isfinite(active)
        values[~present], active[~present] = np.nan, np.nan
        how = (self._grid, backbone.name, backbone.modality, backbone.columns, backbone.fingerprint)
        return FeatureTrack(values, present, *how, active)

    def _take(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            centre, active = voice_activity(chunk.samples)
            self._activity.add(chunk, centre, active[:, None])
            self._pool.add(chunk, *self._analyse(chunk.samples))
