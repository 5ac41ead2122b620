"""Backbone `onnx_image`: any ONNX image model on aligned faces, such as EmotiEffLib's valence-arousal EfficientNets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avgate.core.errors import ModelFileError, UsageError
from avgate.core.timeline import Grid
from avgate.core.types import Modality
from avgate.features.base import Need, fingerprint
from avgate.features.face.extraction import FaceExtraction, crops_of
from avgate.features.face.pixels import IMAGENET_MEAN, IMAGENET_SD, InputFormat, normalised
from avgate.features.hub import weights_fingerprint
from avgate.features.onnx_file import Layout, OnnxModel, onnx_files, open_onnx

VERSION = 2
"""Raise it whenever this file, extraction.py or pixels.py changes the features."""


@dataclass(frozen=True)
class OnnxImageConfig:
    """What to extract. The file's input is [n 3 h w] or [n h w 3]: pixels 0 to 255 if uint8, else standardised.

    Args:
        rate: steps per second.
        source: the ONNX file.
        outputs: names of the outputs to concatenate; empty for the first one.
        layout: where an output with tokens or places has its columns: `first`, [n d ...], or `last`, [n ... d];
            `auto` goes by its shape.
        size: side of the image in pixels, if the file accepts any.
        mean: per channel, of pixels in [0, 1].
        sd: standard deviation per channel.
        batch: faces per run, if the file accepts any number.
        causal: whether a step is known as soon as its cell ends, for live use. Gaps between frames then repeat the step
            before, and not the nearest.
    """

    rate: float
    source: str = ""
    outputs: tuple[str, ...] = ()
    layout: Layout = "auto"
    size: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    sd: tuple[float, ...] = IMAGENET_SD
    batch: int = 32
    causal: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        three = len(self.mean) == len(self.sd) == 3 and min(self.sd) > 0
        if not (self.rate > 0 and self.size >= 8 and self.batch >= 1 and three):
            raise UsageError(
                f"these settings are impossible: {self}",
                where="onnx_image",
                hint="rate must be above 0, size at least 8, batch at least 1; mean and sd have three numbers",
            )


class OnnxImage:
    """The model's outputs for each face, averaged over each step; tokens and maps are averaged over the image.

    Raises:
        ModelFileError: the file is missing, isn't ONNX, or doesn't take images.
    """

    modality: Modality = "video"
    needs: frozenset[Need] = frozenset(("crop",))

    def __init__(self, config: OnnxImageConfig, name: str = "onnx_image"):
        self.config, self.name, self.grid = config, name, Grid(config.rate)
        self.causal = config.causal
        self.model = open_onnx(config.source, config.outputs)
        self._channels_first, self._size = _layout(self.model, config)
        probe = self._analyse(np.zeros((1, 8, 8, 3), np.uint8))
        self.columns = tuple(f"out{i}" for i in range(probe.shape[1]))

    @property
    def fingerprint(self) -> str:
        """See Backbone."""
        return fingerprint("onnx_image", VERSION, self.config, weights_fingerprint(onnx_files(self.config.source)))

    def start(self) -> FaceExtraction:
        """Begin a clip."""
        batch = self.model.shape[0] or self.config.batch
        return FaceExtraction(self.grid, len(self.columns), self._analyse, crops_of, batch, causal=self.causal)

    def _analyse(self, faces: np.ndarray) -> np.ndarray:
        import torch

        images = torch.from_numpy(faces)
        if self.model.dtype == "tensor(uint8)":
            pixels = (normalised(images, InputFormat((self._size,) * 2, (0.0,) * 3, (1.0,) * 3)) * 255).round().numpy()
        else:
            pixels = normalised(images, InputFormat((self._size,) * 2, self.config.mean, self.config.sd)).numpy()
        pixels = pixels if self._channels_first else np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        return self.model.rows(pixels, self.config.layout, self._size)


def _layout(model: OnnxModel, config: OnnxImageConfig) -> tuple[bool, int]:
    """Whether the channels come first, and the side of the image in pixels."""
    shape = model.shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        what = f"its input is {list(shape)}, not images [n 3 h w] or [n h w 3]"
        raise ModelFileError(what, where=config.source, hint="for an audio model, use onnx_audio")
    channels_first = shape[1] == 3
    height, width = (shape[2], shape[3]) if channels_first else (shape[1], shape[2])
    if height != width:
        raise ModelFileError(f"its input images are {height} x {width}, not square", where=config.source)
    return channels_first, height or config.size
