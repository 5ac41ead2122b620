"""A trained model as one object: from a clip's features to a trace. Training, scores and predictions all use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from avgate.core.gates import Gate, gates_of
from avgate.core.modalities import modality_named
from avgate.core.timeline import Grid, read_off, read_off_mask
from avgate.core.types import Trace
from avgate.inference.clip import ClipFeatures, standardised
from avgate.inference.smoothing import finish, mean_filter
from avgate.inference.windows import cut, overlap_add
from avgate.models.checkpoint import Checkpoint, FeatureSpec, load_checkpoint
from avgate.models.intervals import DEFAULT_LEVEL, check_level, persons_needed
from avgate.models.network import Model
from avgate.models.recipe import to_plain

_STEPS_AT_ONCE = 4096
"""Steps of windows that go through the model together, so that long windows don't fill the memory."""


@dataclass(frozen=True)
class Estimate:
    """What a model says of one clip, on the common grid: float64, NaN where no modality is present.

    Attributes:
        grid: the common grid.
        raw: [n k] as the model gave it.
        gates: gate -> [n].
        centre: [n k], where labels lie on average; `raw` for a model without a spread head.
        deviation: [n k], how much labels vary about that; 1 for a model without a spread head.
    """

    grid: Grid
    raw: np.ndarray
    gates: Mapping[Gate, np.ndarray]
    centre: np.ndarray
    deviation: np.ndarray


class Spreads(NamedTuple):
    """Estimate, centre and deviation at any times, smoothed, float64 [k m]; see Estimate."""

    estimate: np.ndarray
    centre: np.ndarray
    deviation: np.ndarray


