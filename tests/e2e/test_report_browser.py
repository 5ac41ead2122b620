"""The report as a reader meets it: in a real browser, with real clicks, keys and video."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from avgate.core.types import SAMPLE_RATE, Trace
from avgate.media import open_recording
from avgate.report.html import write_report
from avgate.report.shown import Shown
from tests.clips import make_clip, tone
from tests.e2e.conftest import WINDOW
from tests.recordings import write_sound
from tests.traces import make_trace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

pytestmark = pytest.mark.slow  # it starts a browser; test_report.py shows what stands in the page

FRAMES, BITS = 250, 8

TIMES = 0.4 + np.cumsum(np.random.default_rng(3).uniform(0.02, 0.06, FRAMES)).round(3)
"""When the video's frames begin: at a variable rate, and not at 0."""

END = TIMES[-1] + np.median(np.diff(TIMES))

HOSTILE = '</script><script>window.harmed = 1</script><img src=x onerror="window.harmed = 1">${data}.mp4'

MOMENT = """(() => {
  const shift = (selector) => new DOMMatrix(getComputedStyle(document.querySelector(selector)).transform).m41;
  const text = (selector) => document.querySelector(selector).textContent;
  return {
    time: text("#time"), link: document.querySelector("#time").hash, frame: Number(text("#frame-number")),
    values: [...document.querySelectorAll(".bar [data-curve]")].map((b) => b.textContent),
    present: [...document.querySelectorAll("[data-present]")].map((dd) => dd.textContent),
    words: text("#plane-words"), slider: document.querySelector("#slider").value,
    spoken: document.querySelector("#slider").getAttribute("aria-valuetext"),
    heads: [...document.querySelectorAll(".plot")].map((plot) => shift(`#${plot.id} .playhead`)),
    widths: [...document.querySelectorAll(".plot .inside:last-child")].map((inside) => inside.clientWidth),
    dots: [...document.querySelectorAll(".dot")].map((dot) => !dot.hidden),
  };
})()"""

# The picture that is on show, as the number that its black and white bars spell.
PICTURE = f"""(() => {{
  const video = document.querySelector("video");
  const canvas = new OffscreenCanvas({BITS}, 1).getContext("2d");
  canvas.drawImage(video, 0, 0, video.videoWidth, video.videoHeight, 0, 0, {BITS}, 1);
  const pixels = canvas.getImageData(0, 0, {BITS}, 1).data;
  const bar = (k) => pixels[4 * k + 1] > 128;
  return Array.from({{ length: {BITS} }}, (_, k) => bar(k) * 2 ** k).reduce((sum, bit) => sum + bit);
}})()"""

# The points of a curve's line in seconds and in its own unit, stretch by stretch, back from the pixels that are drawn.
LINES = """(selector) => {
  const height = (number) => number.getBoundingClientRect().top + number.getBoundingClientRect().height / 2;
  const drawing = document.querySelector("#plot-curves .drawing").getBoundingClientRect();
  const inside = document.querySelector("#plot-curves .inside:last-child").getBoundingClientRect();
  const numbers = (text) => [...document.querySelectorAll("#plot-curves text")].filter((t) => t.textContent === text);
  return [...document.querySelectorAll(`#plot-curves ${selector}`)].map((path, k) => {
    const [high, low] = ["+1", "−1"].map((text) => height(numbers(text)[k]) - drawing.top);
    return path.getAttribute("d").split("M").slice(1).map((stretch) => stretch.split("L").map((point) => {
      const [x, y] = point.split(",").map(Number);
      return [view[0] + (x - (inside.left - drawing.left)) / inside.width * (view[1] - view[0]),
              1 - 2 * (y - high) / (low - high)];
    }));
  });
}"""

# The colour in the middle of the strip of sound, which there is throughout.
STRIP = """(() => {
  const canvas = document.querySelector("#plot-presence canvas");
  const [x, y] = [canvas.width / 3, (canvas.height * 5) / 6].map(Math.round);
  return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3);
})()"""

