"""A trained model as one object: from a clip's features to a trace. Training, scores and predictions all use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from avgate.core.errors import CheckpointError
from avgate.core.gates import Gate, gates_of
from avgate.core.modalities import modality_named
from avgate.core.places import Place
from avgate.core.timeline import Grid, read_cell, read_off, read_off_mask
from avgate.core.types import Trace
from avgate.features.base import Backbone
from avgate.features.registry import build_backbones, modality_of
from avgate.inference.clip import ClipFeatures, standardised
from avgate.inference.smoothing import finish
from avgate.inference.windows import cut, overlap_add
from avgate.models.checkpoint import Checkpoint, FeatureSpec, load_checkpoint
from avgate.models.intervals import DEFAULT_LEVEL, check_level, persons_needed
from avgate.models.network import Model, ModelOutput
from avgate.models.recipe import to_plain

if TYPE_CHECKING:
    from avgate.inference.stepper import StepProgram

_STEPS_AT_ONCE = 4096
"""Steps that go through the model together, in windows or in a row, so that long ones don't fill the memory."""


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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute in one thread: several add up in another order, so that last digits would tell of the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Estimator:
    """A trained model with its statistics, recipe, targets and smoothing: features in, a Trace out.

    Args:
        checkpoint: a checkpoint, its file or its run's folder, or the address of either; None takes the weights that
            come with avgate.
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
        checkpoint: Checkpoint | str | Place | None = None,
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

    @property
    def pause_s(self) -> float:
        """Seconds of a pause after which estimates begin anew: no window, and no filter over them, sees both sides."""
        return self.recipe.window / self.recipe.label_rate + self.smooth_s

    def extractors(self, of: str, where: object = None) -> tuple[Backbone, ...]:
        """New extractors of the features that the model reads.

        Args:
            of: what they are to be made of, for messages.
            where: the checkpoint's file, for messages.

        Raises:
            CheckpointError: its features come with their corpus.
        """
        names = [f.backbone for f in self.checkpoint.features]
        brought = [name for name in names if not modality_of(name)]
        if brought:
            what = f"its features ({', '.join(brought)}) come with their corpus; avgate can't make them of {of}"
            raise CheckpointError(what, where=where, hint="take a checkpoint that was trained on extracted features")
        return build_backbones(names, self.recipe.label_rate)

    def check(self, features: Sequence[FeatureSpec], where: object) -> None:
        """Refuse features that the model wasn't trained on; see Checkpoint.check."""
        self.checkpoint.check(features, where)

    @property
    def causal(self) -> bool:
        """Whether no estimate depends on what comes later, so that the model can be used live (see Stepper)."""
        return self.model.causal

    @cached_property
    def step_program(self) -> StepProgram:
        """A causal model as a program of one step; made once, and shared by all streams of this Estimator."""
        from avgate.inference.stepper import StepProgram  # which takes an Estimator

        return StepProgram(self)

    @torch.no_grad()
    def estimate(self, clip: ClipFeatures) -> Estimate:
        """Run the model over one clip: in windows that are merged (weighted overlap-add), or a causal one through all.

        Windows of a causal model would each begin without a memory, as no stream does.
        """
        self.model.eval()
        with _one_thread():
            columns, gates = self._in_parts(clip) if self.causal else self._in_windows(clip)
        evidence = np.any([clip.present[m] for m in self.model.modalities], axis=0)
        columns = np.where(evidence[:, None], columns, np.nan)
        said, of_gates = np.split(columns, [columns.shape[1] - len(gates)], axis=1)
        raw, *spread = np.split(said, said.shape[1] // len(self.targets), axis=1)
        centre, deviation = spread or (raw, np.ones_like(raw))
        if self.checkpoint.intervals is not None:
            deviation = self.checkpoint.intervals.adjusted(self.targets, deviation, clip.present)
        return Estimate(clip.grid, raw, dict(zip(gates, of_gates.T, strict=True)), centre, deviation)

    def _columns(self, out: ModelOutput) -> tuple[list[np.ndarray], list[Gate]]:
        """What the model says of each sequence, float64 [L c], and which gates the last columns are.

        The columns before them are the targets and, with a spread head, their centres and their deviations.
        """
        said = [out.targets]
        if out.centre is not None and out.log_variance is not None:
            said += [out.centre, (out.log_variance.double() / 2).exp()]
        plain = [x.cpu().double().numpy() for x in said]
        raw_gates = {name: gate.cpu().double().numpy() for name, gate in out.gates.items()}
        sequences, gates = [], dict[Gate, np.ndarray]()
        for i in range(len(out.targets)):
            gates = gates_of({name: gate[i] for name, gate in raw_gates.items()}, self.model.modalities)
            sequences.append(np.column_stack([*(x[i] for x in plain), *gates.values()]))
        return sequences, [*gates]

    def _in_windows(self, clip: ClipFeatures) -> tuple[np.ndarray, list[Gate]]:
        recipe, n, values = self.recipe, len(clip), standardised(clip, self.stats)
        firsts = cut(n, recipe.window, recipe.hop)
        at_once = max(1, _STEPS_AT_ONCE // recipe.window)
        windows: list[tuple[int, np.ndarray]] = []
        for i in range(0, len(firsts), at_once):
            part = firsts[i : i + at_once]
            rows = [slice(first, first + recipe.window) for first in part]
            out = self.model(
                {m: self._tensor(np.stack([values[m][r] for r in rows])) for m in self.model.modalities},
                {m: self._tensor(np.stack([clip.present[m][r] for r in rows])) for m in self.model.modalities},
            )
            found, gates = self._columns(out)
            windows += zip(part, found, strict=True)
        return overlap_add(windows, n, recipe.window - recipe.hop), gates

    def _in_parts(self, clip: ClipFeatures) -> tuple[np.ndarray, list[Gate]]:
        values, state, parts = standardised(clip, self.stats), self.model.blank_state(), []
        for first in range(0, len(clip), _STEPS_AT_ONCE):
            rows = slice(first, first + _STEPS_AT_ONCE)
            state, out = self.model.advance(
                state,
                {m: self._tensor(values[m][None, rows]) for m in self.model.modalities},
                {m: self._tensor(clip.present[m][None, rows]) for m in self.model.modalities},
            )
            found, gates = self._columns(out)
            parts += found
        return np.concatenate(parts), gates

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        """Where the model is, and numbers as its weights are."""
        weight, given = next(self.model.parameters()), torch.from_numpy(values)
        return given.to(weight) if given.is_floating_point() else given.to(weight.device)

    def trace(self, clip: ClipFeatures, time_s: np.ndarray) -> Trace:
        """The estimate at any times, such as the frames' own, smoothed as the checkpoint says.

        Args:
            clip: features on the common grid.
            time_s: float64 [m] seconds.
        """
        return self.read(clip, self.estimate(clip), time_s, self.checkpoint.smooth_steps)

    def read(self, clip: ClipFeatures, estimated: Estimate, time_s: np.ndarray, smooth_steps: int) -> Trace:
        """An estimate at any times, smoothed and raw.

        Between two steps it is interpolated. Of a causal model, each time has what its own step says: the next one
        isn't known yet in a stream.

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
        read = self._at(columns, clip.grid, time_s)
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
        columns = np.column_stack([estimated.raw, estimated.centre, estimated.deviation])
        smooth = finish(columns, smooth_steps, len(self.targets), one_sided=self.causal)
        return Spreads(*np.split(self._at(smooth, estimated.grid, time_s), 3))

    def _at(self, columns: np.ndarray, grid: Grid, time_s: np.ndarray) -> np.ndarray:
        """Columns [n c] on a grid at any times: [c m]."""
        return np.ascontiguousarray((read_cell if self.causal else read_off)(columns, grid, time_s).T)

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
