"""Fair comparison: folds that share no person, a paired bootstrap over clips, and Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avgate.core.metrics import ccc_of


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


def paired_bootstrap(first: np.ndarray, second: np.ndarray, draws: int = 2000, seed: int = 0) -> Difference:
    """Draw clips with replacement, the same ones for both models, and see how their pooled CCCs differ.

    Args:
        first: one model's moments (see metrics.moments), float64 [seeds clips 6].
        second: the other model's, alike.
        draws: bootstrap samples.
        seed: of the draws.

    Returns:
        The difference; p is twice the smaller share of draws on either side of 0, at least 2 / draws.
    """
    clips = first.shape[1]
    pick = np.random.default_rng(seed).integers(0, clips, (draws, clips))
    differences = (ccc_of(first[:, pick].sum(2)) - ccc_of(second[:, pick].sum(2))).mean(0)
    effect = (ccc_of(first.sum(1)) - ccc_of(second.sum(1))).mean()
    low, high = np.nanquantile(differences, [0.025, 0.975])
    tail = min((differences <= 0).mean(), (differences >= 0).mean())
    return Difference(float(effect), float(low), float(high), float(min(1.0, max(2 * tail, 2 / draws))))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): each as large as its rank makes it, never above 1."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.maximum.accumulate(np.asarray(p_values)[order] * (len(p_values) - np.arange(len(p_values))))
    out = np.empty(len(p_values))
    out[order] = np.minimum(corrected, 1.0)
    return out.tolist()
