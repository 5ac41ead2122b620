from __future__ import annotations

import functools
import hashlib
import re
import zipfile
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import mediapipe
import numpy as np
import pytest
from skimage.data import astronaut

from avgate.core.errors import FeatureError, ModelFileError, UsageError
from avgate.core.types import SAMPLE_RATE, FaceTrack, VideoFrame
from avgate.faces import (
    LONGEST_SIDE,
    FaceTracker,
    Person,
    engines,
    face_fingerprint,
    find_face_model,
    find_person,
    model_file,
    tracker,
)
from avgate.faces.engines import Engine, Face
from avgate.faces.following import Follower
from avgate.faces.tracker import ENGINES, LiveTracker
from avgate.features.face.mesh import FacemeshExtraction
from avgate.features.registry import build_backbones
from avgate.features.tracks import extract_tracks
from avgate.media import Media, open_recording
from tests.clips import greys, make_clip, tone
from tests.live import Given
from tests.recordings import write_images, write_sound

CLIPS = (
    "grid_bbaf2n.mpg",
    "grid_lbax4n.mpg",
    "grid_lrwp9a.mpg",
    "grid_pwij3p.mpg",
    "grid_swiz3n.mpg",
    "obama_speech.mp4",
    "face_noface.mov",
)
FPS = 12.5
needs_face_model = pytest.mark.usefixtures("any_face_model")


@functools.cache
def read_frames(path: Path) -> list[VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            VideoFrame(float(f.pts * stream.time_base), f.to_ndarray(format="rgb24")) for f in container.decode(stream)
        ]


def joined(tracks, field: str) -> np.ndarray:
    return np.concatenate([getattr(track, field) for track in tracks])


def follow(frames: list[VideoFrame], **options) -> list[FaceTrack]:
    return list(FaceTracker(**options).track(frames))


@pytest.fixture(scope="module")
def ana() -> np.ndarray:
    return astronaut()[:230, 110:340]


@pytest.fixture(scope="module")
def bea(ana) -> np.ndarray:
    """A second person: the mirrored face in other colours."""
    return (ana[:, ::-1] * [0.9, 0.75, 0.6]).astype(np.uint8)


def scene(*people: tuple[np.ndarray, int, int, int], size: tuple[int, int] = (640, 360)) -> np.ndarray:
    """A grey frame with (picture, x, y, side in pixels) of everyone in it."""
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    for picture, x, y, side in people:
        image[y : y + side, x : x + side] = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return image


def film(*shots: tuple[float, np.ndarray]) -> list[VideoFrame]:
    """Frames at FPS from (seconds, image) pairs."""
    images = [image for seconds, image in shots for _ in range(round(seconds * FPS))]
    return [VideoFrame(i / FPS, image) for i, image in enumerate(images)]


def in_left_half(tracks: list[FaceTrack]) -> np.ndarray:
    """Per frame: True where the followed face is left of x = 320, NaN where it is absent."""
    box = joined(tracks, "box")
    return np.where(np.isnan(box[:, 0]), np.nan, box[:, 0] < 320)


# --- what a track holds ---------------------------------------------------------------------------------------------


@needs_face_model
def test_track_has_one_row_per_frame_whatever_the_block_size(ana):
    frames = film((1, scene((ana, 80, 60, 220))), (0.4, scene()), (0.6, scene((ana, 90, 60, 220))))
    small, large = (list(FaceTracker(crops=True).track(frames, block=block)) for block in (7, 64))
    assert [len(track) for track in small] == [7, 7, 7, 4]
    assert [len(track) for track in large] == [25]
    for field in ("time_s", "present", "mesh", "box", "crop", "others"):
        np.testing.assert_array_equal(joined(small, field), joined(large, field))
    np.testing.assert_array_equal(joined(small, "time_s"), [frame.time_s for frame in frames])
    assert all(track.frame_size == (640, 360) for track in small)


