"""What a report shows of a recording: its small copy, its waveform, or the image itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.media import Media, open_recording
from avgate.report.shown import STILL_HEIGHT, WAVE_COLOUR, Envelope, Shown, show
from tests.clips import greys, make_clip, tone
from tests.disks import disk
from tests.recordings import write_image, write_images, write_sound

INK = np.array(WAVE_COLOUR)


def shown(path: Path, folder: Path, fps: float | None = None) -> Shown:
    return show(open_recording(path, fps), folder)


def piece(level: float, seconds: float, start_s: float) -> Waveform:
    return Waveform(np.full(round(seconds * SAMPLE_RATE), -level, np.float32), start_s)


def test_bars_are_as_high_as_the_loudest_moment_of_their_time():
    envelope = Envelope()
    for wave in (piece(0.1, 1.0, 0.0), piece(0.4, 1.0, 1.0), piece(0.2, 1.0, 3.0)):
        envelope.add(wave)
    assert envelope.end_s == 4
    assert envelope.bars(4) == pytest.approx([0.25, 1.0, 0.0, 0.5])
    assert envelope.bars(8) == pytest.approx([0.25, 0.25, 1.0, 1.0, 0.0, 0.0, 0.5, 0.5])
    assert len(envelope.bars(1000)) == 1000


def test_silence_and_nothing_at_all_are_drawn_as_a_line():
    silent = Envelope()
    silent.add(piece(0.0, 1.0, 0.0))
    for envelope in (Envelope(), silent):
        assert envelope.bars(10).tolist() == [0] * 10
        ink = (envelope.picture() == INK).all(-1)
        assert 0 < ink.mean() < 0.02


def test_sound_alone_is_a_video_of_its_waveform_with_the_sound(tmp_path):
    samples = tone(3, SAMPLE_RATE)
    samples[SAMPLE_RATE : 2 * SAMPLE_RATE] *= 0.1
    found = shown(write_sound(tmp_path / "a.wav", samples), tmp_path)
    assert found.still is None
    copy = Media(found.video)
    frames = list(copy.frames())
    assert (frames[0].time_s, frames[-1].time_s) == (0, pytest.approx(3, abs=0.1))
    ink = (np.abs(frames[-1].image - INK).max(-1) < 60).mean(0)  # by column
    third = len(ink) // 3
    assert ink[:third].mean() > 4 * ink[third + 5 : 2 * third - 5].mean()
    assert sum(len(p.samples) for p in copy.sound()) == pytest.approx(3 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)


def test_on_a_full_disk_the_copy_is_given_up_with_the_reason_and_all_else_goes_on(tmp_path):
    noise = list(np.random.default_rng(0).integers(0, 255, (4, 96, 96, 3), np.uint8))
    images, sound = write_images(tmp_path / "a", noise), write_sound(tmp_path / "a.wav", tone(2, SAMPLE_RATE))
    with disk(tmp_path / "full", "size=8k") as full:
        for path, fps in ((images, 2.0), (sound, None)):
            found = shown(path, full, fps)
            assert found.video is None
            assert "No space left on device" in found.failure.what
            assert "TMPDIR" in found.failure.where
            assert (found.sound is not None) == (path == sound)
            assert not list(full.iterdir())


def test_a_still_image_is_shown_itself_and_no_larger_than_needed(tmp_path):
    found = shown(write_image(tmp_path / "a.png", greys(1, 1500, 1000)[0]), tmp_path)
    assert found.video is None
    assert found.still.shape == (STILL_HEIGHT, 720, 3)
    small = greys(2, 30, 20)[1]
    assert (shown(write_image(tmp_path / "b.png", small), tmp_path).still == small).all()


def test_images_are_a_small_video_in_which_none_is_stretched(tmp_path):
    images = [*greys(2, 64, 48), np.full((96, 48, 3), 200, np.uint8)]
    found = shown(write_images(tmp_path / "a", images), tmp_path, 2.0)
    frames = list(Media(found.video).frames())
    assert [f.time_s for f in frames] == pytest.approx([0, 0.5, 1])
    upright = frames[2].image.mean(-1)
    assert upright.shape == (48, 64)
    assert (upright > 150).sum(1).mean() == pytest.approx(24, abs=3)  # half as wide as high
    assert (upright[:, :15] < 60).all()


def test_sound_after_a_pause_of_hours_is_left_out_and_that_is_said(tmp_path):
    recording = open_recording(write_sound(tmp_path / "a.wav", tone(1.0, SAMPLE_RATE)))
    with Shown(recording, tmp_path) as collected:
        for wave in (piece(0.1, 1.0, 0.0), piece(0.1, 1.0, 36_001.0), piece(0.1, 1.0, 36_002.0)):
            collected.add_sound(wave)
    assert collected.notes == [
        "What is heard after 1 s can't be played in the report: a pause of 10.0 hours comes before it."
    ]
    assert collected.sound is not None
    assert collected.sound.end_s == 36_003
    (wave,) = Media(collected.video).sound()
    assert wave.end_s == pytest.approx(1.0, abs=0.1)


def test_the_copy_of_a_long_video_has_fewer_pictures_evenly_and_says_so(tmp_path, monkeypatch):
    video = make_clip(tmp_path / "a.mp4", greys(40), sound=[(0.0, tone(1.6))])
    monkeypatch.setattr("avgate.report.shown.MOST_PICTURES", 10)
    found = shown(video, tmp_path)
    apart = np.diff([frame.time_s for frame in Media(found.video).frames()])
    assert apart == pytest.approx([*[0.16] * 9, 0.12], abs=0.001), "and it ends with the video"
    assert found.notes == ["The report shows 6.2 pictures a second of this long video."]
    monkeypatch.setattr("avgate.report.shown.MOST_PICTURES", 40)
    assert shown(video, tmp_path).notes == []
