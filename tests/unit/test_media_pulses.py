from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from avgate.core.types import SAMPLE_RATE
from avgate.media import Media
from tests.few import few
from tests.pulses import FIRST_S, bend_stamps, edit, make_pulses, pulses


def together(media: Media, expected: list[float], tolerance_s: float = 0.03) -> None:
    """Flashes and clicks are where they are expected, in seconds after FIRST_S."""
    flashes, clicks = (times - FIRST_S for times in pulses(media))
    np.testing.assert_allclose(flashes, expected, atol=tolerance_s)
    np.testing.assert_allclose(clicks, expected, atol=tolerance_s)


WRONG = {
    "sound 2 s late": ("audio", {50: 2.0}),
    "sound 300 ms early": ("audio", {50: -0.3}),
    "sound twice": ("audio", {50: 1.0, 53: -0.7}),
    "sound in a row": ("audio", {50: 5.0, 51: 5.0, 52: 5.0}),
    "first sound": ("audio", {0: 3.0}),
    "last sound": ("audio", {199: 2.0}),
    "picture half a second early": ("video", {25: -0.5}),
    "picture 2 s late": ("video", {25: 2.0}),
    "picture a little late": ("video", {25: 0.12}),
}


@pytest.mark.parametrize("name", few(list(WRONG), 3))
@pytest.mark.parametrize("codec", ["mpeg4", pytest.param("libx264", marks=pytest.mark.slow)])
def test_one_wrong_stamp_moves_nothing_else(tmp_path: Path, name: str, codec: str):
    kind, wrong = WRONG[name]
    path = make_pulses(tmp_path / "a.mkv", 4.0, codec=codec)
    bend_stamps(path, lambda of, i: wrong.get(i, 0.0) if of == kind else 0.0)
    media = Media(path)
    together(media, [0, 1, 2, 3], 0.02)
    np.testing.assert_allclose([frame.time_s for frame in media.frames()], np.arange(100) / 25, atol=0.021)
    assert media.sound_end_s == pytest.approx(4.0, abs=0.03)
    np.testing.assert_array_equal(media.frame_times(), [frame.time_s for frame in media.frames()])


