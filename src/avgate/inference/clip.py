"""All features of one clip on the common grid, as a model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avgate.core.errors import FeatureError
from avgate.core.modalities import refuse_modality
from avgate.core.timeline import Grid, resample
from avgate.core.types import FeatureTrack
from avgate.features.stats import FeatureStats


@dataclass(frozen=True)
class ClipFeatures:
    """All features of one clip on the common grid at the label rate.

    Attributes:
        name: the clip, for messages.
        grid: the common grid.
        values: modality -> float32 [n d]; NaN where absent.
        present: modality -> bool [n].
        voice: bool [n], steps with voice activity, or None where no backbone can tell.
    """

    name: str
    grid: Grid
    values: Mapping[str, np.ndarray]
    present: Mapping[str, np.ndarray]
    voice: np.ndarray | None

    def __len__(self) -> int:
        """Number of steps."""
        return len(next(iter(self.present.values())))


def on_common_grid(name: str, tracks: Sequence[FeatureTrack], grid: Grid) -> ClipFeatures:
    """Bring a clip's tracks to one grid; several backbones of a modality stand side by side and are present together.

    Raises:
        FeatureError: there is no step, or a present one holds NaN or infinity.
        UsageError: a modality has a name that means another one.
    """
    for track in tracks:
        refuse_modality(track.modality)
    n = max(grid.steps(t.grid.start_s + len(t.present) / t.grid.rate) for t in tracks)
    if not n:
        hint = "look at the recording's length and times"
        raise FeatureError("its features have no step on the clock of the model", where=name, hint=hint)
    values: dict[str, list[np.ndarray]] = {}
    present: dict[str, np.ndarray] = {}
    voice = None
    for track in tracks:
        x, here = resample(track.values, track.present, track.grid, grid, n)
        _refuse_unknown(name, track, x, here)
        values.setdefault(track.modality, []).append(x)
        present[track.modality] = present.get(track.modality, np.ones(n, bool)) & here
        if track.active is not None and voice is None:
            active, known = resample(track.active[:, None], track.present, track.grid, grid, n)
            voice = known & (np.nan_to_num(active[:, 0]) >= 0.5)
    for modality, here in present.items():
        for x in values[modality]:
            x[~here] = np.nan
    return ClipFeatures(name, grid, {m: np.concatenate(v, 1) for m, v in values.items()}, present, voice)


def _refuse_unknown(name: str, track: FeatureTrack, values: np.ndarray, present: np.ndarray) -> None:
    bad = ~np.isfinite(values) & present[:, None]
    if bad.any():
        step, column = np.argwhere(bad)[0]
        raise FeatureError(
            f"feature '{track.columns[column]}' of '{track.backbone}' is not a number at step {step} "
            f"({bad.any(1).sum()} of {present.sum()} present steps have such values)",
            where=name,
            hint="mark these steps as absent, or extract the features anew",
        )


def standardised(clip: ClipFeatures, stats: Mapping[str, FeatureStats]) -> dict[str, np.ndarray]:
    """Modality -> float32 [n d], standardised with the training statistics, 0 where absent (never read there)."""
    return {m: stats[m].fill(clip.values[m]) for m in stats}
