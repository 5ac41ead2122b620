"""One clock for frames and sound that come live: in any pieces, late, with holes, and by two clocks that drift."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.state import Stateful
from avgate.core.timeline import IN_WORDS, LONGEST_S
from avgate.core.types import Waveform
from avgate.media.steady import NEAR_S, SteadySound

BACK_S = 5.0
"""Times that go back by more than this are those of a source that began again."""

_WHERE = "stream"


class LiveClock(Stateful):
    """Says which frames and which sound of a live stream are to be used, and up to which time everything is known.

    All follows from the times of what is pushed, and nothing from the moment at which it is. Times are seconds on the
    frames' clock, at most 7 days from 0.

    A medium that lags behind the other by more than `wait_s` has stopped, and isn't waited for until it comes back.
    What of it lies before `known_s` by then is late, and isn't used. After a hole in both, each has `wait_s` to follow
    the other. So `wait_s` must be longer than the longest piece of sound, and than the time between two frames.

    Args:
        video: whether frames will come.
        sound: whether sound will come.
        wait_s: seconds to wait for a medium that lags behind the other, at least 0.

    Attributes:
        late_frames: how many frames came too late, or not in order.

    Raises:
        UsageError: neither will come, or `wait_s` isn't a time.
    """

    STATE = ("late_frames", "_known_s", "_frames", "_pieces", "_steady", "_finished")

    def __init__(self, video: bool, sound: bool, wait_s: float = 1.0):
        if not (video or sound):
            raise UsageError("neither frames nor sound will come", where=_WHERE, hint="give video, sound, or both")
        if not _is_time(wait_s) or wait_s < 0:
            raise UsageError(f"a wait of {wait_s!r} s isn't possible", where=_WHERE, hint="give seconds, such as 1.0")
        self.late_frames = 0
        self._known_s = -LONGEST_S
        self._finished = False
        self._video, self._sound, self._wait_s = video, sound, float(wait_s)
        self._frames, self._pieces, self._steady = _Medium(), _Medium(), SteadySound()

    @property
    def known_s(self) -> float:
        """Everything that belongs before this time has come, or isn't waited for any longer. It never goes back."""
        return self._known_s

    def frame(self, time_s: float) -> bool:
        """Take a frame's time; False where the frame must be dropped, since it is too late.

        Raises:
            UsageError: the time isn't possible, goes back by more than 5 s, or no frames were to come.
        """
        time_s = self._checked(time_s, "a frame", self._video, self._frames)
        until_s = self._frames.until_s
        late = time_s < self._known_s or (until_s is not None and time_s <= until_s)
        self.late_frames += late
        self._came(self._frames, self._pieces, time_s, time_s)
        return not late

    def sound(self, piece: Waveform) -> list[Waveform]:
        """Take the next piece of sound, stamped with the time at which its first sample was heard.

        Args:
            piece: any number of samples. Without any, it says up to when there is no further sound.

        Returns:
            The sound to use, in order and without overlap, with corrected times.

        Raises:
            UsageError: time or samples aren't possible, times go back by more than 5 s, or no sound was to come.
        """
        start_s = self._checked(piece.start_s, "sound", self._sound, self._pieces)
        samples = piece.samples
        if not (isinstance(samples, np.ndarray) and samples.dtype == np.float32 and samples.ndim == 1):
            found = f"{samples.dtype} of shape {samples.shape}" if isinstance(samples, np.ndarray) else type(samples)
            hint = "give mono float32 samples in [-1, 1], of shape [samples], at 16 kHz"
            raise UsageError(f"the sound at {start_s:.3f} s is {found}", where=_WHERE, hint=hint)
        piece = replace(piece, start_s=start_s)
        if not np.isfinite(samples).all():
            what = f"the sound at {start_s:.3f} s contains NaN or Inf"
            raise UsageError(what, where=_WHERE, hint="replace those samples with silence")
        end_s = self._steady.end_s
        if not len(samples):
            if end_s is None or start_s > end_s + NEAR_S:
                self._came(self._pieces, self._frames, start_s, start_s)
            return []
        placed = self._steady.push(piece, self._known_s)
        end_s = self._steady.end_s
        if end_s is None or piece.end_s > end_s + NEAR_S:
            end_s = piece.end_s  # all of it was too late
        self._came(self._pieces, self._frames, start_s, end_s)
        return [] if placed is None else [placed]

    def finish(self) -> list[Waveform]:
        """End the stream: nothing is waited for any longer.

        Returns:
            The sound that was held back: none, since every piece is given at once.
        """
        self._finished = True
        for medium in (self._frames, self._pieces):
            if medium.until_s is not None:
                self._know(medium.until_s)
        return []

    @property
    def late_sound_s(self) -> float:
        """Seconds of sound that came too late and were cut."""
        return self._steady.late_s

    @property
    def overlap_s(self) -> float:
        """Seconds of sound that had come already and were cut."""
        return self._steady.overlap_s

    @property
    def sound_holes(self) -> int:
        """How often sound is missing between two pieces."""
        return self._steady.holes

    @property
    def sound_hole_s(self) -> float:
        """Seconds of sound that are missing between pieces."""
        return self._steady.hole_s

    @property
    def stretched_s(self) -> float:
        """Seconds by which sound was made longer, to follow the frames' clock."""
        return self._steady.stretched_s

    @property
    def squeezed_s(self) -> float:
        """Seconds by which sound was made shorter, to follow the frames' clock."""
        return self._steady.squeezed_s

    @property
    def drift_ppm(self) -> float:
        """By how many millionths the sound's clock is faster than the frames'; NaN while it isn't known within 20."""
        return self._steady.drift_ppm

    def notes(self) -> list[str]:
        """What the user must know of the stream's times, one sentence each."""
        notes = []
        if self.late_frames:
            notes.append(f"{self.late_frames} frames came too late or out of order and were left out.")
        if self.late_sound_s:
            notes.append(f"{self.late_sound_s:.2f} s of sound came too late and were cut.")
        if self.overlap_s:
            notes.append(f"{self.overlap_s:.2f} s of sound overlap earlier sound and were cut.")
        if self.sound_holes:
            notes.append(f"Sound is missing in {self.sound_holes} places, {self.sound_hole_s:.2f} s in all.")
        if self.stretched_s or self.squeezed_s:
            by = "" if math.isnan(self.drift_ppm) else f" (its clock runs {self.drift_ppm:+.0f} millionths faster)"
            moved = f"{self.stretched_s:.2f} s longer and {self.squeezed_s:.2f} s shorter"
            notes.append(f"To follow the frames, sound was made {moved} in all{by}.")
        return notes

    def _checked(self, time_s: Any, what: str, expected: bool, medium: _Medium) -> float:
        """The time as a float, if such a thing may come at it."""
        if self._finished:
            raise UsageError(f"{what} came after the end", where=_WHERE, hint="begin a new stream")
        if not expected:
            hint = "open the stream with both, or push only what it was opened for"
            raise UsageError(f"{what} came, but the stream was opened without any", where=_WHERE, hint=hint)
        if not _is_time(time_s):
            hint = f"give seconds, at most {LONGEST_S:.0f} from 0 ({IN_WORDS}), such as those since the stream began"
            raise UsageError(f"{what} has the time {time_s!r} s", where=_WHERE, hint=hint)
        if medium.until_s is not None and time_s < medium.until_s - BACK_S:
            gone = f"{what} at {time_s:.3f} s came after {medium.until_s:.3f} s: the clock went back"
            raise UsageError(gone, where=_WHERE, hint="the source began again; begin a new stream, or go on counting")
        return float(time_s)

    def _came(self, one: _Medium, other: _Medium, start_s: float, until_s: float) -> None:
        """Something of one medium came: both are judged anew, and so is what is known."""
        leapt = one.until_s is None or start_s > one.until_s + self._wait_s
        one.come(start_s, until_s, behind=other.newest_s - until_s > self._wait_s)
        other.judge(start_s, self._wait_s, leapt)
        expected = [m for m, e in ((self._frames, self._video), (self._pieces, self._sound)) if e]
        waited = [medium.until_s for medium in expected if not medium.stopped]
        if waited and None not in waited:
            self._know(min(until for until in waited if until is not None))

    def _know(self, time_s: float) -> None:
        self._known_s = max(self._known_s, time_s)


