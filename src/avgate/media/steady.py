"""Live sound without holes that aren't there: a drifting clock is followed by stretching, wobbling stamps aren't."""

from __future__ import annotations

import math
from statistics import median

import numpy as np

from avgate.core.state import Stateful
from avgate.core.types import SAMPLE_RATE, Waveform

NEAR_S = 0.06
"""Pieces whose stamps differ by at most this from the count of samples follow each other; others make a gap."""

_TOLERATED_S = 0.01
"""Stamps may lastingly differ by this from the count of samples before sound is stretched."""

_PACE = 0.01
"""Most stretch, as a part of the sound: a hundredth is a sixth of a semitone, and far faster than any clock drifts."""

_LOOK_S = 10.0
"""Seconds of sound whose stamps decide together, .."""

_LOOK = 32
""".. at least so many stamps, however long the pieces are."""

_FEWEST = 8
"""Fewer stamps decide nothing."""

_APART_S = 0.05
"""Of stamps that are nearer to each other, one counts."""

_GAP_S = 0.02
"""Shortest gap; one under 10 ms would be taken for rounded times (features/audio/chunks.py)."""

_KNOWN = 20e-6
"""The drift is known once its standard error is below this, in seconds per second."""


class SteadySound(Stateful):
    """Puts pieces of sound behind each other on the frames' clock, as they come.

    The sound card counts samples by its own clock, and the stamps wobble. So the count of samples says where a piece
    belongs, as long as its stamp is near. Where the middle of the last seconds' stamps differs from the count, the
    sound is stretched or squeezed by a hundredth until it fits again. Exact stamps change no sample.

    Attributes:
        holes: how many gaps there were.
        hole_s: seconds in which sound is missing between the first piece and the last.
        late_s: seconds of sound that came too late and were cut.
        overlap_s: seconds of sound that were there already and were cut.
        stretched_s: seconds by which sound was made longer.
        squeezed_s: seconds by which sound was made shorter.
    """

    STATE = (
        *("holes", "hole_s", "late_s", "overlap_s", "stretched_s", "squeezed_s"),
        *("_start_s", "_given", "_drop", "_counted", "_moved", "_due", "_credit", "_seen", "_drift"),
    )

    def __init__(self) -> None:
        self.holes = 0
        self.hole_s = self.late_s = self.overlap_s = self.stretched_s = self.squeezed_s = 0.0
        self._start_s: float | None = None  # where the current run of sound without gaps starts
        self._given = 0  # its samples
        self._drop = 0  # how many of the coming samples are there already
        self._counted = 0  # samples that came since the stamps were last taken at their word
        self._moved = 0  # samples put in since then; below 0, taken out
        self._due = 0  # how many should be
        self._credit = 0.0  # samples that may be put in or taken out now
        self._seen: list[list[float]] = []  # of the last stamps: seconds counted, and how much later the stamp is
        self._drift = _Drift()

    @property
    def end_s(self) -> float | None:
        """When the sound so far ends, in seconds; None before the first piece."""
        return None if self._start_s is None else self._start_s + self._given / SAMPLE_RATE

    @property
    def drift_ppm(self) -> float:
        """By how many millionths the sound's clock is faster than the frames'; NaN while it isn't known within 20."""
        return -1e6 * self._drift.slope / (1 + self._drift.slope)

    def push(self, piece: Waveform, from_s: float) -> Waveform | None:
        """The piece at its place, or None where nothing of it is left.

        Args:
            piece: at least one sample. It isn't changed, and may be reused.
            from_s: sound before this time is too late. It counts only where it is after `end_s`.
        """
        samples, end_s = piece.samples, self.end_s
        if end_s is None or from_s > end_s:
            return self._begin(piece, from_s)
        off_s = piece.start_s - (end_s - self._drop / SAMPLE_RATE)
        if off_s > NEAR_S:
            return self._begin(piece, from_s)
        if off_s < -NEAR_S:
            self._drop += round(-off_s * SAMPLE_RATE)
            off_s = 0.0
            self._trust_stamp()
        self._note(off_s)
        self._counted += len(samples)
        cut = min(self._drop, len(samples))
        self._drop -= cut
        self.overlap_s += cut / SAMPLE_RATE
        return self._give(self._moved_some(samples[cut:]), end_s)

    def _begin(self, piece: Waveform, from_s: float) -> Waveform | None:
        """Start a new run where the piece's stamp says, without what comes too late."""
        end_s, n = self.end_s, len(piece.samples)
        earliest_s = from_s if end_s is None else max(from_s, end_s + _GAP_S)
        # Times of resampled sound are rounded; half a sample isn't late.
        cut = min(n, max(0, math.ceil((earliest_s - piece.start_s) * SAMPLE_RATE - 0.5)))
        self.late_s += cut / SAMPLE_RATE
        if cut == n:
            return None
        start_s = piece.start_s + cut / SAMPLE_RATE
        if end_s is not None:
            self.holes += 1
            self.hole_s += start_s - end_s
        self._start_s, self._given, self._drop = start_s, 0, 0
        self._trust_stamp()
        self._note(0.0)
        self._counted = n - cut
        return self._give(piece.samples[cut:].copy(), start_s)

    def _give(self, samples: np.ndarray, start_s: float) -> Waveform | None:
        self._given += len(samples)
        return Waveform(samples, start_s) if len(samples) else None

    def _trust_stamp(self) -> None:
        """Count from the stamp of the piece that comes now."""
        self._seen, self._counted, self._moved, self._due, self._credit = [], 0, 0, 0, 0.0
        self._drift.begin()

    def _note(self, off_s: float) -> None:
        """Take a stamp that is so much later than the end of the sound, and decide how much is to be moved."""
        at_s = self._counted / SAMPLE_RATE
        if self._seen and at_s - self._seen[-1][0] < _APART_S:
            return
        off_s += self._moved / SAMPLE_RATE
        self._drift.add(at_s, off_s)
        self._seen.append([at_s, off_s])
        while len(self._seen) > _LOOK and at_s - self._seen[0][0] > _LOOK_S:
            del self._seen[0]
        if len(self._seen) < _FEWEST:
            return
        slope = self._drift.slope
        slope = 0.0 if math.isnan(slope) else slope
        offs_s = [off + slope * (at_s - at) for at, off in self._seen]  # as they would be now
        middle_s = median(offs_s)
        wobble_s = 1.4826 * median([abs(off - middle_s) for off in offs_s])
        error_s = 2.5 * wobble_s / math.sqrt(len(offs_s))  # twice the standard error of a median
        if abs(middle_s - self._due / SAMPLE_RATE) > _TOLERATED_S + error_s:
            self._due = round(middle_s * SAMPLE_RATE)

    def _moved_some(self, samples: np.ndarray) -> np.ndarray:
        """The samples, stretched or squeezed towards what is due."""
        left, n = self._due - self._moved, len(samples)
        if left == 0 or n == 0:
            return samples.copy()
        self._credit += _PACE * n
        step = min(abs(left), int(self._credit))
        self._credit = self._credit - step if step < abs(left) else 0.0
        if step == 0:
            return samples.copy()
        if left > 0:
            self.stretched_s += step / SAMPLE_RATE
        else:
            self.squeezed_s += step / SAMPLE_RATE
            step = -step
        self._moved += step
        return np.interp(np.linspace(0, n - 1, n + step), np.arange(n), samples).astype(np.float32)


