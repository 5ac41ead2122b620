"""The server's page as a visitor meets it: in a real browser, with a camera and a microphone that play a file."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
import wave
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from avgate.report.writers.json import read_json
from tests.browser import browser_with
from tests.e2e.conftest import WINDOW

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.serve_page_standin import Standin

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
expect = playwright.expect

pytestmark = pytest.mark.slow  # it starts a browser and a server

LIVE_S = float(os.environ.get("AVGATE_LIVE_S", "3"))
"""Seconds that the camera stays on; a longer run asks for more."""

TABS = ("videos", "live", "annotate")
TARGETS = ("valence", "arousal")
PIECE = 4 << 20


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with a camera of 25 pictures a second and a microphone that hears a tone."""
    folder = tmp_path_factory.mktemp("devices")
    with (folder / "x.y4m").open("wb") as file:
        file.write(b"YUV4MPEG2 W640 H480 F25:1 Ip A1:1 C420mpeg2\n")
        for i in range(25):
            light = np.tile(np.linspace(16, 235, 640), (480, 1)) * (0.5 + 0.5 * i / 25)
            file.write(b"FRAME\n" + light.astype(np.uint8).tobytes() + bytes([128]) * (640 * 480 // 2))
    with wave.open(str(folder / "x.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(48_000)
        tone = 8000 * np.sin(2 * np.pi * 200 * np.arange(96_000) / 48_000)
        sound.writeframes(tone.astype("<i2").tobytes())
    with browser_with(folder / "x.y4m", folder / "x.wav") as opened:
        yield opened


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Standin, str]]:
    """What answers, and its address; started once."""
    from tests.serve_page_standin import Standin, serving

    standin = Standin()
    with serving(standin) as url:
        yield standin, url


@pytest.fixture
def standin(server: tuple[Standin, str]) -> Standin:
    """The server, as if new."""
    server[0].__init__()
    return server[0]


@pytest.fixture
def page(browser: Browser, server: tuple[Standin, str], standin: Standin) -> Iterator[Page]:
    """The page, opened; an error of its own fails the test."""
    wrong: list[str] = []
    with browser.new_page(viewport=WINDOW, accept_downloads=True) as page:
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: "Content Security" in said.text and wrong.append(said.text))
        page.goto(server[1])
        expect(page.locator("#tab-videos")).to_have_attribute("aria-selected", "true")
        expect(page.locator("#model option")).to_have_count(2)
        yield page
        assert wrong == []


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def send(page: Page, name: str, size: int = 100) -> None:
    page.set_input_files("#choose", [{"name": name, "mimeType": "video/mp4", "buffer": content(size)}])


def row(page: Page, name: str):
    return page.locator("#queue li").filter(has=page.get_by_text(name, exact=True))


def state(page: Page, name: str, wanted: str) -> None:
    expect(row(page, name)).to_have_attribute("data-state", wanted, timeout=10_000)


def violations(page: Page) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    found = axe.run(page).response["violations"]
    return [f"{each['id']}: {node['html'][:150]} {node['failureSummary']}" for each in found for node in each["nodes"]]


def picture(page: Page, name: str) -> None:
    """Save what is seen where AVGATE_SCREENSHOTS says, to be looked at."""
    if folder := os.environ.get("AVGATE_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_video_is_sent_and_its_report_opens_in_place(page: Page, standin: Standin, tmp_path: Path):
    standin.step_s = 0.5
    (tmp_path / "a.mp4").write_bytes(content(2 * PIECE + 1000))
    page.set_input_files("#choose", tmp_path / "a.mp4")
    expect(row(page, "a.mp4").locator(".state")).to_contain_text("looking for faces, ", timeout=10_000)
    standin.step_s = 0.05
    state(page, "a.mp4", "done")
    assert standin.patches[:2] == [PIECE, PIECE]
    (recording,) = standin.recordings.values()
    assert recording == content(2 * PIECE + 1000)
    row(page, "a.mp4").get_by_role("button", name="Open").click()
    report = page.frame_locator("#viewer-frame")
    expect(report.locator("body")).to_contain_text("It ran.")
    assert page.locator("#viewer-frame").get_attribute("sandbox") == "allow-scripts"
    expect(page.locator("#viewer")).to_be_focused()
    names = page.locator("#viewer-files a").all_text_contents()
    assert names == ["a.csv", "a.json", "a.html", "a.png"]
    with page.expect_download() as download:
        page.get_by_role("link", name="a.csv").click()
    assert Path(download.value.path()).read_text().startswith("time_s,valence")


@pytest.mark.long
def test_back_forward_and_a_link_lead_to_where_one_was(page: Page, server: tuple[Standin, str], standin: Standin):
    send(page, "a.mp4")
    state(page, "a.mp4", "done")
    opens = row(page, "a.mp4").get_by_role("button", name="Open")
    opens.click()
    (job_id,) = standin.jobs
    assert page.url.endswith(f"#job/{job_id}")
    expect(page.locator("#list")).to_be_hidden()
    expect(page.locator("#viewer")).to_be_in_viewport(ratio=0.9)
    expect(page.locator("#viewer-tab")).to_have_attribute("href", re.compile(r"results/a\.html$"))
    page.frame_locator("#viewer-frame").locator("body").click()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(opens).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#viewer")).to_be_focused()
    page.keyboard.press("Escape")
    expect(opens).to_be_focused()
    page.locator("#tab-live").click()
    assert page.url.endswith("#camera")
    for step, address, seen in (
        ("back", "#videos", "#list"),
        ("back", f"#job/{job_id}", "#viewer-frame"),
        ("back", "#videos", "#list"),
        ("back", f"#job/{job_id}", "#viewer-frame"),
        ("back", "", "#list"),
        ("forward", f"#job/{job_id}", "#viewer-frame"),
        ("forward", "#videos", "#list"),
        ("forward", f"#job/{job_id}", "#viewer-frame"),
        ("forward", "#videos", "#list"),
        ("forward", "#camera", "#live"),
    ):
        page.evaluate(f"history.{step}()")
        expect(page.locator(seen)).to_be_visible()
        assert page.url.endswith(address)
    for address, said in ((job_id, "a.mp4"), ("0" * 32, "there is no such job")):
        page.goto("about:blank")
        page.goto(f"{server[1]}#job/{address}")
        expect(page.locator("#viewer")).to_contain_text(said)
        expect(page.locator("#viewer")).to_be_focused()
    page.get_by_role("button", name="Back to the list").click()
    expect(row(page, "a.mp4")).to_be_visible()


@pytest.mark.long
def test_rows_of_one_drop_stand_in_their_order_and_tell_themselves_apart(page: Page, standin: Standin):
    standin.step_s = 3
    one = {"mimeType": "video/mp4", "buffer": b"abc"}
    page.set_input_files("#choose", [{"name": name, **one} for name in ("a.mp4", "b.mp4", "b.mp4")])
    expect(page.locator("#queue [data-job]")).to_have_count(3)
    assert page.locator("#queue .name").all_text_contents() == ["a.mp4", "b.mp4", "b.mp4"]
    waits = page.locator("#queue .state").all_text_contents()
    assert sorted(waits) == [f"waiting, n{place} in the queue" for place in ("ext", "umber 2", "umber 3")]
    standin.step_s = 0.05
    state(page, "a.mp4", "done")
    about = row(page, "a.mp4").locator(".caption").first
    expect(about).to_have_text(re.compile(r"^\d\d:\d\d · 1:23 · people$"))
    expect(row(page, "a.mp4")).to_contain_text("Not for decisions about a person. people was trained on pictures.")
    with page.expect_download() as download:
        row(page, "a.mp4").get_by_role("link", name="CSV: a.mp4").click()
    assert download.value.suggested_filename == "a.csv"


def test_the_keyboard_stays_in_the_row_and_goes_to_no_button_that_deletes(page: Page, standin: Standin):
    standin.step_s = 1
    for name in ("first.mp4", "second.mp4", "third.mp4"):
        send(page, name)
    expect(page.locator("#queue [data-job]")).to_have_count(3)
    cancel = row(page, "third.mp4").get_by_role("button", name="Cancel")
    cancel.focus()
    page.keyboard.press("Enter")
    state(page, "third.mp4", "cancelled")
    expect(row(page, "third.mp4").locator(".name")).to_be_focused()
    page.on("dialog", lambda dialog: dialog.accept())
    row(page, "third.mp4").get_by_role("button", name="Delete").focus()
    page.keyboard.press("Enter")
    expect(row(page, "third.mp4")).to_have_count(0)
    expect(row(page, "second.mp4").locator(".name")).to_be_focused()


def test_a_file_that_is_no_recording_stays_here_unless_it_may_be_one(page: Page, standin: Standin):
    for name, kind in (("README.md", "text/markdown"), ("paper", "application/pdf"), ("tape.xyz", "")):
        page.set_input_files("#choose", [{"name": name, "mimeType": kind, "buffer": b"abc"}])
    for name in ("README.md", "paper"):
        state(page, name, "other")
        expect(row(page, name).get_by_role("button")).to_have_text(["Remove"])
    state(page, "tape.xyz", "unknown")
    assert standin.uploads == standin.jobs == {}
    row(page, "tape.xyz").get_by_role("button", name="Send anyway").click()
    state(page, "tape.xyz", "done")
    assert [job["name"] for job in standin.jobs.values()] == ["tape.xyz"]


def test_what_is_chosen_goes_with_a_dropped_video(page: Page, standin: Standin):
    page.locator("#options > summary").click()
    page.locator("#model").select_option("live")
    page.locator("#level").select_option("0.8")
    page.get_by_role("checkbox", name="ELAN (.eaf)").check()
    page.get_by_label("Make a report with the video").uncheck()
    expect(page.locator("#model-notes > p").first).to_have_text(
        "Not for decisions about a person. people-live was trained on pictures."
    )
    page.locator("#model-notes summary").click()
    expect(page.locator("#model-notes").get_by_text("people-live: it has seen few people.")).to_be_visible()
    expect(page.locator("#model-notes li")).to_have_text(
        ["people-live: trying it.", "Deciding anything about a person."]
    )
    drop = """() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["abc"], "a.mp4"));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(drop)
    state(page, "a.mp4", "done")
    assert [*standin.recordings.values()] == [b"abc"]
    (job,) = standin.jobs.values()
    assert job["options"] == {"model": "live", "level": "0.8", "report": "false", "formats": "elan"}
    row(page, "a.mp4").get_by_role("button", name="Open").click()
    expect(page.locator("#viewer-state")).to_contain_text("There is no report of this recording")
    expect(page.locator("#viewer-tab")).to_be_hidden()


@pytest.mark.long
def test_videos_are_taken_while_the_server_still_loads_its_models(
    browser: Browser, server: tuple[Standin, str], standin: Standin
):
    standin.loading_s = 2
    with browser.new_page() as page:
        page.goto(server[1], wait_until="commit")
        send(page, "a.mp4")
        state(page, "a.mp4", "done")
        expect(page.locator("#model option")).to_have_count(0)
        assert page.locator("#live-start").is_disabled()
        (job,) = standin.jobs.values()
        assert "model" not in job["options"]
        expect(page.locator("#model option")).to_have_count(2)
        assert page.locator("#live-start").is_enabled()


def test_a_job_is_cancelled_and_deleted_and_a_broken_one_says_why(page: Page, standin: Standin):
    standin.step_s = 1
    send(page, "slow.mp4")
    row(page, "slow.mp4").get_by_role("button", name="Cancel").click()
    state(page, "slow.mp4", "cancelled")
    page.once("dialog", lambda dialog: dialog.accept())
    row(page, "slow.mp4").get_by_role("button", name="Delete").click()
    expect(row(page, "slow.mp4")).to_have_count(0)
    expect(page.locator("#queue-empty")).to_be_visible()
    assert standin.jobs == {}
    standin.step_s = 0.05
    send(page, "broken.mp4")
    state(page, "broken.mp4", "failed")
    expect(row(page, "broken.mp4").locator(".state")).to_have_text("failed: it can't be decoded")
    expect(row(page, "broken.mp4")).to_contain_text("check that it plays")
    row(page, "broken.mp4").locator("summary").click()
    expect(row(page, "broken.mp4").locator("details")).to_contain_text("Matroska")


def test_an_upload_is_paused_goes_on_and_survives_a_lost_line_and_a_lost_answer(
    page: Page, standin: Standin, tmp_path: Path
):
    standin.chunk_s = 0.4
    (tmp_path / "a.mp4").write_bytes(content(4 * PIECE))
    page.set_input_files("#choose", tmp_path / "a.mp4")
    page.wait_for_function("() => document.querySelector('#queue progress')?.value > 0")
    row(page, "a.mp4").get_by_role("button", name="Pause").click()
    state(page, "a.mp4", "paused")
    (upload,) = standin.uploads.values()
    page.wait_for_timeout(600)  # what was under way has come
    came = len(upload["data"])
    page.wait_for_timeout(600)
    assert 0 < len(upload["data"]) == came < upload["length"]

    page.context.set_offline(True)
    row(page, "a.mp4").get_by_role("button", name="Go on").click()
    state(page, "a.mp4", "offline")
    page.context.set_offline(False)
    standin.cut = 1
    standin.chunk_s = 0.0
    state(page, "a.mp4", "done")
    (recording,) = standin.recordings.values()
    assert recording == content(4 * PIECE)


@pytest.mark.long
def test_an_upload_goes_on_after_the_page_was_closed(page: Page, standin: Standin, tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(bytes(3 * PIECE))
    standin.chunk_s = 0.5
    page.set_input_files("#choose", tmp_path / "a.mp4")
    page.wait_for_function("() => document.querySelector('#queue progress')?.value > 0")
    page.reload()
    expect(page.locator("#queue-empty")).to_be_visible()
    page.wait_for_timeout(600)
    (upload,) = standin.uploads.values()
    came = len(upload["data"])
    assert came >= PIECE
    standin.patches.clear()
    page.set_input_files("#choose", tmp_path / "a.mp4")
    state(page, "a.mp4", "done")
    assert sum(standin.patches) == 3 * PIECE - came


def test_a_refused_upload_says_why(page: Page, standin: Standin):
    page.evaluate("document.querySelector('#model').append(new Option('x', 'x', true, true))")
    send(page, "a.mp4")
    state(page, "a.mp4", "failed")
    expect(row(page, "a.mp4")).to_contain_text("there is no such model: choose another one")
    assert standin.jobs == {}


def switch_on(page: Page) -> None:
    page.locator("#tab-live").click()
    page.get_by_role("button", name="Switch on").click()
    expect(page.locator("#live-now")).to_be_visible()
    page.wait_for_function("() => document.querySelector('#now-valence').textContent.length > 5")


def test_live_results_are_shown_as_they_come_on_one_clock(page: Page, standin: Standin):
    switch_on(page)
    page.wait_for_timeout(1000 * LIVE_S)
    shown = page.locator("#readout dd").all_text_contents()
    assert shown[2:] == ["in view", "speaking"]
    late, rate, left_out = page.locator("#measures dd").all_text_contents()
    assert 0 <= int(late.removesuffix(" ms")) < 500
    assert 10 <= int(rate) <= 27
    assert int(left_out) >= 2, "those that the server dropped"
    expect(page.locator("#plane-words")).to_contain_text("pleasant")
    expect(page.locator("#reliance-bars")).to_contain_text("80 %")
    expect(page.locator("#reliance-title")).to_have_text("Which sense is relied on?")
    assert page.get_by_role("meter").count() == 2
    for canvas in ("#plane", "#curves"):
        seen = f"""() => {{
          const canvas = document.querySelector("{canvas}");
          const {{ data }} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size;
        }}"""
        assert page.evaluate(seen) > 50
    page.get_by_role("button", name="Switch off").click()
    expect(page.locator("#live-said")).to_contain_text("It has ended.")

    (stream,) = standin.streams
    hello = {
        "model": "live",
        "video": True,
        "sound": True,
        "level": 0.9,
        "image": "jpeg",
        "audio": "s16",
        "rate": 16000,
    }
    assert stream["hello"] == hello
    times = {kind: np.array([time_s for k, time_s, *_ in stream["came"] if k == kind]) for kind in (1, 2)}
    assert all((np.diff(each) > 0).all() for each in times.values())
    assert times[1][0] < 1, "the stream begins when the server is ready"
    assert len(times[1]) / (times[1][-1] - times[1][0]) > 15
    np.testing.assert_allclose(np.diff(times[2]), 0.02, atol=1e-3)
    assert times[2][-1] - times[1][-1] == pytest.approx(0, abs=0.3)
    assert {size for kind, _, size, _ in stream["came"] if kind == 2} == {640}
    assert {head for kind, _, _, head in stream["came"] if kind == 1} == {b"\xff\xd8"}


@pytest.mark.long
def test_it_says_plainly_when_there_is_no_face_and_no_voice(page: Page, standin: Standin):
    standin.gates = ("voice_attended", "face_attended", "voice_iteration_1")
    page.emulate_media(reduced_motion="reduce")
    switch_on(page)
    expect(page.locator("#reliance-title")).to_have_text("Taken alone, or mixed?")
    expect(page.get_by_role("meter", name="face")).to_have_attribute("aria-valuenow", "20")
    expect(page.locator("#missing")).to_be_hidden()
    standin.face = False
    expect(page.locator("#missing")).to_contain_text("No face is seen.")
    expect(page.locator("#said")).to_contain_text("No face is seen.")
    standin.voice = False
    expect(page.locator("#missing")).to_contain_text("No sound arrives")
    expect(page.locator("#now-valence")).to_have_text("unknown")
    expect(page.get_by_role("meter", name="face")).to_have_attribute("aria-valuetext", "absent")
    expect(page.locator("#plane-words")).to_have_text("no estimate at the moment")
    standin.face = standin.voice = True
    expect(page.locator("#missing")).to_be_hidden()
    expect(page.locator("#now-face")).to_have_text("in view")


@pytest.mark.long
def test_a_recorded_session_becomes_a_table_and_a_job(page: Page, standin: Standin):
    page.locator("#tab-live").click()
    page.get_by_label("When recording, keep the video too").check()
    switch_on(page)
    page.get_by_role("button", name="Record").click()
    came = standin.streams[-1]["came"]
    before, end_s = len(came), time.monotonic() + 20
    page.wait_for_timeout(2000)
    while sum(kind == 1 for kind, *_ in came[before:]) < 20 and time.monotonic() < end_s:  # as on a busy machine
        page.wait_for_timeout(100)
    page.get_by_role("button", name="Stop recording").click()
    expect(page.locator("#session")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the results").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    titles = "time_s,valence,arousal,valence_low,valence_high,arousal_low,arousal_high,interval_level,"
    titles += "face_present,voice_present,audio_present,voice_reliability,face_reliability,voice_attended,"
    titles += "looked,heard,delay_s"
    assert list(rows[0]) == titles.split(",")
    assert len(rows) > 15
    assert rows[0]["time_s"] == "0.000000"
    assert (rows[0]["interval_level"], rows[0]["face_present"]) == ("0.9", "1")
    assert [rows[0][name] for name in ("looked", "heard", "delay_s")] == ["1", "1", "0.100000"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save them with their origin").click()
    trace = read_json(Path(download.value.path()))
    for name in TARGETS:
        np.testing.assert_allclose(trace.targets[name], [float(r[name]) for r in rows], rtol=0, atol=1e-6)
    np.testing.assert_allclose(trace.face_box, np.tile([0.1, 0.2, 0.4, 0.8], (len(rows), 1)))
    assert (trace.level, trace.notes) == (0.9, ("A note.",))
    assert trace.provenance["avgate"] == "1.2.3"
    assert trace.provenance["model"] == "live"
    assert (
        abs(datetime.fromisoformat(trace.provenance["recorded"].replace("Z", "+00:00")).timestamp() - time.time()) < 60
    )
    page.get_by_role("button", name="Make a report of the video").click()
    expect(page.locator("#tab-videos")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#queue li")).to_have_attribute("data-state", "done", timeout=10_000)
    (recording,) = standin.recordings.values()
    assert recording[:4] == b"\x1a\x45\xdf\xa3" or recording[4:8] == b"ftyp"
    assert len(recording) > 10_000


def colour(page: Page, where: str) -> str:
    return page.evaluate(f"getComputedStyle(document.querySelector('{where}')).color")


@pytest.mark.long
def test_other_sounds_alone_are_said_to_mean_little(page: Page, standin: Standin):
    switch_on(page)
    expect(page.get_by_role("meter", name="voice")).to_be_visible()
    strong = colour(page, "#now-valence")
    standin.face, standin.voice, standin.music = False, False, True
    words = "No face, and nobody speaks: this rests on other sounds and means little."
    expect(page.locator("#missing")).to_have_text(words)
    expect(page.locator("#said")).to_have_text(words)
    expect(page.locator("#now-voice")).to_have_text("nobody speaks")
    expect(page.get_by_role("meter", name="sound")).to_have_attribute("aria-valuenow", "35")
    expect(page.get_by_role("meter", name="voice")).to_have_count(0)
    assert re.fullmatch(r"[+−]\d.*", page.locator("#now-valence").text_content())
    assert colour(page, "#now-valence") == colour(page, "#plane-words") != strong
    standin.music = False
    expect(page.locator("#missing")).to_contain_text("There is nothing to estimate from.")
    expect(page.locator("#now-valence")).to_have_text("unknown")
    expect(page.locator("#now-voice")).to_have_text("no sound")


def test_it_shows_whose_face_is_estimated_and_that_there_are_more(page: Page, standin: Standin):
    switch_on(page)
    expect(page.locator("#face-box")).to_be_visible()
    box, video = (page.locator(where).bounding_box() for where in ("#face-box", "#preview"))
    height = video["height"]
    width = height * 640 / 480  # the picture lies in the middle, as in a mirror
    left = video["x"] + (video["width"] - width) / 2
    assert box["x"] == pytest.approx(left + 0.6 * width, abs=1)
    assert box["width"] == pytest.approx(0.3 * width, abs=1)
    assert box["y"] == pytest.approx(video["y"] + 0.2 * height, abs=1)
    assert box["height"] == pytest.approx(0.6 * height, abs=1)
    expect(page.locator("#others")).to_be_hidden()
    standin.others = 2
    expect(page.get_by_text("Further people in view").last).to_be_visible()
    expect(page.locator("#said")).to_have_text("Further people in view")
    standin.face, standin.others = False, 0
    expect(page.locator("#face-box")).to_be_hidden()
    expect(page.locator("#others")).to_be_hidden()


def test_a_warning_comes_only_where_results_are_late_or_many_pictures_are_left_out(page: Page):
    warned = """async ([late_ms, share]) => {
      const { Pace } = await import("/web/live/readout.js");
      const pace = new Pace(0);
      const words = [];
      let left_out = 0;
      for (let second = 1; second <= 30; second++) {  // for the last ten, all is well
        left_out += second > 15 ? 0 : 25 * share;
        words.push(pace.warning(1000 * second, { late_ms: second > 15 ? 80 : late_ms, taken: 25 * second, left_out }));
      }
      return words;
    }"""
    for late_ms, share, words in ((400, 0.09, ""), (600, 0, "0.6 s late"), (80, 0.2, "20 % of the last pictures")):
        found = page.evaluate(warned, [late_ms, share])
        assert found[0] == found[-1] == ""
        assert words in found[14]
        assert bool(found[14]) == bool(words)


@pytest.mark.long
def test_numbers_are_calm_and_machines_that_cannot_follow_are_warned_of(page: Page, standin: Standin):
    switch_on(page)
    watch = """async () => {
      let changes = 0;
      const observer = new MutationObserver(() => { changes += 1; });
      observer.observe(document.querySelector("#now-valence"), { childList: true, characterData: true, subtree: true });
      await new Promise((done) => setTimeout(done, 2000));
      return changes;
    }"""
    assert 2 <= page.evaluate(watch) <= 6
    expect(page.locator("#measures")).to_be_hidden()
    page.get_by_text("Details", exact=True).click()
    expect(page.locator("#measures")).to_be_visible()
    standin.looked = False
    expect(page.locator("#slow")).to_contain_text("of the last pictures weren’t looked at", timeout=10_000)
    standin.looked, standin.late_s = True, 0.9
    expect(page.locator("#slow")).to_have_text(re.compile(r"^Results come (0\.[6-9]|1\.\d) s late"), timeout=10_000)


def test_that_camera_and_recording_are_on_is_seen_from_every_tab_and_nothing_is_lost_unasked(
    page: Page, standin: Standin
):
    asked: list[str] = []
    answers = {"confirm": False, "beforeunload": False}
    page.on("dialog", lambda d: (asked.append(d.type), d.accept() if answers[d.type] else d.dismiss()))
    page.locator("#tab-live").click()
    private, keep = page.locator("#live-private"), page.locator("#keep-video")
    expect(private).to_contain_text("forgotten as soon as they are estimated")
    keep.check()
    expect(private).to_contain_text("deletes them 48 hours after the report is done")
    expect(private).not_to_contain_text("forgotten")
    keep.uncheck()
    switch_on(page)
    expect(page.get_by_role("tab", name="Camera camera on")).to_be_visible()
    page.get_by_role("button", name="Record").click()
    assert keep.is_disabled()
    page.locator("#tab-videos").click()
    expect(page.get_by_role("tab", name=re.compile(r"Camera camera on, recording 0:0[1-3]"))).to_be_visible()
    page.locator("#tab-live").click()
    expect(page.get_by_role("timer")).to_have_text(re.compile(r"0:0\d"))
    page.get_by_role("button", name="Stop recording").click()
    expect(page.locator("#session")).to_be_visible()
    assert keep.is_enabled()
    page.get_by_role("button", name="Record").click()
    assert asked == ["confirm"]
    expect(page.locator("#session")).to_be_visible()
    page.evaluate("setTimeout(() => location.reload())")
    page.wait_for_timeout(300)
    assert asked == ["confirm", "beforeunload"]
    with page.expect_download():
        page.get_by_role("button", name="Save the results").click()
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#session")).to_be_hidden()
    page.get_by_role("button", name="Switch off").click()
    expect(page.locator("#on-air")).to_be_hidden()
    assert len(asked) == 2


def test_what_is_over_is_dim_and_a_stopped_server_says_what_to_do(page: Page, standin: Standin):
    switch_on(page)
    strong = colour(page, "#now-valence")
    page.get_by_role("button", name="Switch off").click()
    expect(page.locator("#ended")).to_have_text("Ended. What is shown was estimated last.")
    assert colour(page, "#now-valence") == colour(page, "#ended") != strong
    expect(page.get_by_role("heading", name="Where the expression was at the end")).to_be_visible()
    picture(page, "ended-1280")
    switch_on(page)
    expect(page.locator("#ended")).to_be_hidden()
    assert colour(page, "#now-valence") == strong
    standin.stopping = True
    expect(page.locator("#live-trouble")).to_contain_text("The server was stopped. Start it again")
    expect(page.locator("#ended")).to_be_visible()
    assert violations(page) == []


@pytest.mark.long
def test_picture_plane_and_numbers_fit_a_screen_and_a_phone_has_numbers_below_the_picture(page: Page, standin: Standin):
    page.set_viewport_size({"width": 1280, "height": 850})
    switch_on(page)
    standin.others = 1
    expect(page.locator("#others")).to_be_visible()
    assert page.evaluate("scrollY") == 0
    for part in ("preview", "readout", "plane", "plane-words"):
        box = page.locator(f"#{part}").bounding_box()
        assert 0 < box["y"] < box["y"] + box["height"] <= 850, part
    picture(page, "on-1280")
    page.set_viewport_size({"width": 360, "height": 800})
    standin.face, standin.voice, standin.music = False, False, True
    expect(page.locator("#live-now.weak")).to_be_visible()
    page.get_by_role("button", name="Record").click()
    above, below = (page.locator(where).bounding_box() for where in ("#preview", "#now-valence"))
    assert 0 <= below["y"] - above["y"] - above["height"] < 24
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    picture(page, "on-360")
    assert violations(page) == []


def test_without_a_camera_or_a_microphone_it_says_what_to_do(page: Page, standin: Standin):
    page.locator("#tab-live").click()
    for device in ("camera", "microphone"):
        page.locator(f"#{device}").select_option("none")
    page.get_by_role("button", name="Switch on").click()
    expect(page.locator("#live-trouble")).to_have_text("Choose a camera, a microphone, or both.")
    refused = "async () => { throw new DOMException('no', 'NotAllowedError'); }"
    page.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = {refused}; }}")
    page.locator("#microphone").select_option("")
    page.get_by_role("button", name="Switch on").click()
    expect(page.locator("#live-trouble")).to_contain_text("Allow it beside the page’s address")
    assert standin.streams == []


def open_rating(page: Page) -> None:
    send(page, "a.wav")
    state(page, "a.wav", "done")
    row(page, "a.wav").get_by_role("button", name="Annotate").click()
    page.get_by_label("Your name").fill("Anna B")
    page.wait_for_function("() => document.querySelector('#rated-video').readyState >= 2")


def test_a_rating_is_drawn_saved_and_read_back(page: Page, standin: Standin):
    open_rating(page)
    page.get_by_label("Your delay in seconds").fill("0.4")
    page.get_by_role("button", name="Draw while it plays").click()
    box = page.locator("#pad").bounding_box()
    for share in (0.25, 0.25, 0.75, 0.75):
        page.mouse.move(box["x"] + 20, box["y"] + share * box["height"])
        page.wait_for_timeout(500)
    page.evaluate("document.querySelector('#rated-video').pause()")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#rate-state")).to_have_text("Saved as Anna-B-valence.")
    (((_, name), saved),) = standin.annotations.items()
    assert name == "Anna-B-valence"
    rows = list(csv.DictReader(io.StringIO(saved.decode())))
    times, values = (np.array([float(r[key]) for r in rows]) for key in ("time_s", "valence"))
    assert times[0] == pytest.approx(0, abs=0.05)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-3)
    assert values[times < 0.3] == pytest.approx(0.5, abs=0.02)
    assert values[-5:] == pytest.approx(-0.5, abs=0.02)
    turn = times[np.flatnonzero(np.diff(values) < -0.5)[0]]
    assert turn == pytest.approx(1.0 - 0.4, abs=0.35), "it counts for the moment before the rater's delay"
    expect(page.get_by_role("link", name="Download: Anna-B-valence")).to_be_visible()

    page.reload()
    expect(page.locator("#rate-state")).to_contain_text("Loaded Anna-B-valence, saved ")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#rate-state")).to_have_text("Saved as Anna-B-valence.")
    assert standin.annotations.popitem()[1].decode().splitlines()[1:9] == saved.decode().splitlines()[1:9]


def test_a_rating_needs_no_mouse(page: Page, standin: Standin):
    open_rating(page)
    page.locator("#pad").focus()
    for key, value in (
        ("ArrowUp", "+0.05"),
        ("Shift+ArrowUp", "+0.25"),
        ("Home", "−1.00"),
        ("End", "+1.00"),
        ("0", "+0.00"),
    ):
        page.keyboard.press(key)
        expect(page.locator("#pad-value")).to_have_text(value)
        expect(page.locator("#pad")).to_have_attribute("aria-valuetext", value)
    page.keyboard.press(" ")
    page.wait_for_function("() => !document.querySelector('#rated-video').paused")
    page.keyboard.press(" ")
    page.wait_for_function("() => document.querySelector('#rated-video').paused")
    page.evaluate("navigator.getGamepads = () => [{ axes: [0, -0.6] }]")
    expect(page.locator("#pad-value")).to_have_text("+0.60")


def wait_until_played(page: Page, seconds: float) -> None:
    page.wait_for_function(f"() => document.querySelector('#rated-video').currentTime >= {seconds}")


@pytest.mark.long
def test_nothing_is_rated_before_the_bar_is_touched_and_neutral_is_no_gap(page: Page, standin: Standin):
    open_rating(page)
    expect(page.locator("#pad-value")).to_have_text("–")
    expect(page.locator("#pad")).to_have_attribute("aria-valuetext", "no rating yet")
    page.get_by_role("button", name="Draw while it plays").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#pad")).to_be_focused()
    wait_until_played(page, 0.4)
    expect(page.locator("#rate-state")).to_have_text("Waiting for you: nothing is taken until you move the bar.")
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
    page.keyboard.press("0")
    expect(page.locator("#rate-state")).to_contain_text("Drawing: ")
    wait_until_played(page, 0.8)
    page.keyboard.press(" ")
    page.evaluate("document.querySelector('#rated-video').currentTime = 2")
    page.keyboard.press(" ")
    wait_until_played(page, 2.2)
    page.keyboard.press(" ")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#rate-state")).to_have_text("Saved as Anna-B-valence.")
    (saved,) = standin.annotations.values()
    cells = [line.split(",") for line in saved.decode().splitlines()[1:]]
    assert float(cells[0][0]) >= 0.4, "what went by before the first touch is no rating"
    np.testing.assert_allclose(np.diff([float(time_s) for time_s, _ in cells]), 0.04, atol=1e-3)
    assert {value for time_s, value in cells if float(time_s) > 2.05} == {"0.0000"}
    assert {value for time_s, value in cells if 1.6 < float(time_s) < 1.95} == {""}


def test_a_gamepad_held_still_is_a_touch_and_one_at_rest_is_none(page: Page):
    open_rating(page)
    page.evaluate("navigator.getGamepads = () => [{ axes: [0, 0.02] }]")
    page.get_by_role("button", name="Draw while it plays").click()
    wait_until_played(page, 0.2)
    expect(page.locator("#pad-value")).to_have_text("–")
    page.evaluate("navigator.getGamepads = () => [{ axes: [0, 0.5] }]")
    expect(page.locator("#pad-value")).to_have_text("−0.50")
    for _ in range(2):
        page.get_by_role("button", name="Draw while it plays").click()
    expect(page.locator("#rate-state")).to_contain_text("Drawing: ")
    expect(page.locator("#pad-value")).to_have_text("−0.50")


def draw(page: Page) -> None:
    page.get_by_role("button", name="Draw while it plays").click()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Draw while it plays").click()
    expect(page.locator("#rate-state")).to_contain_text("s are rated, not saved yet.")


def test_the_estimate_is_shown_only_where_asked_for_and_that_is_said(page: Page):
    open_rating(page)
    expect(page.get_by_label("Show the estimate")).not_to_be_checked()
    draw(page)
    expect(page.locator("#rate-anchored")).to_be_hidden()
    page.get_by_label("Show the estimate").check()
    expect(page.locator("#rate-anchored")).to_be_hidden()
    draw(page)
    expect(page.locator("#rate-anchored")).to_contain_text("The estimate was shown while you drew")
    page.get_by_label("Show the estimate").uncheck()
    expect(page.locator("#rate-anchored")).to_be_visible()


def test_what_is_not_saved_is_cleared_only_after_a_question(page: Page):
    open_rating(page)
    clear, save = (page.get_by_role("button", name=name, exact=True) for name in ("Clear", "Save"))
    expect(clear).to_be_disabled()
    draw(page)
    asked: list[str] = []

    def answer(dialog) -> None:
        asked.append(dialog.message)
        (dialog.dismiss if len(asked) == 1 else dialog.accept)()

    page.on("dialog", answer)
    clear.click()
    expect(save).to_be_enabled()
    clear.click()
    expect(save).to_be_disabled()
    expect(page.get_by_role("button", name="Draw while it plays")).to_be_focused()
    assert asked == ["What you drew isn’t saved. Clear it?"] * 2


@pytest.mark.long
def test_one_button_is_the_main_one_and_drawing_ends_with_the_recording(page: Page, standin: Standin):
    from tests.serve_page_standin import silence

    standin.recording = silence(1.0)
    open_rating(page)
    page.get_by_label("Show the estimate").check()
    primary = page.locator("#rating .primary")
    expect(primary).to_have_text(["Draw while it plays"])
    page.get_by_role("button", name="Draw while it plays").click()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#rate-draw")).to_have_attribute("aria-pressed", "false")
    expect(primary).to_have_text(["Save"])
    # The estimate of the stand-in goes on for longer than the recording.
    beyond = """() => {
      const canvas = document.querySelector("#rated-curve");
      const { width, height } = canvas;
      const paint = canvas.getContext("2d");
      const seen = (x, w) => paint.getImageData(x, 22, w, height - 46).data.some((each) => each > 0);
      return [seen(width - 40, 20), seen(width - 10, 10)];
    }"""
    assert page.evaluate(beyond) == [True, False]
    page.get_by_role("button", name="Draw while it plays").click()
    expect(page.locator("#rate-draw")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#rate-state")).to_contain_text("Waiting for you")


OTHER = b"time_s,valence\n0.000,0.5000\n0.040,\n0.080,-0.5000\n"


def test_saved_ratings_are_listed_opened_downloaded_and_deleted(page: Page, standin: Standin):
    send(page, "a.wav")
    state(page, "a.wav", "done")
    (job,) = standin.jobs
    standin.annotations = {(job, "bo-valence"): OTHER, (job, "x-arousal"): OTHER.replace(b"valence", b"arousal")}
    row(page, "a.wav").get_by_role("button", name="Annotate").click()
    expect(page.locator("#saved-list li")).to_have_count(2)
    page.get_by_role("button", name="Open: x-arousal").click()
    expect(page.locator("#rate-state")).to_have_text(re.compile(r"Loaded x-arousal, saved \d\d:\d\d\."))
    assert (page.locator("#rated-target").input_value(), page.locator("#rater").input_value()) == ("arousal", "x")
    page.locator("#saved-format").select_option("elan")
    link = page.get_by_role("link", name="Download: bo-valence")
    assert link.get_attribute("href").endswith(f"/api/jobs/{job}/annotations/bo-valence?format=elan")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete: x-arousal").click()
    expect(page.locator("#saved-list li")).to_have_count(1)
    expect(page.locator("#saved-title")).to_be_focused()
    assert set(standin.annotations) == {(job, "bo-valence")}
    expect(page.locator("#rate-state")).to_contain_text("0.1 s are rated, not saved yet.")


@pytest.mark.long
def test_a_name_is_shown_as_it_will_be_saved_and_changes_without_loss(page: Page, standin: Standin):
    open_rating(page)
    (job,) = standin.jobs
    missing: list[str] = []
    page.on("response", lambda answer: answer.status == 404 and missing.append(answer.url))
    field = page.get_by_label("Your name")
    for typed, shown in (
        ("Anna Müller", "Anna-Muller-valence."),
        ("李", "Use letters A to Z, digits, - or _."),
        ("Zoé", "Zoe-valence."),
    ):
        field.fill(typed)
        expect(page.locator("#rater-as")).to_contain_text(shown)
    draw(page)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#rate-state")).to_have_text("Saved as Zoe-valence.")
    standin.annotations[job, "bo-valence"] = OTHER
    field.fill("Anna Müller")
    field.press("Tab")
    expect(page.locator("#rate-state")).to_contain_text("s are rated, not saved yet.")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#rate-state")).to_have_text("Saved as Anna-Muller-valence.")
    assert standin.annotations[job, "Anna-Muller-valence"] == standin.annotations[job, "Zoe-valence"]

    page.once("dialog", lambda dialog: dialog.dismiss())
    field.fill("bo")
    field.press("Tab")
    expect(field).to_have_value("Anna Müller")
    page.once("dialog", lambda dialog: dialog.accept())
    field.fill("bo")
    field.press("Tab")
    expect(page.locator("#rate-state")).to_contain_text("Loaded bo-valence, saved ")
    assert missing == []


@pytest.mark.long
def test_the_page_remembers_rater_and_recording(page: Page, standin: Standin):
    open_rating(page)
    send(page, "b.wav")
    page.locator("#tab-videos").click()
    state(page, "b.wav", "done")
    page.locator("#tab-annotate").click()
    for name in ("b.wav", "a.wav"):
        page.locator("#rated").select_option(label=name)
        page.reload()
        expect(page.locator("#rated option:checked")).to_have_text(name)
        expect(page.locator("#rating")).to_be_visible()
        assert page.get_by_label("Your name").input_value() == "Anna B"


def test_on_a_narrow_screen_video_and_bar_stand_below_each_other(page: Page):
    page.set_viewport_size({"width": 360, "height": 800})
    open_rating(page)
    video, card, pad = (
        page.locator(f"#{name}").bounding_box() for name in ("rated-video", "rating .card >> nth=0", "pad")
    )
    assert card["y"] + card["height"] - video["y"] - video["height"] < 24
    assert pad["y"] > card["y"] + card["height"]
    assert pad["width"] > 250


@pytest.mark.long
def test_what_the_browser_cannot_play_is_played_from_its_report(page: Page, standin: Standin):
    standin.recording = b"a film of another time" * 1000
    open_rating(page)
    expect(page.locator("#rated-copy")).to_contain_text("this is the copy in its report")
    expect(page.locator("#rated-trouble")).to_be_hidden()
    assert page.evaluate("document.querySelector('#rated-video').duration") == pytest.approx(12, abs=0.1)


def test_a_raters_own_delay_is_measured_against_the_estimate(page: Page):
    delay = page.evaluate(
        """async () => {
          const { Rating } = await import("/web/annotate/rating.js");
          const { ownDelay } = await import("/web/annotate/estimate.js");
          const time_s = Array.from({ length: 1000 }, (_, i) => i / 25);
          const wave = (t) => Math.sin(t) * 0.5 + Math.sin(2.7 * t) * 0.3;
          const rating = new Rating();
          for (const t of time_s) rating.draw(t, t + 0.04, wave(t - 1.3));
          return ownDelay(rating, { time_s, value: time_s.map(wave) });
        }"""
    )
    assert delay["delay_s"] == pytest.approx(1.3, abs=0.1)
    assert delay["r"] > 0.95


@pytest.mark.parametrize(("width", "dark"), [(360, True), (1280, False)], ids=["phone-dark", "desk-light"])
def test_every_tab_fits_and_axe_finds_nothing(page: Page, standin: Standin, width: int, dark: bool):
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.set_viewport_size({"width": width, "height": 800})
    long = "a-very-long-name-that-goes-on-and-on-and-on-without-any-space.wav"
    send(page, long)
    send(page, "broken.mp4")
    state(page, long, "done")
    state(page, "broken.mp4", "failed")
    standin.annotations = {(job, name * 9): OTHER for job in standin.jobs for name in ("bo-valence", "x")}
    send(page, "notes.xyz")
    page.locator("#options > summary").click()
    switch_on(page)
    page.wait_for_timeout(300)

    def look(what: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width, what
        assert violations(page) == [], what
        picture(page, f"{what}-{width}-{'dark' if dark else 'light'}")

    for tab in TABS:
        page.locator(f"#tab-{tab}").click()
        expect(page.locator(f"#{tab}")).to_be_visible()
        look(tab)
    page.locator("#tab-videos").click()
    row(page, long).get_by_role("button", name="Open").click()
    expect(page.frame_locator("#viewer-frame").locator("body")).to_contain_text("It ran.")
    look("report")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(background[4:].split(",")[0]) < 60) == dark


def test_the_keyboard_alone_reaches_everything_and_focus_is_seen(page: Page):
    send(page, "a.wav")
    state(page, "a.wav", "done")
    page.locator("#tab-videos").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-live")).to_be_focused()
    expect(page.locator("#live")).to_be_visible()
    page.keyboard.press("End")
    expect(page.locator("#annotate")).to_be_visible()
    page.keyboard.press("Home")
    reached = set()
    for _ in range(15):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        here = "(document.activeElement.id === 'choose' ? choose.labels[0] : document.activeElement)"
        assert page.evaluate(f"getComputedStyle({here}).outlineStyle") != "none", page.evaluate(
            "document.activeElement.outerHTML"
        )
        if page.evaluate("document.activeElement.textContent") == "Open":
            break
    assert {"choose", "go-live", "Open"} <= reached
    page.keyboard.press("Enter")
    expect(page.locator("#viewer")).to_be_focused()
    page.locator("#viewer-close").focus()
    page.keyboard.press("Enter")
    expect(row(page, "a.wav").get_by_role("button", name="Open")).to_be_focused()


def test_all_words_come_from_one_file_and_another_language_may_lack_some(browser: Browser, server: tuple[Standin, str]):
    with browser.new_page() as page:
        german = json.dumps({"tab.videos": "Videos ansehen"})
        page.route("**/words/de.json", lambda route: route.fulfill(body=german, content_type="application/json"))
        page.goto(f"{server[1]}?lang=de")
        expect(page.locator("#tab-videos")).to_have_text("Videos ansehen")
        expect(page.locator("#tab-live")).to_have_text("Camera")
        assert page.locator("html").get_attribute("lang") == "de"
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{server[1]}?lang=../../x")
        expect(page.locator("#tab-live")).to_have_text("Camera")
        assert not [url for url in asked if "x.json" in url]


def test_every_word_that_the_page_asks_for_is_there():
    from tests.serve_page_standin import WEB

    folder = Path(str(WEB))
    words = json.loads((folder / "words/en.json").read_text())
    code = "\n".join(path.read_text() for path in [*folder.rglob("*.js"), folder / "index.html"])
    asked = set(re.findall(r'(?:word\(|data-(?:word|label)=)"([^"]+)"', code))
    assert len(asked) > 80
    assert sorted(asked - set(words)) == []
    families = {found.split("$")[0] for found in re.findall(r"word\(`([^`]+)`", code)}
    quoted = set(re.findall(r'"([a-z][\w.-]+)"', code))
    assert [w for w in words if w not in asked | quoted and not any(w.startswith(f) for f in families if f)] == []


def test_modules_are_short():
    from tests.serve_page_standin import WEB

    lines = {path.name: len(path.read_text().splitlines()) for path in Path(str(WEB)).rglob("*.js")}
    assert {name: n for name, n in lines.items() if n > 250} == {}