def _is_time(value: Any) -> bool:
    return isinstance(value, Real) and abs(float(value)) <= LONGEST_S


class _Medium(Stateful):
    """Frames, or sound.

    Attributes:
        until_s: it has come until this time; None before it first came.
        newest_s: the latest time at which anything of it begins.
        stopped: whether it isn't waited for.
    """

    STATE = ("until_s", "newest_s", "stopped", "_since_s", "_excused")

    def __init__(self) -> None:
        self.until_s: float | None = None
        self.newest_s = -math.inf
        self.stopped = False
        self._since_s: float | None = None  # the other medium's time at which the wait for this one began
        self._excused = False  # whether the wait began anew after a hole in both

    def come(self, start_s: float, until_s: float, behind: bool) -> None:
        """Something of it came; `behind` says whether the other medium is too far ahead nonetheless."""
        self.newest_s = max(self.newest_s, start_s)
        self.until_s = until_s if self.until_s is None else max(self.until_s, until_s)
        self._since_s, self.stopped, self._excused = self.until_s, behind, False

    def judge(self, other_s: float, wait_s: float, leapt: bool) -> None:
        """Something of the other medium came at that time, maybe after a hole; is this one still waited for?"""
        if self._since_s is None:
            self._since_s, self._excused = other_s, True
        if self.stopped or other_s - self._since_s <= wait_s:
            return
        if leapt and not self._excused:
            self._since_s, self._excused = other_s, True
        else:
            self.stopped = True
