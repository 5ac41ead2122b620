"""benchmarks/serve.py measures all its parts and writes its page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')


@pytest.mark.long
def test_the_benchmark_of_the_server_writes_a_page_with_every_part(tmp_path):
    page = tmp_path / "serve.md"
    small = "--requests 20 --megabytes 5 --streams 2 --seconds 1 --minutes 0.035 --recording 1 --rest 0.5"
    command = [sys.executable, ROOT / "benchmarks" / "serve.py", *small.split(), "--out", page]
    subprocess.run(command, check=True, cwd=tmp_path)

    text = page.read_text()
    assert "4 of 4 were estimated and are the same" in text
    assert text.count("0 files of theirs were left") == 2
    assert not [line for line in text.splitlines() if line.startswith("| ") and "500" in line.split("|")[-2]]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    (streams,) = (row for row in rows if len(row) == 10 and row[0] == "2")
    assert streams[-1] == "2 as they should"
    assert int(streams[5]) + int(streams[6]) == int(streams[4]) > 0  # results and drops are all images
