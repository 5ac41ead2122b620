"""Windows: cutting a clip into them, and merging their estimates."""

from __future__ import annotations

import numpy as np


def cut(n: int, length: int, hop: int) -> list[int]:
    """First steps of the windows that cover n steps: every `hop`, the last one moved back so that it ends at n.

    A clip shorter than a window has one window, at 0.
    """
    if length < 1 or hop < 1 or hop > length:
        raise ValueError(f"windows need 1 <= hop <= length, not hop={hop}, length={length}")
    last = max(0, n - length)
    return sorted({*range(0, last, hop), last})


def taper(length: int, margin: int) -> np.ndarray:
    """Weights in (0, 1] of a window's steps when windows are merged: linear slopes of `margin` steps at both ends."""
    step = np.arange(length)
    edge = np.minimum(step, length - 1 - step) + 1
    return np.minimum(edge / (margin + 1), 1.0)


def overlap_add(windows: list[tuple[int, np.ndarray]], n: int, margin: int) -> np.ndarray:
    """Weighted overlap-add: the weighted mean of all windows that cover a step.

    Args:
        windows: (first step, values [length ...]); what reaches beyond n is cut off. NaN counts as nothing.
        n: steps of the result.
        margin: steps of overlap between neighbouring windows.

    Returns:
        float64 [n ...]; NaN where no window has a value.
    """
    shape = windows[0][1].shape[1:]
    total, weight = np.zeros((n, *shape)), np.zeros((n, *shape))
    for first, values in windows:
        keep = min(len(values), n - first)
        part = values[:keep].astype(np.float64)
        w = np.broadcast_to(taper(len(values), margin)[:keep].reshape(-1, *[1] * len(shape)), part.shape)
        known = np.isfinite(part)
        total[first : first + keep] += np.where(known, part * w, 0.0)
        weight[first : first + keep] += np.where(known, w, 0.0)
    with np.errstate(invalid="ignore"):
        return np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), np.nan)
