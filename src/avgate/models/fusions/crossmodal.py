"""Cross-modal transformer: every modality attends to every other one over the whole window.

Tsai, Bai, Liang, Kolter, Morency, Salakhutdinov: "Multimodal Transformer for Unaligned Multimodal Language Sequences",
ACL 2019, arXiv 1906.00295.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import ClassVar

import torch
from torch import Tensor, nn

from avgate.models.dropout import Dropout
from avgate.models.fusions.base import Fusion, FusionOutput
from avgate.models.fusions.blocks import attend


@dataclass(frozen=True)
class CrossmodalConfig:
    """Settings of crossmodal; smaller than the published ones, because its inputs are encoded already.

    Args:
        layers: N, layers of each pair's transformer.
        dim: k, features of queries, keys and values.
        heads: number of attention heads; each gets dim / heads features.
        expansion: hidden features of the feed-forward part, as a multiple of d_m.
        dropout: after the attention, and after both layers of the feed-forward part.
    """

    tag: ClassVar[str] = "CrossmodalConfig"

    layers: int = 2
    dim: int = 32
    heads: int = 4
    expansion: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.layers, self.dim, self.heads, self.expansion) < 1 or self.dim % self.heads:
            raise ValueError(f"crossmodal needs layers, an expansion and a dim that its heads can share, not {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"crossmodal needs a dropout in [0, 1), not {self.dropout}")


def positions(length: int, like: Tensor) -> Tensor:
    """Sinusoidal positions [length d] for features like [... d]: sines in even columns, cosines in odd ones."""
    dim, dtype = like.shape[-1], torch.promote_types(like.dtype, torch.float32)
    column = torch.arange(dim, device=like.device)
    rate = 10000.0 ** (-(column - column % 2).to(dtype) / dim)
    angle = torch.arange(length, device=like.device, dtype=dtype)[:, None] * rate
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).to(like.dtype)


class CrossmodalLayer(nn.Module):
    """One pre-norm layer in which one modality attends to another; see Crossmodal for the equations."""

    def __init__(self, config: CrossmodalConfig, dim: int, source_dim: int):
        super().__init__()
        self.heads = config.heads
        self.query_norm, self.source_norm = nn.LayerNorm(dim), nn.LayerNorm(source_dim)
        self.query = nn.Linear(dim, config.dim, bias=False)
        self.key = nn.Linear(source_dim, config.dim, bias=False)
        self.value = nn.Linear(source_dim, config.dim, bias=False)
        self.out = nn.Linear(config.dim, dim, bias=False)
        self.forward_norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, config.expansion * dim)
        self.narrow = nn.Linear(config.expansion * dim, dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, source: Tensor, present: Tensor) -> Tensor:
        """[b L d_m] from x [b L d_m], the source's features [b L d_n] and the source's presence [b L]."""
        asking, asked = self.query_norm(x), self.source_norm(source)
        attended = attend(
            self.query(asking + positions(x.shape[1], x)),
            self.key(asked + positions(x.shape[1], source)),
            self.value(asked),
            present,
            self.heads,
        )
        x = x + self.dropout(self.out(attended))
        hidden = self.dropout(torch.relu(self.widen(self.forward_norm(x))))
        return x + self.dropout(self.narrow(hidden))


class Crossmodal(Fusion):
    """A transformer of N layers for every ordered pair of modalities (m, n): m attends to n.

    Y starts as X_m. Each layer updates it:

        Q = ( LN_q(Y) + P_m ) W_q;  K = ( LN_s(X_n) + P_n ) W_k;  V = LN_s(X_n) W_v            [b L k] each
        Y <- Y + dropout( softmax over present steps of n ( Q K^T / sqrt(k) ) V W_o )          [b L d_m]
        Y <- Y + dropout( dropout( ReLU( LN_f(Y) W_1 + b_1 ) ) W_2 + b_2 )                     [b L d_m]

    The output is the concatenation of all Y, ordered by m and then by n: [b L (M - 1) sum of d_m]. With h heads, Q, K
    and V are split into h parts of k/h features; each part attends separately, scaled by sqrt(k/h), and the results
    are concatenated. W are stored transposed, as in torch.nn.Linear. LN are LayerNorms with scale, shift and eps 1e-5;
    each layer has its own. Positions P, [L d] with s the step and c the column, both from 0:

        P[s, c] = sin( s / 10000^(c / d) ) for even c,  cos( s / 10000^((c - 1) / d) ) for odd c

    If n is absent from the whole sequence, Y is X_m. If there is only one modality, the output is X_m.

    Keys and values come from the source's own features in every layer, as in the paper. The authors' code
    (`modules` and `src/models.py` of github.com/yaohungt/Multimodal-Transformer) differs in this:

    - All modalities are first projected to one width k, so that queries, keys, values and Y have k features.
    - Y and the source begin as sqrt(k) times the features, plus positions. Values thus have positions, too; here they
      don't, so that the output doesn't depend on a step's place in its window. The first half of a position's columns
      are sines, the second cosines, and steps count from 1.
    - One LayerNorm of each layer serves queries, keys and values alike; another one follows the last layer.
    - Queries, keys, values and W_o have biases.
    - The concatenation over n passes a transformer with self-attention, and only its last step is read.
    """

    name = "crossmodal"
    Config = CrossmodalConfig

    def __init__(self, config: CrossmodalConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim = max(len(dims) - 1, 1) * sum(dims.values())
        self.pairs = nn.ModuleDict(
            {
                f"{m}_from_{n}": nn.ModuleList(CrossmodalLayer(config, dims[m], dims[n]) for _ in range(config.layers))
                for m, n in permutations(dims, 2)
            }
        )

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> FusionOutput:
        """See Fusion.forward; a transformer has no gates."""
        if len(self.dims) == 1:
            return FusionOutput(features[next(iter(self.dims))])
        parts = []
        for m, n in permutations(self.dims, 2):
            y = features[m]
            for layer in self.pairs.get_submodule(f"{m}_from_{n}").children():
                y = layer(y, features[n], present[n])
            parts.append(torch.where(present[n].any(1)[:, None, None], y, features[m]))
        return FusionOutput(torch.cat(parts, dim=-1))
