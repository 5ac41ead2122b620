"""What every backbone is: a named, fingerprinted way from face tracks or sound to a FeatureTrack."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, is_dataclass
from typing import Any, Literal, Protocol

from avgate.core.types import FaceTrack, FeatureTrack, Modality, Waveform

Need = Literal["mesh", "crop", "blendshapes"]
"""What of a face a backbone reads; what none of a recipe's backbones reads isn't computed."""


class Extraction(Protocol):
    """One clip's extraction under way; pieces go in, in order and without overlap; one track comes out."""

    def push(self, piece: Any) -> None:
        """Take the next piece: a FaceTrack (video backbones) or a Waveform (audio backbones)."""

    def finish(self, end_s: float) -> FeatureTrack:
        """The clip's features on a grid that covers [0, end_s) seconds; steps that no piece covered are absent."""


class Backbone(Protocol):
    """A feature extractor, made by calling its class with its frozen config dataclass.

    Attributes:
        name: as a recipe has it: KIND, or KIND:SOURCE?SETTING=VALUE&... where there are more ways than one.
        modality: what it reads.
        columns: names of what comes out.
        needs: what of a face it reads; nothing for sound.
    """

    name: str
    modality: Modality
    columns: tuple[str, ...]
    needs: frozenset[Need]

    @property
    def fingerprint(self) -> str:
        """Hash of code version, parameters and weights: equal fingerprints mean equal features."""

    def start(self) -> Extraction:
        """Begin a clip."""


Piece = FaceTrack | Waveform


def kind_of(name: str) -> str:
    """The kind of backbone that a name begins with; fit for a file name."""
    return name.partition(":")[0].partition("?")[0]


def fingerprint(name: str, version: int, config: object, *parts: str) -> str:
    """16 hex digits that change whenever a backbone's name, code version, parameters or weights do.

    Args:
        name: the backbone's kind.
        version: raised by hand whenever the code changes what comes out.
        config: the backbone's config dataclass; how many pieces make a `batch`, and where a `source` lies, don't count.
        *parts: anything else the features depend on (weight hashes, library versions).
    """
    if not is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"{name}: the config must be a dataclass instance, not {config!r}")
    counts = {key: value for key, value in asdict(config).items() if key not in ("batch", "source")}
    text = json.dumps([name, version, counts, parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
