"""A trained model for live use: one step of features in, one estimate out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch

from avgate.core.errors import CheckpointError
from avgate.core.gates import Gate
from avgate.core.state import Stateful
from avgate.inference.estimator import Estimator
from avgate.inference.smoothing import RunningMean
from avgate.models.intervals import ends_of_one
from avgate.models.raw import FlatStep

_HERE = {here: torch.tensor([here]) for here in (False, True)}
"""Presence in one sequence, as programs take it."""


@dataclass(frozen=True)
class StepEstimate:
    """What a model says of one step; NaN where nothing is present.

    Attributes:
        targets: name -> estimate in [-1, 1], smoothed.
        raw: the same before smoothing.
        low: lower end of each target's interval; empty for models without intervals.
        high: upper end.
        gates: gate -> value in [0, 1].
    """

    targets: Mapping[str, float]
    raw: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]
    gates: Mapping[Gate, float]

    @property
    def unknown(self) -> StepEstimate:
        """The same where nothing is known."""
        nothing = {f.name: dict.fromkeys(getattr(self, f.name), math.nan) for f in fields(self)}
        return StepEstimate(**nothing)


class StepProgram:
    """A causal Estimator's model as a program of one step, on the CPU; all streams of a process can share it.

    Args:
        estimator: with a causal model.

    Attributes:
        columns: name of an output of a RawStep -> where it lies among all of them.
        widths: see Intervals.width, one for each target; None for models without intervals.

    Raises:
        CheckpointError: the model sees later steps.
    """

    def __init__(self, estimator: Estimator):
        if not estimator.causal:
            what = "these weights need a whole recording: they look at what comes later"
            hint = (
                "leave --checkpoint out or give --checkpoint live; avgate predict takes these weights; "
                "or train with causal encoders and time_mixing=decay"
            )
            raise CheckpointError(what, hint=hint)
        self.estimator = estimator
        step = FlatStep(estimator.checkpoint)
        self.modalities, self.names, self.gates = step.modalities, step.names, step.raw.gates
        self.blank = step.blank()
        self.columns, self._program = step.columns, step.compiled()
        intervals = estimator.checkpoint.intervals
        self.widths = None if intervals is None else [intervals.width(t, estimator.level) for t in estimator.targets]

    def __call__(
        self, state: tuple[torch.Tensor, ...], values: Mapping[str, np.ndarray], present: Mapping[str, bool]
    ) -> tuple[tuple[torch.Tensor, ...], list[float]]:
        """The state after a step, and all outputs; arguments as for Stepper."""
        features = [torch.from_numpy(values[m]) for m in self.modalities]
        here = [_HERE[present[m]] for m in self.modalities]
        with torch.inference_mode():
            said, *after = self._program(*features, *here, *state)
        return tuple(after), said.tolist()


class Stepper(Stateful):
    """One stream of steps through a model: its state, statistics, smoothing and intervals.

    Every step takes the same time and memory, however long the stream. What it says is what the Estimator says of the
    whole recording, up to rounding.

    Args:
        program: the model.
    """

    STATE = ("_memory", "_mean")

    def __init__(self, program: StepProgram):
        self._program = program
        estimator = program.estimator
        self._mean = RunningMean(estimator.checkpoint.smooth_steps, len(estimator.targets))
        self._state = program.blank

    @property
    def _memory(self) -> dict[str, np.ndarray]:
        """What the model remembers, for Stateful."""
        return {name: x.numpy() for name, x in zip(self._program.names, self._state, strict=True)}

    @_memory.setter
    def _memory(self, memory: Mapping[str, np.ndarray]) -> None:
        names, blank = self._program.names, self._program.blank
        if set(memory) != set(names) or any(memory[n].shape != x.shape for n, x in zip(names, blank, strict=True)):
            raise ValueError("this is the state of a stream with other weights")
        self._state = tuple(torch.from_numpy(memory[name]) for name in names)

    def __call__(self, values: Mapping[str, np.ndarray], present: Mapping[str, bool]) -> StepEstimate:
        """Take the next step.

        Args:
            values: modality -> float32 [d], as extracted; what stands where it is absent is never read.
            present: modality -> whether it is present.
        """
        program = self._program
        self._state, out = program(self._state, values, present)
        targets, columns = program.estimator.targets, program.columns
        raw, k = out[columns["targets"]], len(targets)
        # Targets, centres and deviations stand first and in this order; without a spread head, there are but targets.
        smooth = self._mean(out[: 3 * k] if "centre" in columns else raw)
        final = smooth[:k]
        low: dict[str, float] = {}
        high: dict[str, float] = {}
        if program.widths is not None:
            centre, deviation = (smooth[k : 2 * k], smooth[2 * k :]) if "centre" in columns else (final, [1.0] * k)
            for i, target in enumerate(targets):
                low[target], high[target] = ends_of_one(final[i], centre[i], program.widths[i] * deviation[i])
        gates = out[columns["gates"]] if program.gates else []
        return StepEstimate(
            dict(zip(targets, final, strict=True)),
            dict(zip(targets, raw, strict=True)),
            low,
            high,
            dict(zip(program.gates, gates, strict=True)),
        )

    def begin_anew(self) -> None:
        """Forget what was: after a long pause, and at the beginning of another stream."""
        self._state = self._program.blank
        self._mean.clear()
