from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from avgate.core.errors import MediaError, OutputError, UsageError
from avgate.core.gates import Gate
from avgate.core.types import SAMPLE_RATE, Trace, VideoFrame, Waveform
from avgate.report import figure
from avgate.report.figure import PLANE, WIDTH, write_figure
from avgate.report.shown import Envelope
from tests.traces import make_trace

DPI, GREEN, WHITE = 100, (10, 250, 20), (255, 255, 255)


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ninth of the pixels, for speed."""
    monkeypatch.setattr(figure, "DPI", DPI)


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def share(image: np.ndarray, colour: tuple[int, ...], tolerance: int = 12) -> float:
    """The share of an image's pixels that have about this colour."""
    return float((np.abs(image[..., :3] * 255 - colour).max(-1) <= tolerance).mean())


def test_a_png_is_a_page_wide_and_shows_both_curves(tmp_path: Path):
    write_figure(make_trace(), tmp_path / "f.png")
    image = imread(tmp_path / "f.png")
    assert image.shape[1] == round(WIDTH * DPI)
    for colour in ("#1c5fc0", "#b9500b"):
        assert share(image, rgb(colour)) > 0.0003


@pytest.mark.slow
def test_an_interval_is_a_pale_band_about_its_curve(tmp_path: Path):
    trace = make_trace()
    shares = []
    for change in ({}, {"low": {}, "high": {}, "level": None}):
        write_figure(replace(trace, **change), tmp_path / "f.png")
        pale = tuple(255 - round(0.15 * (255 - x)) for x in rgb(figure.COLOURS["valence"]))
        shares.append(share(imread(tmp_path / "f.png"), pale, tolerance=2))
    assert shares[0] > 0.01
    assert shares[1] < 0.1 * shares[0]


@pytest.mark.slow
def test_a_strip_is_strong_where_the_face_was_found_and_pale_elsewhere(tmp_path: Path):
    trace = make_trace(gates=False)
    write_figure(trace, tmp_path / "f.png")
    image = imread(tmp_path / "f.png")
    strong, pale = (share(image, rgb(colour), tolerance=1) for colour in ("#74369f", "#efe4f6"))
    assert strong / (strong + pale) == pytest.approx(trace.present["face"].mean(), abs=0.02)


@pytest.mark.slow
def test_pictures_stand_above(tmp_path: Path):
    frames = [VideoFrame(t, np.full((48, 64, 3), GREEN, np.uint8)) for t in (2.0, 9.0)]
    write_figure(make_trace(), tmp_path / "with.png", frames)
    write_figure(make_trace(), tmp_path / "without.png")
    assert share(imread(tmp_path / "with.png"), GREEN) > 0.02
    assert share(imread(tmp_path / "without.png"), GREEN) == 0


@pytest.mark.long
def test_the_followed_face_is_marked_in_pictures_where_it_was_found(tmp_path: Path):
    frames = [VideoFrame(t, np.full((48, 64, 3), GREEN, np.uint8)) for t in (2.0, 9.0)]
    boxes = np.tile([0.25, 0.25, 0.75, 0.75], (len(make_trace()), 1))
    shares = []
    for lost in (len(boxes), 125, 0):
        boxes[lost:] = np.nan
        write_figure(replace(make_trace(), face_box=boxes), tmp_path / "f.png", frames)
        shares.append(share(imread(tmp_path / "f.png"), rgb("#cda5f7")))
    assert shares[0] == pytest.approx(2 * shares[1], rel=0.1)
    assert shares[1] > shares[2] == 0


def test_the_curves_alone_have_no_title_notes_strips_or_plane_and_are_editable_text(tmp_path: Path):
    trace = make_trace(100)
    write_figure(trace, tmp_path / "c.svg", only_curves=True)
    root = ET.parse(tmp_path / "c.svg").getroot()
    words = {"".join(text.itertext()).strip() for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"valence", "arousal", "time (s)", "+1", "−1", "0"} <= words
    assert not words & {trace.source, *trace.notes, "voice", "face", "excited, joyful"}
    assert "Demonstration weights" in (tmp_path / "c.svg").read_text(), "the notes are in the file's metadata"
    assert not [*root.iter("{http://www.w3.org/2000/svg}image")]
    write_figure(trace, tmp_path / "d.svg", only_curves=True)
    assert (tmp_path / "c.svg").read_bytes() == (tmp_path / "d.svg").read_bytes()


