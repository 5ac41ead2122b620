"""Debian's chromium with a camera and a microphone that play files, for the tests of the server's page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def browser_with(camera: Path, microphone: Path) -> Iterator:
    """A browser whose camera shows a .y4m file and whose microphone hears a .wav file; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    command = shutil.which("chromium")
    if command is None:
        pytest.skip("chromium is not installed")
    devices = [
        "--no-sandbox",
        "--disable-gpu",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
        f"--use-file-for-fake-audio-capture={microphone}",
        "--autoplay-policy=no-user-gesture-required",
    ]
    with (
        playwright.sync_playwright() as driver,
        driver.chromium.launch(executable_path=command, args=devices) as opened,
    ):
        yield opened
