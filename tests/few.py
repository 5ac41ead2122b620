"""Many variants of one promise, of which the faster commands take a few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def few(cases: Sequence[Any], n: int = 4, others: pytest.MarkDecorator = pytest.mark.slow) -> list[Any]:
    """The cases of a parametrized test: n of them, spread evenly, as they are, and the others marked.

    Args:
        cases: values, tuples of values, or what pytest.param gives.
        n: how many stay as they are.
        others: slow, or long where the test is slow itself.
    """
    kept = {i * len(cases) // n for i in range(n)}
    return [case if i in kept else _marked(case, others) for i, case in enumerate(cases)]


def _marked(case: Any, mark: pytest.MarkDecorator) -> Any:
    if hasattr(case, "marks"):
        return pytest.param(*case.values, marks=[*case.marks, mark], id=case.id)
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=mark)
