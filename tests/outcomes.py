"""Outcomes of trainings as they would be measured, for the tests of a comparison's files and tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from avgate.compare.outcome import Outcome
from avgate.compare.stress import CLEAN, conditions
from avgate.core.metrics import interval_sums, moments
from avgate.features.corruption import CORRUPTIONS

TARGETS = ("valence", "arousal")
CLIPS = tuple(f"clip{i}" for i in range(8))
LABELS = np.random.default_rng(0).uniform(-1, 1, (8, 30, 2))
BOTH = ("audio", "video")


def estimates(error: float, seed: int) -> np.ndarray:
    """Of all clips, [8 30 2]."""
    return LABELS + error * np.random.default_rng(seed).standard_normal(LABELS.shape)


def measured(found: np.ndarray) -> np.ndarray:
    """Their moments, [8 2 6]."""
    return np.array([[moments(e[:, k], y[:, k]) for k in range(2)] for e, y in zip(found, LABELS, strict=True)])


def held(found: np.ndarray, half: float) -> np.ndarray:
    """What their intervals of that half width are scored from, then those of intervals twice as wide, [8 2 8]."""
    by_clip = [
        [
            np.concatenate([interval_sums(e[:, k] - h, e[:, k] + h, y[:, k], 0.9) for h in (half, 2 * half)])
            for k in range(2)
        ]
        for e, y in zip(found, LABELS, strict=True)
    ]
    return np.array(by_clip)


def outcome(error: float = 0.3, seed: int = 0, stressed: tuple[str, ...] = (), gates: tuple[str, ...] = ()) -> Outcome:
    """A training with that error on clean clips, and with more on corrupted ones, the more the larger their share.

    It reads what is corrupted, and both modalities where nothing is.
    """
    by_condition = {
        c.name: measured(estimates(error + c.share, 100 * seed + i)) for i, c in enumerate(conditions(stressed))
    }
    auroc = {
        f"{m} {kind}": {gate: 0.5 + 0.01 * i + 0.1 * seed for i, gate in enumerate(gates)}
        for m in stressed
        for kind in CORRUPTIONS
        if gates
    }
    reads, clean, setting = stressed or BOTH, measured(estimates(error, seed)), f"train.lr=1e-{seed}"
    wide = {CLEAN: 1.0} | {c.name: 1 + c.share for c in conditions(stressed)}
    sure = {name: held(estimates(error, seed), error * width) for name, width in wide.items()}
    tell = {t: [0.1 * (k + 1) + 0.01 * seed, 0.2, 0.3, 0.4, 0.5] for k, t in enumerate(TARGETS)}
    told = dict.fromkeys(wide, tell)
    return Outcome(0.1 + 0.2, setting, TARGETS, reads, CLIPS, clean, by_condition, auroc, 90.0, sure, told)


def assert_same(one: Outcome, other: Outcome) -> None:
    """Equal to the bit, NaN among it."""
    bare = {"clean": np.zeros(0), "stressed": {}, "sure": {}}
    assert repr(replace(one, **bare)) == repr(replace(other, **bare))
    assert (one.stressed.keys(), one.sure.keys()) == (other.stressed.keys(), other.sure.keys())
    pairs = [(m, other.stressed[name]) for name, m in one.stressed.items()]
    pairs += [(m, other.sure[name]) for name, m in one.sure.items()]
    for a, b in [(one.clean, other.clean), *pairs]:
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
