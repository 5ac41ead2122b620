"""Feature extractors. A new one is a file here and a line in BACKBONES; the contract tests then cover it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from avgate.backbones.base import Backbone
from avgate.backbones.egemaps import Egemaps, EgemapsConfig
from avgate.backbones.facemesh import Facemesh, FacemeshConfig
from avgate.backbones.logmel import Logmel, LogmelConfig
from avgate.errors import choose

BACKBONES: dict[str, Callable[[float], Backbone]] = {
    "egemaps": lambda rate: Egemaps(EgemapsConfig(rate)),
    "logmel": lambda rate: Logmel(LogmelConfig(rate)),
    "facemesh": lambda rate: Facemesh(FacemeshConfig(rate)),
}
"""Name -> what makes the backbone for a label rate in steps per second."""


def build_backbones(names: Sequence[str], rate: float) -> tuple[Backbone, ...]:
    """The backbones of these names at one label rate; UsageError with the choices for a name that there isn't."""
    return tuple(choose("backbone", name, BACKBONES)(rate) for name in names)