class _Drift(Stateful):
    """Straight line through how much later stamps are than the count of samples; runs of sound share the slope."""

    STATE = ("_n", "_free", "_x", "_y", "_xx", "_xy", "_yy")

    def __init__(self) -> None:
        self._n = 0  # stamps in this run
        self._free = -1  # degrees of freedom of the residuals
        self._x = self._y = 0.0  # means in this run
        self._xx = self._xy = self._yy = 0.0  # sums of squares and products around the means, of all runs

    def begin(self) -> None:
        """Begin a run, whose stamps have an offset of their own."""
        self._n, self._x, self._y = 0, 0.0, 0.0

    def add(self, at_s: float, off_s: float) -> None:
        """Take a stamp that is `off_s` later than the count of samples says, after `at_s` seconds of samples."""
        self._n += 1
        self._free += self._n > 1
        dx, dy = at_s - self._x, off_s - self._y
        self._x += dx / self._n
        self._y += dy / self._n
        self._xx += dx * (at_s - self._x)
        self._xy += dx * (off_s - self._y)
        self._yy += dy * (off_s - self._y)

    @property
    def slope(self) -> float:
        """Seconds by which stamps become later per second of samples; NaN while it isn't known."""
        if self._free < 1:
            return math.nan
        slope = self._xy / self._xx
        error = math.sqrt(max(0.0, self._yy - slope * self._xy) / self._free / self._xx)
        return slope if error < _KNOWN else math.nan
