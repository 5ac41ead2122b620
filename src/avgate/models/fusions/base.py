"""Interface of all fusions: from encoded features and presence masks to fused features and gates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FusionOutput:
    """Output of a fusion.

    Attributes:
        fused: [b L out_dim], input of the regression head.
        gates: name -> [b L n], the weights in [0, 1] that the fusion used at each step.
            `attended/M`: share of attended (cross-modal) features in modality M; [b L T] for each of T iterations, or
                [b L 1] for all together.
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
    causal: bool = False
    """Whether no step sees a later one. Then `forward` also takes a Memory of the steps before, or None."""
    falls_back: bool = False
    """Whether the output falls back on single modalities where others can't be relied on; see `alone`."""
    views: Mapping[str, int | None] = {}
    """Further encodings of every modality that the fusion reads, each by an encoder of its own: name -> number of its
    features, or None for as many as the modality's main encoding has.
    """

    def __init__(self, config: Any, dims: Mapping[str, int], window: int | None):
        super().__init__()
        self.config, self.dims, self.window = config, dict(dims), window

    @property
    def inputs(self) -> dict[str, int]:
        """Number of features of each input of forward: of every modality M, and of `VIEW/M` for its further views."""
        more = {f"{view}/{m}": width or dim for view, width in self.views.items() for m, dim in self.dims.items()}
        return self.dims | more

    @classmethod
    def modalities(cls, available: tuple[str, ...]) -> tuple[str, ...]:
        """The available modalities that this fusion reads: all, unless a subclass overrides it."""
        return available

    @abstractmethod
    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> FusionOutput:
        """Fuse one batch.

        Args:
            features: modality -> [b L d_m], with the learned absence vector in absent steps; and for further views
                `VIEW/M` -> [b L w], zero in absent steps.
            present: modality -> bool [b L].
        """

    def alone(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modality -> [b L out_dim], the fused features when only that modality is relied on.

        Args:
            features: as for forward.

        Raises:
            NotImplementedError: the fusion doesn't fall back (`falls_back` is False).
        """
        raise NotImplementedError(f"{self.name} doesn't fall back on single modalities")


def joint(parts: Mapping[str, Tensor]) -> Tensor:
    """Concatenation of all modalities, [b L sum of d_m], in the mapping's order."""
    return torch.cat(list(parts.values()), dim=-1)
