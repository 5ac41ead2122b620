"""What training sees: the clips of both splits, standardised, and batches of windows cut from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avgate.checkpoint import FeatureSpec, modality_dims
from avgate.config import Recipe
from avgate.corpora.base import Corpus
from avgate.errors import CorpusError
from avgate.examples import Example, groups, load_examples
from avgate.inference import standardised
from avgate.stats import FeatureStats
from avgate.store import FeatureStore


@dataclass(frozen=True)
class Prepared:
    """What does not change while a model is trained: both splits, the statistics and the standardised features."""

    train: list[Example]
    validation: list[Example]
    specs: tuple[FeatureSpec, ...]
    stats: dict[str, FeatureStats]
    values: list[dict[str, np.ndarray]]

    @property
    def targets(self) -> tuple[str, ...]:
        """What is estimated."""
        return self.train[0].labels.targets

    def only(self, modalities: Sequence[str]) -> Prepared:
        """The same data with some of the modalities' features."""
        return replace(
            self,
            specs=tuple(s for s in self.specs if s.modality in modalities),
            stats={m: self.stats[m] for m in modalities},
        )


def load_splits(corpus: Corpus, store: FeatureStore, recipe: Recipe) -> Prepared:
    """Load the training and the validation split and prepare them; errors as of load_examples and prepare."""
    train, specs = load_examples(corpus, store, recipe, "train")
    validation, _ = load_examples(corpus, store, recipe, "validation")
    return prepare(train, validation, specs, corpus.name)


def prepare(train: list[Example], validation: list[Example], specs: tuple[FeatureSpec, ...], corpus: str) -> Prepared:
    """Fit the statistics on the training clips alone, and standardise them.

    Args:
        train: training clips.
        validation: validation clips.
        specs: what their features are.
        corpus: name of the corpus, for messages.

    Raises:
        CorpusError: a person is in both splits, or a modality never occurs.
    """
    shared = groups(train) & groups(validation)
    if shared:
        raise CorpusError(
            f"these groups are in the training and in the validation split: {', '.join(sorted(shared))}",
            where=corpus,
            hint="split by group: scores on people seen in training say nothing about others",
        )
    stats = {}
    for modality in modality_dims(specs):
        rows = [e.features.values[modality][e.features.present[modality]] for e in train]
        if not sum(map(len, rows)):
            raise CorpusError(f"no training clip has any {modality}", where=corpus)
        stats[modality] = FeatureStats.fit(rows)
    return Prepared(train, validation, specs, stats, [standardised(e.features, stats) for e in train])


@dataclass(frozen=True)
class Batch:
    """Windows side by side: modality -> [b L d], modality -> bool [b L], labels [b L k] (NaN where there is none)."""

    features: dict[str, Tensor]
    present: dict[str, Tensor]
    labels: Tensor


def batches(data: Prepared, recipe: Recipe, epoch: int, device: torch.device) -> Iterator[Batch]:
    """One epoch of training windows: from a random first step on, every hop, in random order.

    The order depends on seed and epoch alone, so that a resumed run sees what an uninterrupted one would have seen.
    """
    random = np.random.default_rng((recipe.train.seed, epoch))
    window, hop = recipe.window, recipe.hop
    starts = []
    for i, example in enumerate(data.train):
        last = max(0, len(example.features) - window)
        first = int(random.integers(0, min(hop, last + 1)))
        starts += [(i, s) for s in {*range(first, last + 1, hop), last}]
    starts.sort()
    order = random.permutation(len(starts))
    for at in range(0, len(order), recipe.train.batch):
        yield _stack([starts[j] for j in order[at : at + recipe.train.batch]], data, window, device)


def _stack(picked: Sequence[tuple[int, int]], data: Prepared, window: int, device: torch.device) -> Batch:
    def padded(parts: list[np.ndarray], fill: float | bool) -> Tensor:
        out = np.full((len(parts), window, *parts[0].shape[1:]), fill, parts[0].dtype)
        for row, part in zip(out, parts, strict=True):
            row[: len(part)] = part
        return torch.from_numpy(out).to(device)

    cuts = [(i, slice(s, s + window)) for i, s in picked]
    evidence = [np.any([data.train[i].features.present[m][c] for m in data.stats], axis=0) for i, c in cuts]
    labels = [np.where(e[:, None], data.train[i].steps[c], np.nan) for (i, c), e in zip(cuts, evidence, strict=True)]
    return Batch(
        {m: padded([data.values[i][m][c] for i, c in cuts], 0.0) for m in data.stats},
        {m: padded([data.train[i].features.present[m][c] for i, c in cuts], False) for m in data.stats},
        padded([x.astype(np.float32) for x in labels], np.nan),
    )
