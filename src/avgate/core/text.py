"""Text of files: numbers in it, and how an error quotes it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

QUOTED = 80
"""Most characters of one cell or name that an error quotes."""

LISTED = 200
"""Most characters of a list of names that an error or a note quotes."""

_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def number(text: str, *, comma: bool = False) -> float | None:
    """A text as a finite number; None if it isn't one.

    A number is written in the digits 0 to 9, with a decimal point, and an exponent if need be. Unlike `float`, this
    takes no 1_000, no digits of other scripts, no infinity and no NaN.

    Args:
        text: the text, without blanks around it.
        comma: whether a decimal comma is as good as a point.
    """
    if not _NUMBER.fullmatch(text) or ("," in text and not comma):
        return None
    value = float(text.replace(",", "."))
    return value if math.isfinite(value) else None


def quoted(text: str, most: int = QUOTED) -> str:
    """A text of a file as an error quotes it: on one line, without control characters, and cut where it is long."""
    shown = text if len(text) <= most else f"{text[: most - 3]}..."
    return "".join(char if char.isprintable() else "\ufffd" for char in shown)


def listed(names: Iterable[str], most: int = LISTED) -> str:
    """Names of a file, separated by commas, as far as they fit: "a, b and 3 more"."""
    parts = [quoted(name, QUOTED // 2) for name in names]
    fit, length = 0, 0
    while fit < len(parts) and length + len(parts[fit]) + 2 <= most - len(" and 1000000 more"):
        length += len(parts[fit]) + 2
        fit += 1
    more = f" and {len(parts) - fit} more" if fit < len(parts) else ""
    return ", ".join(parts[:fit]) + more
