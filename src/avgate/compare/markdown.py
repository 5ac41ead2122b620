"""Markdown tables, and numbers as results.json holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def numbers(values: Sequence[Any]) -> np.ndarray:
    """An array of what JSON holds: NaN where it has None."""
    return np.array(values, float)


def markdown_table(head: str, first: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A sentence with a Markdown table below it."""
    lines = [head, "", f"| {first} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join([*lines, ""])
