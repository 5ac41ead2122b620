"""Outputs of an ONNX model that takes waveforms, such as audEERING's dimensional model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avgate.core.errors import ModelFileError, UsageError
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, Modality
from avgate.features.audio.chunks import StepPool
from avgate.features.audio.extraction import AudioExtraction, Frames, zero_mean_unit_variance
from avgate.features.base import Need, fingerprint
from avgate.features.hub import weights_fingerprint
from avgate.features.onnx_file import Layout, onnx_files, open_onnx

VERSION = 3
"""Raise it whenever this file, extraction.py or chunks.py change the features."""


@dataclass(frozen=True)
class OnnxAudioConfig:
    """What to extract. The model's input is [windows samples] at 16 kHz.

    Args:
        rate: steps per second.
        source: the file.
        outputs: names of the outputs to concatenate; by default the first one.
        layout: where an output with frames has its columns: `first`, [n d frames], or `last`, [n frames d]; `auto`
            goes by its shape.
        window_s: length of a window in seconds, at most 4.
        hop_s: seconds from one window to the next.
        normalise: whether to bring each window to mean 0 and variance 1.
        chunk_s: whole seconds of sound held at once; changes the memory, not the result.
        batch: windows at once.
    """

    rate: float
    source: str = ""
    outputs: tuple[str, ...] = ()
    layout: Layout = "auto"
    window_s: float = 4.0
    hop_s: float = 1.0
    normalise: bool = True
    chunk_s: int = 20
    batch: int = 8

    def __post_init__(self):
        """Refuse what can't be extracted."""
        sane = self.rate > 0 and 0.025 <= self.window_s <= 4 and 0 < self.hop_s <= 1
        if not (sane and self.chunk_s >= 1 and self.batch >= 1 and SAMPLE_RATE % self.hop == 0):
            raise UsageError(
                f"these parameters can't be extracted with: {self}",
                where="onnx_audio",
                hint="rate is above 0, window_s from 0.025 to 4, hop_s a whole part of a second, chunk_s, batch from 1",
            )

    @property
    def hop(self) -> int:
        """Samples from one window to the next."""
        return max(1, round(self.hop_s * SAMPLE_RATE))


class OnnxAudio:
    """Mean of the model's outputs for the windows around each step.

    An output with several frames per window is averaged over the frames first; [n] is one column.

    Raises:
        ModelFileError: the file is missing, isn't ONNX, or doesn't take waveforms.
    """

    modality: Modality = "audio"
    needs: frozenset[Need] = frozenset()

    def __init__(self, config: OnnxAudioConfig, name: str = "onnx_audio"):
        self.config, self.name, self.grid = config, name, Grid(config.rate)
        self.model = open_onnx(config.source, config.outputs)
        shape = self.model.shape
        if len(shape) != 2:
            what = f"it takes {list(shape)}, not sound [n samples]"
            raise ModelFileError(what, where=config.source, hint="for pictures, take onnx_image")
        self._samples = shape[1] or round(config.window_s * SAMPLE_RATE)
        self.columns = tuple(f"out{i}" for i in range(self._run(np.zeros((1, self._samples), np.float32)).shape[1]))

    @property
    def fingerprint(self) -> str:
        """Hash of code version, parameters and weights."""
        return fingerprint("onnx_audio", VERSION, self.config, weights_fingerprint(onnx_files(self.config.source)))

    def start(self) -> AudioExtraction:
        """Begin a clip."""
        config = self.config
        width = max(1 / config.rate, config.hop / SAMPLE_RATE)
        pool = StepPool(self.grid, width, np.ones(len(self.columns)))
        return AudioExtraction(self, self.grid, config.chunk_s, pool, self._analyse, self._arrange)

    def _arrange(self, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
        """Steps in the sound's first and last half window, where no window is centred, get the nearest one's values."""
        known = np.flatnonzero(~np.isnan(mean).any(1))
        if not len(known):
            return mean
        step = np.arange(len(mean))
        right = np.minimum(np.searchsorted(known, step), len(known) - 1)
        left = np.maximum(right - 1, 0)
        nearest = np.where(step - known[left] <= known[right] - step, known[left], known[right])
        reach = int(np.ceil(self._samples / SAMPLE_RATE / 2 * self.config.rate))
        return np.where((np.abs(nearest - step) <= reach)[:, None], mean[nearest], np.nan).astype(np.float32)

    def _analyse(self, pieces: Sequence[np.ndarray]) -> list[Frames]:
        return [self._windows(samples) for samples in pieces]

    def _windows(self, samples: np.ndarray) -> Frames:
        """Windows within the sound, one per hop. Sound shorter than a window is filled up with silence."""
        n = len(samples)
        if not n:
            return np.zeros(0, np.int64), np.zeros((0, len(self.columns)), np.float32)
        starts = np.arange(0, max(1, n - self._samples + 1), self.config.hop, dtype=np.int64)
        samples = np.pad(samples, (0, max(0, self._samples - n)))
        rows = [samples[start : start + self._samples] for start in starts]
        batch = self.model.shape[0] or self.config.batch
        found = [self._run(np.stack(rows[i : i + batch])) for i in range(0, len(rows), batch)]
        return starts + min(self._samples, n) // 2, np.concatenate(found)

    def _run(self, windows: np.ndarray) -> np.ndarray:
        if self.config.normalise:
            windows = zero_mean_unit_variance(windows)
        return self.model.rows(windows, self.config.layout)
