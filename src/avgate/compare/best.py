"""Which variant to use: the best on validation clips, its model, and the command that trains it anew."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from avgate.compare.kept import Kept
from avgate.compare.outcome import Outcome
from avgate.compare.protocol import Protocol, Run, Variant
from avgate.core.errors import UsageError
from avgate.features.store import features_beside
from avgate.models.overrides import override
from avgate.models.recipe import Recipe
from avgate.models.recipes import recipe_named


def best_of(
    protocol: Protocol, variants: Sequence[Variant], outcomes: Mapping[tuple[str, int, int], Outcome], kept: Kept
) -> dict[str, Any]:
    """The variant with the best mean validation score; test clips have no part in it.

    Args:
        protocol: how they were compared.
        variants: what was compared.
        outcomes: (variant, seed, fold) -> outcome.
        kept: where the models are.

    Returns:
        Its name as `fusion`; `validation`, the mean over seeds and folds; `checkpoint`, relative to the comparison's
        folder, of its training with the best validation score; `setting`, the one that most folds chose; `command`,
        which trains it with that setting, or None where no command can say its recipe.
    """
    validation = {key: float(np.nan_to_num(outcome.validation, nan=-1.0)) for key, outcome in sorted(outcomes.items())}

    def mean(variant: Variant) -> float:
        return float(np.mean([score for (name, *_), score in validation.items() if name == variant.name]))

    best = max(variants, key=mean)
    own = [key for key in validation if key[0] == best.name]
    _, seed, fold = max(own, key=lambda key: validation[key])
    checkpoint = kept.checkpoint(Run(best.name, best.recipe, fold, seed, ()))
    setting = Counter(outcomes[key].setting for key in own).most_common(1)[0][0]
    return {
        "fusion": best.name,
        "validation": mean(best),
        "checkpoint": checkpoint.relative_to(kept.out).as_posix(),
        "setting": setting,
        "command": _train_command(protocol, override(best.recipe, *setting.split()), kept),
    }


def _train_command(protocol: Protocol, recipe: Recipe, kept: Kept) -> str | None:
    """The `avgate train` line for a recipe; None where it can't be said as changes of a named recipe."""
    try:
        named = recipe_named(recipe.name).with_fusion(recipe.fusion)
    except UsageError:
        return None
    settings = settings_between(named, recipe)
    if settings is None:
        return None
    command = ["avgate", "train", "--corpus", protocol.corpus, "--data", str(protocol.data)]
    if protocol.store != features_beside(protocol.data):
        command += ["--store", str(protocol.store)]
    command += ["--out", str(kept.out / "best"), "--recipe", recipe.name, "--fusion", recipe.fusion]
    return shlex.join(command + (["--set", *settings] if settings else []))


def settings_between(recipe: Recipe, wanted: Recipe) -> list[str] | None:
    """The settings, as `path=value`, that turn one recipe into another that trains alike; None where none do."""
    wanted = replace(wanted, name=recipe.name, tuning=recipe.tuning)  # neither has a part in training
    changes = list(_changes(recipe, wanted))
    try:
        return changes if override(recipe, *changes) == wanted else None
    except UsageError:
        return None


def _changes(value: Any, wanted: Any, path: str = "") -> Iterator[str]:
    names = [field.name for field in fields(wanted)] if is_dataclass(wanted) else list(wanted)
    for name in names:
        one, other = (getattr(v, name) if is_dataclass(v) else v.get(name) for v in (value, wanted))
        if one == other:
            continue
        if type(one) is type(other) and (is_dataclass(other) or isinstance(other, Mapping)):
            yield from _changes(one, other, f"{path}{name}.")
        else:
            yield f"{path}{name}={other}"
