"""The README says what is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_tree_in_the_readme_is_the_one_that_docs_tree_writes(monkeypatch):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so there is no list of files")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import tree

    assert tree.tree() in (ROOT / "README.md").read_text(), "run python docs/tree.py"


def test_help_of_the_command_line_comes_without_loading_torch_or_mediapipe():
    code = "import sys; from avgate.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'mediapipe', 'cv2', 'av'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"
    for verb in ("predict", "train", "evaluate", "extract", "render", "report", "demo"):
        assert verb in said
