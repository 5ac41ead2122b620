"""The one path from features to a Trace: validation, evaluation and prediction all take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from avgate.core.errors import FeatureError
from avgate.core.timeline import Grid, read_off, read_off_mask, resample
from avgate.core.types import FeatureTrack, Trace
from avgate.features.stats import FeatureStats
from avgate.inference.smoothing import finish
from avgate.inference.windows import cut, merge
from avgate.models.network import Model
from avgate.models.recipe import Recipe

PLAIN_NAMES = {"audio": "voice", "video": "face"}
"""What a modality is called where a user reads its gates."""

PRESENCE_NAMES = {"audio": "audio", "video": "face"}
"""What a modality's presence is called: sound that is there need not be a voice."""


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


@dataclass(frozen=True)
class Estimate:
    """What a model says of one clip, on the common grid: float64, NaN where no modality is present.

    Attributes:
        grid: the common grid.
        raw: [n k] as the model gave it.
        gates: name in words -> [n].
    """

    grid: Grid
    raw: np.ndarray
    gates: Mapping[str, np.ndarray]


def on_common_grid(name: str, tracks: Sequence[FeatureTrack], grid: Grid) -> ClipFeatures:
    """Bring a clip's tracks to one grid; several backbones of a modality stand side by side and are present together.

    Raises:
        FeatureError: a present step holds NaN or infinity.
    """
    n = max(grid.steps(t.grid.start_s + len(t.present) / t.grid.rate) for t in tracks)
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


@torch.no_grad()
def estimate(model: Model, clip: ClipFeatures, stats: Mapping[str, FeatureStats], recipe: Recipe) -> Estimate:
    """Run a model over one clip in windows and merge them (weighted overlap-add).

    Args:
        model: in eval mode.
        clip: features on the common grid.
        stats: the training statistics.
        recipe: for window and hop.
    """
    n, values = len(clip), standardised(clip, stats)
    weight = next(model.parameters())
    windows: list[tuple[int, np.ndarray]] = []
    for first in cut(n, recipe.window, recipe.hop):
        part = slice(first, first + recipe.window)
        out = model(
            {m: torch.from_numpy(values[m][None, part]).to(weight) for m in model.modalities},
            {m: torch.from_numpy(clip.present[m][None, part]).to(weight.device) for m in model.modalities},
        )
        targets = out.targets[0].cpu().double().numpy()
        gates = gates_in_words({k: v[0].cpu().double().numpy() for k, v in out.gates.items()}, model.modalities)
        windows.append((first, np.column_stack([targets, *gates.values()])))
    evidence = np.any([clip.present[m] for m in model.modalities], axis=0)
    merged = np.where(evidence[:, None], merge(windows, n, recipe.window - recipe.hop), np.nan)
    raw, of_gates = np.split(merged, [targets.shape[1]], axis=1)
    return Estimate(clip.grid, raw, dict(zip(gates, of_gates.T, strict=True)))


def gates_in_words(gates: Mapping[str, np.ndarray], modalities: Sequence[str]) -> dict[str, np.ndarray]:
    """Gates as a reader sees them, each [L].

    `face_attended` is the share of attended (cross-modal) features in what the model used of the face: the iteration
    gate's share, weighted by the stage gate. `face_iteration_2` is the stage gate's weight of the second iteration,
    `face_iteration_0` that of the input where it is a candidate, `face_weight` that of the face beside the voice,
    `face_reliability` how far the face was relied on.

    Args:
        gates: a FusionOutput's gates for one sequence, [L n] each.
        modalities: the model's, in their order.
    """
    words = {}
    for i, modality in enumerate(modalities):
        plain = PLAIN_NAMES[modality]
        attended, stage = gates.get(f"attended/{modality}"), gates.get(f"iteration/{modality}")
        if attended is not None:
            # Without a stage gate, only the last iteration's output is used.
            weight = stage if stage is not None else np.eye(attended.shape[1])[-1]
            # Weights that add up to 1 do so but for rounding.
            words[f"{plain}_attended"] = np.clip((attended * weight).sum(1), 0, 1)
        if stage is not None:
            words |= {f"{plain}_iteration_{t + 1}": stage[:, t] for t in range(stage.shape[1])}
        if f"candidate/{modality}" in gates:
            words |= {f"{plain}_iteration_{t}": weight for t, weight in enumerate(gates[f"candidate/{modality}"].T)}
        if f"reliability/{modality}" in gates:
            words[f"{plain}_reliability"] = gates[f"reliability/{modality}"][:, 0]
        if "modality" in gates:
            words[f"{plain}_weight"] = gates["modality"][:, i]
    return words


def read_trace(
    clip: ClipFeatures, estimated: Estimate, targets: Sequence[str], time_s: np.ndarray, smooth_steps: int
) -> Trace:
    """The estimate at any times, such as the frames' own, post-processed and raw; see Trace.

    Args:
        clip: the features that the estimate came from.
        estimated: on the common grid.
        targets: names of the estimate's columns.
        time_s: float64 [m] seconds.
        smooth_steps: width of the mean filter in steps; 1 is none.
    """
    present = {PRESENCE_NAMES[m]: read_off_mask(p, clip.grid, time_s) for m, p in clip.present.items()}
    if clip.voice is not None:
        present["voice"] = read_off_mask(clip.voice, clip.grid, time_s)
    final = finish(estimated.raw, smooth_steps)
    columns = np.column_stack([final, estimated.raw, *estimated.gates.values()])
    read = np.ascontiguousarray(read_off(columns, clip.grid, time_s).T)
    k = len(targets)
    return Trace(
        time_s=time_s,
        targets=dict(zip(targets, read[:k], strict=True)),
        raw=dict(zip(targets, read[k : 2 * k], strict=True)),
        present=present,
        gates=dict(zip(estimated.gates, read[2 * k :], strict=True)),
        source=clip.name,
    )
