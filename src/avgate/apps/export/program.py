"""Recording a model as a program, for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from avgate.apps.export.hush import hushed
from avgate.core.errors import UsageError
from avgate.models.checkpoint import Checkpoint
from avgate.models.encoders import TcnConfig
from avgate.models.raw import RawModel, RawStep

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
        gates: names of the columns of the output `gates`; none for a model without gates.
        state: what a step remembers: name of its input -> shape without the batch. Its output has `next_` before it.
        longest: the most steps that a sequence can have; None where any number will do.
        fixed: whether all sequences must have that many.
    """

    form: Form
    recorded: ExportedProgram
    parts: tuple[Mapping[str, str], ...]
    outputs: tuple[str, ...]
    gates: tuple[str, ...]
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


def record_window(checkpoint: Checkpoint) -> Program:
    """The program over whole sequences: any batch size; which lengths, see Model.forward.

    Raises:
        UsageError: a pretrained checkpoint was trained with the model.
    """
    refuse_unexportable(checkpoint)
    model = RawModel(checkpoint).eval()
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
    return Program("window", recorded, _named(model.modalities), outputs, _gates(model), longest=longest, fixed=fixed)


def record_step(checkpoint: Checkpoint) -> Program:
    """The program over one step of each sequence, of a causal model: any batch size."""
    refuse_unexportable(checkpoint)
    model = RawStep(checkpoint).eval()
    features = {m: torch.zeros(_BATCH, len(checkpoint.stats[m].mean)) for m in model.modalities}
    present = {m: torch.ones(_BATCH, dtype=torch.bool) for m in model.modalities}
    state = model.step.blank_state(_BATCH)
    recorded, outputs = _record(model, (features, present, state), {0: Dim("batch")})
    parts = (*_named(model.modalities), {name: f"state.{name}" for name in state})
    shapes = {f"state.{name}": tuple(x.shape[1:]) for name, x in state.items()}
    told = tuple(name for name in outputs if not name.startswith("next_"))
    return Program("step", recorded, parts, told, _gates(model), shapes)


def _gates(model: RawModel) -> tuple[str, ...]:
    return tuple(gate.name for gate in model.gates)


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
