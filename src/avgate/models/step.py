"""A causal model as one function of a step: (state, features, presence) -> (state, estimate)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from avgate.models.encoders import MaskedConv
from avgate.models.network import Model, ModelOutput


class StepModel(nn.Module):
    """A causal model for one step at a time. It has a copy of the weights, for estimates alone.

    Every step takes the same time and memory, however long the stream. Its output is that of Model.forward over the
    whole sequence, up to rounding; of steps where nothing is present, too.

    Args:
        model: a causal Model.

    Raises:
        ValueError: the model isn't causal.
    """

    def __init__(self, model: Model):
        super().__init__()
        if not model.causal:
            raise ValueError("this model sees later steps, too: it can't go step by step")
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        for module in self.model.modules():
            if isinstance(module, MaskedConv):
                module.fold()

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads."""
        return self.model.modalities

    def blank_state(self, batch: int = 1) -> dict[str, Tensor]:
        """What is remembered before the first step: name -> [b ...], all 0."""
        return self.model.blank_state(batch)

    def forward(
        self, state: Mapping[str, Tensor], features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], ModelOutput]:
        """Take one step.

        Args:
            state: what is remembered; it isn't changed.
            features: modality -> [b d], standardised; what stands where it is absent is never read.
            present: modality -> bool [b].

        Returns:
            What is remembered now, and the output: targets [b k], gates [b n], centre and log-variance [b k].
        """
        after, out = self.model.advance(
            state,
            {m: features[m][:, None] for m in self.modalities},
            {m: present[m][:, None] for m in self.modalities},
        )
        gates = {name: gate[:, 0] for name, gate in out.gates.items()}
        spread = [None if x is None else x[:, 0] for x in (out.centre, out.log_variance)]
        return after, ModelOutput(out.targets[:, 0], gates, {}, *spread)


class FlatStep(nn.Module):
    """A StepModel whose arguments and results are tensors in a row, as programs have them.

    Arguments: features of every modality [b d], presence of every modality [b], and what is remembered [b ...].
    Results: the output's parts, see `outputs`, and what is remembered then.

    Attributes:
        outputs: names of the output's parts: targets; centre and log_variance with a spread head; and the gates.
        names: of what is remembered.
    """

    def __init__(self, model: StepModel, dims: Mapping[str, int]):
        super().__init__()
        self.model, self.names = model, tuple(model.blank_state())
        self._example = self._given(dims)
        self.outputs = tuple(_parts(self._step(self._example)[1]))

    def _given(self, dims: Mapping[str, int]) -> tuple[Tensor, ...]:
        like, modalities = next(self.model.parameters()), self.model.modalities
        features = [torch.zeros(1, dims[m], dtype=like.dtype, device=like.device) for m in modalities]
        present = [torch.ones(1, dtype=torch.bool, device=like.device) for _ in modalities]
        return (*features, *present, *self.model.blank_state().values())

    def _step(self, given: Sequence[Tensor]) -> tuple[dict[str, Tensor], ModelOutput]:
        m = self.model.modalities
        features, present, state = given[: len(m)], given[len(m) : 2 * len(m)], given[2 * len(m) :]
        named = (
            dict(zip(names, part, strict=True)) for names, part in ((self.names, state), (m, features), (m, present))
        )
        return self.model(*named)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        state, out = self._step(given)
        return (*_parts(out).values(), *(state[name] for name in self.names))

    def compiled(self) -> Callable[..., tuple[Tensor, ...]]:
        """The same as a program for b = 1, in a third of the time: the rest is Python's. Threads can share it."""
        with torch.no_grad(), warnings.catch_warnings():
            # Shapes are constants of the program, which is meant. torch.jit is deprecated, but what follows it either
            # needs a C++ compiler on the user's machine (torch.compile) or keeps Python's time (torch.export).
            warnings.simplefilter("ignore")
            program: Callable[..., tuple[Tensor, ...]] = torch.jit.freeze(
                torch.jit.trace(self.eval(), self._example, check_trace=False)
            )
        return program


def _parts(out: ModelOutput) -> dict[str, Tensor]:
    """The output's parts that there are, by name."""
    spread = {"centre": out.centre, "log_variance": out.log_variance}
    return {"targets": out.targets, **{name: x for name, x in spread.items() if x is not None}, **out.gates}


def output_of(parts: Mapping[str, Tensor]) -> ModelOutput:
    """The output that these parts are of; the inverse of how FlatStep lists them."""
    gates = {name: x for name, x in parts.items() if name not in ("targets", "centre", "log_variance")}
    return ModelOutput(parts["targets"], gates, {}, parts.get("centre"), parts.get("log_variance"))
