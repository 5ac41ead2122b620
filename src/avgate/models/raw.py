"""A checkpoint's model from raw features, with statistics and calibration inside: for files and for live use."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from avgate.core.gates import Gate, gates_of
from avgate.models.checkpoint import Checkpoint
from avgate.models.encoders import MaskedConv
from avgate.models.network import ModelOutput
from avgate.models.step import StepModel

_NEXT = "next_state."
"""What the name of a state's next value begins with."""


class RawModel(nn.Module):
    """A model over whole sequences, from raw features, with the output of an Estimate.

    Absent steps of the features are never read; where no modality is present, the output is NaN.

    Attributes:
        modalities: which it reads, in order.
        gates: the columns of the output `gates`; none for a model without gates, which has no such output.
    """

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.model = checkpoint.build()
        for module in self.model.modules():
            if isinstance(module, MaskedConv):
                module.fold()
        self.modalities = self.model.modalities
        self.gates = self._gates(checkpoint)
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

    def _gates(self, checkpoint: Checkpoint) -> tuple[Gate, ...]:
        with torch.no_grad():
            blank = {m: torch.zeros(1, 1, len(checkpoint.stats[m].mean)) for m in self.modalities}
            out = self.model(blank, {m: torch.ones(1, 1, dtype=torch.bool) for m in self.modalities})
        return tuple(gates_of(out.gates, self.modalities))

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Targets, centre, deviation [b L k] and gates [b L g], from raw features [b L d] and presence [b L]."""
        return self.told(self.model(self.standardised(features), present), present)

    def standardised(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As FeatureStats.fill, but for absent steps, which the model never reads."""
        found = {}
        for m in self.modalities:
            low, high, mean, std = (self.get_buffer(f"{m}_{name}") for name in ("low", "high", "mean", "std"))
            found[m] = (features[m].clamp(low, high) - mean) / std
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


class RawStep(RawModel):
    """A causal model over one step of each sequence, otherwise as RawModel. What it remembers goes in and comes out."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__(checkpoint)
        self.step = StepModel(self.model)
        del self.model

    def forward(  # type: ignore[override]  # the state goes in, too
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Targets, centre, deviation [b k] and gates [b g], and the state's next values, from features [b d]."""
        after, out = self.step(state, self.standardised(features), present)
        return self.told(out, present) | {f"{_NEXT}{name}": after[name] for name in state}


class FlatStep(nn.Module):
    """A RawStep for one sequence, whose arguments and results are tensors in a row, as compiled programs have them.

    Arguments: features [d] of every modality, presence [1] of every modality, and what is remembered [1 ...].
    Results: what a RawStep gives, side by side [n], and what is remembered then.

    Attributes:
        modalities: which.
        names: of what is remembered.
        columns: name of what a RawStep gives -> where it lies in the first result.
    """

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.raw = RawStep(checkpoint).eval()
        blank = self.raw.step.blank_state()
        self.modalities, self.names = self.raw.modalities, tuple(blank)
        features = [torch.zeros(len(checkpoint.stats[m].mean)) for m in self.modalities]
        present = [torch.ones(1, dtype=torch.bool) for _ in self.modalities]
        self._example = (*features, *present, *blank.values())
        with torch.no_grad():
            said, _ = self._named(self._example)
        ends = [0, *accumulate(x.shape[1] for x in said.values())]
        self.columns = {name: slice(*between) for name, between in zip(said, pairwise(ends), strict=True)}

    def _named(self, given: Sequence[Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        m = len(self.modalities)
        features = {name: x.unsqueeze(0) for name, x in zip(self.modalities, given[:m], strict=True)}
        present = dict(zip(self.modalities, given[m : 2 * m], strict=True))
        said = self.raw(features, present, dict(zip(self.names, given[2 * m :], strict=True)))
        after = [said.pop(f"{_NEXT}{name}") for name in self.names]
        return said, after

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        said, after = self._named(given)
        return torch.cat([*said.values()], dim=1).squeeze(0), *after

    def blank(self) -> tuple[Tensor, ...]:
        """What is remembered before the first step."""
        return self._example[2 * len(self.modalities) :]

    def compiled(self) -> Callable[..., tuple[Tensor, ...]]:
        """The same as a program, in a third of the time: the rest is Python's. Threads can share it."""
        with torch.no_grad(), warnings.catch_warnings():
            # Shapes are constants of the program, which is meant. torch.jit is deprecated, but what follows it either
            # needs a C++ compiler on the user's machine (torch.compile) or keeps Python's time (torch.export).
            warnings.simplefilter("ignore")
            program = torch.jit.optimize_for_inference(torch.jit.trace(self.eval(), self._example, check_trace=False))
        run: Callable[..., tuple[Tensor, ...]] = program.forward
        return run
