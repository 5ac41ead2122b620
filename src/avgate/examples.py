"""Clips with labels, ready to train and evaluate on: stored features on the common grid beside their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avgate.backbones import build_backbones
from avgate.backbones.base import kind_of
from avgate.checkpoint import FeatureSpec
from avgate.config import Recipe
from avgate.corpora.base import Corpus
from avgate.errors import CorpusError, choose
from avgate.inference import ClipFeatures, on_common_grid
from avgate.label_tracks import labels_on_grid
from avgate.store import FeatureStore
from avgate.types import Clip, FeatureTrack, LabelTrack


@dataclass(frozen=True)
class Example:
    """One labelled clip.

    Attributes:
        clip: where it comes from.
        features: on the common grid.
        labels: at their own times.
        steps: labels on the common grid, float32 [n k]; NaN where there is none.
    """

    clip: Clip
    features: ClipFeatures
    labels: LabelTrack
    steps: np.ndarray


def read_tracks(corpus: Corpus, store: FeatureStore, clip: Clip, recipe: Recipe) -> list[FeatureTrack]:
    """A clip's features in the order of the recipe's backbones: those that its corpus brings along, or stored ones.

    Raises:
        FeatureError: features are missing.
    """
    brought = corpus.tracks(clip)
    if brought is not None:
        by_name = {track.backbone: track for track in brought}
        return [choose(f"feature set in the corpus '{corpus.name}'", name, by_name) for name in recipe.backbones]
    backbones = build_backbones(recipe.backbones, recipe.label_rate)
    return [store.read(clip.name, store.find(f"{kind_of(b.name)}-{b.fingerprint}")) for b in backbones]


def read_clip(
    corpus: Corpus, store: FeatureStore, clip: Clip, recipe: Recipe
) -> tuple[ClipFeatures, tuple[FeatureSpec, ...]]:
    """A clip's features on the common grid, and what they are; FeatureError where they are missing or unusable."""
    tracks = read_tracks(corpus, store, clip, recipe)
    return on_common_grid(clip.name, tracks, recipe.grid), tuple(FeatureSpec.of(t) for t in tracks)


def load_examples(
    corpus: Corpus, store: FeatureStore, recipe: Recipe, split: str | None
) -> tuple[list[Example], tuple[FeatureSpec, ...]]:
    """All labelled clips of a split (None: of all splits) with their features, and what the features are.

    Raises:
        CorpusError: the split has no labelled clip.
        FeatureError: features are missing or unusable.
    """
    clips = [c for c in corpus.clips() if split in (None, c.split) and c.labels is not None]
    if not clips:
        splits = ", ".join(sorted({c.split for c in corpus.clips() if c.labels is not None})) or "none"
        raise CorpusError(f"the split '{split}' has no labelled clips", where=corpus.name, hint=f"splits: {splits}")
    examples = []
    specs: tuple[FeatureSpec, ...] = ()
    for clip in clips:
        features, specs = read_clip(corpus, store, clip, recipe)
        labels = corpus.labels(clip)
        steps = labels_on_grid(labels, recipe.grid, len(features))
        if labels.until_s is not None:  # a label of a stretch is asked for throughout it, not once
            labels = LabelTrack(recipe.grid.times(len(steps)), steps, labels.targets)
        examples.append(Example(clip, features, labels, steps))
    return examples, specs


def groups(examples: Sequence[Example]) -> set[str]:
    """The groups (persons) that occur."""
    return {e.clip.group for e in examples}
