"""Many variants of one promise, of which `make test` takes a few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def few(cases: Sequence[Any], n: int = 4) -> list[Any]:
    """The cases of a parametrized test: n of them, spread evenly, as they are, and the others marked slow."""
    kept = {i * len(cases) // n for i in range(n)}
    return [
        case if i in kept else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for i, case in enumerate(cases)
    ]
