"""Decoded video frames of any pixel format to upright RGB images."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

_PADDING = 64
"""Bytes past an image's end that FFmpeg may read, where a row is no multiple of what it takes at once; as in its own
images (AV_INPUT_BUFFER_PADDING_SIZE)."""


class Upright:
    """Converts the frames of a stream to RGB images of one size: rotated, mirrored and widened as a player does.

    Args:
        first: the stream's first frame, which determines size and orientation of all.
        video: PyAV's stream.

    Attributes:
        width: width of the upright images in pixels.
        height: height of the upright images in pixels.
        widened: whether images are widened, because stored pixels aren't square.
    """

    def __init__(self, first: Any, video: Any):
        self._stored = first.width, first.height
        shape = float(video.sample_aspect_ratio or 1)
        self._scaled = (round(first.width * shape) if 0.2 < shape < 5 else first.width), first.height
        self._turned, self._mirrored, self._flipped = _orientation(first)
        self._reformatter = VideoReformatter()
        self.width, self.height = self._scaled[::-1] if self._turned else self._scaled
        self.widened = self._scaled != self._stored

    def fits(self, frame: Any) -> bool:
        """Whether the frame is stored in the same size as the first."""
        return self._stored == (frame.width, frame.height)

    def __call__(self, frame: Any) -> np.ndarray:
        """RGB uint8 [height width 3], contiguous, with padding."""
        plane = self._reformatter.reformat(frame, *self._scaled, "rgb24", threads=1).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:, : 3 * self._scaled[0]]
        image = _padded(self.height, self.width)
        if not (self._turned or self._mirrored or self._flipped):
            image.reshape(self.height, -1)[:] = rows
            return image
        pixels = rows.view("V3")  # whole pixels are copied several times faster than bytes
        pixels = pixels.T if self._turned else pixels
        image.view("V3")[..., 0] = pixels[:: -1 if self._flipped else 1, :: -1 if self._mirrored else 1]
        return image


def has_padding(image: np.ndarray) -> bool:
    """Whether FFmpeg can be given an image as it lies in memory: so much belongs to it that nothing else is read."""
    base = image.base
    if not (isinstance(base, np.ndarray) and base.flags.c_contiguous and image.flags.c_contiguous):
        return False
    end, last = (x.__array_interface__["data"][0] + x.nbytes for x in (image, base))
    return bool(end + _PADDING <= last)


def _padded(height: int, width: int) -> np.ndarray:
    """An image for values to come: uint8 [height width 3], with padding."""
    size = 3 * height * width
    return np.empty(size + _PADDING, np.uint8)[:size].reshape(height, width, 3)


def _orientation(frame: Any) -> tuple[bool, bool, bool]:
    """Whether to swap rows and columns, then left and right, then top and bottom, to make a frame upright."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # the frame has side data of a kind that this PyAV doesn't know
        matrix = None
    if matrix is None:
        return False, False, False
    # FFmpeg's 3x3 matrix maps a stored point (x, y) to (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0
