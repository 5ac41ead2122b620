"""Microphones, through sounddevice: mono sound at 16 kHz as it comes, with the times at which it was heard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from av import AudioFrame
from av.audio.resampler import AudioResampler

from avgate.core.errors import MediaError, UsageError
from avgate.core.text import reason
from avgate.core.types import SAMPLE_RATE, Waveform

BLOCK_S = 0.02
"""Seconds of sound that come at once."""

_ROOM_S = 0.1
"""Seconds of sound that the system keeps while this process is busy; blocks come all the same as soon as they end."""

_LONGEST_AGO_S = 2.0
"""Sound that is said to have been heard longer ago has no time that can be believed."""

_REMEMBERED = 100
"""Blocks over which the two clocks are compared: the one that was handed over soonest tells their difference."""


def load_sounddevice() -> Any:
    """The module; UsageError where it or PortAudio is missing."""
    try:
        import sounddevice
    except ImportError as error:
        hint = 'pip install "avgate[live]", or --microphone none'
        raise UsageError("sounddevice isn't installed", where="--microphone", hint=hint) from error
    except OSError as error:
        hint = 'pip install "avgate[live]" and PortAudio (libportaudio2 on Debian and Ubuntu), or --microphone none'
        raise UsageError(f"sounddevice can't be used ({reason(error)})", where="--microphone", hint=hint) from error
    return sounddevice


class Microphone:
    """A microphone that is listened to, in a thread of PortAudio's.

    Args:
        device: part of its name, or its number; None takes the system's default.

    Attributes:
        name: for messages.
        lost: how often the system had no room for sound, and lost some.

    Raises:
        UsageError: there is no such device, several have that name, or sounddevice is missing.
        MediaError: it can't be opened.
    """

    def __init__(self, device: str | None = None):
        self._sd = load_sounddevice()
        number = int(device) if device is not None and device.isascii() and device.isdecimal() else device
        try:
            about = self._sd.query_devices(number, "input")
        except (ValueError, self._sd.PortAudioError) as error:
            what = "there is no microphone" if device is None else f"there is no one microphone '{device}'"
            hint = "avgate live --list shows what there is; --microphone none does without"
            raise UsageError(f"{what} ({reason(error)})", where="--microphone", hint=hint) from error
        self.name, self.lost = str(about["name"]), 0
        self._device = about["index"]
        self._rate, self._channels = self._settings(about)
        self._resampler: AudioResampler | None = None
        if self._rate != SAMPLE_RATE:
            self._resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        self._in = self._out = 0  # samples that went into the resampler, and that came out
        self._behind: deque[float] = deque(maxlen=_REMEMBERED)  # our clock less PortAudio's, in each block
        self._stream: Any = None

    def _settings(self, about: Any) -> tuple[int, int]:
        """Rate and channels that the device takes: ours if it can."""
        usual = int(about["default_samplerate"])
        choices = [(SAMPLE_RATE, 1), (usual, 1), (usual, min(2, int(about["max_input_channels"])))]
        for rate, channels in choices:
            with suppress(self._sd.PortAudioError, ValueError):
                self._sd.check_input_settings(self._device, channels=channels, dtype="float32", samplerate=rate)
                return rate, channels
        return choices[-1]

    def start(self, take: Callable[[Waveform], None], clock: Callable[[], float]) -> None:
        """Begin to listen.

        Args:
            take: called with every block of sound, from PortAudio's thread.
            clock: gives the time of sound in seconds; what was heard before its 0 is left out.

        Raises:
            MediaError: the device can't be opened.
        """

        def heard(samples: np.ndarray, count: int, when: Any, status: Any) -> None:
            self.lost += bool(status.input_overflow)
            mono = samples.mean(axis=1, dtype=np.float32) if self._channels > 1 else samples[:, 0].copy()
            piece = self._resampled(mono, self._started_s(count, when, clock()))
            early = max(0, round(-piece.start_s * SAMPLE_RATE))
            if early < len(piece.samples):
                take(Waveform(piece.samples[early:], max(0.0, piece.start_s + early / SAMPLE_RATE)))

        try:
            self._stream = self._sd.InputStream(
                samplerate=self._rate,
                blocksize=round(BLOCK_S * self._rate),
                device=self._device,
                channels=self._channels,
                dtype="float32",
                latency=_ROOM_S,
                callback=heard,
            )
            self._stream.start()
        except self._sd.PortAudioError as error:
            hint = "close other programs that use it, and allow this one to; or --microphone none"
            raise MediaError(f"it can't be opened ({reason(error)})", where=self.name, hint=hint) from error

    @property
    def failure(self) -> MediaError | None:
        """Why no more sound comes; None while it does."""
        if self._stream is None or self._stream.active:
            return None
        return MediaError("it gives no more sound", where=self.name, hint="look whether it was unplugged")

    def close(self) -> None:
        """Stop, and let the microphone go."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            with suppress(self._sd.PortAudioError):  # it was unplugged
                stream.close()

    def __enter__(self) -> Microphone:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started_s(self, count: int, when: Any, now_s: float) -> float:
        """When the first of `count` samples was heard, on our clock.

        PortAudio says it on its own clock. We are called a little after it says so, and never before: so the smallest
        difference of late is that of the clocks. Some systems say nothing; then the block has just ended.
        """
        ago_s = when.currentTime - when.inputBufferAdcTime
        if when.inputBufferAdcTime <= 0 or not count / self._rate / 2 <= ago_s <= _LONGEST_AGO_S:
            return now_s - count / self._rate
        self._behind.append(now_s - when.currentTime)
        return when.inputBufferAdcTime + min(self._behind)

    def _resampled(self, samples: np.ndarray, start_s: float) -> Waveform:
        """Mono sound at 16 kHz. The resampler holds some back, so what comes out began a little earlier."""
        if self._resampler is None:
            return Waveform(samples, start_s)
        frame = AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = self._rate
        begins_s = start_s + self._out / SAMPLE_RATE - self._in / self._rate
        parts = [out.to_ndarray()[0] for out in self._resampler.resample(frame)]
        resampled = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        self._in += len(samples)
        self._out += len(resampled)
        return Waveform(resampled, begins_s)


def microphones() -> dict[int, str]:
    """Number of each input device -> its name; UsageError where sounddevice or PortAudio is missing."""
    found = load_sounddevice().query_devices()
    return {int(device["index"]): str(device["name"]) for device in found if device["max_input_channels"] > 0}
