"""How far estimates may be off: a head for where labels lie on average, and how much they vary about that."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

LOWEST, HIGHEST = -7.0, 1.0
"""Range of the log-variance of targets in [-1, 1]: deviations from 0.03 to 1.65."""


class Spread(nn.Module):
    """Mean and log-variance of the labels, per step and target.

        h = ReLU( concat( N(Z), X, X^2, P ) W_1 + b )                   [b L hidden]
        c = X + h W_c + b_c                                             [b L k]
        s = LOWEST + (HIGHEST - LOWEST) sigmoid( h W_s + b_s )          [b L k]

    X [b L k] are the estimates, Z [b L d] the fused features, N is layer normalisation, and P holds each modality's
    presence (0 or 1) and reliability in [0, 1] (its presence where the fusion judges none). The CCC loss makes X vary
    as much as labels do, so that large estimates are too large on average: c is X without that.

    No gradient goes back from here: the rest of the model is trained as if this head weren't there.

    Args:
        width: d.
        modalities: number of modalities.
        targets: k.
        hidden: features between both layers.
    """

    def __init__(self, width: int, modalities: int, targets: int, hidden: int = 32):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width + 2 * targets + 2 * modalities, hidden)
        self.last = nn.Linear(hidden, 2 * targets)

    def forward(
        self, fused: Tensor, estimate: Tensor, gates: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return c and s, from a FusionOutput's parts, the estimates and each modality's presence [b L]."""
        there = {m: here[..., None].to(fused) for m, here in present.items()}
        relied = [gates[name].detach() if (name := f"reliability/{m}") in gates else here for m, here in there.items()]
        x = estimate.detach()
        hidden = torch.relu(self.first(torch.cat([self.norm(fused.detach()), x, x * x, *there.values(), *relied], -1)))
        moved, log_variance = self.last(hidden).chunk(2, dim=-1)
        return x + moved, LOWEST + (HIGHEST - LOWEST) * torch.sigmoid(log_variance)
