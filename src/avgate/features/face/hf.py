"""Backbone `hf_image`: any image model of transformers on aligned faces (ViT, DINOv2, CLIP, Swin, ConvNeXt, ...)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avgate.core.errors import ModelFileError, UsageError
from avgate.core.text import reason
from avgate.core.timeline import Grid
from avgate.core.types import Modality
from avgate.features.base import Need, fingerprint
from avgate.features.face.extraction import FaceExtraction, crops_of
from avgate.features.face.pixels import InputFormat, normalised
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

VERSION = 2
"""Raise it whenever this file, extraction.py or pixels.py changes the features."""


@dataclass(frozen=True)
class HfImageConfig:
    """What to extract.

    Args:
        rate: steps per second.
        source: a checkpoint's folder, or its name on the Hugging Face hub.
        layers: hidden states to concatenate; -1 is the last layer's output.
        pool: `mean` over all tokens, the class token and registers included, or the `first` token (CLS).
        batch: faces per forward pass.
        half: compute in float16; on a GPU only.
        causal: whether a step is known as soon as its cell ends, for live use. Gaps between frames then repeat the step
            before, and not the nearest.
    """

    rate: float
    source: str = ""
    layers: tuple[int, ...] = (-1,)
    pool: Literal["mean", "first"] = "mean"
    batch: int = 32
    half: bool = False
    causal: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if not (self.rate > 0 and self.layers and self.batch >= 1 and self.pool in ("mean", "first")):
            raise UsageError(
                f"these settings are impossible: {self}",
                where="hf_image",
                hint="rate must be above 0, layers not empty, batch at least 1, and pool mean or first",
            )


class HfImage:
    """The chosen hidden states of each face, pooled over the image and averaged over each step.

    Raises:
        ModelFileError: the checkpoint is missing or isn't an image model's.
    """

    modality: Modality = "video"
    needs: frozenset[Need] = frozenset(("crop",))

    def __init__(self, config: HfImageConfig, name: str = "hf_image"):
        self.config, self.name, self.grid = config, name, Grid(config.rate)
        self.causal = config.causal
        self.folder = find_model(config.source)
        settings = settings_of(self.folder)
        self._widths = _widths(settings)
        depth = len(self._widths) - 1
        if depth < 0 or any(not -depth - 1 <= layer <= depth for layer in config.layers):
            if depth < 0:
                what = f"a {settings.get('model_type', 'nameless')} model doesn't take images"
                raise ModelFileError(what, where=config.source, hint="give an image model's checkpoint")
            hint = f"its layers are 0 to {depth}, or -1 to {-depth - 1} counted from the last"
            raise UsageError(f"there are no layers {config.layers}", where=config.source, hint=hint)
        self.columns = tuple(f"layer{layer}.{i}" for layer in config.layers for i in range(self._widths[layer]))

    @property
    def fingerprint(self) -> str:
        """See Backbone."""
        return fingerprint("hf_image", VERSION, self.config, weights_fingerprint(checkpoint_files(self.folder)))

    def start(self) -> FaceExtraction:
        """Begin a clip."""
        return FaceExtraction(
            self.grid, len(self.columns), self._analyse, crops_of, self.config.batch, causal=self.causal
        )

    def _analyse(self, faces: np.ndarray) -> np.ndarray:
        import torch

        where = device()
        model, form = _loaded(self.folder, where, self.config.half)
        pixels = normalised(torch.from_numpy(faces), form)
        with exact():
            dtype = next(model.parameters()).dtype  # older vision encoders have no dtype of their own
            try:
                out = model(pixel_values=pixels.to(where, dtype), output_hidden_states=True)
            except ValueError as error:  # such as an image size that a ViT isn't made for
                what = f"the model refuses faces of {pixels.shape[-2]} x {pixels.shape[-1]} pixels ({reason(error)})"
                hint = "correct size, crop_size or do_resize in its preprocessor_config.json"
                raise ModelFileError(what, where=self.config.source, hint=hint) from error
            states = [*out.hidden_states[:-1], out.last_hidden_state]
            pooled = [self._pooled(states[layer]) for layer in self.config.layers]
            return torch.cat(pooled, -1).float().cpu().numpy()

    def _pooled(self, state: Any) -> Any:
        """[n d] from tokens [n t d] or a map [n d h w]."""
        if state.ndim == 4:
            # Swin's maps have channels last; convolutional networks have them first.
            return state.mean((2, 3)) if state.shape[1] in self._widths else state.mean((1, 2))
        return state[:, 0] if self.config.pool == "first" else state.mean(1)


def _widths(settings: dict[str, Any]) -> list[int]:
    """Width of each hidden state, the embedding first; empty if the model doesn't take images."""
    if "hidden_sizes" in settings:
        first = settings.get("embedding_size") or settings["hidden_sizes"][0]
        return [first, *settings["hidden_sizes"]]
    if "embed_dim" in settings and "depths" in settings:
        last = len(settings["depths"]) - 1
        return [settings["embed_dim"] * 2**i for i in (0, *(min(k + 1, last) for k in range(last + 1)))]
    if "hidden_size" in settings and ("patch_size" in settings or "image_size" in settings):
        return [settings["hidden_size"]] * (settings.get("num_hidden_layers", 12) + 1)
    return []


@cache
def _loaded(folder: Path, where: str, half: bool) -> tuple[Any, InputFormat]:
    """The model and its input format; loaded once per process."""
    return load_encoder(folder, where, half), InputFormat.of(settings_of(folder), preprocessor_of(folder), str(folder))
