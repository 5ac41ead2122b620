from __future__ import annotations

import functools
import itertools

import av
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from skimage.data import astronaut

from avgate.core.errors import UsageError
from avgate.core.types import FaceTrack, FeatureTrack, VideoFrame
from avgate.faces import FaceTracker
from avgate.features.face.geometry import DESCRIPTORS, MIRROR, STABLE, UNIT_CM, measure
from avgate.features.face.mesh import Facemesh, FacemeshConfig
from avgate.features.steps import features_of
from tests.few import few

FLIP = np.array([1, -1, -1])
"""From pixels (y down, z away from the camera) to the face's axes and back."""

pytestmark = pytest.mark.usefixtures("any_face_model")


@functools.cache
def face() -> np.ndarray:
    """A real person's mesh [478 3], turned to face the camera by an independent fit, 100 pixels per unit."""
    (track,) = FaceTracker().track([VideoFrame(0.0, astronaut())])
    mesh = track.mesh[0].astype(np.float64) * FLIP
    stable, canonical = mesh[list(STABLE)], np.array(list(STABLE.values()))
    mesh -= stable.mean(0)
    stable, canonical = stable - stable.mean(0), canonical - canonical.mean(0)
    turn, _ = Rotation.align_vectors(canonical, stable)
    scale = (turn.apply(stable) * canonical).sum() / (canonical**2).sum() * UNIT_CM
    return turn.apply(mesh) / scale * 100 * FLIP


def turned(degrees: float, axis: str) -> np.ndarray:
    """The face turned about the axis that points to the subject's left (x), up (y) or out of the face (z)."""
    return Rotation.from_euler(axis, degrees, degrees=True).apply(face() * FLIP) * FLIP


def moved(*moves: tuple[tuple[int, ...], tuple[float, float, float]]) -> np.ndarray:
    """The face with some landmarks moved to the subject's left, up and out, in units."""
    mesh = face().copy()
    for landmarks, by in moves:
        mesh[list(landmarks)] += np.array(by) * 100 * FLIP
    return mesh


def track(meshes, times, present=None) -> FaceTrack:
    mesh = np.array(meshes, np.float32)
    present = np.ones(len(mesh), bool) if present is None else np.array(present, bool)
    mesh[~present] = np.nan
    box = np.concatenate([mesh[:, :, :2].min(1), mesh[:, :, :2].max(1)], axis=1)
    return FaceTrack(np.array(times, np.float64), present, mesh, box, None, np.zeros(len(mesh), int), (640, 480))


def extract(*tracks: FaceTrack, rate: float = 10.0, end_s: float | None = None) -> FeatureTrack:
    return features_of(Facemesh(FacemeshConfig(rate)), tracks, tracks[-1].time_s[-1] + 0.01 if end_s is None else end_s)


def column(features: FeatureTrack, name: str) -> np.ndarray:
    return features.values[:, features.columns.index(name)]


def describe(mesh: np.ndarray) -> dict[str, float]:
    return dict(zip(DESCRIPTORS, measure(mesh[None]).descriptors[0], strict=True))


# --- one face -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [-60, 25, 170])
def test_descriptors_do_not_see_tilt_size_or_place(degrees):
    other = turned(degrees, "z") * 2.7 + [310, -40, 5]
    np.testing.assert_allclose(measure(other[None]).descriptors, measure(face()[None]).descriptors, atol=1e-4)


@pytest.mark.parametrize(("axis", "degrees"), [("y", 25), ("y", -25), ("x", 15), ("x", -15)])
def test_descriptors_hardly_see_a_turn_of_the_head_even_in_perspective(axis, degrees):
    flat, near = turned(degrees, axis), turned(degrees, axis)
    near[:, :2] *= 1500 / (1500 + near[:, 2:])  # the camera ten face widths away
    frontal = measure(face()[None]).descriptors
    np.testing.assert_allclose(measure(flat[None]).descriptors, frontal, atol=1e-4)
    np.testing.assert_allclose(measure(near[None]).descriptors, frontal, atol=0.06)


