"""Take the README's picture of the server's page while it looks at a face, in a real browser. Run by `make docs`."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import wave
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from avgate.core.types import SAMPLE_RATE
from avgate.corpora.rendered import RenderConfig, render
from avgate.media import Media

ROOT = Path(__file__).resolve().parents[1]
CLIP = RenderConfig(identities=3, clips_per_identity=1)
"""A rendered clip, as in the report's picture."""

PICTURE = ROOT / "docs" / "serve.png"
RATE, SIDE = 25, 480
WATCHED_S, LARGEST = 20, 200_000


def main() -> None:
    """Show a clip to the page as if a camera saw it, and save what the browser shows."""
    command = shutil.which("chromium") or shutil.which("google-chrome")
    if command is None:
        raise SystemExit("the picture needs chromium")
    with tempfile.TemporaryDirectory() as scratch:
        render(Path(scratch) / "rendered", CLIP)
        clip = min((Path(scratch) / "rendered").rglob("*.mp4"))
        seen, heard = camera(clip, Path(scratch) / "seen.y4m"), microphone(clip, Path(scratch) / "heard.wav")
        devices = [
            "--no-sandbox",
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-video-capture={seen}",
            f"--use-file-for-fake-audio-capture={heard}",
        ]
        with (
            server(Path(scratch) / "data") as address,
            sync_playwright() as driver,
            driver.chromium.launch(executable_path=command, args=devices) as browser,
        ):
            page = browser.new_page(viewport={"width": 1100, "height": 1470})
            page.goto(address)
            watch(page)
            page.screenshot(path=PICTURE)
    smaller(PICTURE)


def watch(page: Page) -> None:
    """Switch the camera on and let curves come."""
    page.wait_for_selector("#live-model option", state="attached", timeout=120_000)
    page.click("#tab-live")
    page.click("#live-start:enabled")
    page.wait_for_selector("#live-now:visible", timeout=120_000)
    page.wait_for_timeout(1000 * WATCHED_S)
    if page.inner_text("#now-valence").strip() in ("", "–"):
        raise SystemExit(f"there is no estimate: {page.inner_text('#live')}")
    page.evaluate("() => scrollTo(0, 0)")


def camera(clip: Path, file: Path) -> Path:
    """The clip's frames at a steady rate, as Chromium's camera takes them: raw, with YUV at half of the size."""
    frames = list(Media(clip).frames())
    times = np.array([frame.time_s for frame in frames])
    with file.open("wb") as out:
        out.write(f"YUV4MPEG2 W{SIDE} H{SIDE} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for at in np.arange(0, times[-1], 1 / RATE):
            frame = frames[int(np.searchsorted(times, at, "right")) - 1]
            y, *colours = Image.fromarray(frame.image).resize((SIDE, SIDE)).convert("YCbCr").split()
            halves = [plane.resize((SIDE // 2, SIDE // 2)) for plane in colours]
            out.write(b"FRAME\n" + b"".join(plane.tobytes() for plane in (y, *halves)))
    return file


def microphone(clip: Path, file: Path) -> Path:
    """The clip's sound as Chromium's microphone takes it."""
    samples = np.concatenate([piece.samples for piece in Media(clip).sound()])
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        out.writeframes(np.clip(np.round(samples * 2**15), -(2**15), 2**15 - 1).astype("<i2").tobytes())
    return file


@contextmanager
def server(data: Path) -> Iterator[str]:
    """A server of its own: its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "avgate", "serve", "--port", str(port), "--data", str(data)]
    with subprocess.Popen(command) as running:
        try:
            for _ in range(600):
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/"
        finally:
            running.terminate()


def smaller(file: Path) -> None:
    """Save a picture with as many colours as a file of its size can hold."""
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    for colours in (256, 128, 64):
        picture.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG).save(file, optimize=True)
        if file.stat().st_size < LARGEST:
            return
    raise SystemExit(f"{file} is larger than {LARGEST:,} bytes")


if __name__ == "__main__":
    main()
