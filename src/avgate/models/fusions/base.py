"""What every fusion is: a module from encoded features and presence masks to fused features and gates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FusionOutput:
    """What a fusion gives back.

    Attributes:
        fused: [b L out_dim], what the head regresses from.
        gates: name -> [b L n], values in [0, 1] as the fusion used them, per step.
            `attended/M`: [b L T], share of the attended features of modality M in each of T iterations, or [b L 1] of
                all iterations together.
            `iteration/M`: [b L T], weight of each iteration's output of modality M in the stage gate; they sum to 1.
            `candidate/M`: [b L T + 1], weight of modality M's input and of each iteration's output; they sum to 1.
            `reliability/M`: [b L 1], how far modality M was relied on.
            `modality`: [b L M], weight of each modality; they sum to 1.
    """

    fused: Tensor
    gates: dict[str, Tensor] = field(default_factory=dict)


class Fusion(nn.Module, ABC):
    """Base of all fusions.

    Args:
        config: an instance of the fusion's own `Config`.
        dims: modality -> feature dimension after its encoder, in a fixed order.
        window: steps of the fixed window, for fusions that have weights per step; None where any length will do.
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    out_dim: int
    falls_back: bool = False
    views: Mapping[str, int | None] = {}
    """Further encodings of every modality that the fusion reads, each by an encoder of its own: name -> its features,
    None for as many as the modality's first encoding has.
    """

    def __init__(self, config: Any, dims: Mapping[str, int], window: int | None):
        super().__init__()
        self.config, self.dims, self.window = config, dict(dims), window

    @property
    def inputs(self) -> dict[str, int]:
        """What forward reads and how wide: modality -> d_m, and `VIEW/M` -> features of that view of modality M."""
        more = {f"{view}/{m}": width or dim for view, width in self.views.items() for m, dim in self.dims.items()}
        return self.dims | more

    @classmethod
    def modalities(cls, available: tuple[str, ...]) -> tuple[str, ...]:
        """Which of the available modalities this fusion reads; all of them unless it says otherwise."""
        return available

    @abstractmethod
    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> FusionOutput:
        """Fuse one batch.

        Args:
            features: modality -> [b L d_m], the absence vector standing in absent steps; of further views `VIEW/M` ->
                [b L w], zero in absent steps.
            present: modality -> bool [b L].
        """

    def alone(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modality -> [b L out_dim], what is fused where only that modality can be relied on, if the fusion falls back.

        Args:
            features: as for forward.

        Raises:
            NotImplementedError: the fusion doesn't fall back, as `falls_back` says.
        """
        raise NotImplementedError(f"{self.name} doesn't fall back on single modalities")


def joint(parts: Mapping[str, Tensor]) -> Tensor:
    """All modalities side by side: [b L sum of d_m], in the mapping's order."""
    return torch.cat(list(parts.values()), dim=-1)