@pytest.mark.parametrize(
    ("axis", "degrees", "pose"),
    [
        ("y", 20, (20, 0, 0)),
        ("y", -50, (-50, 0, 0)),
        ("x", -15, (0, 15, 0)),
        ("x", 30, (0, -30, 0)),
        ("z", -40, (0, 0, 40)),
    ],
)
def test_pose_is_positive_to_the_subjects_left_and_up(axis, degrees, pose):
    np.testing.assert_allclose(np.degrees(measure(turned(degrees, axis)[None]).pose[0]), pose, atol=0.01)


def test_combined_pose_is_recovered():
    mesh = Rotation.from_euler("YXZ", [0.4, -0.2, -0.1]).apply(face() * FLIP) * FLIP
    np.testing.assert_allclose(measure(mesh[None]).pose[0], [0.4, 0.2, 0.1], atol=1e-4)


def test_scale_and_centre_are_in_pixels():
    geometry = measure((face() * 1.5 + [200, 100, 0])[None])
    assert geometry.scale[0] == pytest.approx(150, rel=1e-4)
    np.testing.assert_allclose(geometry.centre[0], [200, 100], atol=1e-3)


def test_left_and_right_landmarks_mirror_each_other_on_a_real_face():
    for right, left in MIRROR.items():
        np.testing.assert_allclose(face()[right] * [-1, 1, 1], face()[left], atol=15)
        assert face()[right, 0] < 0 < face()[left, 0]


