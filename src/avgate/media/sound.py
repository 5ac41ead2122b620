"""Decoded audio frames of any format to mono pieces at 16 kHz, each with its time."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, NamedTuple

import numpy as np
from av import AudioFrame
from av.audio.resampler import AudioResampler

from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.media.channels import Mixer

SLACK_S = 0.02
"""Seconds by which timestamps may lastingly differ from the count of samples before the time is corrected."""

GAP_S = 0.1
"""Gaps of at least this many seconds start a new piece; shorter ones are filled with silence."""

_AHEAD_S = 3.0
"""Seconds of sound that are looked at before a frame is placed: the middle of so many stamps is steady."""

_SOON_S = 0.5
"""A gap or overlap of GAP_S or more lasts if most of the stamps of so many seconds agree with it, .."""

_LASTS = 0.9
""".. and this part of all that are looked at. Stamps that come in bursts, as packets arrive, come back to the count."""

_REMEMBERED = 100  # frames

_LOUDEST = 100.0
"""No recording is louder than this many times full scale, 40 dB above it: samples beyond it are broken."""


class _Ahead(NamedTuple):
    """A frame that isn't placed yet, and how much later its time is than the count of samples; NaN if unknown."""

    frame: Any
    off_s: float
    length_s: float


class Pieces:
    """Mixes a stream of audio frames to mono, resamples it, and cuts it into pieces.

    The count of samples says when a frame starts, not its own time, which may wobble or be wrong. Only where the times
    of the frames that follow agree that sound is missing, or is there twice, is silence put in or sound cut.

    Args:
        longest: most samples per piece.

    Attributes:
        end_s: when the sound ends in seconds; complete after `close`.
    """

    def __init__(self, longest: int):
        self._cut_s = 0.0  # seconds of sound that were cut because they overlap earlier sound
        self._cancelled_s = 0.0  # seconds in which the channels cancel out
        self._broken = 0  # samples that no recording can have
        self._longest = longest
        self._mixer: Mixer | None = None  # None where there is one channel
        self._resampler: AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None  # format, layout and rate of the frames that the resampler takes
        self._ahead: deque[_Ahead] = deque()
        self._ahead_s = self._counted_s = 0.0  # lengths of these frames, and of all
        self._past: deque[float] = deque(maxlen=_REMEMBERED)  # how much later than due the last frames claimed to be
        self._late_s = 0.0  # how much later than the count of samples the sound is by now
        self.end_s = 0.0  # time at which the next frame should start
        self._start_s = 0.0  # start of the current run of sound without gaps
        self._given = 0  # samples of the run that were returned
        self._ready: list[np.ndarray] = []  # samples of the run that weren't
        self._waiting = 0  # number of these
        self._drop = 0  # number of coming samples to cut

    def push(self, frame: Any) -> list[Waveform]:
        """Take the next decoded frame, and return the pieces that this completes."""
        off_s = math.nan if frame.time is None else frame.time - self._counted_s
        length_s = frame.samples / frame.sample_rate
        self._ahead.append(_Ahead(self._mended(frame), off_s, length_s))
        self._ahead_s += length_s
        self._counted_s += length_s
        done = []
        while self._ahead_s - self._ahead[0].length_s >= _AHEAD_S:
            done += self._place()
        return done

    def _place(self) -> list[Waveform]:
        """Take the next frame at its place, and return the pieces that this completes."""
        off_s = self._lasting_s()
        frame, own_s, length_s = self._ahead.popleft()
        self._ahead_s -= length_s
        done = []
        if self._kind is None:
            self._late_s = self._start_s = self.end_s = off_s
        elif off_s:
            self._drain()
            self._late_s += off_s
            time_s = self.end_s + off_s
            if off_s >= GAP_S:
                done = self._take(self._waiting)
                self._start_s, self._given = time_s, 0
            elif off_s > 0:
                end_s = self._start_s + (self._given + self._waiting) / SAMPLE_RATE
                self._keep(np.zeros(max(0, round((time_s - end_s) * SAMPLE_RATE)), np.float32))
            else:
                self._drop += round(-off_s * SAMPLE_RATE)
                self._cut_s -= off_s
            self.end_s = time_s
        if not math.isnan(own_s):
            self._past.append(own_s - self._late_s)
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            self._drain()
            self._kind = kind
        if self._resampler is None:
            self._resampler = AudioResampler(format="s32", layout="mono", rate=SAMPLE_RATE)
            several = frame.layout.nb_channels > 1
            self._mixer = Mixer(frame.layout.name, frame.sample_rate) if several else None
        if self._mixer is None:
            self._resample(self._resampler, frame)
        else:
            self._mixed(self._resampler, self._mixer.push(frame), frame.sample_rate)
        self.end_s += length_s
        while self._waiting >= self._longest:
            done += self._take(self._longest)
        return done

    def _lasting_s(self) -> float:
        """Seconds by which the next frame starts later than due; 0 unless the frames after it agree."""
        if self._kind is not None and not abs(self._ahead[0].off_s - self._late_s) > SLACK_S:
            return 0.0
        lengths = np.array([ahead.length_s for ahead in self._ahead])
        offs = np.array([ahead.off_s for ahead in self._ahead]) - self._late_s
        known = np.isfinite(offs)
        if self._kind is None:
            if not known.any():
                return 0.0
            returns = offs[known]
            returns = returns[: np.flatnonzero(np.abs(returns - returns[0]) < GAP_S)[-1] + 1]
            if np.ptp(returns) >= 1.5 * GAP_S:  # they come in bursts, or wobble much
                return float(np.median(returns))
            soon = offs[known & (np.cumsum(lengths) - lengths < max(_SOON_S, np.cumsum(lengths)[known.argmax()]))]
            return float(np.median(soon[np.abs(soon - soon[0]) < GAP_S]))
        head_s = offs[0]
        soon = offs[known & (np.cumsum(lengths) - lengths < _SOON_S)]
        if len(soon) < 2 and lengths[0] < GAP_S:
            return 0.0  # one short frame proves nothing
        if abs(head_s) >= GAP_S:
            if np.mean(soon / head_s > 0.5) <= 0.5 or np.mean(offs[known] / head_s > 0.5) < _LASTS:
                return 0.0  # the stamps come back to the count
            if self._past and np.mean(np.array(self._past) / head_s > 0.5) > 1 - _LASTS:
                return 0.0  # they were there before, and came back
            if self._past and _spread(np.array(self._past)) > GAP_S / 2:
                return float(np.median(offs[known]))
            return float(np.median(soon[np.abs(soon - head_s) < GAP_S]))
        # Where the stamps are exact, the first of them that is late shows where the gap is; else it takes more of them.
        wobble_s = max(_spread(soon), _spread(np.array(self._past)) if self._past else 0.0)
        near = soon if wobble_s < SLACK_S / 4 else offs[known]
        near = near[np.abs(near) < GAP_S]
        middle_s = float(np.median(near))
        error_s = 4 * wobble_s / math.sqrt(len(near))  # three times the standard error of a median
        sure = abs(middle_s) > SLACK_S + error_s and abs(np.median(soon)) > SLACK_S
        return middle_s if sure and abs(head_s - middle_s) < abs(head_s) else 0.0

    def close(self) -> list[Waveform]:
        """Return the remaining pieces."""
        done = []
        while self._ahead:
            done += self._place()
        self._drain()
        while self._waiting:
            done += self._take(min(self._longest, self._waiting))
        return done

    def notes(self) -> list[str]:
        """What the user must know of the sound, one sentence each; complete after `close`."""
        notes = []
        if self._cut_s:
            notes.append(f"{self._cut_s:.2f} s of sound overlap earlier sound and were cut.")
        if self._cancelled_s:
            what = "The channels of the sound cancel each other out, as if one had the wrong sign"
            notes.append(f"{what}: in {self._cancelled_s:.1f} s, the loudest one alone is used.")
        if self._broken:
            what = f"are NaN, Inf or over {_LOUDEST:g} times full scale"
            notes.append(f"{self._broken} samples of the sound {what}, and count as silence.")
        return notes

    def _mended(self, frame: Any) -> Any:
        """The frame with silence in place of broken samples: one alone would spoil all sound near it."""
        if not frame.format.name.startswith(("flt", "dbl")):
            return frame
        samples = frame.to_ndarray()
        broken = ~(np.abs(samples) <= _LOUDEST)
        if not broken.any():
            return frame
        self._broken += int(broken.sum())
        mended = AudioFrame.from_ndarray(np.where(broken, 0, samples), frame.format.name, frame.layout.name)
        mended.sample_rate, mended.pts, mended.time_base = frame.sample_rate, frame.pts, frame.time_base
        return mended

    def _drain(self) -> None:
        if self._resampler is not None:
            if self._mixer is not None and self._kind is not None:
                self._mixed(self._resampler, self._mixer.close(), self._kind[2])
                self._cancelled_s += self._mixer.cancelled_s
            self._resample(self._resampler, None)
            self._resampler = self._mixer = None

    def _mixed(self, resampler: AudioResampler, blocks: list[np.ndarray], rate: int) -> None:
        for block in blocks:
            frame = AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
            frame.sample_rate = rate
            self._resample(resampler, frame)

    def _resample(self, resampler: AudioResampler, frame: Any) -> None:
        for out in resampler.resample(frame):
            self._keep((out.to_ndarray()[0] / 2.0**31).astype(np.float32))

    def _keep(self, samples: np.ndarray) -> None:
        cut = min(self._drop, len(samples))
        self._drop -= cut
        self._ready.append(samples[cut:])
        self._waiting += len(samples) - cut

    def _take(self, n: int) -> list[Waveform]:
        if n == 0:
            return []
        ready = np.concatenate(self._ready)
        piece = Waveform(ready[:n], self._start_s + self._given / SAMPLE_RATE)
        self._ready, self._given, self._waiting = [ready[n:]], self._given + n, len(ready) - n
        return [piece]


def _spread(offs: np.ndarray) -> float:
    """Standard deviation of values without outliers, from their median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(offs - np.median(offs))))
