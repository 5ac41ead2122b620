"""A model as a program: raw features in; targets, centre, deviation and gates out. Statistics are inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from avgate.apps.export.hush import hushed
from avgate.core.errors import UsageError
from avgate.core.gates import gates_of
from avgate.models.checkpoint import Checkpoint
from avgate.models.encoders import MaskedConv, TcnConfig
from avgate.models.network import ModelOutput
from avgate.models.step import StepModel

Form = Literal["window", "step"]

_BATCH, _STEPS = 3, 11
"""Of the example that a program is recorded from: sizes that few other things in a model have."""


@dataclass(frozen=True)
class Program:
    """A recorded program.

    Attributes:
        form: `window`, whole sequences [b L ...]; `step`, one step of each sequence [b ...].
        recorded: what torch.export recorded.
        parts: what goes in, in order: the arguments of the recorded program, each part -> name in a file.
        outputs: names of what comes out, in order, but for what is remembered.
        state: what a step remembers: name of its input -> shape without the batch. Its output has `next_` before it.
        longest: the most steps that a sequence can have; None where any number will do.
        fixed: whether all sequences must have that many.
    """

    form: Form
    recorded: ExportedProgram
    parts: tuple[Mapping[str, str], ...]
    outputs: tuple[str, ...]
    state: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    longest: int | None = None
    fixed: bool = False

    @property
    def inputs(self) -> list[str]:
        """Names of all that goes in, in order."""
        return [name for part in self.parts for name in part.values()]

    @property
    def written(self) -> list[str]:
        """Names of all that comes out, in order."""
        return [*self.outputs, *(f"next_{name}" for name in self.state)]

    def takes(self, steps: int) -> bool:
        """Whether it takes sequences of that many steps."""
        return self.longest is None or (steps == self.longest if self.fixed else steps <= self.longest)


class Whole(nn.Module):
    """A model over whole sequences, from raw features, with the output of an Estimate.

    Absent steps of the features are never read; where no modality is present, the output is NaN.
    """

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.model = checkpoint.build()
        for module in self.model.modules():
            if isinstance(module, MaskedConv):
                module.fold()
        self.modalities = self.model.modalities
        for m in self.modalities:
            for name, values in vars(checkpoint.stats[m]).items():
                self.register_buffer(f"{m}_{name}", torch.from_numpy(values))
        power, lost = torch.ones(len(checkpoint.targets)), torch.ones(len(self.modalities), len(checkpoint.targets))
        if checkpoint.intervals is not None:
            for k, target in enumerate(checkpoint.targets):
                power[k] = checkpoint.intervals.power.get(target, 1.0)
                factors = checkpoint.intervals.lost.get(target, {})
                lost[:, k] = torch.tensor([factors.get(m, 1.0) for m in self.modalities])
        self.register_buffer("power", power)
        self.register_buffer("lost", lost)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Targets, centre, deviation [b L k] and gates [b L g], from raw features [b L d] and presence [b L]."""
        return self.told(self.model(self.standardised(features, present), present), present)

    def standardised(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As FeatureStats.fill; absent steps become 0 whatever stands there."""
        found = {}
        for m in self.modalities:
            low, high, mean, std = (self.get_buffer(f"{m}_{name}") for name in ("low", "high", "mean", "std"))
            x = torch.where(present[m][..., None], features[m], mean)
            found[m] = (torch.minimum(torch.maximum(x, low), high) - mean) / std
        return found

    def told(self, out: ModelOutput, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a program gives, by name; without a spread head, no centre and no deviation."""
        here = {m: present[m][..., None] for m in self.modalities}
        found = {"targets": out.targets}
        if out.centre is not None and out.log_variance is not None:
            # As Intervals.adjusted has it.
            power, lost = self.get_buffer("power"), self.get_buffer("lost")
            wider = torch.stack([torch.where(x, 1.0, factor) for x, factor in zip(here.values(), lost, strict=True)])
            deviation = torch.exp(out.log_variance / 2) ** power * wider.amax(0)
            found |= {"centre": out.centre, "deviation": deviation}
        gates = gates_of(out.gates, self.modalities)
        if gates:
            found["gates"] = torch.stack(list(gates.values()), dim=-1)
        known = torch.stack(list(here.values())).any(0)
        return {name: torch.where(known, x, torch.nan) for name, x in found.items()}


class Step(Whole):
    """A causal model over one step of each sequence, otherwise as Whole. What it remembers goes in and comes out."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__(checkpoint)
        self.step = StepModel(self.model)
        del self.model

    def forward(  # type: ignore[override]  # the state goes in, too
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Targets, centre, deviation [b k] and gates [b g], and the state's next values, from features [b d]."""
        after, out = self.step(state, self.standardised(features, present), present)
        return self.told(out, present) | {f"next_state.{name}": after[name] for name in state}


def record_window(checkpoint: Checkpoint) -> Program:
    """The program over whole sequences: any batch size; which lengths, see Model.forward.

    Raises:
        UsageError: a pretrained checkpoint was trained with the model.
    """
    refuse_unexportable(checkpoint)
    model = Whole(checkpoint).eval()
    recipe = checkpoint.recipe.model
    fixed = not all(isinstance(recipe.encoders.get(m, TcnConfig()), TcnConfig) for m in model.modalities)
    bound = fixed or getattr(recipe.fusion, "time_mixing", None) == "window"
    longest = checkpoint.recipe.window if bound else None
    fixed = fixed or longest == 1
    steps = longest if fixed and longest else min(_STEPS, longest or _STEPS)
    features = {m: torch.zeros(_BATCH, steps, len(checkpoint.stats[m].mean)) for m in model.modalities}
    present = {m: torch.ones(_BATCH, steps, dtype=torch.bool) for m in model.modalities}
    free = {0: Dim("batch")} | ({} if fixed else {1: Dim("steps", max=longest)})
    recorded, outputs = _record(model, (features, present), free)
    return Program("window", recorded, _named(model.modalities), outputs, longest=longest, fixed=fixed)


def record_step(checkpoint: Checkpoint) -> Program:
    """The program over one step of each sequence, of a causal model: any batch size."""
    refuse_unexportable(checkpoint)
    model = Step(checkpoint).eval()
    features = {m: torch.zeros(_BATCH, len(checkpoint.stats[m].mean)) for m in model.modalities}
    present = {m: torch.ones(_BATCH, dtype=torch.bool) for m in model.modalities}
    state = model.step.blank_state(_BATCH)
    recorded, outputs = _record(model, (features, present, state), {0: Dim("batch")})
    parts = (*_named(model.modalities), {name: f"state.{name}" for name in state})
    shapes = {f"state.{name}": tuple(x.shape[1:]) for name, x in state.items()}
    return Program("step", recorded, parts, tuple(n for n in outputs if not n.startswith("next_")), shapes)


def _named(modalities: Sequence[str]) -> tuple[Mapping[str, str], ...]:
    """What features and presence are called."""
    return {m: m for m in modalities}, {m: f"{m}_present" for m in modalities}


def refuse_unexportable(checkpoint: Checkpoint) -> None:
    """UsageError for a model that reads images or sound by a checkpoint that was trained with it."""
    tuned = ", ".join(checkpoint.recipe.model.finetune)
    if tuned:
        what = f"a pretrained checkpoint was trained with this model ({tuned}), and such models can't be exported"
        raise UsageError(what, hint="train with a backbone that extracts features")


def _record(
    model: nn.Module, example: tuple[Mapping[str, Tensor], ...], free: Mapping[int, Any]
) -> tuple[ExportedProgram, tuple[str, ...]]:
    """The program of a model, and the names of its outputs; `free` are the dimensions that may be of any size."""
    shapes = tuple({name: dict(free) for name in part} for part in example)
    with torch.no_grad(), hushed():
        outputs = tuple(model(*example))
        recorded = torch.export.export(model, example, dynamic_shapes=shapes)
    for node in recorded.graph.nodes:  # which lines of whose code it came from is nobody's business, and half the file
        node.meta.pop("stack_trace", None)
    return recorded, outputs
