"""SECURITY.md claims nothing without code and a test that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for table in re.findall(r"^\| promise \| code \| test \|\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.M)
    for line in table.splitlines()
]


def names(file: Path) -> set[str]:
    """The tests in a file, those in classes too."""
    return {node.name for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_promise_has_code_and_a_test(row):
    promise, code, test = row
    assert promise
    assert all((ROOT / path).exists() for path in re.findall(r"`((?:src/avgate|tools)[^`]*)`", code)), code
    named = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", test)
    assert named, test
    assert named[2] in names(ROOT / named[1])


def test_tables_cover_every_line():
    assert len(ROWS) > 40
    assert len(re.findall(r"`tests/", TEXT)) == len(ROWS)  # no test stands elsewhere, unchecked
    assert {row[2] for row in ROWS if not row[1]} != {row[2] for row in ROWS}


def test_it_names_the_newest_release():
    version = re.search(r'^version = "(\d+\.\d+)', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    assert version
    assert f"now {version[1]})" in TEXT
