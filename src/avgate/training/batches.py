"""Training data: the clips of both splits, and batches of standardised windows cut from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from avgate.core.errors import CorpusError, FeatureError
from avgate.core.text import spelling_apart
from avgate.corpora.base import Corpus
from avgate.evaluation.examples import Example, by_source, groups, load_examples
from avgate.features.base import kind_of
from avgate.features.corruption import CORRUPTIONS, Feature, stretches
from avgate.features.registry import RAW
from avgate.features.stats import FeatureStats
from avgate.features.store import FeatureStore
from avgate.models.checkpoint import FeatureSpec, modality_dims
from avgate.models.recipe import CorruptConfig, Recipe


@dataclass(frozen=True)
class Prepared:
    """The data of one training: both splits, and the statistics of the training clips."""

    train: list[Example]
    validation: list[Example]
    specs: tuple[FeatureSpec, ...]
    stats: dict[str, FeatureStats]

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return self.train[0].labels.targets

    def feature(self, i: int, modality: str, part: slice = slice(None)) -> Feature:
        """A training clip's feature in these steps. Standardised on demand: holding it twice would take gigabytes."""
        clip = self.train[i].features
        return Feature(self.stats[modality].fill(clip.values[modality][part]), clip.present[modality][part])

    @cached_property
    def neutral(self) -> dict[str, np.ndarray]:
        """Modality -> [clips d], mean standardised features of the training clips whose labels are 0 throughout."""
        found = {}
        for m in self.stats:
            clips = [i for i, e in enumerate(self.train) if e.features.present[m].any() and not np.any(e.steps)]
            parts = [self.feature(i, m) for i in clips]
            found[m] = np.array([part.values[part.present].mean(0) for part in parts])
        return found

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
    """Fit the statistics on the training clips alone.

    Args:
        train: training clips.
        validation: validation clips.
        specs: what their features are.
        corpus: name of the corpus, for messages.

    Raises:
        CorpusError: a person is in both splits, or a modality never occurs.
        FeatureError: features are too large to be standardised.
    """
    known = set(map(spelling_apart, groups(train)))
    shared = {group for group in groups(validation) if spelling_apart(group) in known}
    if shared:
        raise CorpusError(
            f"these groups are in the training and in the validation split: {', '.join(sorted(shared))}",
            where=corpus,
            hint="split by group: scores on people seen in training say nothing about others",
        )
    stats = {}
    for modality in modality_dims(specs):
        if not any(e.features.present[modality].any() for e in train):
            hint = (
                f"leave out the recipe's backbones of {modality}, by --set 'backbones=(...)', and fusions that need it"
            )
            raise CorpusError(f"no training clip has any {modality}", where=corpus, hint=hint)
        # A backbone that is trained along reads raw features: they aren't standardised.
        raw = all(kind_of(spec.backbone) in RAW.values() for spec in specs if spec.modality == modality)
        columns = train[0].features.values[modality].shape[1]
        stats[modality] = FeatureStats.identity(columns) if raw else _fit(train, modality)
        if fault := stats[modality].fault(columns):
            hint = "look for absurd values in these features, and extract them anew"
            raise FeatureError(f"the statistics of {modality} can't be used: {fault}", where=corpus, hint=hint)
    return Prepared(train, validation, specs, stats)


def _fit(train: Sequence[Example], modality: str) -> FeatureStats:
    """Statistics over the present steps, in which every source that has the modality counts the same."""
    having = [example for example in train if example.features.present[modality].any()]
    return FeatureStats.merged(
        [
            FeatureStats.fit(
                [having[i].features.values[modality] for i in part],
                [having[i].features.present[modality] for i in part],
            )
            for part in by_source(having)
        ]
    )


@dataclass(frozen=True)
class Batch:
    """Windows side by side, as long as the longest of them.

    Attributes:
        features: modality -> [b L d].
        present: modality -> bool [b L].
        labels: [b L k]; NaN where there is none.
        reliable: modality -> [b L], 1 where it is as it was recorded, 0 where it is absent or corrupted; NaN behind the
            window's end.
    """

    features: dict[str, Tensor]
    present: dict[str, Tensor]
    labels: Tensor
    reliable: dict[str, Tensor]


def with_losses(batch: Batch, steps: tuple[int, ...], random: np.random.Generator) -> Batch:
    """A copy in which half of the windows have lost one random modality, in stretches that cover any share of it.

    Args:
        batch: windows.
        steps: shortest and longest stretch in steps.
        random: source of randomness.
    """
    present = {m: here.clone() for m, here in batch.present.items()}
    for i in range(len(batch.labels)):
        if random.random() < 0.5:
            gone, _ = stretches(batch.labels.shape[1], random.random(), (steps[0], steps[1]), random)
            present[list(present)[random.integers(len(present))]][i, torch.from_numpy(gone)] = False
    evidence = torch.stack(list(present.values())).any(0)
    return replace(batch, present=present, labels=batch.labels.masked_fill(~evidence[..., None], torch.nan))


