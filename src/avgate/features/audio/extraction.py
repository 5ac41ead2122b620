"""What the sound backbones share: chunks of sound in, frames pooled around each step, voice activity beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, FeatureTrack, Waveform
from avgate.features.audio.chunks import Chunk, Chunks, StepPool
from avgate.features.audio.vad import CONTEXT_S, HOP, voice_activity
from avgate.features.base import Backbone

Frames = tuple[np.ndarray, np.ndarray]
"""Centres in samples from the first one, int64 [m], and values float32 [m c]."""


def one_by_one(analyse: Callable[[np.ndarray], Frames]) -> Callable[[Sequence[np.ndarray]], list[Frames]]:
    """What analyses several pieces of sound by analysing each."""
    return lambda pieces: [analyse(samples) for samples in pieces]


def standard(samples: np.ndarray) -> np.ndarray:
    """Each piece of sound [m n] at mean 0 and variance 1, as wav2vec 2.0's own feature extractor makes it."""
    mean, sd = samples.mean(1, keepdims=True), samples.std(1, keepdims=True)
    return (samples - mean) / np.sqrt(sd**2 + 1e-7)


class Listening:
    """One clip's extraction; holds a batch of chunks of sound and the pooled rows, whatever the length of the clip.

    Args:
        backbone: whose features these are.
        grid: the steps.
        chunk_s: whole seconds of sound that are analysed as one piece.
        pool: what pools the frames around each step.
        analyse: what makes frames of several pieces of sound, float32 [n] each.
        arrange: pooled means and deviations [steps c] -> features float32 [steps d], NaN where there are none.
        batch: chunks that are analysed together.
    """

    def __init__(
        self,
        backbone: Backbone,
        grid: Grid,
        chunk_s: int,
        pool: StepPool,
        analyse: Callable[[Sequence[np.ndarray]], list[Frames]],
        arrange: Callable[[np.ndarray, np.ndarray], np.ndarray],
        batch: int = 1,
    ):
        self._backbone, self._grid, self._pool = backbone, grid, pool
        self._analyse, self._arrange, self._batch = analyse, arrange, batch
        self._chunks = Chunks(chunk_s, CONTEXT_S)
        self._waiting: list[Chunk] = []
        self._activity = StepPool(grid, max(1 / grid.rate, HOP / SAMPLE_RATE), np.ones(1))

    def push(self, piece: Waveform) -> None:
        """Take the next piece of sound.

        Raises:
            FeatureError: samples that aren't finite, or a clock that jumps back.
        """
        self._waiting += self._chunks.push(piece)
        while len(self._waiting) >= self._batch:
            self._take()

    def finish(self, end_s: float) -> FeatureTrack:
        """The clip's features; absent where half of the step has no sound, or too little to analyse."""
        self._waiting += self._chunks.close()
        while self._waiting:
            self._take()
        backbone, n = self._backbone, self._grid.steps(end_s)
        values = self._arrange(*self._pool.rows(n))
        active = self._activity.rows(n)[0][:, 0]
        present = self._chunks.covered(self._grid, n, end_s) & np.isfinite(values).all(axis=1) & np.isfinite(active)
        values[~present], active[~present] = np.nan, np.nan
        how = (self._grid, backbone.name, backbone.modality, backbone.columns, backbone.fingerprint)
        return FeatureTrack(values, present, *how, active)

    def _take(self) -> None:
        chunks, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        for chunk, frames in zip(chunks, self._analyse([chunk.samples for chunk in chunks]), strict=True):
            centre, active = voice_activity(chunk.samples)
            self._activity.add(chunk, centre, active[:, None])
            self._pool.add(chunk, *frames)
