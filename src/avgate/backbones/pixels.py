"""From aligned crops to what image models take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)


def normalised(faces: np.ndarray, size: int, mean: tuple[float, ...], sd: tuple[float, ...]) -> Tensor:
    """Crops resized and standardised: float32 [n 3 size size] from uint8 [n h w 3].

    Args:
        faces: RGB.
        size: side of the square that the model wants, in pixels.
        mean: per channel, of values in [0, 1].
        sd: per channel.
    """
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255
    if pixels.shape[-2:] != (size, size):
        pixels = interpolate(pixels, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(sd).view(3, 1, 1)
