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
    """How an image model wants its input.

    Attributes:
        size: height and width in pixels after resizing; None keeps the face's own.
        mean: per channel, of pixels times `scale`.
        sd: standard deviation per channel.
        crop: height and width cut out of the middle after resizing, filled up with black where they are larger.
        scale: what pixels 0 to 255 are multiplied with.
        resample: Pillow's number of the filter for resizing.
        flip: whether the channels are blue, green, red.
    """

    size: tuple[int, int] | None
    mean: tuple[float, ...] = IMAGENET_MEAN
    sd: tuple[float, ...] = IMAGENET_SD
    crop: tuple[int, int] | None = None
    scale: float = 1 / 255
    resample: int = 3
    flip: bool = False

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
        says = {key: value for key, value in preprocessor.items() if value is not None}.get
        size = says("size") or says("crop_size") or settings.get("image_size") or 224
        mean, sd = says("image_mean") or IMAGENET_MEAN, says("image_std") or IMAGENET_SD
        try:
            resized, crop = _sides(size), None
            if says("crop_size") and says("do_center_crop", True):
                crop = _sides(says("crop_size"))
            elif (part := says("crop_pct")) and min(resized) < 384:  # ConvNeXt's own rule
                crop, resized = resized, (int(resized[0] / part), int(resized[1] / part))
            form = cls(
                resized if says("do_resize", True) else None,
                tuple(map(float, mean)) if says("do_normalize", True) else (0.0,) * 3,
                tuple(map(float, sd)) if says("do_normalize", True) else (1.0,) * 3,
                crop,
                float(says("rescale_factor") or 1 / 255) if says("do_rescale", True) else 1.0,
                int(says("resample", 3)),
                bool(says("do_flip_channel_order", False)),
            )
            sides = [*resized, *(crop or ())]
            fits = min(sides) >= 1 and max(sides) <= 4096 and len(form.mean) == len(form.sd) == 3
            fits = fits and min(form.sd) > 0 and form.resample in _FILTERS
        except (TypeError, ValueError, IndexError, KeyError, OverflowError):
            fits = False
        if not fits:
            what = f"it asks for images of size {size!r}, mean {mean!r} and standard deviation {sd!r}"
            what += f", resized with filter {says('resample')!r}" if "resample" in preprocessor else ""
            raise ModelFileError(what[:300], where=where, hint="correct its preprocessor_config.json")
        return form


def _sides(size: Any) -> tuple[int, int]:
    """Height and width: a size as transformers writes it, for square images."""
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge") or size.get("longest_edge")
        size = (edge, edge) if edge else (size["height"], size["width"])
    height, width = size if isinstance(size, list | tuple) and len(size) == 2 else (size, size)
    return int(height), int(width)


def _sinc(x: Tensor) -> Tensor:
    import torch

    return torch.sinc(x)


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return near * (x < 1) + far * ((x >= 1) & (x < 2))


_FILTERS: dict[int, tuple[float, Any]] = {
    0: (0.0, None),
    1: (3.0, lambda x: _sinc(x) * _sinc(x / 3) * (x.abs() < 3)),
    2: (1.0, lambda x: (1 - x.abs()).clamp(min=0)),
    3: (2.0, _cubic),
    4: (0.5, lambda x: ((x > -0.5) & (x <= 0.5)).float()),
    5: (1.0, lambda x: _sinc(x) * (0.54 + 0.46 * (x * 3.141592653589793).cos()) * (x.abs() < 1)),
}
"""Pillow's filters by number (nearest, Lanczos, bilinear, bicubic, box, Hamming): reach in pixels, and the weights."""


def _weights(old: int, new: int, resample: int) -> Tensor:
    """How much each of `old` pixels counts in each of `new` ones, [new old], as in Pillow's Image.resize."""
    import torch

    centre = (torch.arange(new, dtype=torch.float64) + 0.5) * old / new
    reach, kernel = _FILTERS[resample]
    if kernel is None:
        return torch.nn.functional.one_hot(centre.long().clamp(max=old - 1), old).float()
    stretch = max(old / new, 1.0)
    pixel = torch.arange(old, dtype=torch.float64)[None]
    first, last = (centre - reach * stretch + 0.5).floor()[:, None], (centre + reach * stretch + 0.5).floor()[:, None]
    weights = kernel((pixel - centre[:, None] + 0.5) / stretch) * ((pixel >= first) & (pixel < last))
    return (weights / weights.sum(1, keepdim=True)).float()


def normalised(faces: Tensor, form: InputFormat) -> Tensor:
    """Faces as a model wants them: float32 [n 3 height width], standardised, from RGB [n h w 3] in 0 to 255."""
    import torch
    from torch.nn.functional import pad

    pixels = faces.permute(0, 3, 1, 2).float()
    old = pixels.shape[-2:]
    if form.size and tuple(old) != form.size:
        down, across = (_weights(*sides, form.resample).to(pixels.device) for sides in zip(old, form.size, strict=True))
        pixels = (down @ (pixels @ across.T).round().clamp(0, 255)).round().clamp(0, 255)
    if form.crop:
        (height, width), (tall, wide) = pixels.shape[-2:], form.crop
        up, left = max(0, tall - height), max(0, wide - width)
        pixels = pad(pixels, (-(-left // 2), left // 2, -(-up // 2), up // 2))
        top, start = (pixels.shape[-2] - tall) // 2, (pixels.shape[-1] - wide) // 2
        pixels = pixels[..., top : top + tall, start : start + wide]
    pixels = pixels.flip(1) if form.flip else pixels
    mean, sd = (torch.tensor(x, device=pixels.device).view(3, 1, 1) for x in (form.mean, form.sd))
    return (pixels * form.scale - mean) / sd
