"""Extraction for live use: a step is known as soon as its sound has come, and doesn't depend on what comes after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.state import Stateful
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.features.audio.chunks import JOIN, SILENCE, Chunk, Chunks
from avgate.features.audio.extraction import Arrange, Frames
from avgate.features.audio.pool import statistics
from avgate.features.audio.vad import FRAME, FRAME_BEFORE, THRESHOLD, VoiceActivity
from avgate.features.base import Steps


def refuse_uneven(rate: float, causal: bool, where: str) -> None:
    """UsageError where causal steps don't begin and end with a sample."""
    if causal and rate > 0 and SAMPLE_RATE % rate:
        raise UsageError(
            f"sound at {SAMPLE_RATE} samples per second can't be cut into {rate:g} equal causal steps a second",
            where=where,
            hint="choose a label rate such as 5, 10, 20, 25 or 50, or leave out causal=true",
        )


class Seen(NamedTuple):
    """A step's features [d], its voice activity in [0, 1], and whether the features repeat those of the step before."""

    values: np.ndarray
    active: float
    repeats: bool = False


class CausalSound(Stateful):
    """One clip's sound, looked at whenever a step ends; what pieces it comes in doesn't matter.

    Gaps and digital silence are as in Chunks. Quiet that may become a digital silence is sound until it is one.

    Args:
        grid: the steps; each is a whole number of samples.
        width: columns.
        past: samples before a step's end that can be looked at.
    """

    STATE: ClassVar[tuple[str, ...]] = ("_chunks", "_starts", "_pieces", "_next")

    def __init__(self, grid: Grid, width: int, past: int):
        self._grid, self._width, self._cell = grid, width, round(SAMPLE_RATE / grid.rate)
        self._past = max(past, self._cell + SILENCE + FRAME + FRAME_BEFORE)
        self._chunks = Chunks(1, 0)
        self._starts: list[int] = []
        self._pieces: list[np.ndarray] = []
        self._next = 0  # all steps before it have been given

    def push(self, piece: Waveform) -> Steps:
        """Take the next piece of sound.

        Raises:
            FeatureError: samples aren't finite, or the piece begins before the previous one ends.
        """
        samples, at = self._chunks.place(piece)
        if not len(samples):
            return self._steps([])
        found = self._until(at)
        while len(samples):
            n = min(len(samples), (self._next + 1) * self._cell - at)
            self._chunks.push(Waveform(samples[:n], at / SAMPLE_RATE))
            self._keep(samples[:n], at)
            samples, at = samples[n:], at + n
            found += self._until(at)
        return self._steps(found)

    def advance(self, time_s: float) -> Steps:
        """See Extraction. A pause of up to 10 ms is known as such when it is longer, or ends."""
        time = round(time_s * SAMPLE_RATE)
        if time <= self._chunks.heard + JOIN:
            return self._steps([])
        found = self._until(time)
        self._chunks.advance(time)
        return self._steps(found)

    def finish(self, end_s: float) -> Steps:
        """See Extraction."""
        stop = self._grid.steps(end_s)
        found = self._until((stop - 1) * self._cell)
        if self._next < stop:
            found += self._look(round(end_s * SAMPLE_RATE))
        return self._steps(found)

    def _see(self, step: int, runs: list[tuple[int, int]], covered: bool) -> Seen | None:
        """What a step is known by; None where it has no features.

        Args:
            step: its number.
            runs: the stretches of sound that reach into the past, first sample and one past the last of each.
            covered: whether at least half of the step has sound.
        """
        raise NotImplementedError

    def _sound(self, first: int, last: int) -> np.ndarray:
        """The samples from first to last of a stretch of sound."""
        parts = [
            samples[max(0, first - start) : max(0, last - start)]
            for start, samples in zip(self._starts, self._pieces, strict=True)
        ]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def _keep(self, samples: np.ndarray, at: int) -> None:
        if (
            self._starts
            and self._starts[-1] + len(self._pieces[-1]) == at
            and self._starts[-1] // self._cell == (at // self._cell)
        ):
            self._pieces[-1] = np.concatenate([self._pieces[-1], samples])
        else:
            self._starts.append(at)
            self._pieces.append(samples.copy())

    def _until(self, time: int) -> list[tuple[int, Seen]]:
        """Look at the steps that end by then; pauses are passed over."""
        found: list[tuple[int, Seen]] = []
        while (self._next + 1) * self._cell <= time and self._next * self._cell < self._chunks.heard:
            self._chunks.advance((self._next + 1) * self._cell)
            found += self._look((self._next + 1) * self._cell)
        self._next = max(self._next, time // self._cell)
        return found

    def _look(self, end: int) -> list[tuple[int, Seen]]:
        """Look at the next step, up to its end in samples."""
        step, first = self._next, self._next * self._cell
        begin = (step + 1) * self._cell - self._past
        runs = [(a, min(b, end)) for a, b in self._chunks.sounding(begin) if a < end]
        sounding = sum(b - max(a, first) for a, b in runs if b > first)
        seen = self._see(step, runs, 2 * sounding >= end - first)
        while self._starts and self._starts[0] + len(self._pieces[0]) <= begin:
            del self._starts[0], self._pieces[0]
        self._chunks.forget(begin)
        self._next += 1
        return [] if seen is None else [(step, seen)]

    def _steps(self, found: list[tuple[int, Seen]]) -> Steps:
        index = np.array([step for step, _ in found], np.int64)
        values = np.array([seen.values for _, seen in found], np.float32).reshape(len(found), self._width)
        active = self._activity([seen.active for _, seen in found])
        return Steps(index, values, self._next, active, np.array([seen.repeats for _, seen in found], bool))

    def _activity(self, active: list[float]) -> np.ndarray | None:
        return np.array(active, np.float32)


class Past(NamedTuple):
    """Seconds of sound before a step's end that are analysed, and in which its frames are centred."""

    analysed_s: float
    pooled_s: float


class CausalAudioExtraction(CausalSound):
    """One clip's extraction: each step is an analysis of its own, of nothing but the sound before its end.

    Args:
        grid: the steps; each is a whole number of samples.
        width: columns.
        past: how much sound before a step's end it is made from.
        least: [c], how many frames with a value a step needs.
        analyse: makes frames from pieces of sound, float32 [n] each.
        arrange: makes features from what was pooled.

    Attributes:
        every: of so many steps one is analysed, and the next ones repeat it; 1 where there is time for all.
    """

    STATE = (*CausalSound.STATE, "_voice", "_arrange", "_last", "_values")

    def __init__(
        self,
        grid: Grid,
        width: int,
        past: Past,
        least: np.ndarray,
        analyse: Callable[[Sequence[np.ndarray]], list[Frames]],
        arrange: Arrange,
    ):
        self._analysed, self._pooled = (round(seconds * SAMPLE_RATE) for seconds in past)
        super().__init__(grid, width, self._analysed)
        self._least = least
        self._analyse, self._arrange = analyse, arrange
        self._voice = _Voice()
        self.every = 1
        self._last = -1  # the last step that was analysed, and what came of it
        self._values: np.ndarray | None = None

    def _see(self, step: int, runs: list[tuple[int, int]], covered: bool) -> Seen | None:
        end = (step + 1) * self._cell
        active = self._voice.hear(runs, self._sound, end - self._cell)
        if not covered:
            return None
        repeats = self._values is not None and step - self._last < self.every
        if not repeats:
            self._last, self._values = step, self._analysis(step, runs, end)
        return None if self._values is None else Seen(self._values, active, repeats)

    def _analysis(self, step: int, runs: list[tuple[int, int]], end: int) -> np.ndarray | None:
        """A step's features [d]; None where there is too little sound to tell."""
        runs = [(max(a, end - self._analysed), b) for a, b in runs if b > end - self._analysed]
        found = self._analyse([self._sound(a, b) for a, b in runs])
        mine = [rows[a + centre >= end - self._pooled] for (a, _), (centre, rows) in zip(runs, found, strict=True)]
        frames = np.concatenate([np.zeros((0, len(self._least))), *mine])
        pooled = statistics(frames[None], self._least)
        _, values, _ = self._arrange(np.array([step]), pooled[:, 0], pooled[:, 1], step + 1, False)
        return values[0] if len(values) and np.isfinite(values).all() else None


class _Voice(Stateful):
    """Voice activity in sound that is heard step by step; only frames that are complete count."""

    STATE = ("_activity", "_start", "_heard", "_speaks")

    def __init__(self) -> None:
        self._activity = VoiceActivity()
        self._start: int | None = None  # where the stretch of sound begins
        self._heard = 0  # up to where it was heard
        self._speaks = 0.0

    def hear(self, runs: list[tuple[int, int]], sound: Callable[[int, int], np.ndarray], first: int) -> float:
        """Hear what is new, and give the share of the step from `first` on with voice activity, in [0, 1].

        Where no frame is centred in the step, it is that of the last one; 0 before any.
        """
        share: list[np.ndarray] = []
        for start, end in runs:
            if self._start is not None and start < self._start:
                continue
            if start != self._start:
                self._activity, self._start, self._heard, self._speaks = VoiceActivity(), start, start, 0.0
            last = self._heard + (end - self._heard) // FRAME * FRAME
            if last <= self._heard:
                continue
            begin = max(start, self._heard - FRAME_BEFORE)
            centre, speech = self._activity(Chunk(sound(begin, last), begin, self._heard, last))
            mine = begin + centre >= max(first, self._heard)
            share.append(speech[mine] >= THRESHOLD)
            self._speaks, self._heard = float(speech[-1] >= THRESHOLD), last
        found = np.concatenate([np.zeros(0, bool), *share])
        return float(found.mean()) if len(found) else self._speaks