@needs_face_model
def test_few_frames_are_taken_from_the_video_before_its_block_is_full(ana):
    taken = []

    def frames():
        for frame in film((1, scene((ana, 80, 60, 220)))):
            taken.append(frame)
            yield frame

    with closing(FaceTracker().track(frames(), block=4)) as blocks:
        next(blocks)
    assert len(taken) == 4 + ENGINES - 1


@needs_face_model
def test_absent_rows_are_nan_and_black(ana):
    (track,) = follow(film((0.4, scene()), (0.4, scene((ana, 80, 60, 220)))), crops=True)
    assert track.present.tolist() == [False] * 5 + [True] * 5
    assert np.isnan(track.mesh[:5]).all()
    assert np.isnan(track.box[:5]).all()
    assert not track.crop[:5].any()
    assert np.isfinite(track.mesh[5:]).all()


@needs_face_model
def test_box_is_the_smallest_around_the_mesh_and_lies_on_the_face(ana):
    (track,) = follow(film((0.2, scene((ana, 80, 60, 220)))))
    np.testing.assert_allclose(track.box[0, :2], track.mesh[0, :, :2].min(0))
    np.testing.assert_allclose(track.box[0, 2:], track.mesh[0, :, :2].max(0))
    assert (track.box[0] > [80, 60, 80, 60]).all()
    assert (track.box[0] < [300, 280, 300, 280]).all()


@needs_face_model
@pytest.mark.parametrize("angle", [0, 35])
def test_crop_has_eyes_and_mouth_in_place_however_the_head_is_tilted(ana, angle):
    turn = cv2.getRotationMatrix2D((115, 115), angle, 1.0)
    frames = film((0.4, scene((cv2.warpAffine(ana, turn, (230, 230)), 80, 60, 220))))
    (track,) = follow(frames, crops=True)
    (again,) = follow([VideoFrame(0.0, cv2.copyMakeBorder(track.crop[-1], *[60] * 4, cv2.BORDER_CONSTANT))])
    mesh = again.mesh[0, :, :2] - 60
    found = [mesh[[33, 133]].mean(0), mesh[[263, 362]].mean(0), mesh[61], mesh[291]]
    # 6 pixels: her smile is wider than the template's mouth.
    np.testing.assert_allclose(found, [(38.3, 51.7), (73.5, 51.5), (41.5, 92.4), (70.7, 92.2)], atol=6)


@needs_face_model
def test_no_crops_unless_asked_for(ana):
    (track,) = follow(film((0.1, scene((ana, 80, 60, 220)))))
    assert track.crop is None


@needs_face_model
def test_a_video_without_frames_has_no_blocks_and_an_empty_block_is_refused():
    assert follow([]) == []
    with pytest.raises(ValueError, match="at least 1 frame"):
        list(FaceTracker().track([], block=0))


# --- frames that aren't ordinary ------------------------------------------------------------------------------------


@pytest.fixture(params=["bundled", pytest.param("task file", marks=pytest.mark.slow)])
def either_model(request):
    return request.getfixturevalue("bundled_mesh" if request.param == "bundled" else "face_model")


def test_tiny_black_huge_and_changing_frames_give_absent_or_right_rows(ana, either_model):
    face = scene((ana, 80, 60, 220))
    huge = cv2.resize(face, (3840, 2160))
    images = [face, face[:16, :16], np.zeros((1, 1, 3), np.uint8), np.zeros_like(face), huge, face, face[::-1][::-1]]
    tracks = follow([VideoFrame(i / 25, image) for i, image in enumerate(images)], model=either_model)
    present, box = joined(tracks, "present"), joined(tracks, "box")
    assert present.tolist() == [True, False, False, False, True, True, True]
    assert [track.frame_size for track in tracks] == [
        (640, 360),
        (16, 16),
        (1, 1),
        (640, 360),
        (3840, 2160),
        (640, 360),
    ]
    np.testing.assert_allclose(box[4] / 6, box[0], atol=4)
    np.testing.assert_allclose(box[[5, 6]], box[[0, 0]], atol=4)