def test_the_curves_alone_are_as_wide_as_the_page(tmp_path: Path):
    demonstration = {"demonstration": True}
    write_figure(replace(make_trace(100), provenance=demonstration), tmp_path / "c.png", only_curves=True)
    image = imread(tmp_path / "c.png")
    assert image.shape[1] == round(WIDTH * DPI)
    assert image.shape[0] < 3 * DPI
    for colour in ("#1c5fc0", "#b9500b"):
        (columns,) = np.nonzero((np.abs(image[..., :3] * 255 - rgb(colour)).max(-1) <= 12).any(0))
        assert columns.max() - columns.min() > 0.8 * image.shape[1]


@pytest.mark.long
def test_a_pdf_is_one_and_the_same_each_time(tmp_path: Path):
    for name in ("a.pdf", "b.pdf"):
        write_figure(make_trace(100), tmp_path / name)
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "change",
    [
        {"gates": {}, "notes": ()},
        {"source": "面接 $\\frac$ \udcff.mp4", "notes": ("$x", "y" * 400)},
        {"targets": {"valence": np.full(20, np.nan)}, "raw": {}},
        {"targets": {"joy": np.ones(20)}, "raw": {}},
        {"gates": {Gate("$\\alpha$ $_{"): np.ones(20)}, "targets": {"$x^{": np.ones(20)}, "raw": {}},
    ],
    ids=["no gates", "odd names", "all unknown", "another target", "dollars"],
)
def test_unusual_traces_are_drawn(change: dict, tmp_path: Path):
    write_figure(replace(make_trace(20), **change), tmp_path / "f.png")
    assert share(imread(tmp_path / "f.png"), WHITE) < 0.97


@pytest.mark.slow  # test_inputs.py writes the figure of an image
def test_a_single_frame_is_a_mark_on_two_scales_and_in_the_plane_beside_its_picture(tmp_path: Path):
    picture = VideoFrame(0.0, np.full((48, 64, 3), GREEN, np.uint8))
    write_figure(make_trace(1), tmp_path / "f.png", [picture])
    image = imread(tmp_path / "f.png")
    assert share(image, GREEN) > 0.01
    right = round(image.shape[1] * PLANE / WIDTH)
    scales = ("#1c5fc0", "#b9500b", "#dde7f6")  # both marks, and the interval of one
    for part, colours in ((image[:, :right], scales), (image[:, right:], ("#3670c7",))):
        for colour in colours:  # in the plane it is a little transparent
            assert share(part, rgb(colour), tolerance=6) > 1e-4


@pytest.mark.slow
def test_sound_alone_has_its_waveform_above_the_curves(tmp_path: Path):
    envelope = Envelope()
    envelope.add(Waveform(np.tile([0.5, -0.5], 8 * SAMPLE_RATE).astype(np.float32), 2.0))
    write_figure(make_trace(gates=False), tmp_path / "with.png", sound=envelope)
    write_figure(make_trace(gates=False), tmp_path / "without.png")
    shares = [share(imread(tmp_path / f"{name}.png"), rgb("#0c6f67"), tolerance=1) for name in ("with", "without")]
    assert shares[0] > shares[1] + 0.03


def test_another_suffix_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"\.png, \.pdf or \.svg"):
        write_figure(make_trace(5), tmp_path / "f.gif")


def test_a_trace_without_frames_is_refused(tmp_path: Path):
    empty = Trace(np.zeros(0), {"valence": np.zeros(0)}, {}, source="clip.mp4")
    with pytest.raises(MediaError, match=r"clip\.mp4"):
        write_figure(empty, tmp_path / "f.png")


def test_a_missing_folder_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError):
        write_figure(make_trace(5), tmp_path / "nowhere" / "f.png")


@pytest.mark.slow
def test_it_leaves_matplotlib_as_it_was():
    code = "import sys, avgate.report.figure; print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )
