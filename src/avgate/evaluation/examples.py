"""Examples: clips with their features on the common grid and their labels."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from avgate.core.errors import CorpusError, FeatureError, choose
from avgate.core.files import is_file
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.corpora.base import SPLITS, Corpus
from avgate.faces import made_by_this_code
from avgate.features.base import kind_of
from avgate.features.registry import build_backbones
from avgate.features.store import FeatureStore, source_fingerprint
from avgate.inference.clip import ClipFeatures, on_common_grid
from avgate.labels.tracks import labels_on_grid
from avgate.models.checkpoint import FeatureSpec
from avgate.models.recipe import Recipe


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


class Reader:
    """Reads the clips of a corpus with the features of a recipe: those that the corpus brings along, or stored ones.

    Args:
        corpus: whose clips.
        store: where extracted features are.
        recipe: which backbones, in which order, and on which grid.
    """

    def __init__(self, corpus: Corpus, store: FeatureStore, recipe: Recipe):
        self.corpus, self.store, self.recipe = corpus, store, recipe

    @cached_property
    def _keys(self) -> list[str]:
        """Each backbone's key in the store; cached, since a deep backbone hashes its weights for it."""
        backbones = build_backbones(self.recipe.backbones, self.recipe.label_rate)
        return [
            self.store.find(
                f"{kind_of(b.name)}-{b.fingerprint}", made_by_this_code if b.modality == "video" else lambda key: True
            )
            for b in backbones
        ]

    def tracks(self, clip: Clip) -> list[FeatureTrack]:
        """A clip's features in the order of the recipe's backbones; FeatureError where they are missing."""
        brought = self.corpus.tracks(clip)
        if brought is None:
            source = _source(clip)
            return [self.store.read(clip.name, key, source) for key in self._keys]
        by_name = {track.backbone: track for track in brought}
        what = f"feature set in the corpus '{self.corpus.name}'"
        return [choose(what, name, by_name) for name in self.recipe.backbones]

    def read(self, clip: Clip) -> tuple[ClipFeatures, tuple[FeatureSpec, ...]]:
        """A clip's features on the common grid, and what they are; FeatureError where they are missing or unusable."""
        tracks = self.tracks(clip)
        return on_common_grid(clip.name, tracks, self.recipe.grid), tuple(FeatureSpec.of(t) for t in tracks)


def _source(clip: Clip) -> str | None:
    """The fingerprint that a clip's features must be of; None where that can't be told, or would take long.

    Features may be used without their recordings. Those with crops are images by the thousand.
    """
    if clip.crops is not None or not is_file(clip.video):
        return None
    with contextlib.suppress(OSError):
        return source_fingerprint(clip.video)
    return None


def load_examples(
    corpus: Corpus, store: FeatureStore, recipe: Recipe, split: str | None, only: Collection[str] = ()
) -> tuple[list[Example], tuple[FeatureSpec, ...]]:
    """All labelled clips of a split (None: of all splits), and the specs of their features.

    Args:
        corpus: whose clips.
        store: where extracted features are.
        recipe: which features, and on which grid.
        split: which split; None takes all.
        only: names of the clips to take; () takes all.

    Raises:
        CorpusError: the split has no labelled clip, or no label that lies within its clip.
        FeatureError: features are missing or unusable, or those of two clips differ in kind.
    """
    clips = [c for c in corpus.clips() if split in (None, c.split) and c.labels is not None]
    if only:
        clips = [c for c in clips if c.name in only]
    if not clips:
        splits = ", ".join(sorted({c.split for c in corpus.clips() if c.labels is not None}))
        if not splits:
            hint = f"training and scores need labels; `avgate inspect --corpus {corpus.name}` says what is missing"
            raise CorpusError("no clip has labels", where=corpus.name, hint=hint)
        advice = "mark some clips so" if split in SPLITS else "name another one"
        hint = f"{advice}; splits with labelled clips: {splits}"
        raise CorpusError(f"the split '{split}' has no labelled clips", where=corpus.name, hint=hint)
    reader = Reader(corpus, store, recipe)
    examples = []
    specs: tuple[FeatureSpec, ...] = ()
    for clip in clips:
        features, found = reader.read(clip)
        specs = specs or found
        if found != specs:
            what = "its features are of another kind than those of the clips before it: other columns or fingerprints"
            raise FeatureError(what, where=clip.name, hint="run `avgate extract` again, in a new store if need be")
        labels = corpus.labels(clip)
        steps = labels_on_grid(labels, recipe.grid, len(features))
        if labels.until_s is not None:  # a label of a stretch is asked for throughout it, not once
            labels = LabelTrack(recipe.grid.times(len(steps)), steps, labels.targets)
        examples.append(Example(clip, features, labels, steps))
    if all(np.isnan(e.steps).any(1).all() for e in examples):
        what = f"in the split '{split}', no step of any clip has a label for all of {', '.join(corpus.targets)}"
        hint = "look at the label files' times and unknown values; avgate inspect tells of each clip"
        raise CorpusError(what, where=corpus.name, hint=hint)
    return examples, specs


def by_source(examples: Sequence[Example]) -> list[list[int]]:
    """For each source, the places of its examples, in their order."""
    found: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        found.setdefault(example.clip.source, []).append(i)
    return list(found.values())


def groups(examples: Sequence[Example]) -> set[str]:
    """The groups (persons) that occur."""
    return {e.clip.group for e in examples}
