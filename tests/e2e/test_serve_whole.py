"""The whole server as a visitor meets it: its own page in a browser, its own workers, and its own weights."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import wave
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from avgate.media import open_recording
from avgate.report.writers.json import read_json
from tests.browser import browser_with
from tests.e2e.conftest import WINDOW

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
for package in ("fastapi", "uvicorn", "websockets", "prometheus_client"):
    pytest.importorskip(package, reason="the extra 'serve' is not installed")
expect = playwright.expect

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("any_face_model")]  # a browser, a server and its workers

LIVE_S = float(os.environ.get("AVGATE_LIVE_S", "3"))
"""Seconds that the camera stays on; a longer run asks for more."""

LONGEST_MS = 60_000
"""For which anything is waited for: workers load their libraries first."""


@pytest.fixture(scope="module")
def clip(clips_dir: Path) -> Path:
    """Three seconds of somebody who speaks."""
    return clips_dir / "grid_lbax4n.mpg"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`avgate serve`, as it comes; its address. It ends in good order."""
    from tests.web_server import free_port, wait_until_ready

    folder, port = tmp_path_factory.mktemp("whole"), free_port()
    command = [sys.executable, "-m", "avgate", "serve", "--port", str(port), "--data", str(folder / "data")]
    environ = os.environ | {"AVGATE_SERVE_WORKERS": "1"}
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environ) as running:
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", running)
            yield f"http://127.0.0.1:{port}"
            running.send_signal(signal.SIGINT)
            assert running.wait(30) == 0
        finally:
            running.kill()
    said = (folder / "log").read_text()
    assert "Traceback" not in said, said
    assert " ERROR " not in said, said


@pytest.fixture(scope="module")
def browser(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium whose camera and microphone play the clip, again and again."""
    folder = tmp_path_factory.mktemp("devices")
    film(clip, folder / "x.y4m")
    recording = open_recording(clip)
    samples = np.concatenate([piece.samples for piece in recording.sound()])
    with wave.open(str(folder / "x.wav"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes((samples * 32767).astype("<i2").tobytes())
    with browser_with(folder / "x.y4m", folder / "x.wav") as opened:
        yield opened


def film(clip: Path, path: Path) -> None:
    """A clip's frames as a fake camera reads them."""
    import av

    with path.open("wb") as file:
        for i, frame in enumerate(open_recording(clip).frames()):
            height, width = frame.image.shape[:2]
            if not i:
                file.write(f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420mpeg2\n".encode())
            planes = av.VideoFrame.from_ndarray(frame.image, "rgb24").to_ndarray(format="yuv420p")
            file.write(b"FRAME\n" + planes.tobytes())


@pytest.fixture(scope="module")
def page(browser: Browser, server: str) -> Iterator[Page]:
    """The page, opened; an error of its own fails the test."""
    wrong: list[str] = []
    with browser.new_page(viewport=WINDOW, accept_downloads=True) as page:
        page.set_default_timeout(LONGEST_MS)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: "Content Security" in said.text and wrong.append(said.text))
        page.goto(server)
        expect(page.locator("#model option")).to_have_count(2, timeout=LONGEST_MS)
        yield page
        assert wrong == []


def ask(server: str, path: str) -> Any:
    with urllib.request.urlopen(f"{server}{path}", timeout=20) as answer:
        return json.load(answer)


def count(server: str, name: str) -> float:
    with urllib.request.urlopen(f"{server}/metrics", timeout=20) as answer:
        (found,) = re.findall(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found)


def row(page: Page, name: str) -> Any:
    return page.locator("#queue li").filter(has=page.get_by_text(name, exact=True))


def state(page: Page, name: str, wanted: str) -> None:
    expect(row(page, name)).to_have_attribute("data-state", wanted, timeout=LONGEST_MS)


def test_a_video_becomes_a_report_and_one_that_is_cancelled_does_not(page: Page, server: str, clip: Path):
    page.set_input_files("#choose", [clip])
    state(page, clip.name, "running")
    # It waits for the first one.
    page.set_input_files("#choose", [{"name": "b.mpg", "mimeType": "video/mpeg", "buffer": clip.read_bytes()}])
    state(page, "b.mpg", "queued")
    row(page, "b.mpg").get_by_role("button", name="Cancel").click()
    state(page, "b.mpg", "cancelled")
    state(page, clip.name, "done")
    row(page, clip.name).get_by_role("button", name="Open").click()
    expect(page.frame_locator("#viewer-frame").locator("body")).to_contain_text(clip.stem)
    with page.expect_download() as download:
        page.get_by_role("link", name=f"{clip.stem}.csv").click()
    page.frame_locator("#viewer-frame").locator("body").press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    rows = Path(download.value.path()).read_text().splitlines()
    assert rows[0].startswith("time_s,valence,arousal")
    assert len(rows) == 1 + sum(1 for _ in open_recording(clip).frames())
    assert count(server, "avgate_queue_seconds_count") == 1


@pytest.mark.long
def test_the_camera_and_the_microphone_give_results(page: Page, server: str):
    page.locator("#tab-live").click()
    page.get_by_role("button", name="Switch on").click()
    page.wait_for_function("() => document.querySelector('#now-valence').textContent.length > 5")
    page.get_by_role("button", name="Record").click()
    page.wait_for_timeout(1000 * LIVE_S)
    expect(page.locator("#now-face")).to_have_text("in view")
    expect(page.locator("#face-box")).to_be_visible()
    assert count(server, "avgate_live_streams_open") == 1
    page.get_by_role("button", name="Stop recording").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the results").click()
    table = np.genfromtxt(download.value.path(), delimiter=",", names=True)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save them with their origin").click()
    trace = read_json(Path(download.value.path()))
    assert len(table) > 5 * LIVE_S  # cameras of busy machines are slower than 25 a second
    titles = {"valence_raw", "valence_low", "face_present", "voice_present", "looked", "heard", "delay_s"}
    assert titles <= set(table.dtype.names)
    np.testing.assert_allclose(trace.targets["valence"], table["valence"], rtol=0, atol=1e-6)
    assert trace.provenance["avgate"] == version("avgate")
    assert (np.isfinite(trace.face_box[:, 0]) == table["face_present"]).all()
    assert table["face_present"].mean() > 0.5
    assert table["voice_present"].any()
    assert np.isfinite(table["valence"]).mean() > 0.9
    assert np.abs(table["valence"]).max() <= 1
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_role("button", name="Switch on")).to_be_visible()
    until = time.monotonic() + 10
    while count(server, "avgate_live_streams_open"):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert count(server, "avgate_live_streams_total") == 1
    assert count(server, "avgate_live_refused_total") == 0
    assert count(server, "avgate_live_results_total") >= len(table)


