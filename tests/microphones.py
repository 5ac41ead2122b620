"""A sounddevice without hardware: devices that tests describe, and blocks of sound that tests let them hear."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np


class PortAudioError(Exception):
    """As in sounddevice."""


class FakeSounddevice:
    """The part of the module that avgate uses.

    Args:
        names: the input devices.
        rates: samples per second that they take.
        channels: how many they must be opened with.
        busy: whether none can be opened.
    """

    PortAudioError = PortAudioError

    def __init__(
        self,
        names: Sequence[str] = ("Built-in", "USB headset"),
        rates: Sequence[int] = (16_000,),
        channels: int = 1,
        busy: bool = False,
    ):
        self._rates, self._channels, self._busy = rates, channels, busy
        self._devices = [
            {"index": i, "name": name, "max_input_channels": 2, "default_samplerate": float(rates[0])}
            for i, name in enumerate(names)
        ]
        self._devices.append({"index": len(names), "name": "Speakers", "max_input_channels": 0})
        self.streams: list[FakeStream] = []

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        if kind is None:
            return self._devices
        known = [about for about in self._devices if about["max_input_channels"]]
        if device is None and not known:
            raise PortAudioError("Error querying device -1")
        if isinstance(device, str):
            known = [about for about in known if device.lower() in about["name"].lower()]
            if len(known) != 1:
                raise ValueError(f"No input device matching {device!r}" if not known else "Multiple input devices")
        if isinstance(device, int):
            known = [about for about in known if about["index"] == device]
            if not known:
                raise ValueError("Not an input device: 'Speakers'")
        return known[0]

    def check_input_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate not in self._rates or channels != self._channels or dtype != "float32":
            raise PortAudioError("Invalid sample rate")

    def InputStream(self, **settings: Any) -> FakeStream:
        if self._busy:
            raise PortAudioError("Device unavailable [PaErrorCode -9985]")
        self.check_input_settings(**{k: settings[k] for k in ("device", "channels", "dtype", "samplerate")})
        self.streams.append(FakeStream(settings))
        return self.streams[-1]


class FakeStream:
    """An open device; `hear` is what PortAudio does."""

    def __init__(self, settings: dict[str, Any]):
        self.settings, self.active, self.closed = settings, False, False

    def start(self) -> None:
        self.active = True

    def close(self) -> None:
        self.active, self.closed = False, True

    def hear(self, samples: np.ndarray, heard_s: float, called_s: float, overflow: bool = False) -> None:
        """Hand over a block [n] or [n channels] that was heard and is handed over at these times of its clock."""
        block = np.asarray(samples, np.float32).reshape(len(samples), -1)
        when = SimpleNamespace(inputBufferAdcTime=heard_s, currentTime=called_s)
        self.settings["callback"](block, len(block), when, SimpleNamespace(input_overflow=overflow))
