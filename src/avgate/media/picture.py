"""Decoded video frames of any pixel format to upright RGB images."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter


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
        """RGB uint8 [height width 3], contiguous."""
        image = self._reformatter.reformat(frame, *self._scaled, "rgb24", threads=1).to_ndarray()
        if not (self._turned or self._mirrored or self._flipped):
            return np.ascontiguousarray(image)
        pixels = image.view("V3")[..., 0]  # whole pixels are copied several times faster than bytes
        pixels = pixels.T if self._turned else pixels
        pixels = np.ascontiguousarray(pixels[:: -1 if self._flipped else 1, :: -1 if self._mirrored else 1])
        return pixels.view(np.uint8).reshape(self.height, self.width, 3)


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
