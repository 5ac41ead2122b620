"""From aligned crops to what image models take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from avgate.core.errors import ModelFileError

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)


class Look(NamedTuple):
    """How a model wants its pictures: the side of the square in pixels, and mean and deviation of values in [0, 1]."""

    size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    sd: tuple[float, ...] = IMAGENET_SD

    @classmethod
    def of(cls, settings: Mapping[str, Any], wishes: Mapping[str, Any], where: str) -> Look:
        """As a checkpoint's preprocessor wishes; where that says nothing, as its configuration; else ImageNet's.

        Raises:
            ModelFileError: it wishes for what no picture can be; `where` names the checkpoint.
        """
        size = wishes.get("crop_size") or wishes.get("size") or settings.get("image_size") or 224
        if isinstance(size, Mapping):
            size = size.get("height") or size.get("shortest_edge") or 224
        mean, sd = wishes.get("image_mean") or IMAGENET_MEAN, wishes.get("image_std") or IMAGENET_SD
        try:
            side = int(size[0] if isinstance(size, list | tuple) else size)
            look = cls(side, tuple(map(float, mean)), tuple(map(float, sd)))
        except (TypeError, ValueError, IndexError):
            look = cls(0)
        if not (look.size >= 1 and len(look.mean) == len(look.sd) == 3 and min(look.sd) > 0):
            what = f"it asks for pictures of size {size!r}, mean {mean!r} and deviation {sd!r}"
            raise ModelFileError(what, where=where, hint="mend its preprocessor_config.json")
        return look


def normalised(faces: Tensor, look: Look) -> Tensor:
    """Faces resized and standardised as a model wants them: [n 3 size size] from RGB [n h w 3] in 0 to 255."""
    import torch
    from torch.nn.functional import interpolate

    pixels = faces.permute(0, 3, 1, 2).float() / 255
    if pixels.shape[-2:] != (look.size, look.size):
        pixels = interpolate(pixels, (look.size, look.size), mode="bicubic", antialias=True).clamp(0, 1)
    mean, sd = (torch.tensor(x, device=pixels.device).view(3, 1, 1) for x in (look.mean, look.sd))
    return (pixels - mean) / sd
