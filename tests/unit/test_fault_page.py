"""docs/faults.md: every row names the test that shows it, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text("utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)


def names_in(path: Path) -> set[str]:
    """The names of a file's tests, in classes too."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_that_is_named_exists():
    assert len(NAMED) > 20
    assert [f"{file}::{name}" for file, name in NAMED if name not in names_in(ROOT / file)] == []


def test_every_row_names_its_tests():
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and not set(line) <= set("|-")]
    titles = [row for row in rows if row.startswith("| fault ")]
    assert titles
    assert [row for row in rows if row not in titles and "::test_" not in row] == []
