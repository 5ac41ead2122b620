"""Hierarchically gated recursive joint cross-attention: avgate's default.

Praveen, Alam, Charton: "United we stand, Divided we fall: Handling Weak Complementary Relationships for Audio-Visual
Emotion
Recognition in Valence-Arousal Space", CVPR workshops 2025, arXiv 2503.12261.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from avgate.fusions.base import Fusion, FusionOutput, joint
from avgate.fusions.blocks import CorrelationScale, Gate, JointCrossAttention, TimeMixing, time_mixing


@dataclass(frozen=True)
class HgrjcaConfig:
    """Settings of hgrjca; the defaults are the published ones, or the plainest where the paper leaves a choice open.

    Args:
        iterations: T, how often joint cross-attention is applied.
        tau: temperature of both gates; small is nearer to a hard choice.
        time_mixing: form of W_j: `window` (one matrix for a fixed window) or `relative` (any length).
        reach: largest offset in steps that has its own weight in `relative` mixing.
        next_input: what feeds the next iteration.
        gate_sees: what the iteration gate is evaluated from.
        final_relu: whether a gated output passes a ReLU.
        scale: what correlations are divided by.
        dropout: on the attended part of the features.
    """

    iterations: int = 3
    tau: float = 0.1
    time_mixing: TimeMixing = "window"
    reach: int = 50
    next_input: Literal["gated", "attended"] = "gated"
    gate_sees: Literal["attended", "both"] = "attended"
    final_relu: bool = True
    scale: CorrelationScale = "sqrt_d"
    dropout: float = 0.1

    def __post_init__(self):
        if self.iterations < 1 or self.tau <= 0 or self.reach < 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"hgrjca needs iterations >= 1, tau > 0, reach >= 0 and dropout in [0, 1), not {self}")


class GatedIteration(nn.Module):
    """One modality in one iteration: attend, then choose step by step between untouched and attended features.

    G = softmax( X_att W_g / tau )              [b L 2]
    X_g = ReLU( G[0] * X + G[1] * X_att )       [b L d_m]
    """

    def __init__(self, config: HgrjcaConfig, dim: int, joint_dim: int, window: int | None):
        super().__init__()
        self.config = config
        mixing = time_mixing(config.time_mixing, window, config.reach)
        self.attention = JointCrossAttention(dim, joint_dim, mixing, config.dropout, config.scale)
        self.gate = Gate(dim if config.gate_sees == "attended" else 2 * dim, 2, config.tau)

    def forward(self, x: Tensor, present: Tensor, joint_masked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gated output [b L d_m], attended features [b L d_m] and the gate [b L 2]."""
        attended = self.attention(x, present, joint_masked)
        seen = attended if self.config.gate_sees == "attended" else torch.cat([x, attended], dim=-1)
        gate = self.gate(seen)
        gated = gate[..., :1] * x + gate[..., 1:] * attended
        return (torch.relu(gated) if self.config.final_relu else gated), attended, gate


class Hgrjca(Fusion):
    """The whole of it: T gated iterations per modality, then a stage gate between their outputs.

    S_m = softmax( concat_t(X_g^(t)) W_s,m / tau )      [b L T]
    Z_m = sum_t S_m[t] * X_g^(t)                        [b L d_m]
    """

    name = "hgrjca"
    Config = HgrjcaConfig

    def __init__(self, config: HgrjcaConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim = sum(dims.values())
        self.iterations = nn.ModuleList(
            nn.ModuleDict({m: GatedIteration(config, dim, self.out_dim, window) for m, dim in dims.items()})
            for _ in range(config.iterations)
        )
        self.stage_gate = nn.ModuleDict(
            {m: Gate(config.iterations * dim, config.iterations, config.tau) for m, dim in dims.items()}
        )

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> FusionOutput:
        """See Fusion.forward; gates are `attended/M` [b L T] and `iteration/M` [b L T]."""
        x = {m: features[m] for m in self.dims}
        outputs: dict[str, list[Tensor]] = {m: [] for m in self.dims}
        shares: dict[str, list[Tensor]] = {m: [] for m in self.dims}
        for iteration in self.iterations:
            joint_masked = joint({m: x[m] * present[m][..., None] for m in self.dims})
            for m in self.dims:
                gated, attended, gate = iteration.get_submodule(m)(x[m], present[m], joint_masked)
                outputs[m].append(gated)
                shares[m].append(gate[..., 1])
                x[m] = gated if self.config.next_input == "gated" else attended
        fused, gates = {}, {}
        for m in self.dims:
            stage = self.stage_gate[m](torch.cat(outputs[m], dim=-1))
            fused[m] = (torch.stack(outputs[m], dim=-1) * stage[..., None, :]).sum(-1)
            gates[f"attended/{m}"] = torch.stack(shares[m], dim=-1)
            gates[f"iteration/{m}"] = stage
        return FusionOutput(joint(fused), gates)
