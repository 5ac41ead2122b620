"""benchmarks/live.py measures all its parts and writes its page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_benchmark_of_live_use_writes_a_page_with_every_part(tmp_path):
    page, small = tmp_path / "live.md", {"steps": 30, "windows": 2, "seconds": 0.3, "clips": 1, "ways": 1, "fusions": 1}
    sizes = [word for name, size in small.items() for word in (f"--{name}", str(size))]
    subprocess.run([sys.executable, ROOT / "benchmarks" / "live.py", *sizes, "--out", page], check=True, cwd=tmp_path)

    text = page.read_text()
    for what in ("the whole step, last tenth", "the model alone, as a program", "a window of 120 steps"):
        assert f"| hgrjca | {what}" in text
    assert "| all at the same moments |" in text
    lines = [line for line in text.splitlines() if line.startswith("| sound in pieces of 20 ms |")]
    for line in lines:  # where there are recordings
        *_, lost, skipped, difference = (cell.strip() for cell in line.strip("|").split("|"))
        assert lost == "0"
        assert float(difference) < 1e-4 or skipped != "0"
