"""Corruption of one modality in stretches of a sequence, for stress tests and training: missing, noisy, misleading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NOISE = (0.7, 1.5)
"""Range of the noise's standard deviation, in units of the training features'; drawn for each stretch."""


@dataclass(frozen=True)
class Feature:
    """One modality of a sequence: standardised `values` float32 [n d] (0 where absent) and `present` bool [n]."""

    values: np.ndarray
    present: np.ndarray


Donor = Callable[[], Feature]
"""Returns another clip's features in the same modality."""


def stretches(
    n: int, share: float, length: tuple[int, int], random: np.random.Generator
) -> tuple[np.ndarray, list[slice]]:
    """Draw stretches that together cover a share of the sequence.

    Args:
        n: steps of the sequence.
        share: share of the steps to cover, 0 to 1; met exactly, but for rounding to whole steps.
        length: shortest and longest stretch in steps; the last stretch is cut to fit.
        random: source of randomness.

    Returns:
        Mask of the covered steps, bool [n], and the stretches in order.
    """
    wanted = round(share * n)
    lengths: list[int] = []
    while sum(lengths) < wanted:
        lengths.append(min(int(random.integers(length[0], length[1] + 1)), wanted - sum(lengths)))
    # The other steps are divided at random among the gaps before, between and after the stretches.
    gaps = np.diff([0, *np.sort(random.integers(0, n - wanted + 1, len(lengths))), n - wanted])
    mask, found, at = np.zeros(n, bool), [], 0
    for gap, steps in zip(gaps, lengths, strict=False):
        at += int(gap)
        found.append(slice(at, at + steps))
        mask[at : at + steps] = True
        at += steps
    return mask, found


def absent(feature: Feature, where: list[slice], random: np.random.Generator, donor: Donor) -> Feature:
    """The modality is absent."""
    values, present = feature.values.copy(), feature.present.copy()
    for stretch in where:
        values[stretch], present[stretch] = 0.0, False
    return Feature(values, present)


def noise(feature: Feature, where: list[slice], random: np.random.Generator, donor: Donor) -> Feature:
    """Features are Gaussian noise, as from a broken sensor."""
    values = feature.values.copy()
    for stretch in where:
        drawn = random.standard_normal(values[stretch].shape) * random.uniform(*NOISE)
        values[stretch] = np.where(feature.present[stretch][:, None], drawn, 0.0)
    return Feature(values, feature.present)


def swapped(feature: Feature, where: list[slice], random: np.random.Generator, donor: Donor) -> Feature:
    """Features are another clip's, as of another person; absent where the other clip's are."""
    values, present, lent = feature.values.copy(), feature.present.copy(), donor()
    for stretch in where:
        steps = (np.arange(stretch.start, stretch.stop) + int(random.integers(len(lent.present)))) % len(lent.present)
        values[stretch], present[stretch] = lent.values[steps], lent.present[steps]
    return Feature(values, present)


def frozen(feature: Feature, where: list[slice], random: np.random.Generator, donor: Donor) -> Feature:
    """Features repeat the stretch's first step, as from a stuck stream."""
    values, present = feature.values.copy(), feature.present.copy()
    for stretch in where:
        values[stretch], present[stretch] = feature.values[stretch.start], feature.present[stretch.start]
    return Feature(values, present)


def shifted(feature: Feature, where: list[slice], random: np.random.Generator, donor: Donor) -> Feature:
    """Features come from a quarter to half a clip away, as from a stream that is out of sync."""
    values, present, n = feature.values.copy(), feature.present.copy(), len(feature.present)
    for stretch in where:
        away = int(random.integers(max(1, n // 4), max(2, n // 2)))
        steps = (np.arange(stretch.start, stretch.stop) + away) % n
        values[stretch], present[stretch] = feature.values[steps], feature.present[steps]
    return Feature(values, present)


Corruption = Callable[[Feature, list[slice], np.random.Generator, Donor], Feature]

CORRUPTIONS: dict[str, Corruption] = {f.__name__: f for f in (absent, noise, swapped, frozen, shifted)}
"""Kind -> function of (feature, stretches, random, donor) that returns a corrupted copy."""
