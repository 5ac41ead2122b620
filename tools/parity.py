"""Make docs/parity.md: avgate against the definitions that it stands on, with the largest difference found.

    python -m tools.parity

Run by `make parity`. Every section is a module's function `rows`, which computes its rows whenever it is called.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from avgate import __version__
from avgate.core.files import atomic_write
from tools import parity_fusions, parity_labels

DOCS = Path(__file__).resolve().parents[1] / "docs"

Row = tuple[str, str, str, float]
"""What was compared, against what, over what, and the largest absolute difference."""

SECTIONS: list[tuple[str, str, Callable[[], list[Row]]]] = [
    ("Fusions", parity_fusions.EQUATIONS, parity_fusions.equations),
    ("Released code", parity_fusions.RELEASED, parity_fusions.as_released),
    ("Metrics", parity_labels.METRICS, parity_labels.metric_rows),
    ("Merging", parity_labels.MERGING, parity_labels.merging_rows),
    ("Label formats", parity_labels.FORMATS, parity_labels.format_rows),
]
"""Title, a sentence or a few that say what is compared, and the function that compares."""


def main() -> None:
    """Compare, and write the page."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    with atomic_write(DOCS / "parity.md") as temporary:
        temporary.write_text(page([(title, intro, rows()) for title, intro, rows in SECTIONS]))


def page(sections: list[tuple[str, str, list[Row]]]) -> str:
    """The page, with one table per section."""
    return "\n\n".join([HEAD, *(section(*parts) for parts in sections)]) + "\n"


def section(title: str, intro: str, rows: list[Row]) -> str:
    """A heading, its introduction and the table of its rows."""
    lines = ["| what | against | over | largest difference |", "| --- | --- | --- | --- |"]
    lines += [f"| {what} | {against} | {over} | {shown(largest)} |" for what, against, over, largest in rows]
    return "\n".join([f"## {title}", "", intro, "", *lines])


def shown(difference: float) -> str:
    """A difference as the page has it: two digits, or 0 where there is none."""
    return "0" if difference == 0 else f"{difference:.1e}"


HEAD = f"""# Parity

Made by `python -m tools.parity` (`make parity`); every number comes from that command.
avgate {__version__}, PyTorch {torch.__version__}, NumPy {np.__version__}.

The largest absolute difference is that between avgate's result and the other one, over everything that the row names.
0 means the same to the last bit."""


if __name__ == "__main__":
    main()