@pytest.mark.parametrize("over", [0, 1])
def test_a_side_over_which_opencv_ends_the_process_has_no_face_and_the_next_frame_has_one(ana, either_model, over):
    face, side = scene((ana, 80, 60, 220)), LONGEST_SIDE + over
    images = [face, np.full((2, side, 3), 90, np.uint8), face, np.full((side, 2, 3), 90, np.uint8), face]
    tracks = follow([VideoFrame(i / 25, image) for i, image in enumerate(images)], model=either_model)
    assert joined(tracks, "present").tolist() == [True, False, True, False, True]
    with engines.open_engine(either_model) as engine:
        for image in images[1::2]:
            assert engine.follow(image, 1.0) is None
            assert engine.scan(image).shape == (0, 4)


def test_frames_in_which_no_face_is_looked_for_are_said(ana):
    huge = np.zeros((2, LONGEST_SIDE + 1, 3), np.uint8)
    film = Given([VideoFrame(i / 12.5, image) for i, image in enumerate([scene((ana, 80, 60, 220)), huge])], [])
    extracted = extract_tracks(film, build_backbones(["facemesh"], FPS))
    assert extracted.face.tolist() == [True, False]
    assert any("1 of 2 frames have a side of over 32,766 pixels" in note for note in extracted.notes)


def test_the_bundled_model_gives_to_the_bit_what_mediapipes_own_solution_gives(ana, bundled_mesh):
    images = [scene((ana, 100 + 9 * i, 40, 250)) for i in range(6)]
    images[3] = np.zeros_like(images[3])
    options = {"max_num_faces": 1, "min_detection_confidence": 0.5, "min_tracking_confidence": 0.5}
    with (
        engines.open_engine(None) as engine,
        mediapipe.solutions.face_mesh.FaceMesh(refine_landmarks=True, **options) as mesh,
    ):
        for image in images:
            found, own = engine.follow(image, 0.0), mesh.process(image).multi_face_landmarks
            assert (found is None) == (own is None) == (not image.any())
            if found is not None:
                points = np.array([(point.x, point.y, point.z) for point in own[0].landmark], np.float32)
                assert np.array_equal(found.mesh, points * np.float32([640, 360, 640]))


def test_repeated_and_very_close_timestamps_are_tracked(ana, either_model):
    times = [0.0, 0.0, 0.0001, 0.0002, 0.0041, 0.0041, 0.5]
    tracks = follow([VideoFrame(time, scene((ana, 80, 60, 220))) for time in times], model=either_model)
    assert joined(tracks, "present").all()
    np.testing.assert_array_equal(joined(tracks, "time_s"), times)


def test_a_tracker_starts_every_video_afresh(ana, either_model):
    faces = FaceTracker(either_model)
    frames = film((0.4, scene((ana, 80, 60, 220))))
    (first,), _, (again,) = (list(faces.track(f)) for f in (frames, film((0.2, scene((ana, 300, 60, 220)))), frames))
    np.testing.assert_array_equal(first.mesh, again.mesh)


def test_native_code_writes_nothing(ana, either_model, capfd):
    follow(film((0.2, scene()), (0.2, scene((ana, 80, 60, 220)))), model=either_model)
    assert capfd.readouterr() == ("", "")


# --- one person, the same one ---------------------------------------------------------------------------------------


@needs_face_model
def test_the_largest_face_is_followed_at_first_and_the_others_are_counted(ana, bea):
    tracks = follow(film((0.4, scene((ana, 20, 80, 200), (bea, 340, 40, 290)))))
    assert (in_left_half(tracks) == 0).all()
    assert (joined(tracks, "others") == 1).all()


