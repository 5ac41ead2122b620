"""Take the README's picture of the demonstration's report, in a real browser. Run by `make docs`, after `make demo`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
REPORT = DOCS.parent / "demo" / "report.html"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
)


def main() -> None:
    """Open the report at a moment and save what the browser shows."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None or not REPORT.is_file():
        raise SystemExit("the picture needs chromium, and demo/report.html from `make demo`")
    with tempfile.TemporaryDirectory() as profile:
        options = [
            *FLAGS.split(),
            f"--user-data-dir={profile}",
            "--window-size=1280,1400",
            "--virtual-time-budget=8000",
        ]
        command = [browser, *options, f"--screenshot={DOCS / 'report.png'}", f"{REPORT.as_uri()}#t=11"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
