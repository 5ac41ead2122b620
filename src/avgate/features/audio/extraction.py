"""Extraction as all audio backbones do it: cut sound into chunks, analyse them, pool frames around each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from avgate.core.state import Stateful
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.features.audio.chunks import HOP, Chunk, Chunks
from avgate.features.audio.pool import StepPool
from avgate.features.audio.vad import THRESHOLD, VoiceActivity
from avgate.features.base import Steps

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


class Arrange(Stateful):
    """Turns what was pooled into features, row by row.

    Args:
        columns: means and deviations [k c] -> features float32 [k d], NaN where there are none.
    """

    def __init__(self, columns: Callable[[np.ndarray, np.ndarray], np.ndarray]):
        self._columns = columns

    def __call__(
        self, steps: np.ndarray, mean: np.ndarray, sd: np.ndarray, until: int, last: bool
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Take the next steps.

        Args:
            steps: int64 [k], increasing, their numbers.
            mean: float32 [k c], NaN where unknown.
            sd: float32 [k c].
            until: all steps before this one that have frames have been given.
            last: whether no more steps will come.

        Returns:
            int64 [m] steps, increasing, their features float32 [m d], and up to where all steps are known now.
        """
        return steps, self._columns(mean, sd), until


class AudioExtraction(Stateful):
    """One clip's extraction. It holds about one chunk of sound.

    A step is absent where less than half of it has sound, or too little to analyse.

    Args:
        grid: the steps to give features for.
        chunk_s: length of a chunk in whole seconds.
        pool: pools the frames around each step.
        analyse: makes frames from the sound of several chunks, float32 [n] each.
        arrange: makes features from what was pooled.
        batch: how many chunks are analysed together.
    """

    STATE = ("_pool", "_arrange", "_chunks", "_voice", "_activity", "_next", "_sounding", "_active")

    def __init__(
        self,
        grid: Grid,
        chunk_s: int,
        pool: StepPool,
        analyse: Callable[[Sequence[np.ndarray]], list[Frames]],
        arrange: Arrange,
        batch: int = 1,
    ):
        self._grid, self._pool = grid, pool
        self._analyse, self._arrange, self._batch = analyse, arrange, batch
        self._chunks = Chunks(chunk_s, CONTEXT_S)
        self._waiting: list[Chunk] = []
        self._voice = VoiceActivity()
        self._activity = StepPool(grid, max(1 / grid.rate, HOP / SAMPLE_RATE), np.ones(1))
        self._next = 0  # all steps before it have been pooled
        self._sounding, self._active = np.zeros(0, np.int64), np.zeros(0, np.float32)  # steps with sound, not yet given

    def push(self, piece: Waveform) -> Steps:
        """Take the next piece of sound.

        Raises:
            FeatureError: samples aren't finite, or the piece begins before the previous one ends.
        """
        self._waiting += self._chunks.push(piece)
        return self._known()

    def advance(self, time_s: float) -> Steps:
        """See Extraction."""
        self._waiting += self._chunks.advance(round(time_s * SAMPLE_RATE))
        return self._known()

    def finish(self, end_s: float) -> Steps:
        """See Extraction."""
        self._waiting += self._chunks.close()
        while self._waiting:
            self._take()
        return self._steps(max(self._next, self._grid.steps(end_s)), end_s)

    def state(self) -> dict[str, Any]:
        """See Stateful."""
        return super().state() | {"waiting": [asdict(chunk) for chunk in self._waiting]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Stateful."""
        super().restore({key: value for key, value in state.items() if key != "waiting"})
        self._waiting = [Chunk(**chunk) for chunk in state["waiting"]]

    def _take(self) -> None:
        """Analyse the next batch."""
        chunks, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        for chunk, frames in zip(chunks, self._analyse([chunk.samples for chunk in chunks]), strict=True):
            centre, speech = self._voice(chunk)
            self._activity.add(chunk, centre, (speech >= THRESHOLD)[:, None].astype(np.float32))
            self._pool.add(chunk, *frames)

    def _known(self) -> Steps:
        """What has become known by analysing as many whole batches as there are."""
        while len(self._waiting) >= self._batch:
            self._take()
        time_s = (self._waiting[0].core_start if self._waiting else self._chunks.cut) / SAMPLE_RATE
        sounded = self._grid.cell(self._chunks.decided / SAMPLE_RATE)
        return self._steps(max(self._next, min(self._pool.ended(time_s), self._activity.ended(time_s), sounded)))

    def _steps(self, stop: int, end_s: float | None = None) -> Steps:
        """Pool the steps before `stop`, and give what is known then; end_s is the end of the clip."""
        pooled, *statistics = self._pool.take(stop)
        heard, active, _ = self._activity.take(stop)
        covered = self._chunks.covered(self._grid, self._next, stop, np.inf if end_s is None else end_s)
        self._chunks.forget(round(stop / self._grid.rate * SAMPLE_RATE))
        self._next = stop
        present = np.isin(heard, covered) & np.isfinite(active[:, 0])
        self._sounding = np.append(self._sounding, heard[present])
        self._active = np.append(self._active, active[present, 0])

        steps = np.union1d(pooled, heard)
        wide = np.full((2, len(steps), self._pool.width), np.nan, np.float32)
        wide[:, np.searchsorted(steps, pooled)] = statistics
        steps, values, until = self._arrange(steps, wide[0], wide[1], stop, end_s is not None)
        keep = np.isfinite(values).all(axis=1) & np.isin(steps, self._sounding)
        steps, values = steps[keep], values[keep]
        active = self._active[np.searchsorted(self._sounding, steps)]
        later = np.searchsorted(self._sounding, until)
        self._sounding, self._active = self._sounding[later:], self._active[later:]
        return Steps(steps, values, until, active)
