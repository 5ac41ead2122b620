"""What a comparison trains and tests on: labelled clips with their features, in folds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from avgate.compare.folds import Fold, split
from avgate.compare.protocol import Protocol, Run
from avgate.corpora import open_corpus
from avgate.corpora.base import Corpus
from avgate.evaluation.examples import Example, load_examples
from avgate.features.store import FeatureStore
from avgate.models.checkpoint import FeatureSpec, modality_dims
from avgate.models.fusions import fusion_class
from avgate.models.recipe import Recipe
from avgate.training.run_state import run_identity

PRECISION = "32-true"
"""Numeric precision of every training of a comparison."""


@dataclass(frozen=True)
class Data:
    """All labelled clips of a comparison.

    Attributes:
        corpus: where they come from.
        store: where their features come from.
        examples: the clips.
        specs: what their features are.
        folds: who is trained on, validated on and tested.
    """

    corpus: Corpus
    store: FeatureStore
    examples: list[Example]
    specs: tuple[FeatureSpec, ...]
    folds: list[Fold]

    def part(self, groups: frozenset[str]) -> list[Example]:
        """The clips of these groups."""
        return [e for e in self.examples if e.clip.group in groups]

    def identity(self, run: Run, protocol: Protocol) -> str:
        """A hash of everything that a run's outcome depends on: it holds for as long as none of that changes."""
        modalities = fusion_class(run.recipe.model.fusion).modalities(tuple(modality_dims(self.specs)))
        parts = {name: self.part(groups) for name, groups in vars(self.folds[run.fold]).items()}
        specs = [spec for spec in self.specs if spec.modality in modalities]
        clips = [e.clip for e in (*parts["train"], *parts["validation"])]
        depends: dict[str, Any] = {
            "training": run_identity(run.recipe, specs, clips, PRECISION),
            "settings": run.settings,
            "seed": run.seed,
            "accelerator": protocol.accelerator,
            "corpus": self.corpus.name,
            "targets": self.corpus.targets,
            "parts": {
                name: {e.clip.name: [self._digests[e.clip.name][m] for m in ("labels", *modalities)] for e in examples}
                for name, examples in parts.items()
            },
            "avgate": version("avgate"),
        }
        return _digest(json.dumps(depends, sort_keys=True).encode())

    @cached_property
    def _digests(self) -> dict[str, dict[str, str]]:
        """Clip -> "labels" or modality -> hash of the values, so that it doesn't matter how they came to change."""
        return {
            e.clip.name: {"labels": _digest(e.labels.time_s, e.labels.values, e.steps)}
            | {m: _digest(x, e.features.present[m]) for m, x in e.features.values.items()}
            for e in self.examples
        }


def load_data(protocol: Protocol, recipe: Recipe) -> Data:
    """Load all clips with the features of a recipe.

    Raises:
        CorpusError: the corpus can't be read, or has no usable label.
        FeatureError: features are missing or unusable.
        UsageError: the clips can't be split like that.
    """
    corpus, store = open_corpus(protocol.corpus, protocol.data), FeatureStore(protocol.store)
    examples, specs = load_examples(corpus, store, recipe, None, protocol.only)
    return Data(corpus, store, examples, specs, split(examples, protocol.folds))


def _digest(*parts: bytes | np.ndarray) -> str:
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype} {part.shape}".encode())
            part = np.ascontiguousarray(part).tobytes()
        found.update(part)
    return found.hexdigest()[:16]
