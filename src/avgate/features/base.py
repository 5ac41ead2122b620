"""The backbone protocol: feature extractors that turn face tracks or sound into a FeatureTrack."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, is_dataclass
from typing import Any, Literal, Protocol

from avgate.core.types import FeatureTrack, Modality

Need = Literal["mesh", "crop", "blendshapes"]
"""Parts of a face track that a backbone can read; parts that no backbone of a recipe reads aren't computed."""


class Extraction(Protocol):
    """One clip's extraction: give it the pieces in order and without overlap, then ask for the track."""

    def push(self, piece: Any) -> None:
        """Take the next piece: a FaceTrack (video backbones) or a Waveform (audio backbones)."""

    def finish(self, end_s: float, start_s: float = 0.0) -> FeatureTrack:
        """The features on a grid that covers [start_s, end_s) seconds; steps without any input are absent.

        To be called after the last piece; again for each further part of the clip, in order.
        """


class Backbone(Protocol):
    """A feature extractor. Its class is called with its frozen config dataclass and its name.

    Attributes:
        name: as in a recipe: KIND or KIND:SOURCE, either with ?SETTING=VALUE&... behind it.
        modality: what it reads, "audio" or "video".
        columns: names of the features.
        needs: parts of a face track that it reads; empty for audio.
    """

    name: str
    modality: Modality
    columns: tuple[str, ...]
    needs: frozenset[Need]

    @property
    def fingerprint(self) -> str:
        """Hash of code version, parameters and weights. Equal fingerprints mean equal features."""

    def start(self) -> Extraction:
        """Begin a clip."""


def kind_of(name: str) -> str:
    """The KIND in a backbone's name; fit for a file name."""
    return name.partition(":")[0].partition("?")[0]


def fingerprint(name: str, version: int, config: object, *parts: str) -> str:
    """16 hex digits that change whenever a backbone's name, code version, parameters or weights do.

    Args:
        name: the backbone's kind.
        version: raised by hand whenever the code changes the features.
        config: the config dataclass; `batch` and `source` don't count, since neither changes the features by itself.
        *parts: anything else the features depend on (weight hashes, library versions).
    """
    if not is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"{name}: the config must be a dataclass instance, not {config!r}")
    counts = {key: value for key, value in asdict(config).items() if key not in ("batch", "source")}
    text = json.dumps([name, version, counts, parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
