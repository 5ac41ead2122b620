"""Fusion models. To add one, write a file here and add a line to FUSIONS; the contract tests then cover it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avgate.core.errors import choose
from avgate.models.fusions.base import Fusion, FusionOutput
from avgate.models.fusions.ca import Ca
from avgate.models.fusions.concat import Concat
from avgate.models.fusions.crossmodal import Crossmodal
from avgate.models.fusions.dca import Dca
from avgate.models.fusions.grjca import Grjca
from avgate.models.fusions.hgrjca import Hgrjca, Rhgrjca
from avgate.models.fusions.iaca import Iaca
from avgate.models.fusions.jca import Jca
from avgate.models.fusions.lfan import Lfan
from avgate.models.fusions.rjca import Rjca
from avgate.models.fusions.single import Audio, Video
from avgate.models.fusions.tagf import Tagf

FUSIONS: tuple[type[Fusion], ...] = (
    Audio,
    Video,
    Concat,
    Ca,
    Jca,
    Rjca,
    Dca,
    Iaca,
    Grjca,
    Hgrjca,
    Rhgrjca,
    Lfan,
    Tagf,
    Crossmodal,
)

__all__ = ["FUSIONS", "Fusion", "FusionOutput", "build_fusion", "fusion_class", "fusion_named"]


def fusion_named(name: str) -> type[Fusion]:
    """The fusion class of that name; UsageError with the choices where there is none."""
    return choose("fusion", name, {f.name: f for f in FUSIONS})


def fusion_class(config: Any) -> type[Fusion]:
    """The fusion class that a config belongs to."""
    found = next((f for f in FUSIONS if f.Config is type(config)), None)
    if found is None:
        raise TypeError(f"no fusion has settings of the type {type(config).__name__}")
    return found


def build_fusion(config: Any, dims: Mapping[str, int], window: int | None) -> Fusion:
    """The fusion that a config describes; arguments as for Fusion."""
    return fusion_class(config)(config, dims, window)
