"""Cutting sound into chunks that overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avgate.core.errors import FeatureError
from avgate.core.state import Stateful
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


class Chunks(Stateful):
    """Cuts a clip's sound into chunks. The chunks don't depend on the pieces that the sound arrives in.

    A gap between pieces begins a new stretch. Each stretch is cut on its own, so that no frame spans a gap. Digital
    silence is such a gap: muted microphones and empty tracks give it, while every real room has noise.

    Args:
        core_s: length of a core in whole seconds, so that frames fall on the same places in all chunks.
        context_s: length of the context on either side, in whole seconds.

    Attributes:
        silent_s: seconds of digital silence so far.
    """

    STATE = (
        "silent_s", "_stretches", "_start", "_end", "_core_start", "_held", "_held_start",
        "_now", "_joins", "_quiet", "_in_silence",
    )  # fmt: skip

    def __init__(self, core_s: int, context_s: int):
        self.silent_s = 0.0
        self._core, self._context = core_s * SAMPLE_RATE, context_s * SAMPLE_RATE
        self._stretches: list[tuple[int, int]] = []  # finished ones: first sample, one past the last
        self._start = self._end = self._core_start = 0
        self._held: list[np.ndarray] = []
        self._held_start = 0
        self._now: int | None = None  # one past the last sample that was pushed or is known not to come
        self._joins = False  # whether a piece that begins now goes on with the last one
        self._quiet = np.zeros(0, np.float32)  # the quiet samples before that, too few so far for a digital silence
        self._in_silence = False

    def place(self, piece: Waveform) -> tuple[np.ndarray, int]:
        """Where the next piece goes: its samples, float32 [n], and the position of the first one, in samples.

        Raises:
            FeatureError: samples aren't finite, or the piece begins before the previous one ends.
        """
        samples = np.asarray(piece.samples, np.float32)
        if not np.isfinite(samples).all():
            first_s = piece.start_s + np.argmin(np.isfinite(samples)) / SAMPLE_RATE
            raise FeatureError(
                f"the sound contains NaN or Inf, first at {first_s:.3f} s",
                hint="decode the file again, or replace those samples with silence",
            )
        start = round(piece.start_s * SAMPLE_RATE)
        if self._now is None:
            return samples, start
        if start < self._now - JOIN and len(samples):
            raise FeatureError(
                f"sound that starts at {piece.start_s:.3f} s comes after sound up to {self._now / SAMPLE_RATE:.3f} s",
                hint="give the pieces in order and without overlap, as avgate.media does",
            )
        return samples, self._now if self._joins and start <= self._now + JOIN else max(start, self._now)

    def push(self, piece: Waveform) -> list[Chunk]:
        """Take the next piece and return the chunks that it completes; see `place` for errors."""
        samples, start = self.place(piece)
        if not len(samples):
            return []
        chunks: list[Chunk] = []
        if not self._joins or start != self._now:
            chunks = self.close()
        self._now, self._joins = start, True
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

    def advance(self, time: int) -> list[Chunk]:
        """Be told that no sound comes before this sample, and return the chunks of a stretch that this ends."""
        if self._now is not None and time <= self._now + JOIN:
            return []
        chunks = self.close()
        self._now, self._joins = time, False
        return chunks

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
    def decided(self) -> int:
        """The sample before which it is known whether there is sound."""
        return 0 if self._now is None else self._now - len(self._quiet)

    @property
    def heard(self) -> int:
        """One past the last sample that was pushed or is known not to come; 0 before any."""
        return self._now or 0

    @property
    def settled(self) -> int:
        """The sample before which no later piece can reach."""
        return min(self.decided, self._now - JOIN) if self._joins and self._now is not None else self.decided

    @property
    def cut(self) -> int:
        """The sample before which all sound lies in cores of chunks that were returned."""
        return self._core_start if self._end > self._start else self.decided

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

    def covered(self, grid: Grid, first: int, stop: int, end_s: float = np.inf) -> np.ndarray:
        """The steps of which at least half (or half of the part before end_s) has sound, among steps first to stop.

        Returns:
            int64 [k], increasing. Sound that isn't decided yet doesn't count.
        """
        stretches = [*self._stretches, (self._start, self._end)]
        knots = np.array([pair for pair in stretches if pair[0] < pair[1]], np.float64).reshape(-1) / SAMPLE_RATE
        if not len(knots) or stop <= first:
            return np.zeros(0, np.int64)
        low, high = (np.clip(grid.index(edges), first, stop) for edges in (knots[::2], knots[1::2]))
        steps = np.unique(np.concatenate([np.arange(a, min(b + 1, stop)) for a, b in zip(low, high, strict=True)]))
        centre = grid.centres(steps)
        edges = np.stack([centre - 0.5 / grid.rate, np.minimum(centre + 0.5 / grid.rate, end_s)])
        heard = np.zeros(len(knots))
        heard[1::2] = np.cumsum(knots[1::2] - knots[::2])
        heard[2::2] = heard[1:-1:2]
        sounding = np.diff(np.interp(edges, knots, heard), axis=0)[0]
        return steps[sounding >= 0.5 * np.diff(edges, axis=0)[0] - 1e-9]

    def sounding(self, since: int) -> list[tuple[int, int]]:
        """First sample and one past the last of each stretch of sound that ends after `since`.

        Quiet that may become a digital silence counts as sound.
        """
        first = self._start if self._end > self._start else self.decided
        return [(a, b) for a, b in (*self._stretches, (first, self.decided + len(self._quiet))) if b > max(a, since)]

    def forget(self, sample: int) -> None:
        """Drop the stretches that end before a sample."""
        self._stretches = [pair for pair in self._stretches if pair[1] > sample]


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
