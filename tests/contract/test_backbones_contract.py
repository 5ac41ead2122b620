"""What every backbone promises; a new one in BACKBONES is covered without a new test."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from avgate.core.errors import UsageError
from avgate.core.state import pack, unpack
from avgate.core.types import SAMPLE_RATE, FaceTrack, FeatureTrack, VideoFrame, Waveform
from avgate.faces import FaceTracker
from avgate.features.base import Backbone, Extraction, Steps, kind_of
from avgate.features.registry import BACKBONES, build_backbones
from avgate.features.steps import Collected, features_of
from tests.deep import sources
from tests.few import few
from tests.sounds import babble

RATE = 10.0
SECONDS = 3.0
FPS = 25
pytestmark = pytest.mark.usefixtures("any_face_model")


@pytest.fixture(scope="module")
def face() -> FaceTrack:
    """75 frames of a face that sways, out of sight from 1.2 to 1.8 s."""
    from skimage.data import astronaut

    picture = np.ascontiguousarray(astronaut()[:300, 60:400])
    frames = []
    for i in range(round(SECONDS * FPS)):
        hidden = 30 <= i < 45
        image = np.zeros_like(picture) if hidden else np.roll(picture, round(4 * np.sin(i / 5)), axis=1)
        frames.append(VideoFrame(i / FPS, image))
    (track,) = FaceTracker(crops=True).track(frames, block=len(frames))
    # Blendshapes need a file that isn't everywhere; what a backbone makes of them doesn't depend on their values.
    scores = np.where(track.present[:, None], np.random.default_rng(0).random((len(track), 52)), np.nan)
    return replace(track, blendshapes=scores.astype(np.float32))


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Kind of backbone -> a name that can be built."""
    return {kind: kind for kind in BACKBONES} | sources(tmp_path_factory.mktemp("weights"))


def part(track: FaceTrack, rows: slice) -> FaceTrack:
    """Some consecutive frames of a track."""
    parts = {f.name: getattr(track, f.name)[rows] for f in fields(track) if f.name != "frame_size"}
    return replace(track, **parts)


def pieces(backbone: Backbone, face: FaceTrack, size_s: float) -> list[FaceTrack | Waveform]:
    """The same clip in pieces of a length: sound from 0.5 s on, or the face."""
    if backbone.modality == "video":
        n = max(1, round(size_s * FPS))
        return [part(face, slice(i, i + n)) for i in range(0, len(face), n)]
    samples, n = babble(SECONDS - 0.5), round(size_s * SAMPLE_RATE)
    return [Waveform(samples[i : i + n], 0.5 + i / SAMPLE_RATE) for i in range(0, len(samples), n)]


def extracted(backbone: Backbone, given: list[FaceTrack | Waveform]) -> FeatureTrack:
    return features_of(backbone, given, SECONDS)


def causal(name: str) -> str:
    """The name of the causal twin."""
    return f"{name}{'&' if '?' in name else '?'}causal=true"


@pytest.mark.parametrize("name", BACKBONES)
class TestBackbone:
    def test_gives_a_named_track_on_a_grid_that_covers_the_clip(self, name, face, named):
        (backbone,) = build_backbones([named[name]], RATE)
        track = extracted(backbone, pieces(backbone, face, 1.0))
        assert track.backbone == backbone.name == named[name]
        assert kind_of(track.backbone) == name
        assert track.modality == backbone.modality
        assert track.columns == backbone.columns
        assert len(set(track.columns)) == len(track.columns) == track.values.shape[1]
        assert track.fingerprint == backbone.fingerprint
        assert (track.grid.rate, track.grid.start_s, len(track.values)) == (RATE, 0.0, SECONDS * RATE)

    def test_is_a_number_where_present_and_unknown_where_absent(self, name, face, named):
        (backbone,) = build_backbones([named[name]], RATE)
        track = extracted(backbone, pieces(backbone, face, 1.0))
        assert np.isfinite(track.values[track.present]).all()
        assert np.isnan(track.values[~track.present]).all()
        absent = slice(13, 17) if backbone.modality == "video" else slice(0, 4)
        assert not track.present[absent].any()
        assert track.present[20:28].all()

    def test_does_not_depend_on_how_the_clip_comes_in_pieces(self, name, face, named):
        (backbone,) = build_backbones([named[name]], RATE)
        whole, parts = (extracted(backbone, pieces(backbone, face, size)) for size in (10.0, 0.24))
        assert np.array_equal(whole.values, parts.values, equal_nan=True)
        assert np.array_equal(whole.present, parts.present)

    def test_a_part_of_a_clip_is_that_part_of_the_whole(self, name, face, named):
        (backbone,) = build_backbones([named[name]], RATE)
        extraction, collected = backbone.start(), Collected(backbone)
        for piece in pieces(backbone, face, 1.0):
            collected.add(extraction.push(piece))
        collected.add(extraction.finish(SECONDS))
        part = collected.track(SECONDS, 2.0)
        whole = extracted(backbone, pieces(backbone, face, 1.0))
        assert part.grid.start_s == 2.0
        assert np.array_equal(part.present, whole.present[int(2 * RATE) :])
        assert np.array_equal(part.values, whole.values[int(2 * RATE) :], equal_nan=True)

    def test_an_empty_clip_is_absent_throughout(self, name, face, named):
        (backbone,) = build_backbones([named[name]], RATE)
        track = extracted(backbone, [])
        assert len(track.present) == SECONDS * RATE
        assert not track.present.any()

    def test_one_instance_extracts_many_clips_alike(self, name, face, named):
        (backbone,) = build_backbones([named[name]], RATE)
        first, second = (extracted(backbone, pieces(backbone, face, 1.0)) for _ in range(2))
        assert np.array_equal(first.values, second.values, equal_nan=True)

    def test_fingerprint_changes_with_the_rate_and_with_nothing_else(self, name, face, named):
        (one,), (same,), (other,) = (build_backbones([named[name]], rate) for rate in (RATE, RATE, 25.0))
        assert one.fingerprint == same.fingerprint != other.fingerprint