def test_an_annotation_is_saved_and_read_back(page: Page, server: str, clip: Path):
    (job,) = (job for job in ask(server, "/api/jobs") if job["state"] == "done")
    page.locator("#tab-videos").click()
    row(page, clip.name).get_by_role("button", name="Annotate").click()
    page.get_by_label("Your name").fill("Anna B")
    page.wait_for_function("() => document.querySelector('#rated-video').readyState >= 2")
    page.get_by_label("Your delay in seconds").fill("0")
    page.get_by_role("button", name="Draw while it plays").click()
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 0.25 * box["height"])
    page.wait_for_timeout(1200)
    page.evaluate("document.querySelector('#rated-video').pause()")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#rate-state")).to_have_text("Saved as Anna-B-valence.")
    place = f"{server}/api/jobs/{job['id']}/annotations"
    listed = ask(server, f"/api/jobs/{job['id']}/annotations")
    assert [(each["name"], each["targets"]) for each in listed] == [("Anna-B-valence", ["valence"])]
    with urllib.request.urlopen(f"{place}/Anna-B-valence?format=csv", timeout=20) as answer:
        saved = answer.read().decode().splitlines()
    values = np.array([float(line.split(",")[1]) for line in saved[1:]])
    assert saved[0] == "time_s,valence"
    assert len(values) > 10
    assert np.median(values) == pytest.approx(0.5, abs=0.05)
    page.locator("#saved-format").select_option("elan")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download: Anna-B-valence").click()
    assert download.value.suggested_filename == "Anna-B-valence.eaf"
    assert "<ANNOTATION_DOCUMENT" in Path(download.value.path()).read_text()

    page.reload()
    page.locator("#tab-annotate").click()
    expect(page.locator("#rate-state")).to_contain_text("Loaded Anna-B-valence, saved ")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#rate-state")).to_have_text("Saved as Anna-B-valence.")
    with urllib.request.urlopen(f"{place}/Anna-B-valence?format=csv", timeout=20) as answer:
        assert len(answer.read().decode().splitlines()) == pytest.approx(len(saved), abs=2)