def wobbling(path: Path, length_s: float, wobble_s: float) -> Path:
    """Pulses whose sound has stamps up to wobble_s too early or too late."""
    rng = random.Random(0)
    return bend_stamps(
        make_pulses(path, length_s, codec="mpeg4"),
        lambda kind, i: rng.uniform(-wobble_s, wobble_s) if kind == "audio" and i else 0.0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("wobble_s", [0.03, 0.06])
def test_stamps_that_wobble_around_the_count_of_samples_are_smoothed(tmp_path: Path, wobble_s: float):
    media = Media(wobbling(tmp_path / "a.mkv", 10.0, wobble_s))
    together(media, list(range(10)))
    (piece,) = media.sound()
    assert len(piece.samples) == 160_000
    assert not media.notes


@pytest.mark.slow
@pytest.mark.parametrize("wobble_s", [0.1, 0.15])
def test_stamps_that_wobble_much_cost_little(tmp_path: Path, wobble_s: float):
    media = Media(wobbling(tmp_path / "a.mkv", 8.0, wobble_s))
    together(media, list(range(8)), wobble_s / 2)
    assert sum(len(piece.samples) for piece in media.sound()) / SAMPLE_RATE == pytest.approx(8.0, abs=wobble_s / 2)
    assert not [note for note in media.notes if "jump" in note]


@pytest.mark.slow
@pytest.mark.parametrize("burst_s", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("stamp", ["first", "last"])
@pytest.mark.parametrize("gap_s", [0.0, 2.0])
def test_sound_with_the_stamps_of_its_bursts_stays_unbroken(tmp_path: Path, burst_s: float, stamp: str, gap_s: float):
    n = round(burst_s / 0.02)  # packets per burst

    def late(kind, i):
        gap = gap_s if i >= (200 if kind == "audio" else 100) else 0.0
        return gap if kind == "video" else gap + 0.02 * ((n - 1 if stamp == "last" else 0) - i % n)

    media = Media(bend_stamps(make_pulses(tmp_path / "a.mkv", 8.0, codec="mpeg4"), late))
    pieces = list(media.sound())
    assert sum(len(piece.samples) for piece in pieces) == 8 * SAMPLE_RATE
    assert len(pieces) == (2 if gap_s else 1)
    _, clicks = pulses(media)
    expected = FIRST_S + np.arange(8) + np.where(np.arange(8) < 4, 0, gap_s)
    np.testing.assert_allclose(clicks, expected, atol=burst_s / 2 + 0.03)
    assert not media.notes


@pytest.mark.slow
@pytest.mark.parametrize("gap_s", [0.06, 0.15, 2.0])
@pytest.mark.parametrize("wobble_s", [0.0, 0.03])
def test_a_gap_keeps_its_exact_place_beside_stamps_that_wobble_or_are_wrong(
    tmp_path: Path, gap_s: float, wobble_s: float
):
    rng = random.Random(0)

    def late(kind, i):
        if kind == "video":
            return 0.0 if i < 50 else gap_s
        return (
            (0.0 if i < 100 else gap_s) + (rng.uniform(-wobble_s, wobble_s) if i else 0.0) + (1.5 if i == 60 else 0.0)
        )

    media = Media(bend_stamps(make_pulses(tmp_path / "a.mkv", 4.0, codec="mpeg4"), late))
    together(media, [0, 1, 2 + gap_s, 3 + gap_s])
    if not wobble_s and gap_s >= 0.1:
        starts = [piece.start_s for piece in media.sound()]
        assert starts == pytest.approx([0.0, 2.0 + gap_s], abs=2e-3)


def test_a_lasting_drift_is_followed(tmp_path: Path):
    path = make_pulses(tmp_path / "a.mkv", 10.0, codec="mpeg4")
    bend_stamps(path, lambda kind, i: 1e-4 * i if kind == "audio" else 0.0)
    _, clicks = pulses(Media(path))
    np.testing.assert_allclose(clicks, [(k + FIRST_S) * 1.005 for k in range(10)], atol=0.025)


@pytest.mark.parametrize("length_s", [0.6, 0.9])
@pytest.mark.parametrize("codec", ["mpeg2video", pytest.param("libx264", marks=pytest.mark.slow)])
def test_short_segments_that_start_the_clock_over_are_joined(tmp_path: Path, length_s: float, codec: str):
    part = make_pulses(tmp_path / "a.ts", length_s, codec=codec, sound_codec="mp2")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 4)
    media = Media(joined)
    flashes, clicks = pulses(media)
    np.testing.assert_allclose(flashes, clicks, atol=0.05)
    np.testing.assert_allclose(np.diff(clicks), length_s, atol=0.06)
    assert len(media.frame_times()) == len(list(media.frames()))
    assert media.sound_end_s == pytest.approx(4 * length_s, abs=0.2)


@pytest.mark.parametrize("spans", [[(0, 2), (4, 6)], [(1, 2), (3, 4), (5, 6)]])
def test_edit_lists_leave_sound_and_picture_together(tmp_path: Path, spans: list[tuple[float, float]]):
    path = make_pulses(tmp_path / "a.mov", 6.0, codec="libx264", video_options={"g": "40", "bf": "0"})
    media = Media(edit(path, *spans))
    together(media, list(range(sum(round(b - a) for a, b in spans))))
    times = [frame.time_s for frame in media.frames()]
    np.testing.assert_array_equal(media.frame_times(), times)
    assert not media.notes


def test_times_below_zero_count_back_from_the_first_known_one(tmp_path: Path):
    path = make_pulses(tmp_path / "a.mkv", 3.0, codec="libx264")
    bend_stamps(path, lambda kind, i: -0.5)
    media = Media(path)
    together(media, [-0.5, 0.5, 1.5])
    assert media.info.video_start_s == pytest.approx(-0.5)
    np.testing.assert_array_equal(media.frame_times(), [frame.time_s for frame in media.frames()])
