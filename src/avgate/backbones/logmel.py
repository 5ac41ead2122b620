"""What the sound's spectrum is: log-mel energies, pooled around each step; needs nothing but numpy and scipy."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from avgate.backbones.base import fingerprint
from avgate.errors import UsageError
from avgate.framing import Chunk, Chunks, StepPool
from avgate.timeline import Grid
from avgate.types import SAMPLE_RATE, FeatureTrack, Modality, Waveform
from avgate.voice import CONTEXT_S, HOP, voice_activity

VERSION = 1
"""To be raised whenever this file, framing.py or voice.py change what comes out."""

WINDOW = SAMPLE_RATE // 40
"""Samples in a frame (25 ms)."""

FFT = 512
"""Points of the frame's transform; bins 31.25 Hz apart."""

FLOOR = 1e-9
"""Power below which all is silence: what rounding to 16 bits leaves (2^-30)."""

_BLOCK = 1024


@dataclass(frozen=True)
class LogmelConfig:
    """What to extract.

    Args:
        rate: steps per second.
        context_s: width of the window that is centred on a step, in seconds, at least 0.03.
        bands: mel bands from 0 to 8000 Hz, at most 40 so that each has a bin of its own.
        chunk_s: whole seconds of sound analysed at once; sets the memory, not the result.
    """

    rate: float
    context_s: float = 0.5
    bands: int = 40
    chunk_s: int = 30

    def __post_init__(self):
        """Refuse what can't be extracted."""
        whole = self.chunk_s >= 1 and self.chunk_s % 1 == 0
        if not (self.rate > 0 and self.context_s >= 0.03 and 1 <= self.bands <= 40 and whole):
            raise UsageError(
                f"these parameters can't be extracted with: {self}",
                where="logmel",
                hint="rate is above 0, context_s at least 0.03, bands 1 to 40, chunk_s a whole number from 1 on",
            )


class Logmel:
    """Mean and deviation of the log energy in every mel band within a window around each step."""

    name = "logmel"
    modality: Modality = "audio"
    needs_crops = False

    def __init__(self, config: LogmelConfig):
        self.config = config
        self.grid = Grid(config.rate)
        self.columns = tuple(f"mel{band:02d}.{what}" for what in ("mean", "sd") for band in range(config.bands))

    @property
    def fingerprint(self) -> str:
        """Hash of code version and parameters."""
        return fingerprint(self.name, VERSION, self.config)

    def start(self) -> LogmelExtraction:
        """Begin a clip."""
        return LogmelExtraction(self)


class LogmelExtraction:
    """One clip's extraction; holds a chunk of sound and the pooled rows, whatever the length of the clip."""

    def __init__(self, backbone: Logmel):
        self._backbone, config = backbone, backbone.config
        self._chunks = Chunks(config.chunk_s, CONTEXT_S)
        self._energies = StepPool(backbone.grid, config.context_s, np.ones(config.bands))
        self._activity = StepPool(backbone.grid, max(1 / config.rate, HOP / SAMPLE_RATE), np.ones(1))

    def push(self, piece: Waveform) -> None:
        """Take the next piece of sound.

        Raises:
            FeatureError: samples that aren't finite, or a clock that jumps back.
        """
        self._take(self._chunks.push(piece))

    def finish(self, end_s: float) -> FeatureTrack:
        """The clip's features: float32 [n 2 * bands], NaN where the file has no sound for half of the step."""
        self._take(self._chunks.close())
        backbone, n = self._backbone, self._backbone.grid.steps(end_s)
        values = np.concatenate(self._energies.rows(n), axis=1)
        active = self._activity.rows(n)[0][:, 0]
        present = self._chunks.covered(backbone.grid, n, end_s) & np.isfinite(values).all(axis=1) & np.isfinite(active)
        values[~present], active[~present] = np.nan, np.nan
        how = (backbone.grid, backbone.name, backbone.modality, backbone.columns, backbone.fingerprint)
        return FeatureTrack(values, present, *how, active)

    def _take(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            centre, active = voice_activity(chunk.samples)
            self._activity.add(chunk, centre, active[:, None])
            self._energies.add(chunk, *log_mel(chunk.samples, self._backbone.config.bands))


def log_mel(samples: np.ndarray, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Log energy in mel bands of every 25-ms frame (Hann window, 10-ms hop) that lies within the sound.

    ln( max(FLOOR, sum over bins k of w[k] |X[k]|^2 / sum of the squared window) ), so that a bin of white noise has
    the noise's variance.

    Args:
        samples: float32 [n] at 16 kHz.
        bands: how many mel bands.

    Returns:
        The frames' centres in samples from the first one, int64 [m], and float32 [m bands].
    """
    from scipy import fft

    n = max(0, (len(samples) - WINDOW) // HOP + 1)
    out = np.empty((n, bands), np.float32)
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    weights = mel_weights(bands) / np.sum(window**2)
    for first in range(0, n, _BLOCK):
        m = min(_BLOCK, n - first)
        frames = np.lib.stride_tricks.sliding_window_view(samples[first * HOP :], WINDOW)[::HOP][:m]
        power = np.abs(fft.rfft(frames * window, FFT)) ** 2
        out[first : first + m] = np.log(np.maximum(power @ weights, FLOOR))
    return np.arange(n) * HOP + WINDOW // 2, out


@functools.cache
def mel_weights(bands: int) -> np.ndarray:
    """Triangles of equal width on HTK's mel scale, 2595 log10(1 + f / 700), peak 1; float32 [FFT / 2 + 1, bands]."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    corner = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    hz = np.arange(FFT // 2 + 1)[:, None] * SAMPLE_RATE / FFT
    rising = (hz - corner[:-2]) / (corner[1:-1] - corner[:-2])
    falling = (corner[2:] - hz) / (corner[2:] - corner[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
