"""Something whose pickle is a program, as any pickle may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Runs:
    """Makes a file when its pickle is opened."""

    def __init__(self, made: Path):
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.made,)
