"""A causal model as one function of a step: (state, features, presence) -> (state, estimate)."""

from __future__ import annotations

import copy
from collections.abc import Mapping

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
            {m: features[m].unsqueeze(1) for m in self.modalities},
            {m: present[m].unsqueeze(1) for m in self.modalities},
        )
        gates = {name: gate.squeeze(1) for name, gate in out.gates.items()}
        spread = [None if x is None else x.squeeze(1) for x in (out.centre, out.log_variance)]
        return after, ModelOutput(out.targets.squeeze(1), gates, {}, *spread)
