"""Images and folders of images are recordings: upright, in order, at the right times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avgate.core.errors import MediaError, UsageError
from avgate.features.store import source_fingerprint
from avgate.media import Images, open_recording
from avgate.media.stills import read_image
from tests.clips import greys, order
from tests.recordings import write_image, write_images, write_times


def corner(size: int = 32) -> np.ndarray:
    """Half as high as wide; red in the upper left corner."""
    image = np.full((size // 2, size, 3), 200, np.uint8)
    image[: size // 4, : size // 4] = (250, 10, 10)
    return image


def refused(path: Path, fps: float | None = None) -> str:
    with pytest.raises(MediaError) as error:
        open_recording(path, fps)
    assert error.value.hint
    return str(error.value)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_an_image_is_one_frame_at_0_s_without_sound(tmp_path, suffix):
    recording = open_recording(write_image(tmp_path / f"a{suffix}", greys(3)[2]))
    (frame,) = recording.frames()
    assert frame.time_s == 0
    assert order([frame.image]) == [2]
    assert recording.frame_times().tolist() == [0]
    assert list(recording.sound()) == []
    assert recording.notes == []


def test_what_a_file_is_decides_and_not_its_name(tmp_path):
    path = write_image(tmp_path / "a.png", greys(1)[0]).rename(tmp_path / "a.mp4")
    assert isinstance(open_recording(path), Images)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 1), (8, 3)])
def test_an_image_is_turned_upright_as_its_exif_data_says(tmp_path, suffix, orientation, turns):
    stored = np.ascontiguousarray(np.rot90(corner(), turns))
    image = read_image(write_image(tmp_path / f"a{suffix}", stored, orientation))
    assert image.shape == corner().shape
    assert image[2, 2, 0] - image[2, 2, 1] > 150
    assert abs(int(image[-3, -3, 0]) - int(image[-3, -3, 1])) < 20


def test_transparent_pixels_are_white_and_16_bits_are_scaled(tmp_path):
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:, 4:] = (10, 20, 30, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    image = read_image(tmp_path / "clear.png")
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, -1].tolist() == [10, 20, 30]
    Image.fromarray(np.full((8, 8), 100 * 256, np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0, 0].tolist() == [100, 100, 100]


def test_a_damaged_image_and_a_heic_are_refused(tmp_path):
    path = write_image(tmp_path / "a.jpg", greys(1, 640, 480)[0])
    path.write_bytes(path.read_bytes()[:200])
    assert "the image can't be read" in refused(path)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    assert "save it as JPEG" in refused(tmp_path / "a.heic")


class TestFolder:
    def test_images_follow_each_other_in_natural_order_at_the_rate(self, tmp_path):
        recording = open_recording(write_images(tmp_path / "a", greys(12)), 4)
        frames = list(recording.frames())
        assert order([f.image for f in frames]) == list(range(12))  # 10.png isn't second
        assert [f.time_s for f in frames] == recording.frame_times().tolist() == [i / 4 for i in range(12)]
        assert recording.notes == []

    def test_times_csv_gives_the_times_in_any_order(self, tmp_path):
        folder = write_images(tmp_path / "a", greys(3))
        write_times(folder, [("3.png", 0.5), ("1.png", 7), ("2.png", 2.25)])
        frames = list(open_recording(folder).frames())
        assert [f.time_s for f in frames] == [0.5, 2.25, 7]
        assert order([f.image for f in frames]) == [2, 1, 0]

    def test_images_that_are_not_listed_are_left_out_and_counted(self, tmp_path):
        folder = write_images(tmp_path / "a", greys(4))
        write_times(folder, [("1.png", 0), ("4.png", 1)])
        recording = open_recording(folder)
        assert len(list(recording.frames())) == 2
        assert "Images in the folder that times.csv doesn't list, left out: 2." in recording.notes

    @pytest.mark.parametrize("bad", [0, 1])
    def test_an_image_that_cannot_be_read_is_left_out_and_named(self, tmp_path, bad):
        folder = write_images(tmp_path / "a", greys(3))
        (folder / f"{bad + 1}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        recording = open_recording(folder, 1)
        assert recording.size == (64, 48)
        assert [f.time_s for f in recording.frames()] == [i for i in range(3) if i != bad]
        assert f"Images that can't be read, left out: 1 (the first is {bad + 1}.png)." in recording.notes

    def test_a_folder_in_which_no_image_can_be_read_is_refused(self, tmp_path):
        folder = write_images(tmp_path / "a", greys(2))
        for file in folder.iterdir():
            file.write_bytes(b"none")
        assert "1.png: the image can't be read" in refused(folder, 1)

    def test_other_files_do_not_count(self, tmp_path):
        folder = write_images(tmp_path / "a", greys(2))
        (folder / "notes.txt").write_text("none")
        (folder / ".3.png").write_bytes(b"none")
        assert len(open_recording(folder, 1).frame_times()) == 2

    def test_without_times_it_says_how_to_give_them(self, tmp_path):
        said = refused(write_images(tmp_path / "a", greys(2)))
        assert "nothing says at what times" in said
        assert "--fps" in said
        assert "columns file and time_s" in said

    def test_without_images_it_is_refused(self, tmp_path):
        assert "there is no image in this folder" in refused(tmp_path, 25)

    @pytest.mark.parametrize(
        ("header", "rows", "said"),
        [
            ("file,time", [("1.png", 0)], "needs the columns file and time_s"),
            ("file,time_s", [], "no image is listed"),
            ("file,time_s", [("1.png", "soon")], "line 2: 'soon' is no time in seconds"),
            ("file,time_s", [("1.png", -1)], "line 2: '-1' is no time in seconds"),
            ("file,time_s", [("1.png", 1), ("2.png", 1)], "has the time of another image, 1 s"),
            ("file,time_s", [("1.png", 1), ("9.png", 2)], "the first is '9.png'"),
        ],
    )
    def test_wrong_times_are_refused_by_name(self, tmp_path, header, rows, said):
        folder = write_images(tmp_path / "a", greys(2))
        write_times(folder, rows, header)
        assert said in refused(folder)

    @pytest.mark.parametrize("fps", [0, -5, float("nan")])
    def test_an_impossible_rate_is_refused(self, tmp_path, fps):
        with pytest.raises(UsageError, match="above 0"):
            open_recording(write_images(tmp_path / "a", greys(2)), fps)

    def test_features_are_stale_once_an_image_or_a_time_changes(self, tmp_path):
        folder = write_images(tmp_path / "a", greys(2), times=[0, 1])
        before = source_fingerprint(folder)
        assert source_fingerprint(folder) == before
        write_times(folder, [("1.png", 0), ("2.png", 2)])
        assert (after := source_fingerprint(folder)) != before
        write_image(folder / "2.png", greys(2, 80, 80)[0])
        assert source_fingerprint(folder) != after

    def test_a_rate_at_which_the_images_take_longer_than_any_recording_is_refused(self, tmp_path):
        said = refused(write_images(tmp_path / "a", greys(12)), 1e-5)
        assert "it reaches to 1,100,000 s (12.7 days); the longest recording is one of 7 days" in said

    @pytest.mark.parametrize("fps", [1e-320, 1e-9, 20_000])
    def test_a_rate_out_of_range_is_refused_with_the_range(self, tmp_path, fps):
        with pytest.raises(UsageError, match=r"from 0\.000010 .* to 10000"):
            open_recording(write_images(tmp_path / "a", greys(2)), fps)

    def test_a_time_beyond_the_longest_recording_is_refused(self, tmp_path):
        folder = write_images(tmp_path / "a", greys(2), times=[0, 604_801])
        assert "line 3: '604801' is no time in seconds from 0 to 604800 (7 days)" in refused(folder)

    @pytest.mark.parametrize("name", ["../b.png", "sub/../../b.png", "/etc/b.png"])
    def test_images_outside_the_folder_are_refused(self, tmp_path, name):
        folder = write_images(tmp_path / "a", greys(2))
        write_image(tmp_path / "b.png", greys(1)[0])
        write_times(folder, [("1.png", 0), (name, 1)])
        assert f"line 3: '{name}' lies outside the folder" in refused(folder)

    def test_a_listed_name_too_long_for_any_file_is_a_missing_one(self, tmp_path):
        folder = write_images(tmp_path / "a", greys(1))
        write_times(folder, [("x" * 300 + ".png", 0)])
        said = refused(folder)
        assert "1 of the listed images aren't in the folder" in said
        assert len(said) < 500


@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_of_an_animation_the_first_picture_is_used_and_that_is_said(tmp_path, suffix):
    first, *more = (Image.fromarray(image) for image in greys(3))
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=more)
    recording = open_recording(tmp_path / f"a{suffix}")
    assert order([frame.image for frame in recording.frames()]) == [0]
    assert recording.notes == [f"Animations, of which only the first picture is used: 1 (the first is a{suffix})."]


@pytest.mark.parametrize(("suffix", "kind"), [(".gif", "GIF"), (".tif", "TIFF")])
def test_an_image_of_another_kind_is_to_be_saved_with_an_image_program(tmp_path, suffix, kind):
    said = refused(write_image(tmp_path / f"a{suffix}", greys(1)[0]))
    assert f"{kind} images can't be read" in said
    assert "image program" in said
    assert "ffmpeg" not in said


def test_a_large_image_is_read_quietly_and_a_larger_one_is_to_be_scaled_down(tmp_path, monkeypatch, recwarn):
    path = write_image(tmp_path / "a.png", greys(1, 64, 48)[0])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 - 1)
    assert read_image(path).shape == (48, 64, 3)
    assert not recwarn.list
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 // 2 - 1)
    said = refused(path)
    assert "too many pixels" in said
    assert "scale it down" in said


def test_damage_beside_the_pixels_is_passed_over_quietly(tmp_path, recwarn):
    path = write_image(tmp_path / "a.jpg", greys(1, 64, 48)[0], orientation=6)
    orientation = b"\x01\x12\x00\x03\x00\x00\x00\x01"  # tag, type, count
    assert orientation in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(orientation, orientation[:4] + b"\x00\xff\xff\xff"))
    assert read_image(path).shape == (48, 64, 3)
    assert not recwarn.list


def test_an_empty_name_is_not_the_current_folder():
    with pytest.raises(UsageError, match="an empty name"):
        open_recording("")
