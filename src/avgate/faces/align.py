"""A face's aligned crop, as face recognition models expect it."""

from __future__ import annotations

import numpy as np

from avgate.core.types import CROP_SIZE

_POINTS = ((33, 133), (263, 362), (61,), (291,))
"""Corners of the subject's right and left eye (their mean is the eye's centre); right and left corner of the mouth."""

_TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [41.5493, 92.3655], [70.7299, 92.2041]])
"""x and y of those in a crop of 112 x 112 pixels: the ArcFace alignment (Deng et al., CVPR 2019)."""


def align_crop(image: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """Turn and scale a face so that eyes and mouth corners stand where face recognition models expect them.

    The similarity transform is the least-squares one (Umeyama 1991), which has a closed form in complex numbers.

    Args:
        image: uint8 [h w 3].
        mesh: [478 3] in pixels.

    Returns:
        uint8 [112 112 3]; black where the crop reaches over the frame's edge.
    """
    import cv2

    points = np.array([mesh[list(group), :2].mean(0) for group in _POINTS], np.float64)
    source, target = points @ [1, 1j], _TEMPLATE @ [1, 1j]
    centred = source - source.mean()
    turn = np.vdot(centred, target - target.mean()) / max(np.vdot(centred, centred).real, 1e-9)
    shift = target.mean() - turn * source.mean()
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    return cv2.warpAffine(image, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)