def batches(data: Prepared, recipe: Recipe, epoch: int, device: torch.device) -> Iterator[Batch]:
    """One epoch of training windows: from a random first step on, every hop, in random order.

    A batch holds windows of one source, and the batches of each source are spread evenly over the epoch. The order
    depends on seed and epoch alone, so that a resumed run sees what an uninterrupted one would have seen.
    """
    random = np.random.default_rng((recipe.train.seed, epoch))
    windows_of: dict[str, list[tuple[int, int]]] = {}
    for i, example in enumerate(data.train):
        windows_of.setdefault(example.clip.source, []).extend(_windows(i, example, recipe, random))
    placed = []
    for own in windows_of.values():
        order = random.permutation(len(own))
        parts = [order[at : at + recipe.train.batch] for at in range(0, len(order), recipe.train.batch)]
        placed += [((k + 0.5) / len(parts), [own[j] for j in part]) for k, part in enumerate(parts)]
    for _, picked in sorted(placed, key=itemgetter(0)):
        cuts = [_moved(_cut(data, i, s, recipe.window), data, recipe.train.corrupt, random) for i, s in picked]
        windows = [_corrupted(cut, data, recipe.train.corrupt, random) for cut in cuts]
        yield _stack(windows, [data.train[i].steps[s : s + recipe.window] for i, s in picked], device)


def _windows(i: int, example: Example, recipe: Recipe, random: np.random.Generator) -> list[tuple[int, int]]:
    """A clip's windows in this epoch, as (clip, first step)."""
    window, hop = recipe.window, recipe.hop
    last = max(0, len(example.features) - window)
    first = int(random.integers(0, min(hop, last + 1)))
    starts = sorted({*range(first, last + 1, hop), last})
    weight = example.clip.weight
    times = int(weight) if weight == int(weight) else int(weight + random.random())
    return [(i, start) for start in starts] * times


def _cut(data: Prepared, i: int, start: int, window: int) -> dict[str, Feature]:
    part = slice(start, start + window)
    return {m: data.feature(i, m, part) for m in data.stats}


def _moved(
    clean: dict[str, Feature], data: Prepared, config: CorruptConfig, random: np.random.Generator
) -> dict[str, Feature]:
    """One window as another person would show it, see CorruptConfig's anatomy and jitter."""
    if not config.anatomy and not config.jitter:
        return clean
    moved = {}
    for m, feature in clean.items():
        by = config.jitter * random.standard_normal(feature.values.shape[1])
        people = data.neutral[m]
        if config.anatomy and len(people):
            one, other = random.integers(len(people), size=2)
            by += config.anatomy * (people[one] - people[other])
        values = np.where(feature.present[:, None], feature.values + by.astype(np.float32), feature.values)
        moved[m] = Feature(values, feature.present)
    return moved


Window = dict[str, tuple[Feature, np.ndarray]]
"""Modality -> features, and float32 [n]: 1 where they are reliable."""


def _corrupted(clean: dict[str, Feature], data: Prepared, config: CorruptConfig, random: np.random.Generator) -> Window:
    """One window, corrupted as CorruptConfig says; a window with one modality alone has nothing to fall back on."""
    window = {m: (feature, feature.present.astype(np.float32)) for m, feature in clean.items()}
    if len(clean) > 1 and sum(feature.present.any() for feature in clean.values()) < 2:
        return window
    if config.kinds and random.random() < config.probability:
        m = list(clean)[random.integers(len(clean))]
        kind = CORRUPTIONS[config.kinds[random.integers(len(config.kinds))]]
        other = int(random.integers(len(data.train)))
        share = random.uniform(config.share[0], config.share[1])
        mask, where = stretches(len(clean[m].present), share, (config.steps[0], config.steps[1]), random)
        corrupted = kind(clean[m], where, random, lambda: data.feature(other, m))
        window[m] = corrupted, (corrupted.present & ~mask).astype(np.float32)
    if config.dropout and random.random() < config.dropout:
        m = list(clean)[random.integers(len(clean))]
        gone = Feature(np.zeros_like(clean[m].values), np.zeros_like(clean[m].present))
        window[m] = gone, gone.present.astype(np.float32)
    return window


def _stack(windows: Sequence[Window], steps: Sequence[np.ndarray], device: torch.device) -> Batch:
    """Windows side by side, padded to the longest; steps without any evidence have no label."""
    length = max(map(len, steps))

    def padded(parts: list[np.ndarray], fill: float | bool) -> Tensor:
        out = np.full((len(parts), length, *parts[0].shape[1:]), fill, parts[0].dtype)
        for row, part in zip(out, parts, strict=True):
            row[: len(part)] = part
        return torch.from_numpy(out).to(device)

    evidence = [np.any([f.present for f, _ in one.values()], axis=0) for one in windows]
    labels = [np.where(e[:, None], x, np.nan).astype(np.float32) for e, x in zip(evidence, steps, strict=True)]
    return Batch(
        {m: padded([one[m][0].values.astype(np.float32, copy=False) for one in windows], 0.0) for m in windows[0]},
        {m: padded([one[m][0].present for one in windows], False) for m in windows[0]},
        padded(labels, np.nan),
        {m: padded([one[m][1] for one in windows], np.nan) for m in windows[0]},
    )