class Estimator:
    """A trained model with its statistics, recipe, targets and smoothing: features in, a Trace out.

    Args:
        checkpoint: a checkpoint, its file or its run's folder; None takes the weights that come with avgate.
        model: the network with its weights, if there is one already, as in training; else it is built from the
            checkpoint.
        level: share of the true values that intervals are made to hold, from 0.5 to 0.99.

    Attributes:
        checkpoint: what the model is, and where it comes from.
        model: the network, in eval mode whenever it estimates.

    Raises:
        CheckpointError: the file is no checkpoint of this version of avgate.
        UsageError: there are no intervals of that level.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | str | Path | None = None,
        *,
        model: Model | None = None,
        level: float = DEFAULT_LEVEL,
    ):
        self.level = check_level(level)
        self.checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
        self.model = self.checkpoint.build() if model is None else model
        self.recipe, self.targets, self.stats = (
            self.checkpoint.recipe,
            self.checkpoint.targets,
            self.checkpoint.stats,
        )

    @property
    def smooth_s(self) -> float:
        """Width of the mean filter over estimates in seconds; 0 is none."""
        steps = self.checkpoint.smooth_steps
        return steps / self.recipe.label_rate if steps > 1 else 0.0

    def check(self, features: Sequence[FeatureSpec], where: str | Path) -> None:
        """Refuse features that the model wasn't trained on; see Checkpoint.check."""
        self.checkpoint.check(features, where)

    @torch.no_grad()
    def estimate(self, clip: ClipFeatures) -> Estimate:
        """Run the model over one clip in windows and merge them (weighted overlap-add)."""
        recipe, model, n, values = self.recipe, self.model.eval(), len(clip), standardised(clip, self.stats)
        weight = next(model.parameters())
        firsts = cut(n, recipe.window, recipe.hop)
        at_once = max(1, _STEPS_AT_ONCE // recipe.window)
        windows: list[tuple[int, np.ndarray]] = []
        for i in range(0, len(firsts), at_once):
            part = firsts[i : i + at_once]
            rows = [slice(first, first + recipe.window) for first in part]
            out = model(
                {m: torch.from_numpy(np.stack([values[m][r] for r in rows])).to(weight) for m in model.modalities},
                {
                    m: torch.from_numpy(np.stack([clip.present[m][r] for r in rows])).to(weight.device)
                    for m in model.modalities
                },
            )
            said = [out.targets.cpu().double().numpy()]
            if out.centre is not None and out.log_variance is not None:
                said += [out.centre.cpu().double().numpy(), (out.log_variance.cpu().double() / 2).exp().numpy()]
            raw_gates = {name: gate.cpu().double().numpy() for name, gate in out.gates.items()}
            for k, first in enumerate(part):
                gates = gates_of({name: gate[k] for name, gate in raw_gates.items()}, model.modalities)
                windows.append((first, np.column_stack([*(x[k] for x in said), *gates.values()])))
        evidence = np.any([clip.present[m] for m in model.modalities], axis=0)
        merged = np.where(evidence[:, None], overlap_add(windows, n, recipe.window - recipe.hop), np.nan)
        *values_of, of_gates = np.split(merged, len(self.targets) * np.arange(1, len(said) + 1), axis=1)
        raw = values_of[0]
        centre, deviation = values_of[1:] or (raw, np.ones_like(raw))
        if self.checkpoint.intervals is not None:
            deviation = self.checkpoint.intervals.adjusted(self.targets, deviation, clip.present)
        return Estimate(clip.grid, raw, dict(zip(gates, of_gates.T, strict=True)), centre, deviation)

    def trace(self, clip: ClipFeatures, time_s: np.ndarray) -> Trace:
        """The estimate at any times, such as the frames' own, smoothed as the checkpoint says.

        Args:
            clip: features on the common grid.
            time_s: float64 [m] seconds.
        """
        return self.read(clip, self.estimate(clip), time_s, self.checkpoint.smooth_steps)

    def read(self, clip: ClipFeatures, estimated: Estimate, time_s: np.ndarray, smooth_steps: int) -> Trace:
        """An estimate at any times, smoothed and raw.

        Args:
            clip: the features that the estimate came from.
            estimated: on the common grid.
            time_s: float64 [m] seconds.
            smooth_steps: width of the mean filter in steps; 1 is none.
        """
        present = {modality_named(m).presence: read_off_mask(p, clip.grid, time_s) for m, p in clip.present.items()}
        if clip.voice is not None:
            present["voice"] = read_off_mask(clip.voice, clip.grid, time_s)
        final, centre, deviation = self.spread(estimated, time_s, smooth_steps)
        columns = np.column_stack([estimated.raw, *estimated.gates.values()])
        read = np.ascontiguousarray(read_off(columns, clip.grid, time_s).T)
        k = len(self.targets)
        intervals = self.checkpoint.intervals
        bounds = {
            t: intervals.bounds(t, self.level, final[i], centre[i], deviation[i])
            for i, t in enumerate(self.targets)
            if intervals is not None
        }
        return Trace(
            time_s=time_s,
            targets=dict(zip(self.targets, final, strict=True)),
            raw=dict(zip(self.targets, read[:k], strict=True)),
            low={t: low for t, (low, _) in bounds.items()},
            high={t: high for t, (_, high) in bounds.items()},
            level=self.level if bounds else None,
            present=present,
            gates=dict(zip(estimated.gates, read[k:], strict=True)),
            source=clip.name,
            notes=self.notes,
            provenance=self.provenance,
        )

    def spread(self, estimated: Estimate, time_s: np.ndarray, smooth_steps: int) -> Spreads:
        """Estimate, and where labels are expected, at any times: float64 [k m] each, smoothed alike.

        Args:
            estimated: on the common grid.
            time_s: float64 [m] seconds.
            smooth_steps: width of the mean filter in steps; 1 is none.
        """
        final = finish(estimated.raw, smooth_steps)
        more = [mean_filter(x, smooth_steps) for x in (estimated.centre, estimated.deviation)]
        read = np.ascontiguousarray(read_off(np.column_stack([final, *more]), estimated.grid, time_s).T)
        return Spreads(*np.split(read, 3))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know of every estimate of this model."""
        intervals = self.checkpoint.intervals
        needed = persons_needed(self.level)
        notes = list(self.checkpoint.caveats)
        if intervals is None:
            notes.append("There are no intervals: the weights were never calibrated on people they hadn't seen.")
        elif intervals.persons < needed:
            of = "1 person" if intervals.persons == 1 else f"{intervals.persons} persons"
            notes.append(
                f"The {100 * self.level:g} % intervals were calibrated on {of}; with fewer than {needed}, they may "
                "hold for other people less often than they say."
            )
        return tuple(notes)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Where the estimates come from: version, recipe, training data, scores, features; as plain values."""
        checkpoint = self.checkpoint
        return {
            "avgate": version("avgate"),
            "recipe": to_plain(checkpoint.recipe),
            "smooth_s": self.smooth_s,
            "trained_on": self._trained_on,
            "validation": dict(checkpoint.scores),
            "features": {spec.backbone: spec.fingerprint for spec in checkpoint.features},
            "demonstration": checkpoint.demonstration,
            "interval": self._interval,
        }

    @property
    def _trained_on(self) -> dict[str, Any]:
        """What the checkpoint says of its training; of the persons, of whom there may be hundreds, only how many."""
        about = dict(self.checkpoint.trained_on)
        persons = {name: about.pop(f"{name}_groups", None) for name in ("train", "validation")}
        counts = {f"{name}_persons": len(groups) for name, groups in persons.items() if groups is not None}
        return about | counts | ({"persons": "named in the checkpoint's trained_on"} if counts else {})

    @property
    def _interval(self) -> dict[str, Any] | str:
        intervals = self.checkpoint.intervals
        if intervals is None:
            return "none: not calibrated"
        return {
            "level": self.level,
            "width": "by step" if intervals.scaled else "constant",
            "calibrated_on_persons": intervals.persons,
        }
