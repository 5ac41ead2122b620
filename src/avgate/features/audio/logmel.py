"""Log-mel energies, pooled around each step; needs numpy and scipy only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, Modality
from avgate.features.audio.causal import CausalAudioExtraction, Past, refuse_uneven
from avgate.features.audio.chunks import HOP
from avgate.features.audio.extraction import Arrange, AudioExtraction, one_by_one
from avgate.features.audio.pool import StepPool
from avgate.features.base import Extraction, Need, fingerprint

VERSION = 2
"""Raise it whenever this file, extraction.py, pool.py or chunks.py change the features."""

WINDOW = SAMPLE_RATE // 40
"""Samples per frame (25 ms)."""

FFT = 512
"""Points of the Fourier transform; its bins are 31.25 Hz apart."""

FLOOR = 1e-9
"""Smallest power that is told from silence: about that of one step of 16-bit samples (2^-30)."""

_BLOCK = 1024


@dataclass(frozen=True)
class LogmelConfig:
    """What to extract.

    Args:
        rate: steps per second.
        context_s: width of the window around a step's centre, in seconds, at least 0.03.
        bands: mel bands from 0 to 8000 Hz, at most 40 so that each has a bin of its own.
        chunk_s: whole seconds of sound analysed at once; changes the memory, not the result.
        causal: whether a step is known as soon as its cell ends, for live use. Its window ends there then.
    """

    rate: float
    context_s: float = 0.5
    bands: int = 40
    chunk_s: int = 30
    causal: bool = False

    def __post_init__(self) -> None:
        """Refuse what can't be extracted."""
        refuse_uneven(self.rate, self.causal, "logmel")
        whole = self.chunk_s >= 1 and self.chunk_s % 1 == 0
        if not (self.rate > 0 and self.context_s >= 0.03 and 1 <= self.bands <= 40 and whole):
            raise UsageError(
                f"these parameters can't be extracted with: {self}",
                where="logmel",
                hint="rate is above 0, context_s at least 0.03, bands 1 to 40, chunk_s a whole number from 1 on",
            )


class Logmel:
    """Mean and standard deviation of the log energy in every mel band, in a window around each step."""

    modality: Modality = "audio"
    needs: frozenset[Need] = frozenset()

    def __init__(self, config: LogmelConfig, name: str = "logmel"):
        self.config, self.name, self.causal = config, name, config.causal
        self.grid = Grid(config.rate)
        self.columns = tuple(f"mel{band:02d}.{what}" for what in ("mean", "sd") for band in range(config.bands))

    @property
    def fingerprint(self) -> str:
        """Hash of code version and parameters."""
        return fingerprint("logmel", VERSION, self.config)

    def start(self) -> Extraction:
        """Begin a clip."""
        config = self.config
        analyse, least = one_by_one(partial(log_mel, bands=config.bands)), np.ones(config.bands)
        if config.causal:
            past = Past(config.context_s + WINDOW / SAMPLE_RATE, config.context_s)
            columns = Arrange(self._columns)
            return CausalAudioExtraction(self.grid, len(self.columns), past, least, analyse, columns)
        pool = StepPool(self.grid, config.context_s, least)
        return AudioExtraction(self.grid, config.chunk_s, pool, analyse, Arrange(self._columns))

    @staticmethod
    def _columns(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
        return np.concatenate([mean, sd], axis=1)


def log_mel(samples: np.ndarray, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Log energy in mel bands of every 25-ms frame (Hann window, 10-ms hop) that lies within the sound.

    It is ln(max(FLOOR, sum over bins k of w[k] |X[k]|^2 / sum of the squared window)). Of white noise, each bin's
    power is the noise's variance.

    Args:
        samples: float32 [n] at 16 kHz.
        bands: number of mel bands.

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


@cache
def mel_weights(bands: int) -> np.ndarray:
    """Triangles of equal width on HTK's mel scale, 2595 log10(1 + f / 700), peak 1; float32 [FFT / 2 + 1, bands]."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    corner = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    hz = np.arange(FFT // 2 + 1)[:, None] * SAMPLE_RATE / FFT
    rising = (hz - corner[:-2]) / (corner[1:-1] - corner[:-2])
    falling = (corner[2:] - hz) / (corner[2:] - corner[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
