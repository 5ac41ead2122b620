"""The backbone protocol: feature extractors that turn face tracks or sound into features, step by step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal, Protocol

import numpy as np

from avgate.core.timeline import Grid
from avgate.core.types import Modality

Need = Literal["mesh", "crop", "blendshapes"]
"""Parts of a face track that a backbone can read; parts that no backbone of a recipe reads aren't computed."""


@dataclass(frozen=True)
class Steps:
    """Steps of one clip that have become known together. Those without features aren't listed, so pauses cost nothing.

    Attributes:
        index: int64 [k], numbers of the steps that have features, increasing; cells of the backbone's grid.
        values: float32 [k d], finite.
        until: every step before this one is known now; those that were never listed are absent.
        active: float32 [k] in [0, 1], see FeatureTrack; None where the backbone can't tell.
        repeats: bool [k], where features repeat those of the step before, since there was no time to make them; None
            where none do.
    """

    index: np.ndarray
    values: np.ndarray
    until: int
    active: np.ndarray | None = None
    repeats: np.ndarray | None = None

    def __len__(self) -> int:
        """How many steps are listed."""
        return len(self.index)


class Extraction(Protocol):
    """One clip's extraction: give it the pieces in order and without overlap, and it gives steps as they become known.

    It can be saved in the middle of its work; see core/state.py.
    """

    def push(self, piece: Any) -> Steps:
        """Take the next piece: a FaceTrack (video backbones) or a Waveform (audio backbones).

        Returns:
            The steps that have become known since the last call.
        """

    def advance(self, time_s: float) -> Steps:
        """Be told that nothing more will come that belongs before this time, such as where the sound has stopped.

        Returns:
            The steps that have become known since the last call. Features don't depend on such calls.
        """

    def finish(self, end_s: float) -> Steps:
        """End the clip; to be called once, after the last piece.

        Returns:
            The remaining steps up to the one that ends at end_s or later.
        """

    def state(self) -> dict[str, Any]:
        """All that restore needs, as plain values and arrays."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another extraction of an equal backbone was saved; ValueError for another kind of state."""


class Backbone(Protocol):
    """A feature extractor. Its class is called with its frozen config dataclass and its name.

    Attributes:
        name: as in a recipe: KIND or KIND:SOURCE, either with ?SETTING=VALUE&... behind it.
        modality: what it reads, "audio" or "video".
        columns: names of the features.
        grid: the steps, from time 0 on.
        needs: parts of a face track that it reads; empty for audio.
        causal: whether a step is a function of what comes before its cell's end, and known as soon as that has come.
    """

    name: str
    modality: Modality
    columns: tuple[str, ...]
    grid: Grid
    needs: frozenset[Need]
    causal: bool

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
        config: the config dataclass; `batch` and `source` don't count, since neither changes the features by itself,
            and `causal` counts where it is set.
        *parts: anything else the features depend on (weight hashes, library versions).
    """
    if not is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"{name}: the config must be a dataclass instance, not {config!r}")
    counts = {key: value for key, value in asdict(config).items() if key not in ("batch", "source")}
    if counts.get("causal") is False:  # as it was before there was this setting
        del counts["causal"]
    text = json.dumps([name, version, counts, parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
