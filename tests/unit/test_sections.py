"""Long recordings: pauses cost nothing, and an estimate begins anew after them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from avgate.core.errors import MediaError
from avgate.core.timeline import LONGEST_S, Grid
from avgate.core.types import CROP_SIZE, SAMPLE_RATE, FaceTrack, VideoFrame, Waveform
from avgate.features.audio.chunks import Chunk
from avgate.features.audio.logmel import Logmel, LogmelConfig
from avgate.features.audio.pool import StepPool
from avgate.features.audio.waveform import WaveformBackbone, WaveformConfig
from avgate.features.face.extraction import FaceExtraction, crops_of
from avgate.features.steps import Collected
from avgate.features.tracks import Extracted, extract_tracks
from avgate.inference.predictor import Predictor
from tests.clips import greys
from tests.sounds import noise

RATE, DAY_S = 10.0, 86_400.0


class Made:
    """A recording of grey frames and pieces of sound at any times."""

    name = "made.mp4"

    def __init__(self, frames: list[float], sound: list[Waveform]):
        self.notes: list[str] = []
        self.times, self.pieces = np.array(frames), sound
        self.sound_end_s = sound[-1].end_s if sound else 0.0

    @property
    def has_frames(self) -> bool:
        return len(self.times) > 0

    def frames(self) -> Iterator[VideoFrame]:
        yield from (VideoFrame(float(t), greys(1)[0]) for t in self.times)

    def frame_times(self) -> np.ndarray:
        return self.times

    def sound(self) -> Iterator[Waveform]:
        yield from self.pieces


def hiss(start_s: float, seconds: float = 1.0) -> Waveform:
    return Waveform(noise(seconds, 0.1), start_s)


def backbones() -> list:
    return [Logmel(LogmelConfig(RATE)), WaveformBackbone(WaveformConfig(RATE))]


def spans(found: Extracted) -> list[tuple[float, int, slice]]:
    """Start, steps and rows of each section that a pause of ten seconds parts."""
    return [(s.tracks[0].grid.start_s, len(s.tracks[0].present), s.rows) for s in found.sections(10.0)]


class TestSections:
    def test_a_recording_without_a_long_pause_is_one_section(self):
        found = extract_tracks(Made([0.0, 4.0, 12.0], [hiss(0.5), hiss(11.0)]), backbones())
        ((tracks, rows),) = found.sections(10.0)
        assert rows == slice(0, 3)
        for track, whole in zip(tracks, found.tracks, strict=True):
            np.testing.assert_array_equal(track.values, whole.values)
            np.testing.assert_array_equal(track.present, whole.present)

    def test_what_is_seen_or_heard_between_frames_holds_a_section_together(self):
        found = extract_tracks(Made([0.0, 30.0], [hiss(1.0, 28.0)]), backbones())
        assert [rows for _, _, rows in spans(found)] == [slice(0, 2)]

    def test_after_a_long_pause_a_section_begins_where_something_is_seen_or_heard(self):
        found = extract_tracks(Made([0.0, 0.04, 2 * DAY_S + 0.5], [hiss(0.0), hiss(2 * DAY_S)]), backbones())
        assert spans(found) == [(0.0, 1, slice(0, 2)), (2 * DAY_S, 6, slice(2, 3))]

    def test_sound_that_no_frame_is_near_has_no_section(self):
        found = extract_tracks(Made([DAY_S], [hiss(0.0), hiss(600.0)]), backbones())
        assert spans(found) == [(DAY_S, 1, slice(0, 1))]

    def test_sound_alone_has_a_section_for_each_stretch(self):
        found = extract_tracks(Made([], [hiss(0.0), hiss(DAY_S, 2.0)]), backbones())
        assert [(start_s, steps) for start_s, steps, _ in spans(found)] == [(0.0, 10), (DAY_S, 20)]

    @pytest.mark.parametrize("made", [Made([0.0, LONGEST_S + 1], []), Made([], [hiss(0.0), hiss(LONGEST_S)])])
    def test_a_recording_beyond_the_limit_is_refused_with_its_length(self, made: Made):
        with pytest.raises(MediaError, match=r"made\.mp4: it reaches to 604,801 s \(7\.0 days\)"):
            extract_tracks(made, backbones())


def test_features_of_days_of_pauses_are_not_stored():
    found = extract_tracks(Made([0.0, 3 * DAY_S], [hiss(0.0)]), backbones())
    with pytest.raises(MediaError, match=r"made\.mp4: nothing is seen or heard in 3\.0 days of it"):
        assert found.tracks


def test_frames_every_few_seconds_are_no_pause():
    found = extract_tracks(
        Made(np.arange(0, 1.2 * DAY_S, 9.0).tolist(), []), [WaveformBackbone(WaveformConfig(1.0))][:0]
    )
    assert found.tracks == ()


def faces(times: np.ndarray) -> FaceTrack:
    """Faces whose crops have the brightness of their number."""
    n = len(times)
    crop = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, CROP_SIZE, CROP_SIZE, 3))
    mesh, box = np.zeros((n, 478, 3), np.float32), np.zeros((n, 4), np.float32)
    return FaceTrack(times, np.ones(n, bool), mesh, box, crop, np.zeros(n, int), (64, 48))


def mean_grey(crops: np.ndarray) -> np.ndarray:
    return crops.reshape(len(crops), -1).mean(axis=1, keepdims=True).astype(np.float32)


class OneColumn:
    name, modality, columns, fingerprint, grid = "grey", "video", ("grey",), "0", Grid(RATE)

    def start(self) -> FaceExtraction:
        return FaceExtraction(self.grid, 1, mean_grey, crops_of, batch=7)


@pytest.mark.parametrize("kind", ["sound", "samples", "face"])
def test_a_part_has_the_same_features_as_the_whole(kind: str):
    backbone = {"face": OneColumn(), "sound": backbones()[0], "samples": backbones()[1]}[kind]
    extraction, collected = backbone.start(), Collected(backbone)
    heard = [hiss(0.0, 2.0), hiss(50.03, 1.5)]
    for piece in [faces(np.concatenate([np.arange(30) / 25, 50 + np.arange(30) / 25]))] if kind == "face" else heard:
        collected.add(extraction.push(piece))
    collected.add(extraction.finish(52.0))
    whole = collected.track(52.0)
    assert whole.present.any()
    for first_s, last_s in pairwise([0.0, 1.0, 49.0, 50.5, 52.0]):
        part = collected.track(last_s, first_s)
        steps = slice(round(first_s * RATE), round(last_s * RATE))
        np.testing.assert_array_equal(part.values, whole.values[steps])
        np.testing.assert_array_equal(part.present, whole.present[steps])
        assert part.grid == Grid(RATE, first_s)


def test_a_pool_keeps_nothing_of_a_pause():
    pool = StepPool(Grid(RATE), 1.0, np.ones(1))
    for start_s in (0, 600_000):
        start = start_s * SAMPLE_RATE
        chunk = Chunk(np.zeros(SAMPLE_RATE, np.float32), start, start, start + SAMPLE_RATE)
        pool.add(chunk, np.arange(80, SAMPLE_RATE, 160), np.full((100, 1), start_s, np.float32))
    steps, mean, _ = pool.take(6_000_020)
    assert len(steps) < 50
    assert steps[~np.isnan(mean[:, 0])].tolist() == [*range(15), *range(5_999_995, 6_000_015)]


def test_after_a_long_pause_the_estimate_begins_anew():
    predictor, made = Predictor(), Made([], [hiss(0.0, 3.0), hiss(DAY_S, 3.0)])
    trace = predictor.trace(extract_tracks(made, predictor.backbones), made)
    np.testing.assert_allclose(trace.time_s, np.concatenate([np.arange(30), DAY_S * RATE + np.arange(30)]) / RATE)
    for values in (*trace.targets.values(), *trace.low.values(), *trace.gates.values(), *trace.present.values()):
        np.testing.assert_allclose(np.float64(values[:30]), np.float64(values[30:]), atol=1e-3)
    assert "Long gaps in the sound have no rows." in trace.notes
