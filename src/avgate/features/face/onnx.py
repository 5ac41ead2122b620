"""Any ONNX file that takes pictures, such as EmotiEffLib's valence-arousal EfficientNets, on aligned faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import ModelFileError, UsageError
from avgate.core.timeline import Grid
from avgate.core.types import Modality
from avgate.features.base import Need, fingerprint
from avgate.features.face.extraction import Looking, crops_of
from avgate.features.face.pixels import IMAGENET_MEAN, IMAGENET_SD, Look, normalised
from avgate.features.hub import weights_fingerprint
from avgate.features.onnx_file import OnnxModel, open_onnx

VERSION = 1
"""To be raised whenever this file, looking.py or pixels.py change what comes out."""


@dataclass(frozen=True)
class OnnxImageConfig:
    """What to extract. The file's input is [n 3 h w] or [n h w 3], of 0-255 if its numbers are uint8.

    Args:
        rate: steps per second.
        source: the file.
        outputs: names of the outputs to take, side by side; the first one unless given.
        size: side of the picture in pixels, where the file takes any.
        mean: per channel, by which pictures in [0, 1] are standardised; ImageNet's unless given.
        sd: per channel.
        batch: faces at once, where the file takes any number.
    """

    rate: float
    source: str = ""
    outputs: tuple[str, ...] = ()
    size: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    sd: tuple[float, ...] = IMAGENET_SD
    batch: int = 32

    def __post_init__(self):
        """Refuse what can't be extracted."""
        three = len(self.mean) == len(self.sd) == 3 and min(self.sd) > 0
        if not (self.rate > 0 and self.size >= 8 and self.batch >= 1 and three):
            raise UsageError(
                f"these parameters can't be extracted with: {self}",
                where="onnx_image",
                hint="rate is above 0, size at least 8, batch at least 1, mean and sd have three numbers",
            )


class OnnxImage:
    """What the file says of each face, and the mean over each step; maps are averaged over the picture.

    Raises:
        ModelFileError: the file is missing, isn't ONNX, or doesn't take pictures.
    """

    modality: Modality = "video"
    needs: frozenset[Need] = frozenset(("crop",))

    def __init__(self, config: OnnxImageConfig, name: str = "onnx_image"):
        self.config, self.name, self.grid = config, name, Grid(config.rate)
        self.model = open_onnx(config.source, config.outputs)
        self._first, self._size = _layout(self.model, config)
        probe = self._analyse(np.zeros((1, 8, 8, 3), np.uint8))
        self.columns = tuple(f"out{i}" for i in range(probe.shape[1]))

    @property
    def fingerprint(self) -> str:
        """Hash of code version, parameters and weights."""
        return fingerprint(
            "onnx_image", VERSION, self.config, weights_fingerprint([Path(self.config.source).expanduser()])
        )

    def start(self) -> Looking:
        """Begin a clip."""
        return Looking(self, self.grid, self._analyse, crops_of, self.model.shape[0] or self.config.batch)

    def _analyse(self, faces: np.ndarray) -> np.ndarray:
        import torch

        n, fixed, pictures = len(faces), self.model.shape[0], torch.from_numpy(faces)
        if self.model.dtype == "tensor(uint8)":
            pixels = (normalised(pictures, Look(self._size, (0.0,) * 3, (1.0,) * 3)) * 255).round().numpy()
        else:
            pixels = normalised(pictures, Look(self._size, self.config.mean, self.config.sd)).numpy()
        pixels = pixels if self._first else np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        if fixed and n < fixed:  # the last faces of a clip, for a file that takes a fixed number
            pixels = np.concatenate([pixels, np.repeat(pixels[-1:], fixed - n, 0)])
        found = [np.asarray(out, np.float32)[:n] for out in self.model(pixels)]
        return np.concatenate([out.reshape(n, out.shape[1], -1).mean(2) for out in found], 1)


def _layout(model: OnnxModel, config: OnnxImageConfig) -> tuple[bool, int]:
    """Whether channels come first, and the side of the picture."""
    shape = model.shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        what = f"it takes {list(shape)}, not pictures [n 3 h w] or [n h w 3]"
        raise ModelFileError(what, where=config.source, hint="for sound, take onnx_audio")
    first = shape[1] == 3
    height, width = (shape[2], shape[3]) if first else (shape[1], shape[2])
    if height != width:
        raise ModelFileError(f"it takes pictures of {height} x {width}, which aren't square", where=config.source)
    return first, height or config.size
