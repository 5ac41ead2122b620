"""Reference rows for results on Hazumi: features of durations alone, and the agreement of one rater with the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avgate.core.types import FeatureTrack
from avgate.corpora.hazumi import EXCHANGES, TARGETS, Session
from avgate.labels.agreement import agreement

_SPANS = ("exchange", "system", "user")
DURATIONS = (*(f"{span}_s" for span in _SPANS), *(f"{span}_log" for span in _SPANS))


def durations(session: Session) -> FeatureTrack:
    """Durations of each exchange, of the system's utterance and of the user's turn, in place of audio features.

    A model of these alone hears no voice and sees no face. Columns are the three durations in seconds, then log(1 +
    seconds) of each, since a linear model can't take the logarithm itself.

    Returns:
        float32 [n 6]; an exchange is absent where the end of the system's utterance is unknown.
    """
    start, system, end = session.times_s.T
    seconds = np.stack([end - start, system - start, end - system], axis=1)
    values = np.concatenate([seconds, np.log1p(seconds)], axis=1).astype(np.float32)
    present = np.isfinite(values).all(1)
    values[~present] = np.nan
    return FeatureTrack(values, present, EXCHANGES, "durations", "audio", DURATIONS, "durations-1")


def rater_agreement(sessions: Sequence[Session]) -> dict[str, float]:
    """CCC of one rater with the mean of the others over all exchanges that all raters rated, mean over raters.

    It is what a person reaches who sees and hears everything. Raters are told apart by the order of their columns, not
    all of which are the same people in every year.

    Returns:
        Target -> CCC in [-1, 1].
    """
    ratings = np.concatenate([session.ratings for session in sessions])
    complete = {target: ratings[~np.isnan(ratings[:, k]).any(1), k] for k, target in enumerate(TARGETS)}
    return {target: float(np.mean(agreement(rows.T).others)) for target, rows in complete.items()}