def test_a_bigger_face_that_appears_does_not_take_over(ana, bea, either_model):
    alone, both = scene((ana, 20, 80, 200)), scene((ana, 20, 80, 200), (bea, 340, 40, 290))
    tracks = follow(film((0.8, alone), (2.4, both), (0.8, alone)), model=either_model)
    assert (in_left_half(tracks) == 1).all()
    others = joined(tracks, "others")
    assert others[0] == 0
    assert others[2 * round(FPS)] == 1


def test_a_person_hidden_for_a_moment_is_waited_for_while_another_is_in_view(ana, bea, either_model):
    both, bea_alone = scene((ana, 20, 60, 240), (bea, 400, 80, 190)), scene((bea, 400, 80, 190))
    tracks = follow(film((1.6, both), (0.8, bea_alone), (0.8, both)), model=either_model)
    left = in_left_half(tracks)
    assert (left[:20] == 1).all()
    assert np.isnan(left[20:30]).all()
    assert (left[30:] == 1).all()
    assert (joined(tracks, "others")[20:30] == 1).all()


@needs_face_model
@pytest.mark.parametrize("who", ["left", "0.3,120,180"])
def test_the_chosen_person_is_followed_whoever_is_larger(ana, bea, who):
    frames = film((0.8, scene((ana, 20, 80, 200), (bea, 340, 40, 290))))
    start = find_person(Person.named(who), frames)
    assert (in_left_half(list(FaceTracker().track(frames, start=start))) == 1).all()


@pytest.mark.slow
@needs_face_model
def test_the_largest_face_is_followed_once_the_person_has_been_gone_for_long(ana, bea):
    both, bea_alone = scene((ana, 20, 60, 240), (bea, 400, 80, 190)), scene((bea, 400, 80, 190))
    left = in_left_half(follow(film((2.4, both), (3.2, bea_alone))))
    gone = np.flatnonzero(np.isnan(left))
    assert len(gone) / FPS == pytest.approx(2.0, abs=2 / FPS)
    assert (left[gone[-1] + 1 :] == 0).all()


@needs_face_model
def test_a_person_who_comes_back_somewhat_elsewhere_is_found_again(ana):
    tracks = follow(film((1.2, scene((ana, 20, 80, 200))), (0.4, scene()), (0.4, scene((ana, 130, 110, 180)))))
    assert joined(tracks, "present").tolist() == [True] * 15 + [False] * 5 + [True] * 5


@needs_face_model
def test_a_single_false_detection_holds_the_track_for_no_longer_than_itself(ana, bea):
    tracks = follow(film((0.08, scene((bea, 400, 80, 190))), (0.4, scene((ana, 20, 80, 200)))))
    assert np.nan_to_num(in_left_half(tracks)).tolist() == [0, 1, 1, 1, 1, 1]


class JumpingEngine:
    """A mesh tracker that leaps from the person on the left to the one on the right in the third frame it sees."""

    def __init__(self):
        self.calls = 0

    def follow(self, image, time_s):
        if not image.any():
            return None
        self.calls += 1
        right = self.calls == 3 or not image[:, :100].any()
        mesh = np.random.default_rng(0).uniform(0, 50, (478, 3)).astype(np.float32) + (300 if right else 0)
        return Face(mesh)

    def scan(self, image):
        return np.array([[0, 0, 50, 50], [300, 300, 350, 350]], np.float64)


@needs_face_model
def test_a_leap_of_the_mesh_tracker_to_someone_else_is_taken_back(monkeypatch):
    monkeypatch.setattr(tracker, "open_engine", lambda *_: nullcontext(JumpingEngine()))
    (track,) = FaceTracker().track([VideoFrame(i / 25, np.ones((400, 400, 3), np.uint8)) for i in range(6)])
    assert track.present.all()
    assert (track.box[:, 0] < 50).all()


