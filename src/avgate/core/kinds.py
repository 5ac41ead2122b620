"""Whether a plain value, such as JSON holds, is of the kind that a type hint asks for."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, with all that it holds; a whole number is a number, and True is neither.

    Args:
        value: any.
        hint: a class, Any, None, a Literal, a union, or a list, tuple (of one kind, or of one kind each) or mapping of
            such.
    """
    of, parts = get_origin(hint) or hint, get_args(hint)
    if hint is Any:
        return True
    if hint is None:
        return value is None
    if of is Literal:
        return any(value == choice and type(value) is type(choice) for choice in parts)
    if of in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if of is float:
        return isinstance(value, float) or type(value) is int
    if of is int:
        return type(value) is int
    if not isinstance(value, of):
        return False
    if not parts:
        return True
    if issubclass(of, Mapping):
        return all(fits(k, parts[0]) and fits(v, parts[1]) for k, v in value.items())
    if of is tuple and parts[-1] is not ...:
        return len(value) == len(parts) and all(map(fits, value, parts))
    return all(fits(item, parts[0]) for item in value)
