"""Cutting sound into chunks that overlap, and pooling frames around each step of a grid."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from avgate.core.errors import FeatureError
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, Waveform

HOP = SAMPLE_RATE // 100
"""Samples from one frame to the next (10 ms) in the backbones that cut sound into frames themselves."""

JOIN = SAMPLE_RATE // 100
"""Pieces follow each other without a gap if their times differ by at most this many samples: containers round times."""

QUIET = 2.0**-14
"""Samples nearer to zero than this are digital silence if SILENCE of them follow each other: zeros, and zeros with
dither of one step of 16 bits, which resampling raises to almost two."""

SILENCE = SAMPLE_RATE // 10
"""Shortest digital silence (100 ms), as short as a gap between pieces; shorter pauses occur within synthetic speech."""

_BLOCK = 256
"""Steps pooled at once; limits the memory."""


@dataclass(frozen=True)
class Chunk:
    """Part of a stretch of sound without gaps: a core, and context on either side of it.

    Cores follow each other without overlap. Context lets an analysis give the same result near a border as elsewhere.

    Attributes:
        samples: float32 [n], core and context. The context is shorter where the sound begins or ends.
        start: time of samples[0] on the video's clock, in samples.
        core_start: time of the core's first sample.
        core_end: time right after the core's last sample.
    """

    samples: np.ndarray
    start: int
    core_start: int
    core_end: int


class Chunks:
    """Cuts a clip's sound into chunks. The chunks don't depend on the pieces that the sound arrives in.

    A gap between pieces begins a new stretch. Each stretch is cut on its own, so that no frame spans a gap. Digital
    silence is such a gap: muted microphones and empty tracks give it, while every real room has noise.

    Args:
        core_s: length of a core in whole seconds, so that frames fall on the same places in all chunks.
        context_s: length of the context on either side, in whole seconds.

    Attributes:
        silent_s: seconds of digital silence so far.
    """

    def __init__(self, core_s: int, context_s: int):
        self.silent_s = 0.0
        self._core, self._context = core_s * SAMPLE_RATE, context_s * SAMPLE_RATE
        self._stretches: list[tuple[int, int]] = []  # finished ones: first sample, one past the last
        self._start = self._end = self._core_start = 0
        self._held: list[np.ndarray] = []
        self._held_start = 0
        self._now: int | None = None  # one past the last sample that was pushed
        self._quiet = np.zeros(0, np.float32)  # the quiet samples before that, too few so far for a digital silence
        self._in_silence = False

    def push(self, piece: Waveform) -> list[Chunk]:
        """Take the next piece and return the chunks that it completes.

        Raises:
            FeatureError: samples aren't finite, or the piece begins before the previous one ends.
        """
        samples = np.asarray(piece.samples, np.float32)
        if len(samples) == 0:
            return []
        if not np.isfinite(samples).all():
            first_s = piece.start_s + np.argmin(np.isfinite(samples)) / SAMPLE_RATE
            raise FeatureError(
                f"the sound contains NaN or Inf, first at {first_s:.3f} s",
                hint="decode the file again, or replace those samples with silence",
            )
        start = round(piece.start_s * SAMPLE_RATE)
        chunks: list[Chunk] = []
        if self._now is not None and start < self._now - JOIN:
            raise FeatureError(
                f"sound that starts at {piece.start_s:.3f} s comes after sound up to {self._now / SAMPLE_RATE:.3f} s",
                hint="give the pieces in order and without overlap, as avgate.media does",
            )
        if self._now is None or start > self._now + JOIN:
            chunks = self.close()
            self._now = start
        first = self._now - len(self._quiet)
        self._now += len(samples)
        samples = np.concatenate([self._quiet, samples])
        silences, decided = digital_silences(samples, self._in_silence)
        self._quiet = samples[decided:]
        at = 0
        for begin, end in silences:
            chunks += self._listen(samples[at:begin], first + at)
            chunks += self._end_stretch()
            self.silent_s += (end - begin) / SAMPLE_RATE
            self._in_silence, at = True, end
        return chunks + self._listen(samples[at:decided], first + at)

    def close(self) -> list[Chunk]:
        """End the current stretch of sound and return its remaining chunks."""
        chunks: list[Chunk] = []
        if self._end == self._start:  # all of the stretch is quiet, however short it is
            self.silent_s += len(self._quiet) / SAMPLE_RATE
        elif self._now is not None:
            chunks = self._listen(self._quiet, self._now - len(self._quiet))
        self._quiet, self._in_silence = self._quiet[:0], False
        return chunks + self._end_stretch()

    @property
    def sounding_s(self) -> np.ndarray:
        """Start and end of the stretches that have ended, float64 [k 2] seconds; digital silence is in none."""
        return np.array(self._stretches, np.float64).reshape(-1, 2) / SAMPLE_RATE

    def _listen(self, samples: np.ndarray, start: int) -> list[Chunk]:
        """Go on with the current stretch, or begin one at `start`."""
        if not len(samples):
            return []
        if self._end == self._start:
            self._start = self._end = self._core_start = self._held_start = start
        self._in_silence = False
        self._held.append(samples)
        self._end += len(samples)
        chunks = []
        while self._end >= self._core_start + self._core + self._context:
            chunks.append(self._cut())
        return chunks

    def _end_stretch(self) -> list[Chunk]:
        chunks = []
        while self._core_start < self._end:
            chunks.append(self._cut())
        if self._end > self._start:
            self._stretches.append((self._start, self._end))
        self._held, self._start = [], self._end
        return chunks

    def _cut(self) -> Chunk:
        held = self._held[0] if len(self._held) == 1 else np.concatenate(self._held)
        core_start, core_end = self._core_start, min(self._core_start + self._core, self._end)
        first, last = max(self._start, core_start - self._context), min(core_end + self._context, self._end)
        chunk = Chunk(held[first - self._held_start : last - self._held_start], first, core_start, core_end)
        keep = max(self._start, core_end - self._context)
        self._held, self._held_start, self._core_start = [held[keep - self._held_start :]], keep, core_end
        return chunk

    def covered(self, grid: Grid, n: int, end_s: float) -> np.ndarray:
        """Whether at least half of each step (or of its part before end_s) has sound. To be called after `close`.

        Returns:
            bool [n].
        """
        edges = np.append(grid.times(n) - 0.5 / grid.rate, end_s)
        first, last = (bisect_left(self._stretches, (round(t * SAMPLE_RATE),)) for t in (edges[0], end_s))
        knots = np.array(self._stretches[max(0, first - 1) : last + 1], np.float64).reshape(-1) / SAMPLE_RATE
        if n == 0 or len(knots) == 0:
            return np.zeros(n, bool)
        heard = np.zeros(len(knots))
        heard[1::2] = np.cumsum(knots[1::2] - knots[::2])
        heard[2::2] = heard[1:-1:2]
        return np.diff(np.interp(edges, knots, heard)) >= 0.5 * np.diff(edges) - 1e-9


def digital_silences(samples: np.ndarray, in_silence: bool) -> tuple[list[tuple[int, int]], int]:
    """Find digital silence in a part of a sound.

    Args:
        samples: float32 [n].
        in_silence: whether a digital silence reaches to the first sample; quiet samples there belong to it.

    Returns:
        First sample and one past the last of each silence; and how many samples are decided: quiet ones at the end may
        be the beginning of a silence.
    """
    edges = np.flatnonzero(np.diff(np.abs(samples) < QUIET, prepend=False, append=False))
    runs = edges.reshape(-1, 2).tolist()
    found = [(a, b) for a, b in runs if b - a >= SILENCE or (in_silence and a == 0)]
    undecided = runs and runs[-1][1] == len(samples) and tuple(runs[-1]) not in found
    return found, runs[-1][0] if undecided else len(samples)


class StepPool:
    """Mean and standard deviation of the frames in a window around each step; forgets frames that no step needs.

    Time and memory grow with the steps that have frames, and not with the time between them.

    Args:
        grid: the steps.
        width_s: width of the window around a step's centre, in seconds.
        least: [d], how many frames with a value a window needs; with fewer, its statistics are NaN.
    """

    def __init__(self, grid: Grid, width_s: float, least: np.ndarray):
        self._grid, self._half, self._least = grid, width_s / 2, np.asarray(least)
        self._time = np.empty(0)
        self._values = np.empty((0, len(self._least)), np.float32)
        self._starts: list[int] = []  # first step of each block
        self._blocks: list[np.ndarray] = []  # float32 [steps 2 d]; steps without any frame are in none
        self._next = 0

    def add(self, chunk: Chunk, centre: np.ndarray, values: np.ndarray) -> None:
        """Take the next chunk's frames.

        Args:
            chunk: where the frames come from. Those centred outside its core belong to its neighbours and are dropped.
            centre: int [m], ascending, the frames' centres in samples from the chunk's first sample.
            values: float32 [m d]; NaN where a frame has no value.
        """
        position = chunk.start + centre
        mine = (position >= chunk.core_start) & (position < chunk.core_end)
        self._pool(self._ended(chunk.core_start / SAMPLE_RATE))  # there may be a pause before it
        self._time = np.append(self._time, position[mine] / SAMPLE_RATE)
        self._values = np.concatenate([self._values, values[mine]])
        self._pool(self._ended(chunk.core_end / SAMPLE_RATE))

    def rows(self, stop: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Mean and population standard deviation of the frames in each window that aren't NaN, for steps first to stop.

        Returns:
            float32 [stop - first d] twice; NaN where fewer than `least` frames in the window have a value.
        """
        self._pool(stop)
        pooled = np.full((max(0, stop - first), 2, len(self._least)), np.nan, np.float32)
        for i in range(max(0, bisect_right(self._starts, first) - 1), bisect_left(self._starts, stop)):
            start, block = self._starts[i], self._blocks[i][: stop - self._starts[i]]
            kept = block[max(0, first - start) :]
            at = max(0, start - first)
            pooled[at : at + len(kept)] = kept
        return pooled[:, 0], pooled[:, 1]

    def _ended(self, time_s: float) -> int:
        """How many steps have windows that end by then; at least those that have been pooled."""
        middle = self._grid.centres(np.arange(self._next, self._grid.steps(time_s)))
        return self._next + int(np.searchsorted(middle + self._half, time_s, side="right"))

    def _pool(self, stop: int) -> None:
        """Pool all steps before `stop` that haven't been pooled yet, and forget the frames that only they need."""
        if stop <= self._next:
            return
        if len(self._time):
            middle = self._grid.centres(np.arange(self._next, stop))
            first = self._next + int(np.searchsorted(middle + self._half, self._time[0], side="right"))
            last = self._next + int(np.searchsorted(middle - self._half, self._time[-1], side="right"))
            for step in range(first, last, _BLOCK):
                self._starts.append(step)
                self._blocks.append(self._pooled(np.arange(step, min(step + _BLOCK, last))))
            needed = np.searchsorted(self._time, self._grid.centres(np.array([stop]))[0] - self._half)
            self._time, self._values = self._time[needed:], self._values[needed:]
        self._next = stop

    def _pooled(self, steps: np.ndarray) -> np.ndarray:
        """Mean and deviation of each step's window, float32 [steps 2 d]."""
        middle = self._grid.centres(steps)
        low, high = (np.searchsorted(self._time, middle + side) for side in (-self._half, self._half))
        index = low[:, None] + np.arange((high - low).max())
        frames = np.full((*index.shape, len(self._least)), np.nan)
        inside = index < high[:, None]
        frames[inside] = self._values[index[inside]]
        known = ~np.isnan(frames)
        count = known.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(known, frames, 0).sum(axis=1) / count
            variance = np.square(np.where(known, frames - mean[:, None], 0)).sum(axis=1) / count
        row = np.stack([mean, np.sqrt(variance)], axis=1)
        return np.where((count < self._least)[:, None], np.nan, row).astype(np.float32)
