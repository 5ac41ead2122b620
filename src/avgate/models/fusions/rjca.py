"""Recursive joint cross-attention.

Praveen, Granger, Cardinal: "Recursive Joint Attention for Audio-Visual Fusion in Regression based Emotion Recognition",
ICASSP 2023, arXiv 2304.07958.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from avgate.models.fusions.base import Fusion, FusionOutput, joint
from avgate.models.fusions.blocks import JointAttentionConfig, RecursiveJointCrossAttention


@dataclass(frozen=True)
class RjcaConfig(JointAttentionConfig):
    """Settings of rjca: those of joint cross-attention, and how often it is applied.

    Args:
        iterations: T.
    """

    tag: ClassVar[str] = "RjcaConfig"

    iterations: int = 3

    def __post_init__(self):
        super().__post_init__()
        if self.iterations < 1:
            raise ValueError(f"rjca needs iterations >= 1, not {self}")


class Rjca(Fusion):
    """All modalities' features after the last iteration side by side: Z = concat of X_m^(T), [b L d].

    X_m^(T) as in RecursiveJointCrossAttention. The paper has LSTMs before and after the fusion; here encoders are apart
    from fusions.
    """

    name = "rjca"
    Config = RjcaConfig

    def __init__(self, config: RjcaConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim = sum(dims.values())
        self.attention = RecursiveJointCrossAttention(config, config.iterations, dims, window)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> FusionOutput:
        """See Fusion.forward; recursion alone has no gates."""
        return FusionOutput(joint({m: x[-1] for m, x in self.attention(features, present).items()}))
