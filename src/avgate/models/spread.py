"""How far estimates may be off: a head for the log-variance of each target at each step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

LOWEST, HIGHEST = -7.0, 1.0
"""Range of the log-variance of targets in [-1, 1]: deviations from 0.03 to 1.65."""


class Spread(nn.Module):
    """Log-variance per step and target.

        s = LOWEST + (HIGHEST - LOWEST) sigmoid( ReLU( N(Z) W_1 + P W_2 + b ) W_3 + c )      [b L k]

    Z [b L d] are the fused features, N is layer normalisation, and P holds each modality's presence (0 or 1) and
    reliability in [0, 1] (its presence where the fusion judges none). No gradient goes back from here: the rest of the
    model is trained as if this head weren't there.

    Args:
        width: d.
        modalities: number of modalities.
        targets: k.
        hidden: features between both layers.
    """

    def __init__(self, width: int, modalities: int, targets: int, hidden: int = 32):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width + 2 * modalities, hidden)
        self.last = nn.Linear(hidden, targets)

    def forward(self, fused: Tensor, gates: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Log-variance [b L k], from a FusionOutput's parts and each modality's presence [b L]."""
        there = {m: here[..., None].to(fused) for m, here in present.items()}
        relied = [gates.get(f"reliability/{m}", here) for m, here in there.items()]
        seen = torch.cat([self.norm(fused.detach()), *there.values(), *(r.detach() for r in relied)], dim=-1)
        return LOWEST + (HIGHEST - LOWEST) * torch.sigmoid(self.last(torch.relu(self.first(seen))))
