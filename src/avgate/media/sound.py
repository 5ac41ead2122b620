"""Decoded audio frames of any format to mono pieces at 16 kHz, each with its time."""

from __future__ import annotations

from typing import Any

import numpy as np
from av import AudioFrame
from av.audio.resampler import AudioResampler

from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.media.channels import Mixer

SLACK_S = 0.02
"""Seconds by which timestamps may differ from the count of samples before the time is corrected."""

GAP_S = 0.1
"""Gaps of at least this many seconds start a new piece; shorter ones are filled with silence."""


_LOUDEST = 100.0
"""No recording is louder than this many times full scale, 40 dB above it: samples beyond it are broken."""


class Pieces:
    """Mixes a stream of audio frames to mono, resamples it, and cuts it into pieces.

    Args:
        longest: most samples per piece.
    """

    def __init__(self, longest: int):
        self._cut_s = 0.0  # seconds of sound that were cut because they overlap earlier sound
        self._cancelled_s = 0.0  # seconds in which the channels cancel out
        self._broken = 0  # samples that no recording can have
        self._longest = longest
        self._mixer: Mixer | None = None  # None where there is one channel
        self._resampler: AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None  # format, layout and rate of the frames that the resampler takes
        self._due_s = 0.0  # time at which the next frame should start
        self._start_s = 0.0  # start of the current run of sound without gaps
        self._given = 0  # samples of the run that were returned
        self._ready: list[np.ndarray] = []  # samples of the run that weren't
        self._waiting = 0  # number of these
        self._drop = 0  # number of coming samples to cut

    def push(self, frame: Any) -> list[Waveform]:
        """Take the next decoded frame, and return the pieces that it completes."""
        frame = self._mended(frame)
        time_s = self._due_s if frame.time is None else frame.time
        off_s = time_s - self._due_s
        done = []
        if self._kind is None:
            self._start_s = self._due_s = time_s
        elif abs(off_s) > SLACK_S:
            self._drain()
            if off_s >= GAP_S:
                done = self._take(self._waiting)
                self._start_s, self._given = time_s, 0
            elif off_s > 0:
                end_s = self._start_s + (self._given + self._waiting) / SAMPLE_RATE
                self._keep(np.zeros(max(0, round((time_s - end_s) * SAMPLE_RATE)), np.float32))
            else:
                self._drop += round(-off_s * SAMPLE_RATE)
                self._cut_s -= off_s
            self._due_s = time_s
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
        self._due_s += frame.samples / frame.sample_rate
        while self._waiting >= self._longest:
            done += self._take(self._longest)
        return done

    def close(self) -> list[Waveform]:
        """Return the remaining pieces."""
        self._drain()
        done = []
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
