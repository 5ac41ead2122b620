"""Leader-follower attention: attention across modalities within a step, beside the features of a leading modality.

Zhang, Ding, Wei, Guan: "Continuous Emotion Recognition with Audio-visual Leader-follower Attentive Fusion", ICCV
workshops 2021, arXiv 2107.01175; with several heads in arXiv 2203.13031.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from avgate.core.errors import UsageError
from avgate.models.dropout import Dropout
from avgate.models.fusions.base import Fusion, FusionOutput
from avgate.models.fusions.blocks import attend
from avgate.models.memory import Memory


@dataclass(frozen=True)
class LfanConfig:
    """Settings of lfan; leader, dim and heads are those of the authors' code for one head.

    Args:
        leader: the modality whose own features are part of the output.
        dim: k, features of each modality's query, key and value.
        heads: number of attention heads; each gets dim / heads features.
        dropout: on the attended values; in the form `released`, after the linear layer.
        form: `plain`, which is ours, or that of the authors' code (`released`), see Lfan.
    """

    tag: ClassVar[str] = "LfanConfig"

    leader: str = "video"
    dim: int = 32
    heads: int = 1
    dropout: float = 0.1
    # Left out of files where it is the default, so that versions without this setting can still read them.
    form: Literal["plain", "released"] = field(default="plain", metadata={"omit_default": True})

    def __post_init__(self) -> None:
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

    That is the form `plain`. The authors' code (`models/model.py` and `models/transformer.py` of
    github.com/sucv/ABAW3), the form `released`, differs in this:

    - q_m, k_m and v_m have biases.
    - One LayerNorm normalises all modalities together: (f_1, ..., f_M) = LayerNorm( ... ). In the form `plain`, each is
      normalised by itself, so that an absent one doesn't shift the others.
    - With one head, keys and queries change places: A_m,: = softmax over n of ( k_m q_n^T / sqrt(k) ); the
      normalisation reads v_m + a_m of all modalities, without dropout.
    - With several heads, it reads dropout( y W_o + b_o ), where y, [M k], has v_m + a_m of all modalities, head by
      head.
    """

    name, causal = "lfan", True
    Config = LfanConfig

    def __init__(self, config: LfanConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        if config.leader not in dims:
            raise UsageError(
                f"the fusion 'lfan' is led by {config.leader} features, and there are only: {', '.join(dims)}",
                hint="choose one of these with --set model.fusion.leader=NAME, or another fusion",
            )
        self.out_dim = dims[config.leader] + len(dims) * config.dim
        released, every = config.form == "released", len(dims) * config.dim
        self.query = nn.ModuleDict({m: nn.Linear(dim, config.dim, bias=released) for m, dim in dims.items()})
        self.key = nn.ModuleDict({m: nn.Linear(dim, config.dim, bias=released) for m, dim in dims.items()})
        self.value = nn.ModuleDict({m: nn.Linear(dim, config.dim, bias=released) for m, dim in dims.items()})
        self.norm = nn.LayerNorm(every) if released else nn.ModuleDict({m: nn.LayerNorm(config.dim) for m in dims})
        self.out = nn.Linear(every, every) if released and config.heads > 1 else None
        self.dropout = Dropout(config.dropout)

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None = None
    ) -> FusionOutput:
        """See Fusion.forward; no gates."""
        query, key, value = (
            torch.stack([part[m](features[m]) for m in self.dims], dim=2) for part in (self.query, self.key, self.value)
        )
        here, heads = torch.stack([present[m] for m in self.dims], dim=2), self.config.heads
        if isinstance(self.norm, nn.ModuleDict):
            attended = value + self.dropout(attend(query, key, value, here, heads))  # [b L M k]
            followers = [self.norm[m](x) for m, x in zip(self.dims, attended.unbind(2), strict=True)]
        elif self.out is None:
            followers = [self.norm((value + attend(key, query, value, here, heads)).flatten(2))]
        else:
            attended = value + attend(query, key, value, here, heads)
            by_head = attended.unflatten(-1, (heads, -1)).transpose(2, 3).flatten(2)  # [b L h M k/h], and in one row
            followers = [self.norm(self.dropout(self.out(by_head)))]
        return FusionOutput(torch.cat([features[self.config.leader], *followers], dim=-1))
