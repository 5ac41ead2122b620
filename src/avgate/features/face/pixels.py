"""From aligned crops to the input of image models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from avgate.core.errors import ModelFileError

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)


class InputFormat(NamedTuple):
    """How an image model wants its input: side in pixels, and mean and standard deviation of pixels in [0, 1]."""

    size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    sd: tuple[float, ...] = IMAGENET_SD

    @classmethod
    def of(cls, settings: Mapping[str, Any], preprocessor: Mapping[str, Any], where: str) -> InputFormat:
        """What a checkpoint's preprocessor_config.json says, else its config.json, else ImageNet's values.

        Args:
            settings: config.json.
            preprocessor: preprocessor_config.json, or nothing.
            where: the checkpoint, for the error.

        Raises:
            ModelFileError: the size, mean or standard deviation is impossible.
        """
        size = preprocessor.get("crop_size") or preprocessor.get("size") or settings.get("image_size") or 224
        if isinstance(size, Mapping):
            size = size.get("height") or size.get("shortest_edge") or 224
        mean, sd = preprocessor.get("image_mean") or IMAGENET_MEAN, preprocessor.get("image_std") or IMAGENET_SD
        try:
            side = int(size[0] if isinstance(size, list | tuple) else size)
            form = cls(side, tuple(map(float, mean)), tuple(map(float, sd)))
        except (TypeError, ValueError, IndexError):
            form = cls(0)
        if not (form.size >= 1 and len(form.mean) == len(form.sd) == 3 and min(form.sd) > 0):
            what = f"it asks for images of size {size!r}, mean {mean!r} and standard deviation {sd!r}"
            raise ModelFileError(what, where=where, hint="correct its preprocessor_config.json")
        return form


def normalised(faces: Tensor, form: InputFormat) -> Tensor:
    """Faces as a model wants them: float32 [n 3 size size], standardised, from RGB [n h w 3] in 0 to 255."""
    import torch
    from torch.nn.functional import interpolate

    pixels = faces.permute(0, 3, 1, 2).float() / 255
    if pixels.shape[-2:] != (form.size, form.size):
        pixels = interpolate(pixels, (form.size, form.size), mode="bicubic", antialias=True).clamp(0, 1)
    mean, sd = (torch.tensor(x, device=pixels.device).view(3, 1, 1) for x in (form.mean, form.sd))
    return (pixels - mean) / sd
