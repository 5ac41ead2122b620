"""Cross-attention.

Praveen, Granger, Cardinal: "Cross Attentional Audio-Visual Fusion for Dimensional Emotion Recognition", FG 2021, arXiv
2111.05222.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from avgate.models.fusions.base import Fusion, FusionOutput, joint
from avgate.models.fusions.blocks import CrossAttention


@dataclass(frozen=True)
class CaConfig:
    """Settings of ca.

    Args:
        temperature: of the softmax over a modality's steps; a small one takes little but the best step. The default
            is that of the authors' code.
    """

    tag: ClassVar[str] = "CaConfig"

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"ca needs a temperature above 0, not {self}")


class Ca(Fusion):
    """Concatenation of all modalities' cross-attended features: Z = concat of X_att,m, [b L d]; see CrossAttention.

    X_m + and the tanh are the paper's. The authors' code (`models/cam.py` of
    github.com/praveena2j/Cross-Attentional-AV-Fusion) returns A_m^T X_m alone.
    """

    name = "ca"
    Config = CaConfig

    def __init__(self, config: CaConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim = sum(dims.values())
        self.attention = CrossAttention(dims, config.temperature)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> FusionOutput:
        """See Fusion.forward; cross-attention alone has no gates."""
        return FusionOutput(joint(self.attention(features, present)))
