"""One modality alone: the baseline for all fusions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from avgate.core.errors import UsageError
from avgate.models.fusions.base import Fusion, FusionOutput
from avgate.models.memory import Memory


@dataclass(frozen=True)
class AudioConfig:
    """No settings."""

    tag: ClassVar[str] = "AudioConfig"


@dataclass(frozen=True)
class VideoConfig:
    """No settings."""

    tag: ClassVar[str] = "VideoConfig"


class SingleModality(Fusion):
    """Returns the features of one modality, [b L d_m], and never reads the others; `name` is the modality."""

    causal = True

    def __init__(self, config: AudioConfig | VideoConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim = dims[self.name]

    @classmethod
    def modalities(cls, available: tuple[str, ...]) -> tuple[str, ...]:
        """Its own modality alone.

        Raises:
            UsageError: there are no such features.
        """
        if cls.name not in available:
            raise UsageError(
                f"the fusion '{cls.name}' needs {cls.name} features, and there are only: {', '.join(available)}",
                hint="choose another fusion, or a recipe with such a backbone",
            )
        return (cls.name,)

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None = None
    ) -> FusionOutput:
        """See Fusion.forward; one modality has no gates."""
        return FusionOutput(features[self.name])


class Audio(SingleModality):
    """Voice alone."""

    name = "audio"
    Config = AudioConfig


class Video(SingleModality):
    """Face alone."""

    name = "video"
    Config = VideoConfig
