"""What every backbone promises; a new one in BACKBONES is covered without a new test."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from avgate.core.errors import UsageError
from avgate.core.types import SAMPLE_RATE, FaceTrack, FeatureTrack, VideoFrame, Waveform
from avgate.faces import FaceTracker
from avgate.features.base import Backbone, kind_of
from avgate.features.registry import BACKBONES, build_backbones
from avgate.features.steps import Collected, features_of
from tests.deep import sources
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
