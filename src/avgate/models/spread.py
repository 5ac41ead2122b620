"""How far estimates may be off: a head for where labels lie on average, and how much they vary about that."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

LOWEST, HIGHEST = -7.0, 1.0
"""Range of the log-variance of targets in [-1, 1]: deviations from 0.03 to 1.65."""


class Spread(nn.Module):
    """Mean and log-variance of the labels, per step and target.

        c = X + ReLU( V W_1 + b_1 ) W_2 + b_2                                                       [b L k]
        s = LOWEST + (HIGHEST - LOWEST) sigmoid( ReLU( concat( N(Z), V ) W_3 + b_3 ) W_4 + b_4 )    [b L k]

    X [b L k] are the estimates, Z [b L d] the fused features, N is layer normalisation. V is the concatenation of X,
    X^2, and each modality's presence (0 or 1) and reliability in [0, 1] (its presence where the fusion judges none).
    The CCC loss makes X vary as much as labels do, so that large estimates are too large on average: c is X without
    that. It doesn't read Z, from which it would learn the training persons by heart.

    No gradient goes back from here: the rest of the model is trained as if this head weren't there.

    Args:
        width: d.
        modalities: number of modalities.
        targets: k.
    """

    def __init__(self, width: int, modalities: int, targets: int):
        super().__init__()
        seen = 2 * targets + 2 * modalities
        self.norm = nn.LayerNorm(width)
        self.centre = nn.Sequential(nn.Linear(seen, 8), nn.ReLU(), nn.Linear(8, targets))
        self.variance = nn.Sequential(nn.Linear(width + seen, 32), nn.ReLU(), nn.Linear(32, targets))

    def forward(
        self, fused: Tensor, estimate: Tensor, gates: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return c and s, from a FusionOutput's parts, the estimates and each modality's presence [b L]."""
        there = {m: here[..., None].to(fused) for m, here in present.items()}
        relied = [gates[name].detach() if (name := f"reliability/{m}") in gates else here for m, here in there.items()]
        x = estimate.detach()
        seen = torch.cat([x, x * x, *there.values(), *relied], dim=-1)
        spread = self.variance(torch.cat([self.norm(fused.detach()), seen], dim=-1))
        return x + self.centre(seen), LOWEST + (HIGHEST - LOWEST) * torch.sigmoid(spread)
