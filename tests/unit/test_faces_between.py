"""Faces that are measured in every n-th frame, and interpolated between."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from avgate.core.types import VideoFrame
from avgate.faces import FaceTracker, face_fingerprint
from avgate.faces.between import Row, rows_between
from avgate.faces.engines import Face
from avgate.features.registry import build_backbones
from avgate.features.tracks import extract_tracks
from avgate.media import Media
from tests.live import Given

PICTURE = np.zeros((120, 160, 3), np.uint8)


def face(x: float, shapes: float = 0.5) -> Face:
    corners = np.array([[x, 10, 0], [x + 50, 60, 0]], np.float32)
    return Face(np.resize(corners, (478, 3)), np.full(52, shapes, np.float32))


def rows(film: list[VideoFrame], every: int, faces: dict[float, Face | None]) -> tuple[list[Row], list[float]]:
    """The rows, and the times that were measured; the face where it is by `faces`, and by its time else."""
    measured: list[float] = []

    def measure(frames):
        for frame in frames:
            measured.append(frame.time_s)
            found = faces.get(frame.time_s, face(10 * frame.time_s, frame.time_s / 10))
            yield Row.of(frame, found, round(frame.time_s), crops=False)

    return list(rows_between(film, every, False, measure)), measured


def film(times: list[float], small: tuple[float, ...] = ()) -> list[VideoFrame]:
    return [VideoFrame(t, PICTURE[:60, :80] if t in small else PICTURE) for t in times]


def test_a_face_between_is_on_the_line_between_the_measured_ones_by_the_frames_own_times():
    found, measured = rows(film([0, 0.5, 2, 3, 3.1, 4.0, 4.5]), 3, {})
    assert measured == [0, 3, 4.5], "the last frame too"
    assert [row.time_s for row in found] == [0, 0.5, 2, 3, 3.1, 4.0, 4.5]
    for row in found:
        assert row.face is not None
        np.testing.assert_allclose(row.face.mesh, face(10 * row.time_s).mesh, atol=1e-4)
        np.testing.assert_allclose(row.face.blendshapes, row.time_s / 10, atol=1e-6)
    assert [row.others for row in found] == [0, 0, 0, 3, 3, 3, 4]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9])
def test_every_frame_has_a_row_however_many_there_are(n):
    found, _ = rows(film([i / 25 for i in range(n)]), 3, {})
    assert [row.time_s for row in found] == [i / 25 for i in range(n)]


def test_where_a_neighbour_lacks_the_face_or_shows_another_it_is_unknown():
    found, _ = rows(film([0, 1, 2, 3, 4, 5, 6]), 2, {2: None, 6: face(400)})
    assert [row.face is not None for row in found] == [True, False, False, False, True, False, True]


def test_across_a_change_of_size_it_is_unknown():
    found, _ = rows(film([0, 0.1, 0.2, 0.3, 0.4], small=(0.3, 0.4)), 2, {})
    assert [row.face is not None for row in found] == [True, True, True, False, True]


@pytest.mark.slow
def test_a_real_face_is_about_where_it_is_when_every_frame_is_measured(clips_dir):
    """Within 2 % of the face's width; and the crops of all frames are theirs."""
    frames = list(itertools.islice(Media(clips_dir / "grid_bbaf2n.mpg").frames(), 25))
    (all_of_them,), (some,) = (FaceTracker(None, crops=True, every=n).track(frames) for n in (1, 3))
    np.testing.assert_array_equal(some.time_s, all_of_them.time_s)
    assert some.present.all()
    width = float((some.box[:, 2] - some.box[:, 0]).mean())
    assert np.abs(some.mesh - all_of_them.mesh)[..., :2].mean() < 0.02 * width
    assert some.crop is not None
    assert all_of_them.crop is not None
    assert np.abs(some.crop.astype(int) - all_of_them.crop).mean() < 12


def test_features_of_such_tracks_say_so_and_are_kept_apart(any_face_model):
    assert face_fingerprint(every=3) == face_fingerprint() + "-every3"
    black = Given([VideoFrame(i / 25, PICTURE) for i in range(7)], [])
    found = extract_tracks(black, build_backbones(["facemesh"], 12.5), faces_every=3)
    assert len(found.face) == 7
    assert any("measured in one of 3 frames" in note for note in found.notes)
