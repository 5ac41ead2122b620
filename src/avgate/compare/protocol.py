"""What is compared: the rows of the table, what all of them share, and the trainings that this takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avgate.core.places import Place
from avgate.models.overrides import override
from avgate.models.recipe import Recipe


@dataclass(frozen=True)
class Variant:
    """One row of the comparison: its name, and the recipe that is trained for it."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Protocol:
    """What all variants of one comparison share.

    Attributes:
        corpus: kind of corpus.
        data: its folder.
        store: folder or address of its features.
        folds: cross-validation by person with so many folds; 0 takes the corpus' own splits.
        stress: whether models are also measured on corrupted clips.
        accelerator: lightning-fabric's: "auto", "cpu", "cuda", ...
        only: names of the clips to take; () takes all.
    """

    corpus: str
    data: Path
    store: Place
    folds: int
    stress: bool = False
    accelerator: str = "auto"
    only: tuple[str, ...] = ()

    @property
    def splits(self) -> int:
        """How many times the clips are split into training, validation and test."""
        return max(1, self.folds)


@dataclass(frozen=True)
class Run:
    """Training with each of several settings on one fold with one seed; the best on validation clips is kept.

    Attributes:
        variant: name of the row that it is part of.
        recipe: what is trained.
        fold: index of the fold.
        seed: of the training.
        settings: changes of the recipe to try, such as "train.lr=1e-3 model.head_dropout=0.5"; "" changes nothing.
    """

    variant: str
    recipe: Recipe
    fold: int
    seed: int
    settings: tuple[str, ...]

    @property
    def name(self) -> str:
        """Stem of its files."""
        return f"{self.variant}-seed{self.seed}-fold{self.fold}"

    def repeated(self, setting: str, seeds: Sequence[int]) -> list[Run]:
        """The same with one setting and other seeds."""
        return [replace(self, seed=seed, settings=(setting,)) for seed in seeds]

    def recipes(self) -> dict[str, Recipe]:
        """Setting -> the recipe with it."""
        return {s: override(self.recipe, f"train.seed={self.seed}", *s.split()) for s in self.settings}
