"""Joint cross-attention, by default in the form that its authors gave it a year after the paper of that name.

Praveen et al.: "A Joint Cross-Attention Model for Audio-Visual Fusion in Dimensional Emotion Recognition", CVPR
workshops 2022, arXiv 2203.14779; that paper's own model is the form `additive`.
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
class JcaConfig(JointAttentionConfig):
    """Settings of jca: those of joint cross-attention."""

    tag: ClassVar[str] = "JcaConfig"


class Jca(Fusion):
    """Concatenation of all modalities' joint cross-attended features: Z = concat of X_m^(1), [b L d].

    X_m^(1) as in RecursiveJointCrossAttention with T = 1, so jca is rjca with one iteration, and the two differ by the
    recursion alone. That isn't the model of arXiv 2203.14779: there, X_m is never multiplied by C. The forms are:

    - `paper`, the default: one iteration of the equations of RJCA's paper (arXiv 2304.07958).
    - `additive`: the equations of arXiv 2203.14779 and of its code.
    - `released`: the same authors' later code for joint cross-attention, which is also that of RJCA.
    """

    name = "jca"
    Config = JcaConfig

    def __init__(self, config: JcaConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim, self.causal = sum(dims.values()), config.time_mixing == "decay"
        self.attention = RecursiveJointCrossAttention(config, 1, dims, window)

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None = None
    ) -> FusionOutput:
        """See Fusion.forward; joint cross-attention alone has no gates."""
        return FusionOutput(joint({m: x[-1] for m, x in self.attention(features, present, memory).items()}))
