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
from avgate.models.fusions.joint_attention import JointAttentionConfig, RecursiveJointCrossAttention
from avgate.models.memory import Memory


@dataclass(frozen=True)
class RjcaConfig(JointAttentionConfig):
    """Settings of rjca: joint cross-attention and its number of iterations.

    Args:
        iterations: T, number of iterations.
    """

    tag: ClassVar[str] = "RjcaConfig"

    iterations: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise ValueError(f"rjca needs iterations >= 1, not {self}")


class Rjca(Fusion):
    """Concatenation of all modalities' features after the last iteration: Z = concat of X_m^(T), [b L d].

    X_m^(T) as in RecursiveJointCrossAttention. The paper has LSTMs before and after the fusion; here only the encoders
    before it can be LSTMs. The authors' code has the form `released`, one iteration (so no recursion) and a dropout of
    0.6; that of RJCMA, for three modalities, the form `rjcma` and two iterations. Before the fusion, RJCA's code also
    scales every step's features to length 1, and lets the voice weigh the face's; that isn't here.
    """

    name = "rjca"
    Config = RjcaConfig

    def __init__(self, config: RjcaConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim, self.causal = sum(dims.values()), config.time_mixing == "decay"
        self.attention = RecursiveJointCrossAttention(config, config.iterations, dims, window)

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None = None
    ) -> FusionOutput:
        """See Fusion.forward; recursion alone has no gates."""
        return FusionOutput(joint({m: x[-1] for m, x in self.attention(features, present, memory).items()}))
