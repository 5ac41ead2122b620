"""What a fusion's figures on Hazumi stand beside: how far durations alone go, and how well raters agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avgate.core.metrics import ccc
from avgate.core.types import FeatureTrack
from avgate.corpora.hazumi import EXCHANGES, TARGETS, Session

_SPANS = ("exchange", "system", "user")
DURATIONS = (*(f"{span}_s" for span in _SPANS), *(f"{span}_log" for span in _SPANS))


def durations(session: Session) -> FeatureTrack:
    """How long each exchange took, and in it the system's utterance and the user's turn: float32 [n 6].

    The three in seconds, then log(1 + seconds) of each, for models that can't bend a line themselves. A model of these
    alone knows of voice and face only how long they were to be heard and seen. The track stands in place of the audio
    features; an exchange in which the system's end isn't known is absent.
    """
    start, system, end = session.times_s.T
    seconds = np.stack([end - start, system - start, end - system], axis=1)
    values = np.concatenate([seconds, np.log1p(seconds)], axis=1).astype(np.float32)
    present = np.isfinite(values).all(1)
    values[~present] = np.nan
    return FeatureTrack(values, present, EXCHANGES, "durations", "audio", DURATIONS, "durations-1")


def rater_agreement(sessions: Sequence[Session]) -> dict[str, float]:
    """Target -> CCC in [-1, 1] of one rater with the mean of the others, pooled over all exchanges, mean over raters.

    It is what one person achieves who sees and hears everything. Raters are told apart by the order of their columns;
    the years don't share all of them.
    """
    ratings = np.concatenate([session.ratings for session in sessions])
    agreement = {}
    for k, target in enumerate(TARGETS):
        ones, others = ratings[:, k].T, _means_of_the_others(ratings[:, k]).T
        agreement[target] = float(np.mean([ccc(one, rest) for one, rest in zip(ones, others, strict=True)]))
    return agreement


def _means_of_the_others(ratings: np.ndarray) -> np.ndarray:
    """Row by row, for each rater, the mean of all others: [n r] -> [n r]."""
    return (ratings.sum(1, keepdims=True) - ratings) / (ratings.shape[1] - 1)
