"""Outputs of an ONNX model that takes waveforms, such as audEERING's dimensional model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avgate.core.errors import ModelFileError, UsageError
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, Modality
from avgate.features.audio.causal import CausalAudioExtraction, Past, refuse_uneven
from avgate.features.audio.extraction import Arrange, AudioExtraction, Frames, zero_mean_unit_variance
from avgate.features.audio.pool import StepPool
from avgate.features.base import Extraction, Need, fingerprint
from avgate.features.hub import weights_fingerprint
from avgate.features.onnx_file import Layout, onnx_files, open_onnx

VERSION = 3
"""Raise it whenever this file, extraction.py, pool.py or chunks.py change the features."""


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
        causal: whether a step is known as soon as its cell ends, for live use. It is then made from the one window that
            ends there; hop_s and chunk_s don't matter.
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
    causal: bool = False

    def __post_init__(self) -> None:
        """Refuse what can't be extracted."""
        refuse_uneven(self.rate, self.causal, "onnx_audio")
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
        self.causal = config.causal
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

    def start(self) -> Extraction:
        """Begin a clip."""
        config, least = self.config, np.ones(len(self.columns))
        if config.causal:
            past, arrange = Past(*[self._samples / SAMPLE_RATE] * 2), Arrange(lambda mean, sd: mean)
            return CausalAudioExtraction(self.grid, len(least), past, least, self._analyse, arrange)
        pool = StepPool(self.grid, max(1 / config.rate, config.hop / SAMPLE_RATE), least)
        reach = int(np.ceil(self._samples / SAMPLE_RATE / 2 * config.rate))
        return AudioExtraction(self.grid, config.chunk_s, pool, self._analyse, _Nearest(reach, len(self.columns)))

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


class _Nearest(Arrange):
    """Steps in the sound's first and last half window, where no window is centred, get the nearest one's values.

    Args:
        reach: how many steps away the nearest may be.
        width: columns.
    """

    STATE = ("_known", "_row", "_waiting")

    def __init__(self, reach: int, width: int):
        super().__init__(lambda mean, sd: mean)
        self._reach = reach
        self._known, self._row = -1, np.zeros((0, width), np.float32)  # the last step with a value, and the value
        self._waiting = np.zeros(0, np.int64)  # steps without a value since then

    def __call__(
        self, steps: np.ndarray, mean: np.ndarray, sd: np.ndarray, until: int, last: bool
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """See Arrange."""
        found = ~np.isnan(mean).any(axis=1)
        known = np.append([self._known] * len(self._row), steps[found]).astype(np.int64)
        rows = np.concatenate([self._row, mean[found]])
        steps = np.append(self._waiting, steps)
        if not len(known):
            decided = len(steps) if last else np.searchsorted(steps, until - self._reach)
            self._waiting = steps[decided:]
            return steps[:0], rows, int(self._waiting[0]) if len(self._waiting) else until
        right = np.minimum(np.searchsorted(known, steps), len(known) - 1)
        left = np.maximum(right - 1, 0)
        nearest = np.where(steps - known[left] <= known[right] - steps, left, right)
        apart = np.abs(known[nearest] - steps)
        # A step after the last known one can still come to be nearer to the next one.
        may_be = np.minimum(self._reach, np.where(known[-1] < steps, apart - 1, 0))
        decided = len(steps) if last else int(np.searchsorted(np.where(known[-1] < steps, steps + may_be, -1), until))
        self._known, self._row, self._waiting = int(known[-1]), rows[-1:], steps[decided:]
        near = np.flatnonzero(apart[:decided] <= self._reach)
        return steps[near], rows[nearest[near]], int(steps[decided]) if decided < len(steps) else until
