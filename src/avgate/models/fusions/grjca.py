"""Gated recursive joint cross-attention: one gate over the input and all iterations.

Praveen, Alam, Charton: "United we stand, Divided we fall: Handling Weak Complementary Relationships for Audio-Visual
Emotion Recognition in Valence-Arousal Space", CVPR workshops 2025, arXiv 2503.12261 (its model without
hierarchical gates; with them it is hgrjca).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from avgate.models.fusions.base import Fusion, FusionOutput, joint
from avgate.models.fusions.blocks import Gate
from avgate.models.fusions.joint_attention import JointAttentionConfig, RecursiveJointCrossAttention
from avgate.models.memory import Memory


@dataclass(frozen=True)
class GrjcaConfig(JointAttentionConfig):
    """Settings of grjca: joint cross-attention, recursion and gate.

    Args:
        iterations: T, number of iterations of joint cross-attention.
        tau: temperature of the gate; a small one is close to a hard choice.
        gate_sees: input of the gate: all `attended` features, or `both` these and X_m^(0).
        final_relu: whether a ReLU follows the gate.
    """

    tag: ClassVar[str] = "GrjcaConfig"

    iterations: int = 3
    tau: float = 0.1
    gate_sees: Literal["attended", "both"] = "attended"
    final_relu: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1 or self.tau <= 0:
            raise ValueError(f"grjca needs iterations >= 1 and tau > 0, not {self}")


class Grjca(Fusion):
    """Recursion on attended features, then one gate per modality over the T + 1 candidates X_m^(0) ... X_m^(T).

        G_m = softmax( concat_t(X_m^(t)) W_g,m / tau )          [b L T+1]
        X_g,m = ReLU( sum_t G_m[t] * X_m^(t) )                  [b L d_m]   t = 0 ... T
        Z = concat of X_g,m                                     [b L d]

    X_m^(t) as in RecursiveJointCrossAttention; X_m^(0) is the input. With `gate_sees` = `attended`, the gate reads
    t = 1 ... T, as in dca and in hgrjca's iterations (W_g,m : T d_m x T+1); with `both`, t = 0 ... T ((T+1) d_m x T+1).
    Without `final_relu` there is no ReLU. With one iteration each, grjca equals hgrjca.
    """

    name = "grjca"
    Config = GrjcaConfig

    def __init__(self, config: GrjcaConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim, self.causal = sum(dims.values()), config.time_mixing == "decay"
        self.attention = RecursiveJointCrossAttention(config, config.iterations, dims, window)
        candidates = config.iterations + 1
        self.first_seen = 1 if config.gate_sees == "attended" else 0
        self.gate = nn.ModuleDict(
            {m: Gate((candidates - self.first_seen) * dim, candidates, config.tau) for m, dim in dims.items()}
        )

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None = None
    ) -> FusionOutput:
        """See Fusion.forward; gates: `candidate/M` [b L T+1], which is G_m, and `attended/M` [b L 1], 1 - G_m[0]."""
        fused, gates = {}, {}
        for m, candidates in self.attention(features, present, memory).items():
            gate = self.gate[m](torch.cat(candidates[self.first_seen :], dim=-1))
            gated = (torch.stack(candidates, dim=-1) * gate[..., None, :]).sum(-1)
            fused[m] = torch.relu(gated) if self.config.final_relu else gated
            gates[f"attended/{m}"] = 1 - gate[..., :1]
            gates[f"candidate/{m}"] = gate
        return FusionOutput(joint(fused), gates)
