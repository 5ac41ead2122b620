"""Joint cross-attention.

Praveen et al.: "A Joint Cross-Attention Model for Audio-Visual Fusion in Dimensional Emotion Recognition", CVPR
workshops 2022, arXiv 2203.14779.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from avgate.models.fusions.base import Fusion, FusionOutput, joint
from avgate.models.fusions.blocks import JointAttentionConfig, RecursiveJointCrossAttention


@dataclass(frozen=True)
class JcaConfig(JointAttentionConfig):
    """Settings of jca: those of joint cross-attention."""

    tag: ClassVar[str] = "JcaConfig"


class Jca(Fusion):
    """Concatenation of all modalities' joint cross-attended features: Z = concat of X_m^(1), [b L d].

    X_m^(1) as in RecursiveJointCrossAttention with T = 1, so jca is rjca with one iteration. The paper adds a term
    linear in X_m inside the ReLU of H; here H has rjca's form, so that the two differ by the recursion alone.
    """

    name = "jca"
    Config = JcaConfig

    def __init__(self, config: JcaConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim = sum(dims.values())
        self.attention = RecursiveJointCrossAttention(config, 1, dims, window)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> FusionOutput:
        """See Fusion.forward; joint cross-attention alone has no gates."""
        return FusionOutput(joint({m: x[-1] for m, x in self.attention(features, present).items()}))
