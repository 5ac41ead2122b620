"""Leader-follower attention: attention across modalities within a step, beside the features of a leading modality.

Zhang, Ding, Wei, Guan: "Continuous Emotion Recognition with Audio-visual Leader-follower Attentive Fusion", ICCV
workshops 2021, arXiv 2107.01175; with several heads in arXiv 2203.13031.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from avgate.core.errors import UsageError
from avgate.models.fusions.base import Fusion, FusionOutput
from avgate.models.fusions.blocks import attend


@dataclass(frozen=True)
class LfanConfig:
    """Settings of lfan; leader, dim and heads are those of the authors' code for one head.

    Args:
        leader: the modality whose own features are part of the output.
        dim: k, features of each modality's query, key and value.
        heads: number of attention heads; each gets dim / heads features.
        dropout: on the attended values.
    """

    tag: ClassVar[str] = "LfanConfig"

    leader: str = "video"
    dim: int = 32
    heads: int = 1
    dropout: float = 0.1

    def __post_init__(self):
        if min(self.dim, self.heads) < 1 or self.dim % self.heads or not 0 <= self.dropout < 1:
            raise ValueError(f"lfan needs a dim that its heads can share and a dropout in [0, 1), not {self}")


class Lfan(Fusion):
    """Attention across the modalities of one step; steps don't see each other. x_m is one step of X_m, [d_m].

        q_m = x_m W_q,m;  k_m = x_m W_k,m;  v_m = x_m W_v,m                                    [k] each
        a_m = sum_n A_m,n v_n,  A_m,: = softmax over n of ( q_m k_n^T / sqrt(k) )              [k]
        f_m = LayerNorm_m( v_m + dropout( a_m ) )                                              [k]
        output = concat( x_leader, f_1, ..., f_M )                                             [d_leader + M k]

    The sum and the softmax run over the modalities n that are present at this step, m itself among them; where none is,
    a_m = 0. With h heads, q, k and v are split into h parts of k/h features; each part attends separately,
    scaled by sqrt(k/h), and the results are concatenated. W are stored transposed, as in torch.nn.Linear, and
    have no bias; LayerNorm_m has a scale and a shift and eps 1e-5.

    The authors' code (`models/model.py` and `models/transformer.py` of github.com/sucv/ABAW3) differs in this:

    - One LayerNorm normalises all modalities together; here each is normalised by itself, so that an absent one doesn't
      shift the others.
    - The projections have biases.
    - With one head, keys and queries change places: A_m,: = softmax over n of ( k_m q_n^T / sqrt(k) ). Since both are
      learned in the same way, that is the same model with other names for its weights.
    - With several heads, another linear layer over all modalities, and dropout after it, come before the normalisation;
      here one equation stands for any number of heads.
    """

    name = "lfan"
    Config = LfanConfig

    def __init__(self, config: LfanConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        if config.leader not in dims:
            raise UsageError(
                f"the fusion 'lfan' is led by {config.leader} features, and there are only: {', '.join(dims)}",
                hint="choose one of these with --set model.fusion.leader=NAME, or another fusion",
            )
        self.out_dim = dims[config.leader] + len(dims) * config.dim
        self.query = nn.ModuleDict({m: nn.Linear(dim, config.dim, bias=False) for m, dim in dims.items()})
        self.key = nn.ModuleDict({m: nn.Linear(dim, config.dim, bias=False) for m, dim in dims.items()})
        self.value = nn.ModuleDict({m: nn.Linear(dim, config.dim, bias=False) for m, dim in dims.items()})
        self.norm = nn.ModuleDict({m: nn.LayerNorm(config.dim) for m in dims})
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> FusionOutput:
        """See Fusion.forward; no gates."""
        query, key, value = (
            torch.stack([part[m](features[m]) for m in self.dims], dim=2) for part in (self.query, self.key, self.value)
        )
        here = torch.stack([present[m] for m in self.dims], dim=2)
        attended = value + self.dropout(attend(query, key, value, here, self.config.heads))  # [b L M k]
        followers = [self.norm[m](x) for m, x in zip(self.dims, attended.unbind(2), strict=True)]
        return FusionOutput(torch.cat([features[self.config.leader], *followers], dim=-1))
