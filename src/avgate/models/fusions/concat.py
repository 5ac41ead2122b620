"""Feature concatenation: the simplest fusion, and the baseline for all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from avgate.models.fusions.base import Fusion, FusionOutput, joint
from avgate.models.memory import Memory


@dataclass(frozen=True)
class ConcatConfig:
    """Concatenation has no settings."""

    tag: ClassVar[str] = "ConcatConfig"


class Concat(Fusion):
    """Concatenation of all modalities' encoded features: [b L sum of d_m]."""

    name, causal = "concat", True
    Config = ConcatConfig

    def __init__(self, config: ConcatConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim = sum(dims.values())

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None = None
    ) -> FusionOutput:
        """See Fusion.forward; concatenation has no gates."""
        return FusionOutput(joint({m: features[m] for m in self.dims}))
