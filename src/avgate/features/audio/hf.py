"""Hidden states of a transformers model that takes waveforms: wav2vec 2.0, HuBERT, WavLM, audEERING's models, ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.errors import ModelFileError, UsageError
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, Modality
from avgate.features.audio.causal import CausalAudioExtraction, Past, refuse_uneven
from avgate.features.audio.extraction import Arrange, AudioExtraction, Frames, zero_mean_unit_variance
from avgate.features.audio.pool import StepPool
from avgate.features.base import Extraction, Need, fingerprint
from avgate.features.hub import (
    checkpoint_files,
    device,
    exact,
    find_model,
    load_encoder,
    preprocessor_of,
    settings_of,
    weights_fingerprint,
)

VERSION = 3
"""Raise it whenever this file, extraction.py, pool.py or chunks.py change the features."""


@dataclass(frozen=True)
class HfAudioConfig:
    """What to extract.

    Args:
        rate: steps per second.
        source: folder of a checkpoint, or its name on the hub.
        layers: hidden states to concatenate: 0 is the first layer's input, -1 the last layer's output.
        chunk_s: whole seconds of sound analysed at once, beside two on either side; sets the memory and how far
            attention reaches.
        batch: chunks at once.
        half: compute in float16, on a GPU only.
        causal: whether a step is known as soon as its cell ends, for live use. It is then made from the last chunk_s
            seconds, which go through the model again for every step.
    """

    rate: float
    source: str = ""
    layers: tuple[int, ...] = (-1,)
    chunk_s: int = 20
    batch: int = 1
    half: bool = False
    causal: bool = False

    def __post_init__(self) -> None:
        """Refuse what can't be extracted."""
        refuse_uneven(self.rate, self.causal, "hf_audio")
        if not (self.rate > 0 and self.layers and self.chunk_s >= 1 and self.batch >= 1):
            raise UsageError(
                f"these parameters can't be extracted with: {self}",
                where="hf_audio",
                hint="rate is above 0, there is a layer at least, chunk_s and batch are whole numbers from 1 on",
            )


class HfAudio:
    """Mean of the chosen hidden states over each step.

    An adapter behind the encoder, which thins the frames out, is left out: the last layer is the encoder's own.

    Raises:
        ModelFileError: the checkpoint is missing or its model doesn't take waveforms.
    """

    modality: Modality = "audio"
    needs: frozenset[Need] = frozenset()

    def __init__(self, config: HfAudioConfig, name: str = "hf_audio"):
        self.config, self.name, self.grid = config, name, Grid(config.rate)
        self.causal = config.causal
        self.folder = find_model(config.source)
        settings = settings_of(self.folder)
        if "conv_kernel" not in settings or "hidden_size" not in settings:
            what = f"a {settings.get('model_type', 'nameless')} model doesn't take waveforms"
            hint = "take a wav2vec 2.0, HuBERT, WavLM, UniSpeech or data2vec checkpoint"
            raise ModelFileError(what, where=config.source, hint=hint)
        depth = settings.get("num_hidden_layers", 0)
        if any(not -depth - 1 <= layer <= depth for layer in config.layers):
            hint = f"layers are 0 to {depth}, or -1 to {-depth - 1} from the last one backwards"
            raise UsageError(f"there are no layers {config.layers}", where=config.source, hint=hint)
        self.columns = tuple(f"layer{layer}.{i}" for layer in config.layers for i in range(settings["hidden_size"]))
        self._kernels, self._strides = tuple(settings["conv_kernel"]), tuple(settings["conv_stride"])

    @property
    def fingerprint(self) -> str:
        """Hash of code version, parameters and weights."""
        return fingerprint("hf_audio", VERSION, self.config, weights_fingerprint(checkpoint_files(self.folder)))

    def start(self) -> Extraction:
        """Begin a clip."""
        config = self.config
        hop_s, least = float(np.prod(self._strides)) / SAMPLE_RATE, np.ones(len(self.columns))
        arrange = Arrange(lambda mean, sd: mean)
        if config.causal:
            # Wherever frames fall, the last one is centred less than half its length and a hop before the end.
            last_s = int(self._centres(SAMPLE_RATE)[0]) / SAMPLE_RATE + hop_s
            past = Past(config.chunk_s, max(1 / config.rate, last_s))
            return CausalAudioExtraction(self.grid, len(least), past, least, self._analyse, arrange)
        pool = StepPool(self.grid, max(1 / config.rate, hop_s), least)
        return AudioExtraction(self.grid, config.chunk_s, pool, self._analyse, arrange, batch=config.batch)

    def _analyse(self, pieces: Sequence[np.ndarray]) -> list[Frames]:
        """Pieces of equal length go through the model as one batch."""
        found: dict[int, Frames] = {}
        for length in dict.fromkeys(len(piece) for piece in pieces):
            same = [i for i, piece in enumerate(pieces) if len(piece) == length]
            centre = self._centres(length)
            states = self._states(np.stack([pieces[i] for i in same])) if len(centre) else None
            for row, i in enumerate(same):
                empty = np.zeros((0, len(self.columns)), np.float32)
                found[i] = centre, empty if states is None else states[row]
        return [found[i] for i in range(len(pieces))]

    def _states(self, samples: np.ndarray) -> np.ndarray:
        import torch

        where = device()
        model, normalise = _loaded(self.folder, where, self.config.half)
        if normalise:
            samples = zero_mean_unit_variance(samples)
        with exact():
            out = model(torch.from_numpy(samples).to(where, model.dtype), output_hidden_states=True)
            # The last of the hidden states is, in some models, not yet normalised as the output is.
            states = [*out.hidden_states[:-1], out.last_hidden_state]
            return torch.cat([states[layer] for layer in self.config.layers], -1).float().cpu().numpy()

    def _centres(self, length: int) -> np.ndarray:
        """Centre of each frame of the convolutions, in samples."""
        count, reach, hop = length, 1, 1
        for kernel, stride in zip(self._kernels, self._strides, strict=True):
            count = (count - kernel) // stride + 1
            reach, hop = reach + (kernel - 1) * hop, hop * stride
        return np.arange(max(0, count), dtype=np.int64) * hop + reach // 2


@cache
def _loaded(folder: Path, where: str, half: bool) -> tuple[Any, bool]:
    """The model, and whether its input must have mean 0 and variance 1; loaded once per process."""
    model = load_encoder(folder, where, half)
    if getattr(model, "adapter", None) is not None:
        model.adapter = None
    return model, bool(preprocessor_of(folder).get("do_normalize", True))