# Waits are given functions: the page's own policy forbids what Playwright does to wait for an expression.
SEEN = "() => document.querySelector('video').readyState >= 2 && !document.querySelector('video').seeking"


def pictures() -> list[np.ndarray]:
    """What each frame of the video shows: its own number, in black and white bars."""
    bars = [[255 * (number >> bit & 1) for bit in range(BITS)] for number in range(FRAMES)]
    return [np.tile(np.repeat(row, 128 // BITS)[None, :, None], (96, 1, 3)).astype(np.uint8) for row in bars]


def frame_at(seconds: float) -> int:
    """The last frame that has begun."""
    return int(np.searchsorted(TIMES, seconds + 1e-6, side="right")) - 1


def clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:06.3f}"


def share(frame: int, start: float = TIMES[0], end: float = END) -> float:
    """Where a frame begins, from 0 at the left of a plot to 1 at its right."""
    return (TIMES[frame] - start) / (end - start)


@pytest.fixture(scope="module")
def trace() -> Trace:
    """The followed face moves from left to right; for the last ten frames it is lost."""
    left = np.linspace(0.1, 0.6, FRAMES)
    boxes = np.column_stack([left, np.full(FRAMES, 0.25), left + 0.2, np.full(FRAMES, 0.75)])
    boxes[-10:] = np.nan
    return replace(make_trace(FRAMES), time_s=TIMES, face_box=boxes)


@pytest.fixture(scope="module")
def shared_report(browser: Browser, trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A report with a video, opened once: to load it takes longer than any of the tests."""
    folder = tmp_path_factory.mktemp("report")
    make_clip(folder / "video.mp4", pictures(), times=TIMES, video_options={"preset": "ultrafast"})
    write_report(trace, folder / "report.html", video=folder / "video.mp4")
    with browser.new_page(viewport=WINDOW) as page:
        page.goto((folder / "report.html").as_uri() + "#t=1")
        page.wait_for_function(SEEN)
        yield page


@pytest.fixture
def report(shared_report: Page) -> Page:
    """The report in a light window of the usual size, with nothing in focus; tests leave it paused and not zoomed."""
    shared_report.set_viewport_size(WINDOW)
    shared_report.emulate_media(color_scheme="light")
    shared_report.evaluate("document.activeElement.blur()")
    return shared_report


def complaints(page: Page) -> list[str]:
    """Exceptions, errors and warnings of a page, blocked loads among them."""
    messages = [message.text for message in page.console_messages() if message.type in ("error", "warning")]
    return messages + [str(error) for error in page.page_errors()]


def go(report: Page, seconds: float) -> dict:
    """Follow a link to a moment, wait for the picture, and say what the page shows."""
    report.evaluate(f"location.hash = ''; location.hash = '#t={seconds}'")
    expect(report.locator("#frame-number")).to_have_text(str(frame_at(seconds) + 1))
    report.wait_for_function(SEEN)
    return report.evaluate(MOMENT)


def inside(report: Page, plot: str) -> tuple[float, float, float, float]:
    """Left, top, width and height in the window of what a plot's axes enclose, scrolled into view."""
    report.locator(plot).evaluate("plot => plot.scrollIntoView({ block: 'center', behavior: 'instant' })")
    box = report.locator(f"{plot} .inside:last-child").bounding_box()
    return box["x"], box["y"], box["width"], box["height"]


def test_nothing_jumps_on_loading_fails_or_comes_from_elsewhere(report: Page):
    jumps = """new Promise((done) => {
      const sum = (list) => done(list.getEntries().reduce((total, entry) => total + entry.value, 0));
      new PerformanceObserver(sum).observe({ type: "layout-shift", buffered: true });
      setTimeout(() => done(0), 200);
    })"""
    assert report.evaluate(jumps) < 0.01
    assert complaints(report) == []
    page, video = [request.url for request in report.requests()]
    assert page == report.url.split("#")[0]
    assert video.startswith("blob:")


@pytest.mark.parametrize("seconds", [2.5, 9.02])
def test_a_link_to_a_moment_shows_that_moment_everywhere(report: Page, trace: Trace, seconds: float):
    frame = frame_at(seconds)
    shown = go(report, seconds)
    assert shown["time"] == clock(TIMES[frame])
    assert shown["link"] == f"#t={TIMES[frame]:.3f}"
    assert (shown["frame"], shown["slider"]) == (frame + 1, str(frame))
    expected = [f"{trace.targets[name][frame]:+.2f}".replace("-", "−") for name in ("valence", "arousal")]
    assert shown["values"] == expected
    assert shown["spoken"] == f"{clock(TIMES[frame])}, valence {expected[0]}, arousal {expected[1]}"
    words = [("not found", "in view"), ("silent", "speaking"), ("none", "present")]
    present = [trace.present[name][frame] for name in ("face", "voice", "audio")]
    assert shown["present"] == [pair[int(here)] for pair, here in zip(words, present, strict=True)]
    assert len(shown["heads"]) == 4
    for head, width in zip(shown["heads"], shown["widths"], strict=True):
        assert head == pytest.approx(share(frame) * width, abs=0.6)
    report.wait_for_function(f"() => {PICTURE} === {frame}")
    assert TIMES[frame] <= report.evaluate("document.querySelector('video').currentTime") < TIMES[frame + 1]


@pytest.mark.parametrize("width", [360, 1280])
def test_the_followed_face_is_marked_in_the_picture(report: Page, trace: Trace, width: int):
    report.set_viewport_size({"width": width, "height": 900})
    for frame in (20, 200):
        go(report, TIMES[frame])
        video, box = (report.locator(part).bounding_box() for part in ("video", "#followed"))
        scale = min(video["width"] / 128, video["height"] / 96)  # it is fitted into its element, with bars beside it
        aside = (video["width"] - 128 * scale) / 2
        expected = video["x"] + aside + trace.face_box[frame, 0] * 128 * scale
        assert box["x"] == pytest.approx(expected, abs=1)
        assert box["width"] == pytest.approx(0.2 * 128 * scale, abs=1)
        assert box["y"] - video["y"] == pytest.approx(0.25 * 96 * scale, abs=1)
    go(report, TIMES[FRAMES - 5])
    expect(report.locator("#followed")).to_be_hidden()


def test_where_nothing_is_known_nothing_is_claimed(report: Page, trace: Trace):
    first = int(np.flatnonzero(np.isnan(trace.targets["valence"]))[0])
    shown = go(report, TIMES[first + 5])
    assert shown["values"] == ["–", "–"]
    assert shown["dots"] == [False, False, False]
    assert shown["words"] == "no estimate at this frame"
    assert "valence unknown" in shown["spoken"]
    last = int(np.flatnonzero(np.isnan(trace.targets["valence"]))[-1])
    for selector in (".curve", ".raw"):
        for line in report.evaluate(LINES, selector):
            assert [len(stretch) for stretch in line] == [first, FRAMES - last - 1]
            assert line[0][-1][0] == pytest.approx(TIMES[first - 1], abs=0.01)
            assert line[1][0][0] == pytest.approx(TIMES[last + 1], abs=0.01)


@pytest.mark.parametrize("plot", ["#plot-curves", "#plot-presence", "#plot-attended", "#plot-iterations"])
def test_a_click_on_any_plot_goes_there(report: Page, plot: str):
    go(report, 1)
    left, top, width, height = inside(report, plot)
    report.mouse.click(left + 0.755 * width, top + height / 2)
    shown = report.evaluate(MOMENT)
    assert shown["frame"] - 1 == pytest.approx(frame_at(TIMES[0] + 0.755 * (END - TIMES[0])), abs=1)


def test_dragging_moves_the_video_along(report: Page):
    left, top, width, _ = inside(report, "#plot-curves")
    report.mouse.move(left + 0.2 * width, top + 9)
    report.mouse.down()
    report.mouse.move(left + 0.401 * width, top + 9, steps=15)
    report.mouse.up()
    frame = report.evaluate(MOMENT)["frame"] - 1
    assert frame == pytest.approx(frame_at(TIMES[0] + 0.401 * (END - TIMES[0])), abs=1)
    report.wait_for_function(SEEN)
    report.wait_for_function(f"() => {PICTURE} === {frame}")


def test_hovering_tells_the_values_there_and_stays_here(report: Page, trace: Trace):
    go(report, 1)
    left, top, width, _ = inside(report, "#plot-curves")
    report.mouse.move(left + 0.502 * width, top + 20)
    lines = report.locator("#tip").text_content().split("\n")
    frame = frame_at(float(lines[0].removeprefix("0:")))
    assert frame == pytest.approx(frame_at(TIMES[0] + 0.502 * (END - TIMES[0])), abs=1)
    value = trace.targets["valence"][frame]
    assert lines[1] == f"valence {value:+.2f}".replace("-", "−")
    expect(report.locator(".ghost:visible")).to_have_count(4)
    assert report.evaluate(MOMENT)["frame"] == frame_at(1) + 1
    report.mouse.move(5, 5)
    expect(report.locator("#tip")).to_be_hidden()


def test_keys_step_and_jump(report: Page):
    go(report, TIMES[100])
    for key, frame in (("ArrowRight", 101), ("ArrowRight", 102), ("ArrowLeft", 101), ("End", FRAMES - 1), ("Home", 0)):
        report.keyboard.press(key)
        assert report.evaluate(MOMENT)["frame"] == frame + 1
    report.locator("#slider").focus()
    report.keyboard.press("ArrowRight")
    assert report.evaluate(MOMENT)["frame"] == 2, "one step, not one of the page and one of the slider"


def test_playing_takes_all_playheads_along(report: Page):
    before = go(report, TIMES[60])
    report.keyboard.press(" ")
    report.wait_for_function("() => Number(document.querySelector('#frame-number').textContent) > 70")
    expect(report.locator("#play")).to_have_accessible_name("Pause")
    report.keyboard.press(" ")
    expect(report.locator("#play")).to_have_accessible_name("Play")
    report.wait_for_function(SEEN)
    after = report.evaluate(MOMENT)
    assert 70 < after["frame"] < 150
    moved = [b - a for a, b in zip(before["heads"], after["heads"], strict=True)]
    expected = share(after["frame"] - 1) - share(60)
    assert moved == pytest.approx([expected * width for width in after["widths"]], abs=0.6)
    report.wait_for_function(f"() => {PICTURE} === {after['frame'] - 1}")


def test_zooming_shows_less_time_and_follows_the_playhead(report: Page):
    go(report, 2)
    report.keyboard.press("+")
    report.keyboard.press("+")
    seen = report.evaluate("strips[0].view")
    assert seen[1] - seen[0] == pytest.approx((END - TIMES[0]) / 4)
    assert seen[0] <= 2 < seen[1]
    shown = go(report, 9)
    later = report.evaluate("strips[0].view")
    assert later[0] <= 9 < later[1]
    assert all(0 <= head < width for head, width in zip(shown["heads"], shown["widths"], strict=True))
    report.keyboard.press("0")
    assert report.evaluate("timePlots.map((plot) => plot.view)") == [pytest.approx([TIMES[0], END])] * 4


def contrast(one: str, other: str) -> float:
    """The contrast of two CSS colours as WCAG 2 defines it."""
    lights = []
    for colour in (one, other):
        channels = np.array([int(digits) for digits in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        lights.append(float(linear @ (0.2126, 0.7152, 0.0722)))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


TEXT = [("ink", "page"), ("ink", "card"), ("muted", "page"), ("muted", "card"), ("warn-ink", "warn")]
TEXT += [("valence", "card"), ("arousal", "card")]
SHAPES = [("head", "card"), *((hue, f"{hue}-pale") for hue in ("voice", "face", "audio", "text", "other"))]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_and_shapes_stand_out_in_light_and_in_dark(report: Page, dark: bool):
    def colour(name: str) -> str:
        return report.evaluate(f"probe.style.color = 'var(--{name})', getComputedStyle(probe).color")

    report.evaluate("globalThis.probe ??= document.body.appendChild(document.createElement('i')), 0")
    report.emulate_media(color_scheme="dark" if dark else "light")
    assert (contrast(colour("page"), "rgb(0, 0, 0)") < 3) == dark
    for pairs, least in ((TEXT, 4.5), (SHAPES, 3)):
        for front, back in pairs:
            assert contrast(colour(front), colour(back)) >= least, (front, back)
    assert report.evaluate("getComputedStyle(document.querySelector('.drawing text')).fill") == colour("muted")
    # A canvas has taken its colours from the page, and takes them anew when the page changes.
    strong = [int(digits) for digits in re.findall(r"\d+", colour("audio"))]
    report.wait_for_function(f"() => '{strong}' === `[${{{STRIP}}}]`.replaceAll(',', ', ')")


@pytest.mark.parametrize("width", [340, 700, 1000, 1920])
def test_the_page_fits_any_window(report: Page, width: int):
    report.set_viewport_size({"width": width, "height": 800})
    report.wait_for_function(
        "() => sides(trace, curves.clientWidth).left === timePlots[0].left && "
        "timePlots[0].width === timePlots[0].inside.getBoundingClientRect().width"
    )
    report.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")  # once it is drawn anew
    shown = go(report, 5)
    for head, plot_width in zip(shown["heads"], shown["widths"], strict=True):
        assert head == pytest.approx(share(frame_at(5)) * plot_width, abs=0.6)


CUT = """() => [...document.querySelectorAll(".drawing text, .heading, .legend, h2, .label, button")].filter((part) => {
  const [box, frame] = [part, part.closest(".plot, .plane, .card, .bar")].map((e) => e.getBoundingClientRect());
  return box.width > 0 && (box.left < frame.left - 1 || box.right > frame.right + 1
    || box.top < frame.top - 1 || box.bottom > frame.bottom + 1
    || (!part.closest("svg") && part.scrollWidth > part.clientWidth + 1));
}).map((part) => part.textContent)"""


def test_on_a_phone_no_words_are_cut_and_none_speak_of_a_mouse(browser: Browser, trace: Trace, tmp_path: Path):
    write_report(trace, tmp_path / "report.html")
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    with browser.new_page(**phone) as page:
        page.goto((tmp_path / "report.html").as_uri())
        assert complaints(page) == []
        assert page.evaluate(CUT) == []
        expect(page.get_by_text("scroll zooms")).to_be_hidden()
        assert page.locator(".bar").bounding_box()["height"] < 140
    with browser.new_page(viewport=WINDOW) as page:
        page.goto((tmp_path / "report.html").as_uri())
        expect(page.get_by_text("scroll zooms")).to_be_visible()
        assert page.evaluate(CUT) == []


def test_the_words_of_the_plane_stand_above_the_trail(report: Page):
    order = report.evaluate("[...document.querySelector('#plane').children].map((part) => part.tagName.toLowerCase())")
    assert order == ["svg", "canvas", "svg", "div"]
    for word in ("activated", "excited, joyful"):
        assert report.locator("#plane svg").nth(1).get_by_text(word).count() == 1


def test_a_long_trace_without_video_or_gates_and_with_a_hostile_name(page: Page, tmp_path: Path):
    trace = make_trace(30_000, 25, gates=False, source=HOSTILE)
    valence = trace.targets["valence"].copy()
    valence[[12_345, 23_456]] = 0.999, -0.999
    trace = replace(
        trace,
        targets={"valence": valence, "arousal": trace.targets["arousal"]},
        notes=(HOSTILE,),
        provenance={HOSTILE: HOSTILE},
    )
    write_report(trace, tmp_path / "report.html")
    page.goto((tmp_path / "report.html").as_uri() + "#t=493.81")
    assert page.evaluate("typeof window.harmed") == "undefined"
    assert complaints(page) == []
    assert page.locator("h1").text_content() == HOSTILE
    assert page.title().startswith(HOSTILE)
    assert page.evaluate(MOMENT)["values"][0] == "+1.00"
    assert page.locator(".plot").count() == 2

    lines = page.evaluate(LINES, ".curve")
    for line in lines:
        assert len(line) == 2, "a short gap is still a gap"
        x = [x for stretch in line for x, _ in stretch]
        assert len(x) <= 4000
        assert all(a < b for a, b in itertools.pairwise(x))
    values = [y for stretch in lines[0] for _, y in stretch]
    assert (max(values), min(values)) == (pytest.approx(0.999, abs=0.01), pytest.approx(-0.999, abs=0.01))
    for _ in range(3):
        page.keyboard.press("+")
    ((stretch,), _) = page.evaluate(LINES, ".curve")
    start, end = page.evaluate("view")
    assert len(stretch) == pytest.approx(25 * (end - start), abs=3)
    np.testing.assert_allclose(np.diff(stretch, axis=0)[:, 0], 1 / 25, atol=3e-3)

    page.locator("#play").click()
    page.wait_for_function("() => Number(document.querySelector('#frame-number').textContent) > 12360")
    page.locator("#play").click()
    frame = page.evaluate(MOMENT)["frame"]
    page.wait_for_timeout(100)
    assert page.evaluate(MOMENT)["frame"] == frame


def test_a_video_that_the_browser_cannot_play_leaves_the_rest_at_work(page: Page, trace: Trace, tmp_path: Path):
    make_clip(tmp_path / "video.mp4", pictures(), codec="mpeg4")
    write_report(trace, tmp_path / "report.html", video=tmp_path / "video.mp4")
    page.goto((tmp_path / "report.html").as_uri() + "#t=2")
    expect(page.locator("#video-trouble")).to_be_visible()
    assert page.locator("video").count() == 0
    page.keyboard.press("ArrowRight")
    assert page.evaluate(MOMENT)["frame"] == frame_at(2) + 2


def test_a_still_image_has_no_player_and_a_mark_in_the_plane(page: Page, tmp_path: Path):
    face = np.array([[0.25, 0.25, 0.5, 0.75]])
    write_report(replace(make_trace(1), face_box=face), tmp_path / "report.html", still=pictures()[0])
    page.goto((tmp_path / "report.html").as_uri())
    assert complaints(page) == []
    assert page.evaluate("document.querySelector('#still').naturalWidth") == 128
    expect(page.locator("[data-curve]").first).to_have_text(f"{make_trace(1).targets['valence'][0]:+.2f}")
    expect(page.locator("#plane-words")).not_to_be_empty()
    expect(page.locator(".bar")).to_be_hidden()
    image, box = (page.locator(part).bounding_box() for part in ("#still", "#followed"))
    assert box["height"] == pytest.approx(0.5 * image["height"], abs=1)


def test_the_waveform_of_sound_alone_plays_like_a_video(page: Page, tmp_path: Path):
    recording = open_recording(write_sound(tmp_path / "a.wav", tone(3, SAMPLE_RATE)))
    with Shown(recording, tmp_path) as shown:
        for piece in recording.sound():
            shown.add_sound(piece)
    write_report(make_trace(30, 10.0), tmp_path / "report.html", video=shown.video)
    page.goto((tmp_path / "report.html").as_uri() + "#t=1")
    page.wait_for_function(SEEN)
    assert complaints(page) == []
    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(3, abs=0.1)
    page.locator("#play").click()
    page.wait_for_function("() => Number(document.querySelector('#frame-number').textContent) > 15")
