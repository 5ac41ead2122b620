"""Changing settings of a recipe by text: `path=value`, as after --set on the command line."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from avgate.core.errors import UsageError, choose
from avgate.models.recipe import Recipe, choices_of

_WORDS = {bool: "True or False", int: "a whole number", float: "a number"}


def override(recipe: Recipe, *assignments: str) -> Recipe:
    """A recipe with some settings changed, one after the other, as in `avgate train --set train.epochs=5`.

    tyro's own config overrides read all these settings too, but they report a mistake by printing and exiting, where
    comparisons need an error. They also let NaN and tuples of mixed types through.

    Args:
        recipe: the recipe to change.
        assignments: `path=value`: fields joined by dots, and a value of the field's present type in Python's notation;
            text needs no quotes.

    Raises:
        UsageError: there is no such setting, or the value has the wrong type or is refused by the config.
    """
    for assignment in assignments:
        path, found, text = assignment.partition("=")
        if not found:
            raise UsageError(f"'{assignment}' sets nothing", hint="write it as path=value, such as train.epochs=5")
        recipe = _set(recipe, path.strip().split("."), text.strip(), path.strip())
    return recipe


def _set(owner: Any, path: list[str], text: str, whole: str) -> Any:
    named = isinstance(owner, Mapping)
    inside = _parts(owner)
    if not inside:
        hint = "take a recipe that has some; demo-finetune has model.finetune"
        raise UsageError("this recipe has no settings there", where=whole, hint=hint)
    present = choose(f"setting '{whole}': no", path[0], inside)
    if len(path) > 1:
        if _parts(present) is None:
            raise UsageError(f"the setting '{path[0]}' has no parts", where=whole, hint=f"its value is {present!r}")
        value = _set(present, path[1:], text, whole)
    elif (parts := _parts(present)) is not None:
        what = f"this is a group of settings, and its value can't be '{text}'"
        raise UsageError(what, where=whole, hint=f"set its parts: {', '.join(parts) or 'none in this recipe'}")
    elif known := choices_of(type(owner), path[0]):
        value = choose(whole, text, {choice: choice for choice in known})
    else:
        value = _parse(text, present, whole)
    try:
        return {**owner, path[0]: value} if named else replace(owner, **{path[0]: value})
    except ValueError as error:
        raise UsageError(str(error), where=whole) from error


def _parts(value: Any) -> dict[str, Any] | None:
    """The settings in a config or a mapping of configs; None for a plain value."""
    if isinstance(value, Mapping):
        return dict(value)
    return {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else None


def _parse(text: str, present: Any, whole: str) -> Any:
    if isinstance(present, str):
        return text
    try:
        return _like(present, ast.literal_eval(text))
    except (ValueError, TypeError, SyntaxError):
        hint = f"its value now is {present!r}"
        if isinstance(present, tuple):
            what, hint = f"'{text}' isn't a list of values of the right kind", f"write (A, B), or (A,) for one; {hint}"
        else:
            what = f"'{text}' isn't {_WORDS[type(present)]}"
        raise UsageError(what, where=whole, hint=hint) from None


def _like(present: Any, value: Any) -> Any:
    """The value in the present one's type, or TypeError; a tuple's first item stands for all."""
    if isinstance(present, tuple) and isinstance(value, tuple | list):
        return tuple(_like(present[0], v) for v in value) if present else tuple(value)
    if isinstance(present, float) and type(value) is int:
        return float(value)
    if type(value) is not type(present):
        raise TypeError
    return value
