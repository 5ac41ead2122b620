"""The table of all files that users had trouble with: what is right, what avgate makes of them, and whether it holds.

    python -m tests.cases.table ../shared/cases

Exits with 1 where something doesn't hold.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from avgate.core.console import progress
from tests.cases.labels import LABELS
from tests.cases.measure import Case
from tests.cases.media import MEDIA
from tests.cases.models import MODELS, TRACES

CASES: tuple[Case, ...] = (*MEDIA, *LABELS, *MODELS, *TRACES)


def main() -> None:
    """Look at all files, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/cases"))
    given = parser.parse_args()
    table = Table(title=f"Files of {given.folder}")
    for column in ("file", "right", "found", "holds"):
        table.add_column(column, overflow="fold")
    wrong = 0
    with progress() as bar:
        for case in bar.track(CASES, description="Looking"):
            found, holds = case.look_in(given.folder)
            wrong += holds is False
            table.add_row(f"{case.room}/{case.name}", case.right, found, {True: "yes", False: "NO", None: "-"}[holds])
    Console(width=200 if not sys.stdout.isatty() else None, highlight=False, markup=False).print(table)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
