"""Dynamic cross-attention: a gate decides whether cross-attention is used at all.

Praveen, Alam: "Cross-Attention is Not Always Needed: Dynamic Cross-Attention for Audio-Visual Dimensional Emotion
Recognition", ICME 2024, arXiv 2403.19554.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from avgate.models.fusions.base import Fusion, FusionOutput, joint
from avgate.models.fusions.blocks import GatedCrossAttention


@dataclass(frozen=True)
class DcaConfig:
    """Settings of dca.

    Args:
        temperature: of the cross-attention's softmax over steps.
        tau: temperature of the gate; a small one is close to a hard choice.
    """

    tag: ClassVar[str] = "DcaConfig"

    temperature: float = 1.0
    tau: float = 0.1

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.tau <= 0:
            raise ValueError(f"dca needs a temperature and a tau above 0, not {self}")


class Dca(Fusion):
    """Concatenation of all modalities' gated features: Z = concat of X_g,m, [b L d]; see GatedCrossAttention.

    The authors' code (`models/orig_cam.py` of github.com/praveena2j/Dynamic-CrossAttention) doesn't gate
    cross-attention: its gate, which has a bias, chooses between the input and what two iterations of joint
    cross-attention made of it, in rjca's form `released`.
    """

    name = "dca"
    Config = DcaConfig

    def __init__(self, config: DcaConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim = sum(dims.values())
        self.gated = GatedCrossAttention(dims, config.temperature, config.tau)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> FusionOutput:
        """See Fusion.forward; the gates are `attended/M` [b L 1]."""
        gated, gates = self.gated(features, present)
        return FusionOutput(joint(gated), gates)