class FickleEngine:
    """Finds the faces of a film at random, by what it has seen so far: it often loses its face, or takes another."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.seen = 0

    def follow(self, image, time_s):
        chance, self.seen = self.random.random(), self.seen + int(image.sum() % 97)
        if chance < 0.15 or not image.any():
            return None
        corner = (60 if chance > 0.9 else 10) + self.seen % 7
        return Face((self.random.uniform(0, 40, (478, 3)) + corner).astype(np.float32))

    def scan(self, image):
        boxes = [[10, 10, 50, 50], [60, 60, 110, 110]]
        return np.array(boxes[: int(self.random.integers(0, 3))], np.float64).reshape(-1, 4)


@pytest.mark.parametrize("seed", range(8))
def test_a_video_on_several_cores_is_followed_to_the_bit_as_frame_by_frame(seed):
    """Whatever is lost, where the picture changes its size, and where a leap to someone else is taken back."""
    random = np.random.default_rng(seed)
    sides = random.choice([120, 120, 120, 90], 60)
    film = [VideoFrame(i / 25, random.integers(0, 255, (side, 120, 3), np.uint8)) for i, side in enumerate(sides)]

    def tracker() -> LiveTracker:
        fickle: list[Engine] = [FickleEngine(seed + 100 * i) for i in range(ENGINES)]
        return LiveTracker(fickle, None, crops=False, blendshapes=False)

    alone = tracker()
    one, other = [alone.row(frame) for frame in film], [*tracker().rows(film)]
    assert 10 < sum(row.face is not None for row in one) < 60
    for a, b in zip(one, other, strict=True):
        assert (a.others, a.face is None) == (b.others, b.face is None)
        if a.face is not None and b.face is not None:
            np.testing.assert_array_equal(a.face.mesh, b.face.mesh)


def test_where_one_engine_follows_no_face_another_shows_it_where_the_face_is():
    """A face that only the first engine finds by itself is there in every frame, as if there were no other engine."""

    class Blind(FickleEngine):
        def follow(self, image, time_s):
            return None

    class Sharp(FickleEngine):
        def follow(self, image, time_s):
            return Face(np.random.default_rng(0).uniform(10, 50, (478, 3)).astype(np.float32))

    follower = Follower([Sharp(0), Blind(0)])
    image = np.ones((120, 120, 3), np.uint8)
    follower._engines[0].scan = lambda image: np.array([[10.0, 10, 50, 50]])
    assert all(follower.step(image, i / 25)[0] is not None for i in range(9))


@pytest.mark.slow
@needs_face_model
def test_a_chosen_person_is_followed_in_a_recording_and_their_box_is_in_fractions(ana, bea, tmp_path):
    clip = make_clip(tmp_path / "two.mp4", [scene((ana, 20, 80, 200), (bea, 340, 40, 290))] * 8)
    backbones = build_backbones(["facemesh"], FPS)
    for who, (low, high) in {"left": (20, 220), "2": (340, 630)}.items():
        found = extract_tracks(Media(clip), backbones, person=Person.named(who))
        assert found.face.all()
        assert low / 640 < found.box[:, 0].min() < found.box[:, 2].max() < high / 640
        assert found.box[:, 3].max() < 1


@needs_face_model
def test_nobody_can_be_chosen_in_sound_alone(tmp_path):
    sound = open_recording(write_sound(tmp_path / "a.wav", tone(1, SAMPLE_RATE)))
    with pytest.raises(UsageError, match="nothing to see in sound alone"):
        extract_tracks(sound, build_backbones(["facemesh", "egemaps"], FPS), person=Person.named("left"))


@needs_face_model
def test_boxes_of_images_of_another_shape_are_where_the_report_shows_them(ana, tmp_path):
    """An upright second image stands in the middle of the first one's shape, with black beside it."""
    images = [scene((ana, 200, 60, 220)), scene((ana, 10, 60, 220), size=(240, 360))]
    found = extract_tracks(
        open_recording(write_images(tmp_path / "a", images), 1.0), build_backbones(["facemesh"], FPS)
    )
    centres = found.box[:, [0, 2]].mean(1) * 640
    assert centres == pytest.approx([310, 200 + 120], abs=12)


