"""A trained model as one object: from a clip's features to a trace. Training, scores and predictions all use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avgate.core.gates import Gate, gates_of
from avgate.core.modalities import modality_named
from avgate.core.timeline import Grid, read_off, read_off_mask
from avgate.core.types import Trace
from avgate.inference.clip import ClipFeatures, standardised
from avgate.inference.smoothing import finish
from avgate.inference.windows import cut, overlap_add
from avgate.models.checkpoint import DEMONSTRATION_NOTE, Checkpoint, FeatureSpec, load_checkpoint
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
    """

    grid: Grid
    raw: np.ndarray
    gates: Mapping[Gate, np.ndarray]


class Estimator:
    """A trained model with its statistics, recipe, targets and smoothing: features in, a Trace out.

    Args:
        checkpoint: a checkpoint, its file or its run's folder; None takes the weights that come with avgate.
        model: the network with its weights, if there is one already, as in training; else it is built from the
            checkpoint.

    Attributes:
        checkpoint: what the model is, and where it comes from.
        model: the network, in eval mode whenever it estimates.

    Raises:
        CheckpointError: the file is no checkpoint of this version of avgate.
    """

    def __init__(self, checkpoint: Checkpoint | str | Path | None = None, *, model: Model | None = None):
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
            said = out.targets.cpu().double().numpy()
            raw_gates = {name: gate.cpu().double().numpy() for name, gate in out.gates.items()}
            for k, first in enumerate(part):
                gates = gates_of({name: gate[k] for name, gate in raw_gates.items()}, model.modalities)
                windows.append((first, np.column_stack([said[k], *gates.values()])))
        evidence = np.any([clip.present[m] for m in model.modalities], axis=0)
        merged = np.where(evidence[:, None], overlap_add(windows, n, recipe.window - recipe.hop), np.nan)
        raw, of_gates = np.split(merged, [len(self.targets)], axis=1)
        return Estimate(clip.grid, raw, dict(zip(gates, of_gates.T, strict=True)))

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
        final = finish(estimated.raw, smooth_steps)
        columns = np.column_stack([final, estimated.raw, *estimated.gates.values()])
        read = np.ascontiguousarray(read_off(columns, clip.grid, time_s).T)
        k = len(self.targets)
        return Trace(
            time_s=time_s,
            targets=dict(zip(self.targets, read[:k], strict=True)),
            raw=dict(zip(self.targets, read[k : 2 * k], strict=True)),
            present=present,
            gates=dict(zip(estimated.gates, read[2 * k :], strict=True)),
            source=clip.name,
            notes=(DEMONSTRATION_NOTE,) if self.checkpoint.demonstration else (),
            provenance=self.provenance,
        )

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Where the estimates come from: version, recipe, training data, scores, features; as plain values."""
        checkpoint = self.checkpoint
        return {
            "avgate": version("avgate"),
            "recipe": to_plain(checkpoint.recipe),
            "smooth_s": self.smooth_s,
            "trained_on": dict(checkpoint.trained_on),
            "validation": dict(checkpoint.scores),
            "features": {spec.backbone: spec.fingerprint for spec in checkpoint.features},
            "demonstration": checkpoint.demonstration,
        }