def test_an_unknown_backbone_is_answered_with_what_there_is():
    with pytest.raises(UsageError, match="did you mean 'egemaps'"):
        build_backbones(["egemap"], RATE)


@pytest.mark.parametrize("kind", BACKBONES)
def test_an_unknown_setting_is_answered_with_those_that_there_are(kind):
    with pytest.raises(UsageError, match="unknown setting 'nothing=1'") as caught:
        build_backbones([f"{kind}?nothing=1"], RATE)
    assert caught.value.hint == "it has no settings" or caught.value.hint.startswith("its settings are ")


def test_a_setting_that_is_given_twice_is_refused():
    with pytest.raises(UsageError, match="'level' is given twice") as caught:
        build_backbones(["egemaps?level=false&level=true"], RATE)
    assert caught.value.where == "egemaps?level=false&level=true"


SLOW = pytest.mark.slow
QUICK = ("logmel", "facemesh", "waveform", "blendshapes")
TWINS = [pytest.param(name, twin, marks=() if name in QUICK else SLOW) for name in BACKBONES for twin in (False, True)]


def built(name: str, twin: bool, named: dict[str, str]) -> Backbone:
    (backbone,) = build_backbones([causal(named[name]) if twin else named[name]], RATE)
    assert backbone.causal == twin
    return backbone


def given(extraction: Extraction, pieces: list[FaceTrack | Waveform], end_s: float | None = None) -> list[Steps]:
    """What is known after each piece, and at the end."""
    return [extraction.push(piece) for piece in pieces] + ([] if end_s is None else [extraction.finish(end_s)])


