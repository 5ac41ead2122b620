"""One modality alone: the reference that a fusion must never fall below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from avgate.core.errors import UsageError
from avgate.models.fusions.base import Fusion, FusionOutput


@dataclass(frozen=True)
class AudioConfig:
    """The audio-only model has no settings."""

    tag: ClassVar[str] = "AudioConfig"


@dataclass(frozen=True)
class VideoConfig:
    """The video-only model has no settings."""

    tag: ClassVar[str] = "VideoConfig"


class SingleModality(Fusion):
    """Passes its own modality through, [b L d_m], and never sees the others: `name` is the modality's."""

    def __init__(self, config: AudioConfig | VideoConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.out_dim = dims[self.name]

    @classmethod
    def modalities(cls, available: tuple[str, ...]) -> tuple[str, ...]:
        """Its own modality; UsageError where the features have none of it."""
        if cls.name not in available:
            raise UsageError(
                f"the fusion '{cls.name}' needs {cls.name} features, and there are only: {', '.join(available)}",
                hint="choose another fusion, or a recipe with such a backbone",
            )
        return (cls.name,)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> FusionOutput:
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
