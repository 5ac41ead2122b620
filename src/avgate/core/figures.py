"""Figures with names from outside in them, such as those of files and raters."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def plain_names() -> Iterator[None]:
    """Within it, matplotlib draws names as they are: dollars begin no formula, and letters without a font are boxes."""
    import matplotlib as mpl

    with mpl.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield
