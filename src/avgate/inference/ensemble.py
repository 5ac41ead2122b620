"""Ensembles: several models' estimates of one clip, merged."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from avgate.core.metrics import ccc


def agreement_weights(estimates: np.ndarray) -> np.ndarray:
    """How much each model counts, float64 [models] that add up to 1: its mean CCC with the others, at least 0.

    Alike where there is one model, or where none agrees with any other.
    """
    agreed = np.zeros((len(estimates), len(estimates)))
    for i, j in combinations(range(len(estimates)), 2):
        agreed[i, j] = agreed[j, i] = max(0.0, np.nan_to_num(ccc(estimates[i], estimates[j])))
    weights = agreed.sum(1)
    return weights / weights.sum() if weights.any() else np.full(len(estimates), 1 / len(estimates))


def ccc_centred(estimates: np.ndarray) -> np.ndarray:
    """Mean of models after CCC centring, clipped to [-1, 1]: float64 [n] from [models n]; NaN where no model knows.

    Each model's estimate is moved to a common mean, x - mean(x) + mean of the models' means weighted by agreement. As
    the gold standards of AVEC 2016 are made of raters (Valstar et al., AVEC 2016), and folds are joined on Aff-Wild2.
    """
    estimates = np.asarray(estimates, np.float64)
    known = ~np.isnan(estimates)
    some = known.any(1)
    if not some.any():
        return np.full(estimates.shape[1], np.nan)
    estimates, known = estimates[some], known[some]
    own = np.nanmean(estimates, axis=1)
    centred = estimates - own[:, None] + agreement_weights(estimates) @ own
    with np.errstate(invalid="ignore"):
        mean = np.where(known, centred, 0.0).sum(0) / known.sum(0)
    clipped: np.ndarray = np.clip(mean, -1, 1)
    return clipped
