"""What every writer is: a named way from a Trace to a file, and what writers share."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from avgate.core.modalities import in_order
from avgate.core.types import Trace

TIME_DECIMALS = 6
"""Decimals of times in seconds: container timestamps are whole microseconds or coarser in practice."""

VALUE_DECIMALS = 6
"""Decimals of targets and gates."""


class Writer(Protocol):
    """A file format for traces."""

    @property
    def name(self) -> str:
        """What the format is called on the command line."""

    @property
    def suffix(self) -> str:
        """What its file names end with, dot included."""

    def write(self, trace: Trace, path: Path) -> None:
        """Write `trace` to `path`; an existing file is replaced once the new one is complete.

        Raises:
            OutputError: the file can't be written, or the format can't hold this trace.
        """


def rounded(values: np.ndarray, decimals: int) -> np.ndarray:
    """float64 values at a fixed number of decimals, never minus zero; NaN stays NaN."""
    return np.round(np.asarray(values, np.float64), decimals) + 0.0


def presence(trace: Trace) -> dict[str, np.ndarray]:
    """The trace's presence masks, bool [n] each, in the order of core/modalities.py."""
    return {name: np.asarray(trace.present[name], bool) for name in in_order(list(trace.present))}
