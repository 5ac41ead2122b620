"""Time-aware gated fusion: a recurrent gate weighs the iterations of joint cross-attention.

Lee, Lee, Park, Cha, Park: "TAGF: Time-aware Gated Fusion for Multimodal Valence-Arousal Estimation", arXiv 2507.02080.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from avgate.models.fusions.base import Fusion, FusionOutput, joint
from avgate.models.fusions.joint_attention import JointAttentionConfig, RecursiveJointCrossAttention
from avgate.models.memory import Memory


@dataclass(frozen=True)
class TagfConfig(JointAttentionConfig):
    """Settings of tagf: joint cross-attention, recursion and gate; the gate's defaults are from the authors' code.

    Args:
        iterations: T, number of iterations of joint cross-attention.
        tau: temperature of the gate; a small one is close to a hard choice.
    """

    tag: ClassVar[str] = "TagfConfig"

    iterations: int = 2
    tau: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1 or self.tau <= 0:
            raise ValueError(f"tagf needs iterations >= 1 and tau > 0, not {self}")


class RecurrentGate(nn.Module):
    """Weights of several candidates at each step, from a bidirectional LSTM that runs over the candidates.

    Args:
        dim: features of a candidate, and of the LSTM in each direction.
        tau: temperature of the softmax.
    """

    def __init__(self, dim: int, tau: float):
        super().__init__()
        self.tau = tau
        self.lstm = nn.LSTM(dim, dim, batch_first=True, bidirectional=True)
        self.w = nn.Parameter(nn.init.xavier_uniform_(torch.empty(2 * dim, 1)))

    def forward(self, candidates: Tensor) -> Tensor:
        """Weights [b L C] that sum to 1, from candidates [b L C dim]."""
        hidden, _ = self.lstm(candidates.flatten(0, 1))
        return torch.softmax((hidden @ self.w).unflatten(0, candidates.shape[:2]).squeeze(-1) / self.tau, dim=-1)


class Tagf(Fusion):
    """Recursion on attended features, then a weighted sum of the T + 1 candidates X_m^(0) ... X_m^(T).

        h_m^(0), ..., h_m^(T) = BiLSTM_m( X_m^(0), ..., X_m^(T) )         [b L 2 d_m] each
        S_m = softmax over t of ( h_m^(t) w_m / tau )                     [b L T+1]
        Z_m = sum_t S_m[t] * X_m^(t)                                      [b L d_m]   t = 0 ... T

    X_m^(t) as in RecursiveJointCrossAttention; X_m^(0) is the input. BiLSTM_m is torch.nn.LSTM with d_m units in each
    direction and an initial state of zero; w_m has 2 d_m weights. The output is the concatenation of all Z_m, [b L d].

    "Time" means the iterations: at each step of the sequence, separately, the LSTM runs over the candidates
    t = 0 ... T, as in the authors' code. It carries nothing from one step to the next. Their code scores a candidate by
    the mean of a normalised linear layer over its features and its state; here one vector w_m scores the state, which
    is simpler.
    """

    name = "tagf"
    Config = TagfConfig

    def __init__(self, config: TagfConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim, self.causal = sum(dims.values()), config.time_mixing == "decay"
        self.attention = RecursiveJointCrossAttention(config, config.iterations, dims, window)
        self.gate = nn.ModuleDict({m: RecurrentGate(dim, config.tau) for m, dim in dims.items()})

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None = None
    ) -> FusionOutput:
        """See Fusion.forward; gates: `candidate/M` [b L T+1], which is S_m, and `attended/M` [b L 1], 1 - S_m[0]."""
        fused, gates = {}, {}
        for m, iterations in self.attention(features, present, memory).items():
            candidates = torch.stack(iterations, dim=2)
            gate = self.gate[m](candidates)
            fused[m] = (candidates * gate[..., None]).sum(2)
            gates[f"attended/{m}"] = 1 - gate[..., :1]
            gates[f"candidate/{m}"] = gate
        return FusionOutput(joint(fused), gates)
