"""Inconsistency-aware cross-attention: one gate per modality, then one over the modalities.

Praveen, Alam: "Inconsistency-Aware Cross-Attention for Audio-Visual Fusion in Dimensional Emotion Recognition", 2024,
arXiv 2405.12853.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from avgate.models.fusions.base import Fusion, FusionOutput, joint
from avgate.models.fusions.blocks import Gate, GatedCrossAttention


@dataclass(frozen=True)
class IacaConfig:
    """Settings of iaca.

    Args:
        temperature: of the cross-attention's softmax over steps.
        tau: temperature of the gates of both stages; a small one is close to a hard choice.
    """

    tag: ClassVar[str] = "IacaConfig"

    temperature: float = 1.0
    tau: float = 0.1

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.tau <= 0:
            raise ValueError(f"iaca needs a temperature and a tau above 0, not {self}")


class Iaca(Fusion):
    """Two stages of gates: within each modality, then between the M modalities.

        X_g,m as in GatedCrossAttention                         [b L d_m]   first stage
        S = softmax( concat_m(X_g,m) W_s / tau )                [b L M]     second stage, W_s : d x M
        Z = concat_m( S[m] * X_g,m )                            [b L d]

    The paper's first stage chooses between cross-attended and self-attended features. Here it chooses between
    cross-attended and input features, as in dca, so iaca differs from dca by the second stage alone. The weighted
    modalities are concatenated, not added, because their dimensions may differ.
    """

    name = "iaca"
    Config = IacaConfig

    def __init__(self, config: IacaConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim = sum(dims.values())
        self.gated = GatedCrossAttention(dims, config.temperature, config.tau)
        self.modality_gate = Gate(self.out_dim, len(dims), config.tau)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> FusionOutput:
        """See Fusion.forward; gates are `attended/M` [b L 1] and `modality` [b L M], the weights S in dims' order."""
        gated, gates = self.gated(features, present)
        weights = self.modality_gate(joint(gated))
        weighted = [x * weights[..., i : i + 1] for i, x in enumerate(gated.values())]
        return FusionOutput(torch.cat(weighted, dim=-1), {**gates, "modality": weights})
