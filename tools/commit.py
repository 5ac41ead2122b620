"""Which commit a page of figures was made with."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_commit() -> str:
    """The commit that is checked out, and whether anything differs from it."""
    asked = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(asked, cwd=Path(__file__).resolve().parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown commit"
