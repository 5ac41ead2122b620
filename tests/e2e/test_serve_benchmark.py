"""benchmarks/serve.py measures all its parts and writes its page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')


@pytest.mark.long
@pytest.mark.slow
def test_the_benchmark_of_the_server_writes_a_page_with_every_part(tmp_path):
    page = tmp_path / "serve.md"
    small = "--requests 20 --megabytes 5 --streams 1 2 --seconds 2 --minutes 0.1 --recording 2"
    command = [sys.executable, ROOT / "benchmarks" / "serve.py", *small.split(), "--out", page]
    subprocess.run(command, check=True, cwd=tmp_path)

    text = page.read_text()
    assert "4 of 4 were estimated and are the same" in text
    assert text.count("0 files of theirs were left") == 2
    assert not [line for line in text.splitlines() if line.startswith("| ") and "500" in line.split("|")[-2]]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    streams = [row for row in rows if len(row) == 10 and row[0] in ("1", "2")]
    assert [row[-1] for row in streams] == ["1 as they should", "2 as they should"]
    assert all(int(row[5]) + int(row[6]) == int(row[4]) > 0 for row in streams)  # results and drops are all images
