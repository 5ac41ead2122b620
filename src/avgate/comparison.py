"""Fair comparison: folds that share no person, a paired bootstrap over clips, and Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Pairs = Sequence[tuple[np.ndarray, np.ndarray]]
"""Per clip: prediction and label of one target."""


@dataclass(frozen=True)
class Fold:
    """Groups (persons) of one fold's three parts."""

    train: frozenset[str]
    validation: frozenset[str]
    test: frozenset[str]


def folds(sizes: Mapping[str, int], count: int, validation_share: float = 0.15, seed: int = 0) -> list[Fold]:
    """Deal groups to folds of about equal size; every group is tested once.

    Args:
        sizes: group -> how much of the data it holds, in clips or steps.
        count: folds, at least 2.
        validation_share: of what isn't tested, kept for validation.
        seed: of the dealing.

    Raises:
        ValueError: there are too few groups for so many folds, or they are too unequal for so few.
    """
    if not 2 <= count <= len(sizes) - 2:
        raise ValueError(f"{len(sizes)} groups can't be dealt to {count} folds with a training and a validation part")
    parts = _deal(sizes, [1.0] * count, seed)
    found = []
    for i, test in enumerate(parts):
        rest = {g: n for g, n in sizes.items() if g not in test}
        if len(rest) < 2:
            raise ValueError(f"a fold of {len(test)} groups leaves too few to train and validate on: use more folds")
        train, validation = _deal(rest, [1 - validation_share, validation_share], seed + 1 + i)
        found.append(Fold(train, validation, test))
    return found


def _deal(sizes: Mapping[str, int], shares: Sequence[float], seed: int) -> list[frozenset[str]]:
    """Groups in random order, large ones first, each to the part that is furthest below its share."""
    shuffled = np.random.default_rng(seed).permutation(sorted(sizes)).tolist()
    order = sorted(shuffled, key=lambda group: -sizes[group])
    filled = np.zeros(len(shares))
    parts: list[set[str]] = [set() for _ in shares]
    for group in order:
        empty = [k for k, part in enumerate(parts) if not part]
        # The last groups go to parts that are still empty, so that no part ends up with nothing.
        left = len(order) - sum(map(len, parts))
        choices = empty if len(empty) >= left else range(len(shares))
        k = min(choices, key=lambda k: (filled[k] + sizes[group]) / shares[k])
        parts[k].add(group)
        filled[k] += sizes[group]
    return [frozenset(part) for part in parts]


@dataclass(frozen=True)
class Difference:
    """How two models differ in pooled CCC, first minus second: mean over seeds, 95 % interval, two-sided p-value."""

    effect: float
    low: float
    high: float
    p: float


def paired_bootstrap(first: Sequence[Pairs], second: Sequence[Pairs], draws: int = 2000, seed: int = 0) -> Difference:
    """Draw clips with replacement, the same ones for both models, and see how their pooled CCCs differ.

    Args:
        first: one model's clips, once per training seed, in one order.
        second: the other model's, alike.
        draws: bootstrap samples.
        seed: of the draws.

    Returns:
        The difference; p is twice the smaller share of draws on either side of 0, at least 2 / draws.
    """
    clips = len(first[0])
    pick = np.random.default_rng(seed).integers(0, clips, (draws, clips))
    whole = np.arange(clips)[None]
    differences = np.mean([_pooled_ccc(a, pick) - _pooled_ccc(b, pick) for a, b in zip(first, second, strict=True)], 0)
    effect = np.mean([_pooled_ccc(a, whole) - _pooled_ccc(b, whole) for a, b in zip(first, second, strict=True)])
    low, high = np.nanquantile(differences, [0.025, 0.975])
    tail = min((differences <= 0).mean(), (differences >= 0).mean())
    return Difference(float(effect), float(low), float(high), float(min(1.0, max(2 * tail, 2 / draws))))


def _pooled_ccc(pairs: Pairs, pick: np.ndarray) -> np.ndarray:
    """Pooled CCC of each row of clip numbers, from the clips' moments: float64 [draws]."""
    moments = []
    for prediction, label in pairs:
        both = np.isfinite(prediction) & np.isfinite(label)
        x, y = prediction[both].astype(np.float64), label[both].astype(np.float64)
        moments.append((len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()))
    n, sx, sy, sxx, syy, sxy = np.array(moments)[pick].sum(1).T
    mx, my = sx / n, sy / n
    return 2 * (sxy / n - mx * my) / ((sxx / n - mx**2) + (syy / n - my**2) + (mx - my) ** 2)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): each as large as its rank makes it, never above 1."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.maximum.accumulate(np.asarray(p_values)[order] * (len(p_values) - np.arange(len(p_values))))
    out = np.empty(len(p_values))
    out[order] = np.minimum(corrected, 1.0)
    return out.tolist()
