"""Take the README's picture of the demonstration's report, in a real browser. Run by `make docs`, after `make demo`."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).resolve().parents[1] / "docs"
REPORT = DOCS.parent / "demo" / "report.html"


def main() -> None:
    """Open the report at a moment and save what the browser shows."""
    command = shutil.which("chromium") or shutil.which("google-chrome")
    if command is None or not REPORT.is_file():
        raise SystemExit("the picture needs chromium, and demo/report.html from `make demo`")
    with sync_playwright() as driver, driver.chromium.launch(executable_path=command) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.goto(f"{REPORT.as_uri()}#t=11")
        # A function, not an expression: the page's own policy forbids what Playwright does to wait for an expression.
        page.wait_for_function(
            "() => { const v = document.querySelector('video'); return v.readyState >= 2 && !v.seeking; }"
        )
        page.screenshot(path=DOCS / "report.png")


if __name__ == "__main__":
    main()
