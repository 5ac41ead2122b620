"""The interface of a recording, and recordings in memory: frames and sound with times in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from av import AudioFrame

from avgate.core.errors import MediaError, UsageError
from avgate.core.timeline import IN_WORDS, LONGEST_S
from avgate.core.types import SAMPLE_RATE, VideoFrame, Waveform
from avgate.media.sound import Pieces

_BLOCK = 1 << 16
"""Samples that are resampled at once."""

_LOUDEST = 1.5
"""Loudest sample that is accepted: resampling may overshoot 1 a little, but more means another scale."""


CLOSEST_S = 1e-4
"""Frames in memory that are closer are in another unit than seconds; those of a file are moved apart."""


def refuse_too_long(name: str | Path, time_s: float, hint: str) -> None:
    """MediaError for a recording that reaches beyond LONGEST_S: before memory is asked for that grows with time."""
    if time_s > LONGEST_S:
        reaches = f"it reaches to {time_s:,.0f} s ({time_s / 86400:,.1f} days)"
        raise MediaError(f"{reaches}; the longest recording is one of {IN_WORDS}", where=name, hint=hint)


class Recording(Protocol):
    """Frames and sound of one recording. Both can be read repeatedly, and at the same time.

    Attributes:
        notes: what the user must know, one sentence each; complete after `frames` and `sound` have run to their end.
        sound_end_s: when the sound ends in seconds, silence included; 0 without sound. Known after `sound` has run.
    """

    notes: list[str]
    sound_end_s: float

    @property
    def name(self) -> str:
        """Its name in messages."""

    @property
    def has_frames(self) -> bool:
        """Whether there is anything to see; False for sound alone."""

    def frames(self) -> Iterator[VideoFrame]:
        """Every frame once, in the order of time."""

    def frame_times(self) -> np.ndarray:
        """Times of all frames in seconds, float64 [n]."""

    def sound(self) -> Iterator[Waveform]:
        """The sound as mono pieces, in order and without overlap; no piece without sound."""


def refuse_empty(recording: Recording, frames: int) -> None:
    """MediaError for a recording that was read to its end and gave nothing: no frames, or of sound alone no sound."""
    hint = "copy or record it again"
    if recording.has_frames and not frames:
        raise MediaError("no frame of its video stream could be decoded", where=recording.name, hint=hint)
    if not recording.has_frames and not recording.sound_end_s:
        raise MediaError("no sound in it could be decoded", where=recording.name, hint=hint)


class InMemory:
    """A recording in memory.

    Args:
        frames: upright RGB frames, uint8 [n h w 3], or a sequence of n frames [h w 3].
        time_s: float [n], time of each frame in seconds, increasing.
        sound: float [m] mono or [m 2] stereo in [-1, 1], starting at 0 s; None where there is none.
        rate: samples of the sound per second.

    Raises:
        UsageError: a shape, type, range or time is wrong.
    """

    name, has_frames = "frames in memory", True

    def __init__(
        self,
        frames: np.ndarray | Sequence[np.ndarray],
        time_s: np.ndarray | Sequence[float],
        sound: np.ndarray | None = None,
        rate: int | None = None,
    ):
        self.notes: list[str] = []
        self._frames, self._time_s = frames, self._checked_times(frames, time_s)
        self._sound, self._rate = self._checked_sound(sound, rate)
        self.sound_end_s = 0.0 if self._sound is None else self._sound.shape[1] / self._rate

    def frames(self) -> Iterator[VideoFrame]:
        """See Recording; UsageError for a frame that isn't RGB uint8."""
        for i, (time_s, frame) in enumerate(zip(self._time_s.tolist(), self._frames, strict=True)):
            picture = isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.size
            if not picture or frame.shape[2] != 3:
                is_array = isinstance(frame, np.ndarray)
                what = f"frame {i} is {f'{frame.dtype} of shape {frame.shape}' if is_array else type(frame).__name__}"
                raise UsageError(what, where=self.name, hint="give RGB pictures, uint8 of shape [height width 3]")
            yield VideoFrame(time_s, np.ascontiguousarray(frame))

    def frame_times(self) -> np.ndarray:
        """See Recording."""
        return self._time_s

    def sound(self) -> Iterator[Waveform]:
        """See Recording; mixed and resampled to 16 kHz in the same way as the sound of files."""
        if self._sound is None:
            return
        pieces = Pieces(30 * SAMPLE_RATE)
        for first in range(0, self._sound.shape[1], _BLOCK):
            part = np.ascontiguousarray(self._sound[:, first : first + _BLOCK])
            frame = AudioFrame.from_ndarray(part, format="fltp", layout=("mono", "stereo")[len(part) - 1])
            frame.sample_rate = self._rate
            yield from pieces.push(frame)
        yield from pieces.close()
        self.notes += [note for note in pieces.notes() if note not in self.notes]

    def _checked_times(self, frames: Any, time_s: Any) -> np.ndarray:
        """The frames' times, float64 [n]."""
        listed = isinstance(frames, Sequence) and not isinstance(frames, str | bytes)
        if not listed and not (isinstance(frames, np.ndarray) and frames.ndim):
            what = f"frames are a {type(frames).__name__}"
            raise UsageError(what, where=self.name, hint="give an array [n height width 3], or a list of pictures")
        try:
            times = np.asarray(time_s)
        except ValueError:  # a ragged list
            times = np.zeros(0, object)
        if times.dtype.kind not in "fiu" or not len(frames) or times.shape != (len(frames),):
            what = f"{len(frames)} frames and times of shape {times.shape}, {times.dtype}, don't belong together"
            raise UsageError(what, where=self.name, hint="give at least one frame, and one time in seconds for each")
        times = times.astype(np.float64)
        if not np.isfinite(times).all() or (np.diff(times) < CLOSEST_S).any():
            what = f"the frames' times don't increase by {CLOSEST_S:g} s or more"
            raise UsageError(what, where=self.name, hint="give seconds, sorted; no two may be equal")
        if times[0] < 0 or times[-1] > LONGEST_S:
            what = f"the frames' times go from {times[0]:g} to {times[-1]:g} s"
            raise UsageError(
                what,
                where=self.name,
                hint=f"give seconds from 0 to {LONGEST_S:.0f} ({IN_WORDS}), such as time - time[0]",
            )
        return times

    def _checked_sound(self, sound: Any, rate: Any) -> tuple[np.ndarray | None, int]:
        """The sound as float32 [channels m], and its rate."""
        if sound is None:
            self.notes.append("There is no sound.")
            return None, SAMPLE_RATE
        whole = isinstance(rate, int | np.integer) or (isinstance(rate, float) and rate.is_integer())
        if isinstance(rate, bool) or not whole or not 1000 <= int(rate) <= 384_000:
            what = f"sound needs its rate in samples per second, not {rate!r}"
            raise UsageError(what, where=self.name, hint="give a number such as 16000 or 48000")
        try:
            samples = np.asarray(sound)
        except ValueError:  # a ragged list
            samples = np.zeros(0, object)
        stereo = samples.ndim == 2 and samples.shape[1] in (1, 2)
        if samples.dtype.kind != "f" or not (samples.ndim == 1 or stereo):
            what = f"the sound is {samples.dtype} of shape {samples.shape}"
            raise UsageError(what, where=self.name, hint="give floats in [-1, 1], of shape [samples] or [samples 2]")
        if not np.isfinite(samples).all():
            raise UsageError("the sound holds NaN or Inf", where=self.name, hint="give floats in [-1, 1]")
        if samples.size and np.abs(samples).max() > _LOUDEST:
            what = f"the sound reaches {np.abs(samples).max():g}"
            raise UsageError(what, where=self.name, hint="give floats in [-1, 1]; divide 16-bit samples by 32768")
        return np.atleast_2d(samples.T).astype(np.float32), int(rate)