# --- models are closed -----------------------------------------------------------------------------------------------


class CountedEngine:
    """Finds nothing, and counts how many of its kind are open."""

    open = 0

    def __init__(self, *_):
        CountedEngine.open += 1

    def follow(self, image, time_s):
        return None

    def scan(self, image):
        return np.zeros((0, 4))

    def close(self):
        CountedEngine.open -= 1


@pytest.fixture
def counted(monkeypatch, any_face_model) -> type[CountedEngine]:
    monkeypatch.setattr(engines, "BundledEngine", CountedEngine)
    monkeypatch.setattr(engines, "TaskEngine", CountedEngine)
    monkeypatch.setattr(CountedEngine, "open", 0)
    return CountedEngine


def test_models_are_closed_when_the_video_fails(counted):
    def frames():
        yield VideoFrame(0.0, scene())
        assert counted.open == ENGINES
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="camera"):
        follow(frames())
    assert counted.open == 0


def test_models_are_closed_when_the_reader_stops_early(counted):
    with closing(FaceTracker().track(film((1, scene())), block=2)) as blocks:
        next(blocks)
        assert counted.open == ENGINES
    assert counted.open == 0


def test_models_that_fail_on_their_first_image_are_closed(counted, monkeypatch, tmp_path):
    def fails(self, image):
        raise RuntimeError("made for another release")

    monkeypatch.setattr(counted, "scan", fails)
    with pytest.raises(ModelFileError, match="made for another release"):
        follow(film((0.1, scene())), model=task_file(tmp_path / "other.task"))
    assert counted.open == 0


def test_models_are_closed_when_a_backbone_fails(counted, monkeypatch, tmp_path):
    def fails(self, piece):
        raise FeatureError("no such face")

    monkeypatch.setattr(FacemeshExtraction, "push", fails)
    clip = make_clip(tmp_path / "grey.mp4", greys(5))
    with pytest.raises(FeatureError) as caught:
        extract_tracks(Media(clip), build_backbones(["facemesh"], FPS))
    assert caught.tb  # frames of the failed call are alive, and yet:
    assert counted.open == 0


# --- real recordings ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_both_models_give_the_same_track_of_real_people(name, clips_dir, face_model, bundled_mesh):
    """Mean distance of the meshes' points, of the box diagonal: below 1.5 %."""
    frames = read_frames(clips_dir / name)[::3]
    bundled, task = (follow(frames, model=model) for model in (None, face_model))
    box = joined(bundled, "box")
    distance = np.linalg.norm(joined(bundled, "mesh") - joined(task, "mesh"), axis=2).mean(1)
    both = joined(bundled, "present") & joined(task, "present")
    assert (joined(bundled, "present") != joined(task, "present")).sum() <= 1
    assert np.mean(distance[both] / np.hypot(box[both, 2] - box[both, 0], box[both, 3] - box[both, 1])) < 0.015


@pytest.mark.slow
@needs_face_model
def test_a_clip_with_a_face_in_less_than_half_of_its_frames_says_so(clips_dir):
    frames = read_frames(clips_dir / "face_noface.mov")
    present = joined(follow(frames), "present")
    assert len(present) == len(frames) == 169
    assert 0.35 < present.mean() < 0.5


@needs_face_model
def test_the_speaker_is_followed_throughout_and_the_bystander_is_counted(clips_dir):
    tracks = follow(read_frames(clips_dir / "obama_speech.mp4"))
    box = joined(tracks, "box")
    assert joined(tracks, "present").all()
    assert joined(tracks, "others").max() >= 1
    assert np.abs(np.diff((box[:, :2] + box[:, 2:]) / 2, axis=0)).max() < 0.25 * (box[:, 2] - box[:, 0]).mean()


