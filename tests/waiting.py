"""Waiting for something that another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(true: Callable[[], object], longest_s: float) -> None:
    """Until something is true; an AssertionError where it isn't in that time."""
    until_s = time.monotonic() + longest_s
    while not true():
        assert time.monotonic() < until_s, "it never came true"
        time.sleep(0.01)
