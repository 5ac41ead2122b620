"""Changing settings of a recipe by text: `path=value`, as after --set on the command line."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from avgate.core.errors import UsageError, choose
from avgate.models.recipe import Recipe, choices_of

_WORDS = {bool: "True or False", int: "a whole number", float: "a number"}


def override(recipe: Recipe, *assignments: str) -> Recipe:
    """A recipe with some settings changed, as in `avgate train --set train.epochs=5`.

    tyro's own config overrides read all these settings too, but they report a mistake by printing and exiting, where
    comparisons need an error. They also let NaN and tuples of mixed types through.

    Args:
        recipe: the recipe to change.
        assignments: `path=value`: fields joined by dots, and a value of the field's present type in Python's notation;
            text needs no quotes. Their order is free; of two for one setting, the later counts.

    Raises:
        UsageError: there is no such setting, or the value has the wrong type or is refused by the config.
    """
    tree: dict[str, Any] = {}
    for assignment in assignments:
        path, found, text = assignment.partition("=")
        if not found:
            raise UsageError(f"'{assignment}' sets nothing", hint="write it as path=value, such as train.epochs=5")
        *groups, name = path.strip().split(".")
        inner = tree
        for group in groups:
            if not isinstance(inner.get(group), dict):
                inner[group] = {}
            inner = inner[group]
        inner[name] = text.strip()
    changed: Recipe = _changed(recipe, tree, "")
    return changed


def _changed(owner: Any, tree: Mapping[str, Any], prefix: str) -> Any:
    """A config or mapping with the changes of `tree`: name -> text, or -> a tree of changes in that group."""
    inside, values = _parts(owner) or {}, {}
    for name, new in tree.items():
        path = prefix + name
        if not inside:
            hint = "take a recipe that has some; demo-finetune has model.finetune"
            raise UsageError("this recipe has no settings there", where=path, hint=hint)
        present = choose(f"setting '{path}': no", name, inside)
        if isinstance(new, str):
            values[name] = _value(new, present, choices_of(type(owner), name), path)
        elif _parts(present) is None:
            raise UsageError(f"the setting '{name}' has no parts", where=path, hint=f"its value is {present!r}")
        else:
            values[name] = _changed(present, new, f"{path}.")
    try:
        return {**owner, **values} if isinstance(owner, Mapping) else replace(owner, **values)
    except ValueError as error:
        raise UsageError(str(error), where=", ".join(_paths(tree, prefix))) from error


def _paths(tree: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, new in tree.items():
        if isinstance(new, str):
            yield prefix + name
        else:
            yield from _paths(new, f"{prefix}{name}.")


def _parts(value: Any) -> dict[str, Any] | None:
    """The settings in a config or a mapping of configs; None for a plain value."""
    if isinstance(value, Mapping):
        return dict(value)
    return {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else None


def _value(text: str, present: Any, choices: Sequence[str], path: str) -> Any:
    if choices:
        return choose(path, text, {choice: choice for choice in choices})
    if isinstance(present, str):
        return text
    parts = _parts(present)
    if parts is not None:
        what = f"this is a group of settings, and its value can't be '{text}'"
        raise UsageError(what, where=path, hint=f"set its parts: {', '.join(parts) or 'none in this recipe'}")
    try:
        return _like(present, ast.literal_eval(text))
    except (ValueError, TypeError, SyntaxError, OverflowError, MemoryError, RecursionError):
        hint = f"its value now is {present!r}"
        if isinstance(present, tuple):
            what, hint = f"'{text}' isn't a list of values of the right kind", f"write (A, B), or (A,) for one; {hint}"
        else:
            what = f"'{text}' isn't {_WORDS.get(type(present), type(present).__name__)}"
        raise UsageError(what, where=path, hint=hint) from None


def _like(present: Any, value: Any) -> Any:
    """The value in the present one's type, or TypeError; a tuple's first item stands for all."""
    if isinstance(present, tuple) and isinstance(value, tuple | list):
        return tuple(_like(present[0], v) for v in value) if present else tuple(value)
    if isinstance(present, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(present) or (isinstance(value, float) and not math.isfinite(value)):
        raise TypeError
    return value
