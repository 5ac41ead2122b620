"""A plain value fits a type hint with all that it holds, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from avgate.core.kinds import fits


@pytest.mark.parametrize(
    ("value", "hint", "fitting"),
    [
        (3, int, True),
        (3, float, True),
        (3.0, float, True),
        (3.0, int, False),
        (True, int, False),
        (True, float, False),
        (True, bool, True),
        (1, bool, False),
        ("3", str, True),
        (None, str, False),
        (None, str | None, True),
        ([1, "a"], list[str], False),
        (["a"], list[str], True),
        ("a", list[str], False),
        ((), tuple[str, ...], True),
        (("a", None), tuple[str, ...], False),
        ((1, 2.5), tuple[float, float], True),
        ((1,), tuple[float, float], False),
        ({"a": [1]}, dict[str, list[float]], True),
        ({"a": [None]}, dict[str, list[float]], False),
        ({1: 1}, Mapping[str, float], False),
        ("sum", Literal["sum", "mean"], True),
        ("max", Literal["sum", "mean"], False),
        (["sum"], Literal["sum", "mean"], False),
        ([object()], Any, True),
        ([], dict, False),
    ],
)
def test_a_value_fits_its_hint(value, hint, fitting):
    assert fits(value, hint) is fitting
