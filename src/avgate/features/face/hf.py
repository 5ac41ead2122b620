"""What any transformers model of images sees in aligned faces: ViT, BEiT, DINOv2, CLIP, Swin, ConvNeXt, ResNet, ..."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avgate.core.errors import ModelFileError, UsageError
from avgate.core.timeline import Grid
from avgate.core.types import Modality
from avgate.features.base import Need, fingerprint
from avgate.features.face.extraction import Looking, crops_of
from avgate.features.face.pixels import Look, normalised
from avgate.features.hub import (
    checkpoint_files,
    device,
    exact,
    find_model,
    load_encoder,
    settings_of,
    weights_fingerprint,
    wishes_of,
)

VERSION = 1
"""To be raised whenever this file, looking.py or pixels.py change what comes out."""


@dataclass(frozen=True)
class HfImageConfig:
    """What to extract.

    Args:
        rate: steps per second.
        source: folder of a checkpoint, or its name on the hub.
        layers: hidden states to take, side by side; -1 is the last layer's output.
        pool: mean over all patches, or the `first` token, where there is one.
        batch: faces at once.
        half: 16-bit numbers, on a GPU only.
    """

    rate: float
    source: str = ""
    layers: tuple[int, ...] = (-1,)
    pool: Literal["mean", "first"] = "mean"
    batch: int = 32
    half: bool = False

    def __post_init__(self):
        """Refuse what can't be extracted."""
        if not (self.rate > 0 and self.layers and self.batch >= 1 and self.pool in ("mean", "first")):
            raise UsageError(
                f"these parameters can't be extracted with: {self}",
                where="hf_image",
                hint="rate is above 0, there is a layer at least, batch is from 1 on, pool is mean or first",
            )


class HfImage:
    """The chosen hidden states of each face, pooled over the picture, and their mean over each step.

    Raises:
        ModelFileError: the checkpoint is missing or isn't of a model that sees.
    """

    modality: Modality = "video"
    needs: frozenset[Need] = frozenset(("crop",))

    def __init__(self, config: HfImageConfig, name: str = "hf_image"):
        self.config, self.name, self.grid = config, name, Grid(config.rate)
        self.folder = find_model(config.source)
        settings = settings_of(self.folder)
        self._widths = _widths(settings)
        depth = len(self._widths) - 1
        if depth < 0 or any(not -depth - 1 <= layer <= depth for layer in config.layers):
            if depth < 0:
                what = f"a {settings.get('model_type', 'nameless')} model doesn't see"
                raise ModelFileError(what, where=config.source, hint="take a checkpoint of a vision model")
            hint = f"layers are 0 to {depth}, or -1 to {-depth - 1} from the last one backwards"
            raise UsageError(f"there are no layers {config.layers}", where=config.source, hint=hint)
        self.columns = tuple(f"layer{layer}.{i}" for layer in config.layers for i in range(self._widths[layer]))

    @property
    def fingerprint(self) -> str:
        """Hash of code version, parameters and weights."""
        return fingerprint("hf_image", VERSION, self.config, weights_fingerprint(checkpoint_files(self.folder)))

    def start(self) -> Looking:
        """Begin a clip."""
        return Looking(self, self.grid, self._analyse, crops_of, self.config.batch)

    def _analyse(self, faces: np.ndarray) -> np.ndarray:
        import torch

        where = device()
        model, look = _loaded(self.folder, where, self.config.half)
        pixels = normalised(torch.from_numpy(faces), look)
        with exact():
            out = model(pixel_values=pixels.to(where, model.dtype), output_hidden_states=True)
            states = [*out.hidden_states[:-1], out.last_hidden_state]
            pooled = [self._pooled(states[layer]) for layer in self.config.layers]
            return torch.cat(pooled, -1).float().cpu().numpy()

    def _pooled(self, state: Any) -> Any:
        """[n d] from tokens [n t d] or a map [n d h w]."""
        if state.ndim == 4:
            # Swin's maps have their channels last; convolutions have them first.
            return state.mean((2, 3)) if state.shape[1] in self._widths else state.mean((1, 2))
        return state[:, 0] if self.config.pool == "first" else state.mean(1)


def _widths(settings: dict[str, Any]) -> list[int]:
    """Features of each hidden state, from the input of the first layer on; empty where the model doesn't see."""
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
def _loaded(folder: Path, where: str, half: bool) -> tuple[Any, Look]:
    """The model, and how it wants its pictures; loaded once per process."""
    return load_encoder(folder, where, half), Look.of(settings_of(folder), wishes_of(folder), str(folder))
