"""Files of sound alone are recordings without frames; and what is extracted where a modality is missing altogether."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from avgate.core.errors import MediaError
from avgate.core.types import SAMPLE_RATE
from avgate.features.registry import build_backbones
from avgate.features.tracks import extract_tracks
from avgate.media import Media, open_recording
from tests.clips import as_cover, cut, greys, make_clip, tone
from tests.recordings import CODECS, write_image, write_images, write_sound
from tests.sounds import babble

BACKBONES = ["egemaps", "facemesh"]


@pytest.mark.parametrize("suffix", CODECS)
def test_sound_of_every_format_is_read_whole_from_0_s_on_without_a_frame(tmp_path, suffix):
    recording = open_recording(write_sound(tmp_path / f"a{suffix}", tone(2.5, SAMPLE_RATE)))
    assert not recording.has_frames
    assert list(recording.frames()) == []
    assert len(recording.frame_times()) == 0
    pieces = list(recording.sound())
    samples = np.concatenate([piece.samples for piece in pieces])
    assert pieces[0].start_s == pytest.approx(0, abs=0.01)
    assert recording.sound_end_s == pytest.approx(2.5, abs=0.15)
    assert len(samples) == pytest.approx(2.5 * SAMPLE_RATE, abs=0.15 * SAMPLE_RATE)
    assert np.abs(samples[SAMPLE_RATE : 2 * SAMPLE_RATE]).max() == pytest.approx(0.5, abs=0.05)
    assert recording.notes == []


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".flac"])
def test_a_cover_picture_does_not_make_sound_a_video(tmp_path, suffix):
    name = "a.mp4" if suffix == ".m4a" else f"a{suffix}"  # FFmpeg writes no covers into files of that name
    more = {"images": greys(1), "codec": "mjpeg", "prepare": as_cover}
    path = write_sound(tmp_path / name, tone(1, SAMPLE_RATE), **more).rename(tmp_path / f"a{suffix}")
    with av.open(str(path)) as container:
        assert container.streams.video
    recording = open_recording(path)
    assert not recording.has_frames
    assert sum(len(piece.samples) for piece in recording.sound()) == pytest.approx(SAMPLE_RATE, abs=1600)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
def test_sound_that_was_cut_off_gives_what_is_there(tmp_path, suffix):
    path = write_sound(tmp_path / f"a{suffix}", babble(4))
    cut(path, 0.6)
    recording = open_recording(path)
    assert 1 < sum(len(piece.samples) for piece in recording.sound()) / SAMPLE_RATE < 3
    if suffix == ".flac":  # the others don't state how long they should be
        assert any("The file is incomplete: it ends at" in note for note in recording.notes)


def test_a_file_with_neither_video_nor_sound_is_refused(tmp_path):
    path = make_clip(tmp_path / "cover.mp4", greys(1), codec="mjpeg", prepare=as_cover)
    with pytest.raises(MediaError, match="neither video nor sound"):
        open_recording(path)


class TestExtraction:
    def test_sound_alone_has_video_features_that_are_absent_throughout(self, tmp_path):
        path = write_sound(tmp_path / "a.wav", babble(3.0))
        audio, video = extract_tracks(open_recording(path), build_backbones(BACKBONES, 10.0)).tracks
        assert len(audio.present) == len(video.present) == 30
        assert audio.present.all()
        assert not video.present.any()
        assert np.isnan(video.values).all()

    @pytest.mark.usefixtures("any_face_model")
    @pytest.mark.parametrize("rate", [10.0, 30.0])
    def test_an_image_has_one_step_with_a_face_that_stands_still_and_no_sound(self, tmp_path, rate):
        from avgate.corpora.rendered.portrait import load_portrait

        path = write_image(tmp_path / "a.jpg", load_portrait(320).image)
        extracted = extract_tracks(open_recording(path), build_backbones(BACKBONES, rate))
        audio, video = extracted.tracks
        assert (audio.present.tolist(), video.present.tolist()) == ([False], [True])
        velocities = [k for k, name in enumerate(video.columns) if name.endswith("_velocity")]
        assert (video.values[0, velocities] == 0).all()
        assert (extracted.time_s.tolist(), extracted.face.tolist()) == ([0.0], [True])

    def test_an_image_without_a_face_has_one_step_that_is_absent(self, tmp_path, any_face_model):
        path = write_image(tmp_path / "a.jpg", greys(1)[0])
        audio, video = extract_tracks(open_recording(path), build_backbones(BACKBONES, 10.0)).tracks
        assert (audio.present.tolist(), video.present.tolist()) == ([False], [False])

    @pytest.mark.usefixtures("any_face_model")
    def test_images_seconds_apart_each_give_a_step(self, tmp_path):
        from avgate.corpora.rendered.portrait import load_portrait

        folder = write_images(tmp_path / "a", [load_portrait(320).image] * 3, times=[0.0, 1.0, 2.5])
        video = extract_tracks(open_recording(folder), build_backbones(["facemesh"], 10.0)).tracks[0]
        assert np.flatnonzero(video.present).tolist() == [0, 10, 25]

    def test_a_backbone_for_faces_alone_hears_how_long_the_sound_is(self, tmp_path):
        path: Path = write_sound(tmp_path / "a.wav", babble(2.0))
        (video,) = extract_tracks(Media(path), build_backbones(["facemesh"], 10.0)).tracks
        assert len(video.present) == 20
