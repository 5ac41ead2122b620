"""Weak complementarity on purpose: stretches in which a modality is missing or misleads, for stress and training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NOISE = (0.7, 1.5)
"""Standard deviations of replacement noise, in training standard deviations; each stretch draws its own."""


@dataclass(frozen=True)
class Feature:
    """One modality of one sequence: `values` float32 [n d], standardised (0 where absent), and `present` bool [n]."""

    values: np.ndarray
    present: np.ndarray


Donor = Callable[[], Feature]
"""Gives another clip's feature, for those that want one."""


def stretches(
    n: int, share: float, length: tuple[int, int], random: np.random.Generator
) -> tuple[np.ndarray, list[slice]]:
    """Choose stretches of steps that together cover a share of the sequence.

    Args:
        n: steps of the sequence.
        share: of the steps to cover, 0 to 1; met exactly, up to rounding to whole steps.
        length: shortest and longest stretch in steps; the last one is cut to fit.
        random: source of all choices.

    Returns:
        bool [n], and the stretches in order.
    """
    wanted = round(share * n)
    lengths: list[int] = []
    while sum(lengths) < wanted:
        lengths.append(min(int(random.integers(length[0], length[1] + 1)), wanted - sum(lengths)))
    # What is left over is dealt to the gaps before, between and behind the stretches.
    gaps = np.diff([0, *np.sort(random.integers(0, n - wanted + 1, len(lengths))), n - wanted])
    mask, found, at = np.zeros(n, bool), [], 0
    for gap, steps in zip(gaps, lengths, strict=False):
        at += int(gap)
        found.append(slice(at, at + steps))
        mask[at : at + steps] = True
        at += steps
    return mask, found


def absent(feature: Feature, where: list[slice], random: np.random.Generator, donor: Donor) -> Feature:
    """The modality isn't there."""
    values, present = feature.values.copy(), feature.present.copy()
    for stretch in where:
        values[stretch], present[stretch] = 0.0, False
    return Feature(values, present)


def noise(feature: Feature, where: list[slice], random: np.random.Generator, donor: Donor) -> Feature:
    """Features drawn at random, as of a broken sensor."""
    values = feature.values.copy()
    for stretch in where:
        drawn = random.standard_normal(values[stretch].shape) * random.uniform(*NOISE)
        values[stretch] = np.where(feature.present[stretch][:, None], drawn, 0.0)
    return Feature(values, feature.present)


def swapped(feature: Feature, where: list[slice], random: np.random.Generator, donor: Donor) -> Feature:
    """Another clip's features, as of another person; where the donor has none, the modality is absent."""
    values, present, lent = feature.values.copy(), feature.present.copy(), donor()
    for stretch in where:
        steps = (np.arange(stretch.start, stretch.stop) + int(random.integers(len(lent.present)))) % len(lent.present)
        values[stretch], present[stretch] = lent.values[steps], lent.present[steps]
    return Feature(values, present)


def frozen(feature: Feature, where: list[slice], random: np.random.Generator, donor: Donor) -> Feature:
    """The stretch's first features stand still, as of a stuck stream."""
    values, present = feature.values.copy(), feature.present.copy()
    for stretch in where:
        values[stretch], present[stretch] = feature.values[stretch.start], feature.present[stretch.start]
    return Feature(values, present)


def shifted(feature: Feature, where: list[slice], random: np.random.Generator, donor: Donor) -> Feature:
    """Features from a quarter to a half of the clip away, as of a stream that is out of step."""
    values, present, n = feature.values.copy(), feature.present.copy(), len(feature.present)
    for stretch in where:
        away = int(random.integers(max(1, n // 4), max(2, n // 2)))
        steps = (np.arange(stretch.start, stretch.stop) + away) % n
        values[stretch], present[stretch] = feature.values[steps], feature.present[steps]
    return Feature(values, present)


Corruption = Callable[[Feature, list[slice], np.random.Generator, Donor], Feature]

CORRUPTIONS: dict[str, Corruption] = {f.__name__: f for f in (absent, noise, swapped, frozen, shifted)}
"""Kind -> (feature, stretches, random, donor) -> the corrupted feature; the input stays as it is."""
