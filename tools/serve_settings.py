"""Write the table of the server's settings in docs/serve.md from what the code says of them. Run by `make docs`."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from pathlib import Path

from avgate.apps.serve.settings import Settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "serve.md"
HEAD = "| setting | as usual | meaning |\n|---|---|---|\n"

MADE = {"models": "`default` and `live`, which come with avgate", "workers": "the number of cores but one"}
"""What is usual where no value says it."""

SAID = {"models": "further weights by name: checkpoints, or folders of runs"}
"""What the code says in words of Python."""


def rows() -> list[str]:
    """A row of each setting, in their order."""
    said = dict(re.findall(r"^ +(\w+): (.+)\.$", inspect.getdoc(Settings) or "", re.M)) | SAID
    found = []
    for field in fields(Settings):
        usual = MADE.get(field.name, "none")
        if field.default is not MISSING and str(field.default):
            usual = f"`{field.default:.15g}`" if isinstance(field.default, int | float) else f"`{field.default}`"
        found.append(f"| `{field.name}` | {usual} | {said[field.name]} |")
    return found


def main() -> None:
    """Put the rows in the place of those that are there."""
    text = PAGE.read_text()
    before, head, after = text.partition(HEAD)
    if not head:
        raise SystemExit(f"{PAGE} has no table that begins with {HEAD.splitlines()[0]}")
    rest = re.sub(r"\A(\|.*\n)*", "", after)
    PAGE.write_text(before + head + "\n".join(rows()) + "\n" + rest)


if __name__ == "__main__":
    main()
