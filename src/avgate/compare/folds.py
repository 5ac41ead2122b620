"""Folds: which persons are trained on, validated on and tested; nobody is in two parts of a fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avgate.core.errors import CorpusError, UsageError
from avgate.corpora.base import SPLITS
from avgate.evaluation.examples import Example


@dataclass(frozen=True)
class Fold:
    """Groups (persons) of one fold's three parts."""

    train: frozenset[str]
    validation: frozenset[str]
    test: frozenset[str]


def split(examples: Sequence[Example], count: int) -> list[Fold]:
    """The folds of a comparison.

    Args:
        examples: labelled clips of all splits.
        count: how many folds; 0 takes the corpus' own splits, as the only one.

    Raises:
        UsageError: there are too few groups for so many folds, or a split of the corpus is empty.
        CorpusError: a group is in two splits of the corpus.
    """
    if not count:
        return [_own_splits(examples)]
    sizes: dict[str, int] = {}
    for example in examples:
        sizes[example.clip.group] = sizes.get(example.clip.group, 0) + len(example.features)
    try:
        return folds(sizes, count)
    except ValueError as error:
        most = most_folds(sizes)
        if most:
            hint = f"the most that work here: --folds {most}"
        else:
            hint = "the corpus has too few persons for any folds: use --folds 0, its own splits"
        raise UsageError(str(error), where="--folds", hint=hint) from error


def _own_splits(examples: Sequence[Example]) -> Fold:
    groups = {s: frozenset(e.clip.group for e in examples if e.clip.split == s) for s in SPLITS}
    empty = [name for name, found in groups.items() if not found]
    if empty:
        hint = "mark some clips so, or let persons be dealt to folds, such as --folds 5"
        raise UsageError(f"the corpus' own splits have no labelled clip for {' or '.join(empty)}", hint=hint)
    shared = (groups["train"] | groups["validation"]) & groups["test"] | groups["train"] & groups["validation"]
    if shared:
        hint = "keep all clips of a group in one split: scores on people seen in training say nothing about others"
        raise CorpusError(f"these groups are in more than one split: {', '.join(sorted(shared))}", hint=hint)
    return Fold(groups["train"], groups["validation"], groups["test"])


def folds(sizes: Mapping[str, int], count: int, validation_share: float = 0.15, seed: int = 0) -> list[Fold]:
    """Deal groups to folds of about equal size; every group is tested once.

    Args:
        sizes: group -> how much of the data it holds, in clips or steps.
        count: folds, at least 2.
        validation_share: of what isn't tested, kept for validation.
        seed: of the dealing.

    Raises:
        ValueError: there are too few groups for so many folds, or they are too unequal for so few.
    """
    if not 2 <= count <= len(sizes) - 2:
        what = f"{len(sizes)} groups (persons) can't be dealt to {count} folds"
        raise ValueError(f"{what}, each with a training, a validation and a test part")
    parts = _deal(sizes, [1.0] * count, seed)
    found = []
    for i, test in enumerate(parts):
        rest = {g: n for g, n in sizes.items() if g not in test}
        if len(rest) < 2:
            what = f"of {len(sizes)} groups (persons), a fold that tests {len(test)}"
            raise ValueError(f"{what} leaves too few to train and validate on: use more folds")
        train, validation = _deal(rest, [1 - validation_share, validation_share], seed + 1 + i)
        found.append(Fold(train, validation, test))
    return found


def most_folds(sizes: Mapping[str, int]) -> int | None:
    """The largest count for which `folds` gives every fold all three parts; None where there is no such count."""
    for count in range(len(sizes), 1, -1):
        try:
            folds(sizes, count)
        except ValueError:
            continue
        return count
    return None


def _deal(sizes: Mapping[str, int], shares: Sequence[float], seed: int) -> list[frozenset[str]]:
    """Groups in random order, large ones first, each to the part that is furthest below its share."""
    shuffled = np.random.default_rng(seed).permutation(sorted(sizes)).tolist()
    order = sorted(shuffled, key=lambda group: -sizes[group])
    filled = np.zeros(len(shares))
    parts: list[set[str]] = [set() for _ in shares]
    for group in order:
        empty = [k for k, part in enumerate(parts) if not part]
        # The last groups go to parts that are still empty, so that no part ends up with nothing.
        left = len(order) - sum(map(len, parts))
        choices = empty if len(empty) >= left else range(len(shares))
        k = min(choices, key=lambda k: (filled[k] + sizes[group]) / shares[k])
        parts[k].add(group)
        filled[k] += sizes[group]
    return [frozenset(part) for part in parts]
