"""Extraction as all audio backbones do it: cut sound into chunks, analyse them, pool frames around each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, FeatureTrack, Waveform
from avgate.features.audio.chunks import HOP, Chunk, Chunks, StepPool
from avgate.features.audio.vad import THRESHOLD, VoiceActivity
from avgate.features.base import Backbone

CONTEXT_S = 2
"""Seconds of sound that every analysis sees on either side of a chunk."""

Frames = tuple[np.ndarray, np.ndarray]
"""Frames' centres in samples from the first sample, int64 [m], and their values, float32 [m c]."""


def one_by_one(analyse: Callable[[np.ndarray], Frames]) -> Callable[[Sequence[np.ndarray]], list[Frames]]:
    """Turn an analysis of one piece of sound into one of several."""
    return lambda pieces: [analyse(samples) for samples in pieces]


def zero_mean_unit_variance(samples: np.ndarray) -> np.ndarray:
    """Normalise each piece of sound [m n] as wav2vec 2.0's own feature extractor does."""
    mean, sd = samples.mean(1, keepdims=True), samples.std(1, keepdims=True)
    return (samples - mean) / np.sqrt(sd**2 + 1e-7)


class AudioExtraction:
    """One clip's extraction. Its memory doesn't grow with the clip, apart from the features themselves.

    Args:
        backbone: whose features are extracted.
        grid: the steps to give features for.
        chunk_s: length of a chunk in whole seconds.
        pool: pools the frames around each step.
        analyse: makes frames from the sound of several chunks, float32 [n] each.
        arrange: pooled means and deviations [steps c] -> features float32 [steps d], NaN where there are none.
        batch: how many chunks are analysed together.
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
        self._voice = VoiceActivity()
        self._activity = StepPool(grid, max(1 / grid.rate, HOP / SAMPLE_RATE), np.ones(1))

    def push(self, piece: Waveform) -> None:
        """Take the next piece of sound.

        Raises:
            FeatureError: samples aren't finite, or the piece begins before the previous one ends.
        """
        self._waiting += self._chunks.push(piece)
        while len(self._waiting) >= self._batch:
            self._take()

    def finish(self, end_s: float, start_s: float = 0.0) -> FeatureTrack:
        """See Extraction; absent where less than half of a step has sound, or too little to analyse."""
        self._waiting += self._chunks.close()
        while self._waiting:
            self._take()
        backbone, (grid, first, last) = self._backbone, self._grid.part(start_s, end_s)
        values = self._arrange(*self._pool.rows(last, first))
        active = self._activity.rows(last, first)[0][:, 0]
        present = (
            self._chunks.covered(grid, last - first, end_s) & np.isfinite(values).all(axis=1) & np.isfinite(active)
        )
        values[~present], active[~present] = np.nan, np.nan
        origin = (grid, backbone.name, backbone.modality, backbone.columns, backbone.fingerprint)
        return FeatureTrack(values, present, *origin, active)

    def _take(self) -> None:
        chunks, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        for chunk, frames in zip(chunks, self._analyse([chunk.samples for chunk in chunks]), strict=True):
            centre, speech = self._voice(chunk)
            self._activity.add(chunk, centre, (speech >= THRESHOLD)[:, None].astype(np.float32))
            self._pool.add(chunk, *frames)