MOVES = {
    "blink of the left eye": (
        [((385, 386, 387), (0, -0.06, 0))],
        "eye_openness_left- upper_lid_raise_left- brow_lid_gap_left+ eye_openness_asymmetry-",
        "eye_openness_right upper_lid_raise_right lower_lid_raise_left brow_middle_raise_left",
    ),
    "lids tightened": (
        [((153, 145, 144, 380, 374, 373), (0, 0.03, 0))],
        "lower_lid_raise_left+ lower_lid_raise_right+ eye_openness_left- eye_openness_right-",
        "upper_lid_raise_left",
    ),
    "inner brow of the right side up": (
        [((55, 107), (0, 0.08, 0))],
        "brow_inner_raise_right+ brow_slant_right+ brow_arch_right- brow_inner_raise_asymmetry-",
        "brow_inner_raise_left brow_outer_raise_right eye_openness_right",
    ),
    "brows drawn together and down": (
        [((55, 107), (0.04, -0.05, 0)), ((285, 336), (-0.04, -0.05, 0))],
        "brow_gap- brow_inner_raise_left- brow_inner_raise_right-",
        "brow_inner_raise_asymmetry mouth_open",
    ),
    "smile": (
        [((61, 78), (-0.1, 0.06, -0.05)), ((291, 308), (0.1, 0.06, -0.05))],
        "lip_corner_raise_left+ lip_corner_raise_right+ lip_corner_pull_left+ lip_corner_pull_right+ mouth_width+ "
        "mouth_inner_width+ mouth_curve+ lip_corner_depth_left+ lip_corner_depth_right+",
        "jaw_drop mouth_open mouth_shift_left lip_corner_raise_asymmetry",
    ),
    "left lip corner pulled": (
        [((291,), (0.1, 0.03, 0))],
        "lip_corner_pull_left+ lip_corner_pull_asymmetry+ lip_corner_raise_asymmetry+ mouth_shift_left+",
        "lip_corner_pull_right",
    ),
    "mouth opened": (
        [((14, 17, 84, 181, 314, 405, 152), (0, -0.2, 0))],
        "mouth_open+ mouth_openness+ jaw_drop+ lower_lip_drop_left+ lower_lip_drop_right+",
        "upper_lip_raise_left mouth_width lip_to_chin lower_lip_height",
    ),
    "upper lip raised": (
        [((0, 13, 39, 40, 269, 270), (0, 0.05, 0))],
        "upper_lip_raise_left+ upper_lip_raise_right+ nose_to_upper_lip- mouth_open+",
        "lower_lip_drop_left upper_lip_height",
    ),
    "lips pushed forward": (
        [((0, 13, 14, 17), (0, 0, 0.1))],
        "upper_lip_protrusion+ lower_lip_protrusion+ lip_corner_depth_left+",
        "mouth_width mouth_open",
    ),
    "nose wrinkled": (
        [((129, 358, 2), (0, 0.06, 0))],
        "nose_wing_to_eye_left- nose_wing_to_eye_right- nose_length-",
        "brow_gap eye_openness_left",
    ),
    "cheeks raised": (
        [((50, 205, 101, 280, 425, 330), (0, 0.05, 0))],
        "cheek_raise_left+ cheek_raise_right+ cheek_lid_gap_left- cheek_lid_gap_right-",
        "cheek_raise_asymmetry lip_corner_raise_left",
    ),
    "cheeks puffed": (
        [((187, 205), (-0.05, 0, 0.05)), ((411, 425), (0.05, 0, 0.05))],
        "cheek_spread_left+ cheek_spread_right+ cheek_bulge_left+ cheek_bulge_right+",
        "mouth_width jaw_width",
    ),
    "jaw to the left and forward": (
        [((152,), (0.1, 0, 0.05))],
        "jaw_shift_left+ jaw_thrust+",
        "jaw_drop mouth_open",
    ),
    "eyes to the left and up": ([((468, 473), (0.03, 0.02, 0))], "gaze_left+ gaze_up+", "eye_openness_left"),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_movement_of_the_face_shows_in_its_columns_and_not_in_others(move):
    moves, changed, unchanged = MOVES[move]
    before, after = describe(face()), describe(moved(*moves))
    for name in changed.split():
        assert (after[name[:-1]] - before[name[:-1]]) * {"+": 1, "-": -1}[name[-1]] > 0.01, name
    for name in unchanged.split():
        assert after[name] == pytest.approx(before[name], abs=1e-6), name


def test_lengths_are_in_units_of_the_canonical_faces_outer_eye_corners():
    before, after = describe(face()), describe(moved(((13,), (0, 0.3, 0))))
    assert after["mouth_open"] - before["mouth_open"] == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("factor", [np.nan, 0.0, 1e-4, np.inf])
def test_a_mesh_that_is_no_face_is_not_valid_and_does_not_harm_its_neighbours(factor):
    mesh = face() * factor if factor == 1e-4 else np.full((478, 3), factor)
    with np.errstate(all="raise"):
        geometry = measure(np.stack([face(), mesh, face()]))
    assert geometry.valid.tolist() == [True, False, True]
    np.testing.assert_allclose(geometry.descriptors[[0, 2]], measure(face()[None]).descriptors.repeat(2, 0))
    for values in (geometry.pose, geometry.descriptors, np.log(geometry.scale)):
        assert np.isfinite(values).all()


def test_a_mouth_of_no_width_has_a_bounded_openness():
    mesh = face().copy()
    mesh[308] = mesh[78]
    assert abs(describe(mesh)["mouth_openness"]) < 10


# --- a clip ---------------------------------------------------------------------------------------------------------


def test_columns_are_unique_and_between_them_cover_every_part_of_the_face():
    backbone = Facemesh(FacemeshConfig(10.0))
    assert len(set(backbone.columns)) == len(backbone.columns) == 92
    assert 40 <= len(DESCRIPTORS) <= 80
    for part in ("brow", "eye", "lid", "gaze", "nose", "mouth", "lip", "cheek", "jaw", "head_yaw"):
        assert any(part in name for name in backbone.columns)


def test_velocities_are_per_second_at_any_frame_rate():
    times = np.cumsum([0.0, 0.04, 0.07, 0.02, 0.2, 0.1, 0.033, 0.24, 0.01, 0.12])
    meshes = [
        Rotation.from_euler("YXZ", [0.3 * t, -0.2 * t, -0.1 * t]).apply(moved(((13,), (0, 0.5 * t, 0))) * FLIP) * FLIP
        for t in times
    ]
    meshes = [mesh * np.exp(0.2 * t) for mesh, t in zip(meshes, times, strict=True)]
    features = extract(track(meshes, times), rate=100.0)
    for name, per_second in (
        ("mouth_open_velocity", 0.5),
        ("head_yaw_left_velocity", 0.3),
        ("head_pitch_up_velocity", 0.2),
        ("head_roll_left_velocity", 0.1),
        ("head_nearer_velocity", 0.2),
        ("jaw_drop_velocity", 0.0),
    ):
        found = column(features, name)[features.present]
        assert len(found) >= len(times)
        np.testing.assert_allclose(found, per_second, atol=2e-3)


def test_head_velocity_is_in_face_sizes_to_the_subjects_left_and_up():
    times = np.arange(10) / 25
    features = extract(track([face() * 0.5 + [100 * t, -30 * t, 0] for t in times], times))
    np.testing.assert_allclose(column(features, "head_left_velocity"), 2.0, atol=1e-3)
    np.testing.assert_allclose(column(features, "head_up_velocity"), 0.6, atol=1e-3)
    np.testing.assert_allclose(column(features, "head_nearer_velocity"), 0.0, atol=1e-3)


def test_turning_through_upside_down_is_no_leap():
    times = np.arange(10) / 25
    features = extract(track([turned(170 + 50 * t, "z") for t in times], times))
    np.testing.assert_allclose(column(features, "head_roll_left_velocity"), -np.radians(50), atol=1e-3)


def test_a_step_is_the_mean_of_its_frames():
    meshes = [moved(((13,), (0, a, 0))) for a in (0, 0.1, 0.2, 0.3, 0.4, 0.5)]
    features = extract(track(meshes, [0, 0.03, 0.06, 0.1, 0.13, 0.16]))
    at_rest = describe(face())["mouth_open"]
    np.testing.assert_allclose(column(features, "mouth_open") - at_rest, [0.1, 0.4], atol=1e-5)


def test_the_first_frame_of_a_stretch_has_the_velocity_to_the_next():
    features = extract(track([face(), moved(((13,), (0, 0.1, 0)))], [0.0, 0.1]))
    np.testing.assert_allclose(column(features, "mouth_open_velocity"), [1.0, 1.0], atol=1e-4)


def test_a_frame_far_from_all_others_stands_still():
    features = extract(track([face(), moved(((13,), (0, 0.1, 0)))] * 2, [0.0, 0.5, 1.0, 1.1]))
    assert np.flatnonzero(features.present).tolist() == [0, 5, 10, 11]
    assert column(features, "mouth_open_velocity")[[0, 5]].tolist() == [0, 0]
    assert column(features, "mouth_open_velocity")[[10, 11]] == pytest.approx(1.0, abs=1e-4)


def test_frames_at_the_same_time_tell_no_velocity_and_are_absent():
    features = extract(track([face()] * 4, [0.0, 0.0, 0.5, 0.6]))
    assert features.present.tolist() == [False, False, False, False, False, True, True]


def test_a_lonely_sighting_is_absent():
    features = extract(track([face()] * 10, np.arange(10) / 10, [0, 1, 0, 0, 1, 1, 1, 0, 1, 0]))
    assert features.present.tolist() == [False] * 4 + [True] * 3 + [False] * 3


@pytest.mark.parametrize(("fps", "rate"), [(12, 10), (5, 10), (5, 25), (12, 30), (4500 / 377, 30), (29.97, 30)])
def test_a_video_slower_than_the_grid_leaves_no_holes(fps, rate):
    times = np.arange(round(4 * fps)) / fps
    features = extract(track([face()] * len(times), times), rate=rate)
    assert features.present.all()


@pytest.mark.parametrize(("fps", "rate"), [(12, 30), (5, 25), (25, 10)])
def test_a_missing_face_is_never_bridged(fps, rate):
    times = np.arange(round(4 * fps)) / fps
    present = np.ones(len(times), bool)
    present[len(times) // 2 : len(times) // 2 + round(fps * 0.4)] = False
    features = extract(track([face()] * len(times), times, present), rate=rate)
    middle = np.floor(times[~present] * rate + 1e-6).astype(int)
    if rate > fps:
        assert not features.present[middle[0] : middle[-1] + 1].any()
    assert 0.2 * rate <= (~features.present).sum() <= 0.5 * rate


def test_a_hole_in_the_frames_themselves_is_not_bridged_when_it_is_long():
    times = np.concatenate([np.arange(10) / 25, 1.4 + np.arange(10) / 25])
    features = extract(track([face()] * 20, times))
    assert features.present.tolist() == [True] * 4 + [False] * 10 + [True] * 4


def test_absent_steps_are_nan_and_the_grid_covers_the_clip():
    features = extract(track([face()] * 20, np.arange(20) / 25, [1] * 10 + [0] * 10), end_s=1.25)
    assert features.values.shape == (13, 92)
    assert features.present.tolist() == [True] * 4 + [False] * 9
    assert np.isnan(features.values[~features.present]).all()
    assert np.isfinite(features.values[features.present]).all()
    assert (features.grid.rate, features.grid.start_s) == (10.0, 0.0)


def test_the_result_does_not_depend_on_the_blocks():
    generator = np.random.default_rng(0)
    meshes = face() + generator.normal(0, 1, (30, 478, 3))
    times, present = np.cumsum(generator.uniform(0.02, 0.1, 30)), generator.random(30) < 0.8
    whole = extract(track(meshes, times, present))
    for size in (1, 7):
        parts = [slice(i, i + size) for i in range(0, 30, size)]
        pieces = extract(*(track(meshes[part], times[part], present[part]) for part in parts))
        np.testing.assert_array_equal(pieces.present, whole.present)
        np.testing.assert_allclose(pieces.values, whole.values, atol=1e-5)


def test_a_clip_without_frames_is_absent_throughout():
    features = features_of(Facemesh(FacemeshConfig(10.0)), [], 0.5)
    assert features.values.shape == (5, 92)
    assert not features.present.any()


def test_the_fingerprint_follows_the_parameters():
    prints = [
        Facemesh(config).fingerprint
        for config in (FacemeshConfig(10.0), FacemeshConfig(30.0), FacemeshConfig(10.0, velocity_gap_s=0.5))
    ]
    assert len(set(prints)) == 3
    assert prints[0] == Facemesh(FacemeshConfig(10.0)).fingerprint


def test_impossible_parameters_are_refused():
    with pytest.raises(UsageError, match="rate"):
        FacemeshConfig(0.0)


@pytest.mark.parametrize("name", few(["grid_bbaf2n.mpg", "obama_speech.mp4", "face_noface.mov"], 1))
def test_features_of_real_people_are_finite_and_plausible(name, clips_dir):
    with av.open(str(clips_dir / name)) as container:
        stream = container.streams.video[0]
        decoded = itertools.islice(container.decode(stream), 100)  # the face of face_noface.mov leaves after 72 frames
        frames = [VideoFrame(float(f.pts * stream.time_base), f.to_ndarray(format="rgb24")) for f in decoded]
    blocks = list(FaceTracker().track(frames))
    features = extract(*blocks)
    cells = features.grid.index(np.concatenate([block.time_s for block in blocks]))
    seen = np.concatenate([block.present for block in blocks])
    assert np.isfinite(features.values[features.present]).all()
    assert features.present[cells[seen]].all()
    assert not features.present[np.setdiff1d(cells, cells[seen])].any()
    for column_name, low, high in (
        ("head_yaw_left", -0.6, 0.6),
        ("head_pitch_up", -0.6, 0.6),
        ("eye_openness_left", 0.0, 0.6),
        ("mouth_width", 0.4, 1.1),
        ("jaw_drop", 0.6, 1.3),
    ):
        values = column(features, column_name)[features.present]
        assert low < values.min(), column_name
        assert values.max() < high, column_name