# --- where the model comes from -------------------------------------------------------------------------------------


@pytest.fixture
def no_bundle(monkeypatch, tmp_path):
    """As with mediapipe from 0.10.30 on, with an empty cache, and no network."""
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(model_file, "find_spec", {"mediapipe": package}.get)
    monkeypatch.delenv("AVGATE_FACE_MODEL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(model_file, "URL", (tmp_path / "not there").as_uri())
    return tmp_path


def task_file(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as bundle:
        for member in ("face_detector.tflite", "face_landmarks_detector.tflite"):
            bundle.writestr(member, b"")
    return path


def test_the_bundled_mesh_is_used_when_nothing_is_named(monkeypatch, bundled_mesh):
    monkeypatch.delenv("AVGATE_FACE_MODEL", raising=False)
    assert find_face_model() is None


def test_the_option_comes_before_the_variable(monkeypatch, tmp_path):
    option, variable = task_file(tmp_path / "option.task"), task_file(tmp_path / "variable.task")
    monkeypatch.setenv("AVGATE_FACE_MODEL", str(variable))
    assert find_face_model(option) == option
    assert find_face_model() == variable


def test_a_named_model_that_is_missing_or_something_else_is_an_error_that_names_it(monkeypatch, tmp_path):
    monkeypatch.delenv("AVGATE_FACE_MODEL", raising=False)
    with pytest.raises(ModelFileError, match=r"gone\.task.*does not exist"):
        find_face_model(tmp_path / "gone.task")
    page = tmp_path / "page.task"
    page.write_text("<html>")
    with pytest.raises(ModelFileError, match=r"not a face_landmarker\.task"):
        FaceTracker(page)
    monkeypatch.setenv("AVGATE_FACE_MODEL", str(page))
    with pytest.raises(ModelFileError, match="AVGATE_FACE_MODEL"):
        find_face_model()


def test_offline_without_any_model_one_error_names_every_way_out(no_bundle):
    with pytest.raises(ModelFileError) as caught:
        find_face_model()
    for part in (model_file.URL, str(no_bundle / "cache" / "avgate"), "--face-model", "AVGATE_FACE_MODEL"):
        assert part in str(caught.value)


def test_a_download_is_checked_and_cached_once(no_bundle, monkeypatch):
    source = task_file(no_bundle / "source.task")
    monkeypatch.setattr(model_file, "URL", source.as_uri())
    with pytest.raises(ModelFileError, match="sha256"):
        find_face_model()
    assert not list(no_bundle.glob("cache/**/*.task"))
    monkeypatch.setattr(model_file, "SHA256", hashlib.sha256(source.read_bytes()).hexdigest())
    cached = find_face_model()
    assert cached.read_bytes() == source.read_bytes()
    assert [file.name for file in cached.parent.iterdir()] == ["face_landmarker.task"]
    source.unlink()
    assert find_face_model() == cached
    cached.write_bytes(b"cut off")
    with pytest.raises(ModelFileError):
        find_face_model()


def test_a_damaged_model_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ModelFileError, match=r"damaged\.task.*can't use"):
        follow(film((0.1, scene())), model=task_file(tmp_path / "damaged.task"))


def test_the_fingerprint_tells_the_models_apart(face_model, tmp_path, monkeypatch, bundled_mesh):
    monkeypatch.delenv("AVGATE_FACE_MODEL", raising=False)
    bundled, published, own = (
        face_fingerprint(model) for model in (None, face_model, task_file(tmp_path / "own.task"))
    )
    assert mediapipe.__version__ in bundled
    assert model_file.SHA256[:12] in published
    assert "other" in own
    assert "other" not in published
    assert len({bundled, published, own}) == 3
    assert FaceTracker(face_model).fingerprint == published
    assert all(re.fullmatch(r"[\w.-]{1,60}", fingerprint) for fingerprint in (bundled, published, own))