def together(parts: list[Steps]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, values and activity of steps that must follow each other."""
    until = 0
    for steps in parts:
        assert steps.until >= until
        assert (np.diff(steps.index) > 0).all()
        assert not len(steps) or until <= steps.index[0] <= steps.index[-1] < steps.until
        assert np.isfinite(steps.values).all()
        until = steps.until
    active = [np.zeros(len(s)) if s.active is None else s.active for s in parts]
    return tuple(np.concatenate(part) for part in ([s.index for s in parts], [s.values for s in parts], active))


def assert_same(one: list[Steps], other: list[Steps]) -> None:
    for a, b in zip(together(one), together(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[-1].until == other[-1].until


def cut(backbone: Backbone, piece: FaceTrack | Waveform, time_s: float) -> tuple[FaceTrack | Waveform, ...]:
    """A clip's parts before and after a time."""
    if isinstance(piece, FaceTrack):
        rows = int(np.searchsorted(piece.time_s, time_s - 1e-9))
        return part(piece, slice(0, rows)), part(piece, slice(rows, None))
    n = round((time_s - piece.start_s) * SAMPLE_RATE)
    return Waveform(piece.samples[:n], piece.start_s), Waveform(piece.samples[n:], time_s)


@pytest.mark.parametrize(("name", "twin"), TWINS)
class TestStream:
    @pytest.mark.parametrize("size_s", few([0.24, 0.037, 0.001], 1, pytest.mark.long))
    def test_pieces_of_any_length_give_the_same_steps(self, name, twin, size_s, face, named):
        backbone = built(name, twin, named)
        whole, parts = (
            given(backbone.start(), pieces(backbone, face, size), SECONDS - 0.05) for size in (10.0, size_s)
        )
        assert len(together(whole)[0]) > 15
        assert_same(whole, parts)

    @pytest.mark.parametrize("at", few([3, 1, 7], 1, pytest.mark.long))
    def test_goes_on_to_the_bit_where_it_was_saved(self, name, twin, at, face, named):
        backbone = built(name, twin, named)
        all_of_it = pieces(backbone, face, 0.237)
        first, second = backbone.start(), backbone.start()
        before = given(first, all_of_it[:at])
        saved = pack(first.state())
        on = given(first, all_of_it[at:], SECONDS)
        second.restore(unpack(saved))
        assert pack(second.state()) == saved
        assert_same(before + on, before + given(second, all_of_it[at:], SECONDS))

    @pytest.mark.parametrize("hole_s", few([0.5, 0.03, 6.0], 1, pytest.mark.long))
    def test_being_told_that_nothing_came_changes_no_step(self, name, twin, hole_s, face, named):
        backbone = built(name, twin, named)
        start, end = cut(backbone, pieces(backbone, face, 10.0)[0], 1.13)
        if isinstance(end, FaceTrack):
            end = replace(end, time_s=end.time_s + hole_s)
        else:
            end = Waveform(end.samples, end.start_s + hole_s)
        first, second = backbone.start(), backbone.start()
        told = [first.push(start)]
        told += [first.advance(1.13 + hole_s * share) for share in (0.2, 0.5, 0.9, 1.0)]
        told += given(first, [end], 3.0 + hole_s)
        assert_same(told, given(second, [start, end], 3.0 + hole_s))

    def test_a_stop_is_known_to_be_one(self, name, twin, face, named):
        backbone = built(name, twin, named)
        extraction = backbone.start()
        start, _ = cut(backbone, pieces(backbone, face, 10.0)[0], 1.1)
        extraction.push(start)
        until = extraction.advance(600.0).until
        # Without a twin, windows of sound reach beyond their step, and images wait for their batch.
        assert until == 6000 if twin else until > 5990 or "image" in name


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else SLOW) for name in BACKBONES])
class TestCausal:
    def test_a_step_is_known_when_its_cell_ends(self, name, face, named):
        backbone = built(name, True, named)
        extraction = backbone.start()
        (whole,) = pieces(backbone, face, 10.0)
        rest = whole
        for step in range(6, 10):
            now, rest = cut(backbone, rest, (step + 1) / RATE)
            known = [extraction.push(now)]
            if backbone.modality == "video":
                known.append(extraction.advance((step + 1) / RATE))
            assert known[-1].until == step + 1
            assert together(known)[0][-1] == step

    @pytest.mark.parametrize("time_s", [1.0, pytest.param(2.3, marks=SLOW)])
    def test_what_comes_later_changes_no_step(self, name, time_s, face, named):
        backbone = built(name, True, named)
        start, end = cut(backbone, pieces(backbone, face, 10.0)[0], time_s)
        if isinstance(end, FaceTrack):
            end = replace(part(end, slice(None, None, -1)), time_s=end.time_s)
        else:
            end = Waveform(end.samples[::-1] * np.float32(0.3), end.start_s)
        one, other = (given(backbone.start(), clip, SECONDS) for clip in (pieces(backbone, face, 10.0), [start, end]))
        (steps, values, _), (others, changed, _) = together(one), together(other)
        before, same = steps < time_s * RATE, others < time_s * RATE
        np.testing.assert_array_equal(steps[before], others[same])
        np.testing.assert_array_equal(values[before], changed[same])
        assert not np.array_equal(values[~before], changed[~same])

    def test_is_another_backbone_than_its_twin(self, name, face, named):
        assert built(name, True, named).fingerprint != built(name, False, named).fingerprint

    def test_a_camera_or_microphone_that_stops_gives_nothing_after_a_while(self, name, face, named):
        backbone = built(name, True, named)
        start, _ = cut(backbone, pieces(backbone, face, 10.0)[0], 1.1)
        extraction = backbone.start()
        found = [extraction.push(start), *(extraction.advance(time_s) for time_s in np.arange(1.1, 4.0, 0.04))]
        held = 3 if backbone.modality == "video" else 0  # frames are held for 0.35 s
        assert together(found)[0][-1] == 10 + held
        assert found[-1].until == 39


@pytest.mark.parametrize("kind", [name for name in BACKBONES if BACKBONES[name].make.modality == "audio"])
def test_causal_steps_of_sound_are_whole_numbers_of_samples(kind, named):
    with pytest.raises(UsageError, match=r"can't be cut into 7\.3 equal"):
        build_backbones([causal(named[kind])], 7.3)


@pytest.mark.parametrize("kind", ["egemaps", "logmel"])
def test_where_one_step_of_sound_in_three_is_analysed_the_others_repeat_it(kind, named):
    (backbone,) = build_backbones([causal(named[kind])], RATE)

    def extracted(every: int) -> Steps:
        extraction = backbone.start()
        extraction.every = every
        return extraction.push(Waveform(babble(2.0), 0.0))

    all_of_them, third = extracted(1), extracted(3)
    count = len(all_of_them)
    assert count >= 2 * RATE - 1
    np.testing.assert_array_equal(third.repeats, np.arange(count) % 3 > 0)
    np.testing.assert_array_equal(third.values, all_of_them.values[np.arange(count) // 3 * 3])
    np.testing.assert_array_equal(third.index, all_of_them.index)
    np.testing.assert_array_equal(third.active, all_of_them.active)
    assert not all_of_them.repeats.any()
