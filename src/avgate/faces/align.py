"""Align a face to the standard pose of face recognition models."""

from __future__ import annotations

import numpy as np

from avgate.core.types import CROP_SIZE

_POINTS = ((33, 133), (263, 362), (61,), (291,))
"""The subject's right and left eye (the mean of its two corners), and right and left mouth corner."""

_TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [41.5493, 92.3655], [70.7299, 92.2041]])
"""Where these points stand in the crop, x and y in pixels: the ArcFace alignment (Deng et al., CVPR 2019)."""


def align_crop(image: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """Rotate, scale and shift a face so that eyes and mouth corners stand where face recognition models expect them.

    Least-squares similarity transform (Umeyama 1991), in its closed form over complex numbers.

    Args:
        image: uint8 [h w 3].
        mesh: [478 3] in pixels.

    Returns:
        uint8 [112 112 3]; black outside the image.
    """
    import cv2

    points = np.array([mesh[list(group), :2].mean(0) for group in _POINTS], np.float64)
    source, target = points @ [1, 1j], _TEMPLATE @ [1, 1j]
    centred = source - source.mean()
    scale_turn = np.vdot(centred, target - target.mean()) / max(np.vdot(centred, centred).real, 1e-9)
    shift = target.mean() - scale_turn * source.mean()
    matrix = np.array([[scale_turn.real, -scale_turn.imag, shift.real], [scale_turn.imag, scale_turn.real, shift.imag]])
    return cv2.warpAffine(image, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)
