"""Live streams of real recordings: one result per frame, the same as of the whole recording, whatever comes when."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avgate.core.errors import AvgateError, CheckpointError, UsageError
from avgate.core.types import VideoFrame, Waveform
from avgate.inference.estimator import Estimator
from avgate.inference.streaming import Streamer
from avgate.media import open_recording
from tests.few import few
from tests.live import (
    BACKBONES,
    Given,
    assert_same_trace,
    causal_checkpoint,
    chunks,
    offline,
    pieces_of,
    played,
    shifted,
)

pytestmark = pytest.mark.usefixtures("any_face_model")

CLIPS = ("grid_lbax4n.mpg", "obama_speech.mp4", "face_noface.mov")


@pytest.fixture(scope="module")
def estimator(clips_dir) -> Estimator:
    return Estimator(causal_checkpoint(clips_dir / "grid_bbaf2n.mpg"))


@pytest.fixture(scope="module")
def clip(clips_dir) -> Given:
    """Three seconds, held in memory."""
    recording = open_recording(clips_dir / "grid_lbax4n.mpg")
    return Given([*recording.frames()], [*recording.sound()])


@pytest.fixture(scope="module")
def expected(estimator, clip):
    return offline(estimator, clip)


def stream_of(estimator: Estimator, pieces: list, **options):
    with Streamer(estimator, **options) as stream:
        results = played(stream, pieces)
        return stream.trace(results), results


@pytest.mark.long
def test_a_stream_says_what_its_results_rest_on(estimator, clips_dir):
    recording = open_recording(clips_dir / "face_noface.mov")
    with Streamer(estimator) as stream:
        trace = stream.trace(played(stream, pieces_of(recording)))
        notes = stream.notes
    unknown = np.isnan(trace.targets["valence"])
    mute = trace.present["audio"] & ~trace.present["face"] & ~trace.present["voice"] & ~unknown
    assert mute.sum() > 50
    assert unknown.any()
    said = f"{mute.sum()} of {len(trace)} frames rest on sound alone in which nobody seems to speak, and mean little."
    assert said in notes
    assert any(note.startswith(f"{unknown.sum()} of {len(trace)} frames have no estimate: ") for note in notes)


@pytest.mark.slow
def test_a_recording_that_begins_before_zero_is_the_same_as_a_stream(estimator, clip):
    early = Given(*([shifted(piece, -0.5) for piece in pieces] for pieces in (clip.frames(), clip.sound())))
    expected = offline(estimator, early)
    trace, _ = stream_of(estimator, [shifted(piece, -0.5) for piece in pieces_of(clip)])
    assert np.isnan(trace.targets["valence"]).sum() == 13
    assert_same_trace(trace, expected)


@pytest.mark.parametrize(
    "how",
    [
        {},
        pytest.param({"chunk_s": 3.0}, marks=pytest.mark.long),
        pytest.param({"chunk_s": 0.001}, marks=pytest.mark.long),
        pytest.param({"late_s": 0.4}, marks=pytest.mark.long),
        pytest.param({"chunk_s": 0.37, "late_s": 0.4}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_stream_gives_the_trace_of_the_whole_recording(how, estimator, clip, expected):
    trace, results = stream_of(estimator, pieces_of(clip, **how), wait_s=4.0)
    assert_same_trace(trace, expected)
    longest = 0.12 + how.get("late_s", 0.0) + how.get("chunk_s", 0.02)
    assert max(result.delay_s for result in results) <= longest
    assert all(result.looked for result in results)
    boxes = np.array([result.face_box or [np.nan] * 4 for result in results])
    np.testing.assert_allclose(boxes, expected.face_box, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("late_s", [0.0, 0.4])
@pytest.mark.parametrize("name", few(CLIPS, 1, pytest.mark.long))
def test_every_real_clip_gives_its_trace_as_a_stream(name, late_s, estimator, clips_dir):
    recording = open_recording(clips_dir / name)
    trace, _ = stream_of(estimator, pieces_of(recording, late_s=late_s), wait_s=1.0)
    assert_same_trace(trace, offline(estimator, open_recording(clips_dir / name)))


@pytest.mark.long
def test_missing_frames_give_the_trace_of_what_came(estimator, clip):
    lost = frozenset(np.random.default_rng(0).choice(75, 8, replace=False).tolist())
    came = Given([f for i, f in enumerate(clip.frames()) if i not in lost], [*clip.sound()])
    trace, results = stream_of(estimator, pieces_of(clip, skip=lost))
    assert len(results) == 67
    assert_same_trace(trace, offline(estimator, came))


@pytest.mark.long
@pytest.mark.parametrize("hole_s", [2.5, 10.0])
def test_after_a_hole_the_stream_goes_on_as_the_whole_recording_does(hole_s, estimator, clip):
    """Windows are of two seconds: after a hole of ten, estimates begin anew; one of 2.5 s is remembered across."""
    frames = [*clip.frames(), *(shifted(f, 3 + hole_s) for f in clip.frames())]
    sound = [*clip.sound(), *(shifted(p, 3 + hole_s) for p in clip.sound())]
    both = Given(frames, sound)
    coming = pieces_of(Given([*clip.frames()], [*clip.sound()]))
    trace, results = stream_of(estimator, coming + [shifted(p, 3 + hole_s) for p in coming])
    assert len(results) == 150
    assert_same_trace(trace, offline(estimator, both))


@pytest.mark.slow
def test_where_the_sound_stops_the_face_alone_goes_on_and_the_delay_recovers(estimator, clip):
    sound = [p for p in chunks(clip, 0.02) if p.end_s <= 1.0]
    coming = [p for p in pieces_of(clip) if isinstance(p, VideoFrame) or p.end_s <= 1.0]
    trace, results = stream_of(estimator, coming, wait_s=0.5)
    assert_same_trace(trace, offline(estimator, Given([*clip.frames()], sound)))
    assert not trace.present["audio"][trace.time_s >= 1.1].any()
    assert np.isfinite(trace.targets["valence"]).all()
    assert max(r.delay_s for r in results if r.time_s < 1.2) > 0.4
    assert max(r.delay_s for r in results if 1.6 < r.time_s < 2.9) < 0.121


def test_results_say_that_further_people_are_in_view_and_where_the_followed_one_is(estimator, clip):
    beside = np.zeros_like(clip._frames[0].image)
    frames = [replace(f, image=np.hstack([f.image, f.image if i else beside])) for i, f in enumerate(clip._frames[:4])]
    with Streamer(estimator, sound=False) as stream:
        results = played(stream, [*frames, *(shifted(frame, 1.2) for frame in frames[1:])])
    assert results[0].others == 0
    assert results[-1].others == 1
    assert all(0 < result.face_box[0] < result.face_box[2] < 0.5 for result in results)


@pytest.mark.long
def test_a_camera_that_changes_size_keeps_its_person(estimator, clip):
    frames = [f if i < 40 else replace(f, image=f.image[::2, ::2]) for i, f in enumerate(clip.frames())]
    smaller = Given(frames, [*clip.sound()])
    trace, _ = stream_of(estimator, pieces_of(smaller))
    assert_same_trace(trace, offline(estimator, smaller))
    assert trace.present["face"].mean() > 0.9


@pytest.mark.slow
def test_a_saved_stream_goes_on_to_the_bit(estimator, clip, tmp_path):
    pieces = pieces_of(clip)
    with Streamer(estimator) as one, Streamer(estimator) as other:
        for piece in pieces[:140]:
            one.push(piece)
        one.save(tmp_path / "stream")
        other.resume(tmp_path / "stream")
        first, second = played(one, pieces[140:]), played(other, pieces[140:])
    assert len(first) >= 30
    assert str(first) == str(second)


@pytest.mark.slow
def test_a_damaged_or_strange_saved_stream_is_refused(estimator, clips_dir, tmp_path):
    with Streamer(estimator) as stream, Streamer(estimator, sound=False) as silent:
        stream.save(tmp_path / "stream")
        damaged = bytearray((tmp_path / "stream").read_bytes())
        damaged[-1] ^= 1
        (tmp_path / "damaged").write_bytes(damaged)
        for name, words in (("damaged", "checksum"), ("missing", "No such file")):
            with pytest.raises(CheckpointError, match=words):
                stream.resume(tmp_path / name)
        with pytest.raises(CheckpointError, match="other settings: sound"):
            silent.resume(tmp_path / "stream")
        silent.push(VideoFrame(0.0, np.zeros((48, 64, 3), np.uint8)))  # it is as it was
    weights = {name: values + 1 for name, values in estimator.checkpoint.weights.items()}
    strange, wider = replace(estimator.checkpoint, weights=weights), Estimator(estimator.checkpoint, level=0.8)
    others = {"weights": Streamer(strange), "level": Streamer(wider), "wait_s": Streamer(estimator, wait_s=2)}
    for setting, other in others.items():
        with other, pytest.raises(CheckpointError, match=f"other settings: {setting}"):
            other.resume(tmp_path / "stream")


@pytest.mark.slow
def test_frames_that_are_not_looked_at_have_results_too(estimator, clip):
    with Streamer(estimator) as stream:
        results = []
        for piece in pieces_of(clip):
            results += stream.push(piece, look=isinstance(piece, Waveform) or round(25 * piece.time_s) % 3 == 0)
        results += stream.finish()
    assert [r.time_s for r in results] == clip.frame_times().tolist()
    assert sum(r.looked for r in results) == 25
    assert all(np.isfinite(r.targets["valence"]) and r.present["face"] for r in results)


@pytest.mark.slow
def test_where_sound_is_analysed_less_often_steps_repeat_those_before_and_say_so(estimator, clip):
    def heard(every: int) -> tuple[list[Any], list[str]]:
        with Streamer(estimator, video=False) as stream:
            results = [r for piece in chunks(clip, 0.05) for r in stream.push(piece, every=every)]
            return [*results, *stream.finish()], stream.notes

    (all_of_them, notes), (fewer, told) = heard(1), heard(5)
    assert all(r.heard for r in all_of_them)
    assert not any("no time" in note for note in notes)
    assert [r.heard for r in fewer] == [i % 5 == 0 for i in range(len(fewer))]
    assert [(r.time_s, r.present) for r in fewer] == [(r.time_s, r.present) for r in all_of_them]
    assert f"In {sum(not r.heard for r in fewer)} of {len(fewer)} rows there was no time" in " ".join(told)
    assert [r.raw for r in fewer] != [r.raw for r in all_of_them]


@pytest.mark.long
def test_sound_alone_and_frames_alone_are_streams_too(estimator, clip):
    heard = Given([], [*clip.sound()])
    trace, _ = stream_of(estimator, [*chunks(clip, 0.05)], video=False)
    assert_same_trace(trace, offline(estimator, heard))
    seen = Given([*clip.frames()], [])
    trace, _ = stream_of(estimator, [*clip.frames()], sound=False)
    assert_same_trace(trace, offline(estimator, seen))


@pytest.mark.long
def test_streams_side_by_side_give_what_each_gives_alone(estimator, clip, expected):
    with ThreadPoolExecutor(3) as pool:
        both = [pool.submit(stream_of, estimator, pieces_of(clip, chunk_s=c)) for c in (0.02, 0.05, 0.1)]
        for one in both:
            assert_same_trace(one.result()[0], expected)


def test_what_a_stream_can_not_take_is_refused_in_plain_words(estimator, clip):
    frame = next(iter(clip.frames()))
    with Streamer(estimator, sound=False) as stream:
        with pytest.raises(UsageError, match="opened without"):
            stream.push(Waveform(np.zeros(10, np.float32)))
        with pytest.raises(UsageError, match="tuple is neither a frame nor sound"):
            stream.push((0.0, frame.image))
        stream.push(frame)
        stream.finish()
        with pytest.raises(UsageError, match="after the end"):
            stream.push(replace(frame, time_s=1.0))
    with pytest.raises(AvgateError, match="neither frames nor sound"):
        Streamer(estimator, video=False, sound=False)


def test_an_image_that_is_none_is_refused_and_the_stream_goes_on(estimator, clip):
    frame = next(iter(clip.frames()))
    with Streamer(estimator, sound=False) as stream:
        grey, floats = frame.image[..., 0], frame.image / 255
        for image in (grey, floats, np.dstack([frame.image, grey]), frame.image[:0], frame.image.tolist(), None):
            with pytest.raises(UsageError, match=r"stream: the image at 0.0 s is .*\n.*give uint8 pixels of shape"):
                stream.push(replace(frame, time_s=0.0, image=image))
        stream.push(replace(frame, time_s=0.0, image=frame.image[:, ::-1]))
        assert [result.present["face"] for result in stream.finish()] == [True]
        assert not stream.notes or "too late" not in " ".join(stream.notes)
    with pytest.raises(UsageError, match="after the stream was closed"):
        stream.push(frame)


def test_a_closed_stream_is_neither_saved_nor_resumed_nor_finished(estimator, tmp_path):
    with Streamer(estimator, sound=False) as stream:
        stream.save(tmp_path / "stream")
    for use in (lambda: stream.save(tmp_path / "stream"), lambda: stream.resume(tmp_path / "stream"), stream.finish):
        with pytest.raises(UsageError, match=r"after the stream was closed\n  -> begin a new stream"):
            use()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Fraction, np.float32, np.int64])
def test_times_may_be_any_real_numbers(kind, estimator, clip, tmp_path):
    frame = next(iter(clip.frames()))
    with Streamer(estimator) as stream:
        for number in range(3):
            stream.push(Waveform(np.zeros(16_000, np.float32), kind(number)))
            stream.push(replace(frame, time_s=kind(number)), look=False)
        stream.save(tmp_path / "stream")
        results = stream.finish()
    assert {type(x) for result in results for x in (result.time_s, result.delay_s)} == {float}


@pytest.mark.slow
def test_a_model_of_voices_alone_says_nothing_of_faces(clip, clips_dir):
    voice = Estimator(causal_checkpoint(clips_dir / "grid_bbaf2n.mpg", ("logmel?causal=true",)))
    trace, _ = stream_of(voice, pieces_of(clip))
    assert set(trace.present) == {"audio", "voice"}
    assert_same_trace(trace, offline(voice, clip))


@pytest.mark.slow
def test_a_stream_without_sound_says_that_nobody_speaks_as_its_trace_does(estimator, clip):
    frames = [*clip.frames()][:6]
    trace, _ = stream_of(estimator, frames, sound=False)
    assert_same_trace(trace, offline(estimator, Given(frames, [])))
    assert not trace.present["voice"].any()


def test_a_pause_of_days_costs_no_time(estimator, clip):
    first, second = [*clip.frames()][:2]
    late = [replace(frame, time_s=frame.time_s + 500_000) for frame in (first, second)]
    with Streamer(estimator) as stream:
        results = stream.push(first)
        for frame in late:
            results += stream.push(Waveform(np.zeros(0, np.float32), frame.time_s)) + stream.push(frame)
        results += stream.finish()
    assert [r.time_s for r in results] == [first.time_s, *(frame.time_s for frame in late)]


@pytest.mark.slow
def test_a_model_that_reads_faces_alone_refuses_a_stream_of_sound(clips_dir: Path):
    face = Estimator(causal_checkpoint(clips_dir / "grid_bbaf2n.mpg", BACKBONES[1:]))
    with pytest.raises(UsageError, match="reads nothing of what will come"):
        Streamer(face, video=False)


@pytest.mark.slow
def test_a_streams_notes_say_what_was_late(estimator, clip):
    pieces = pieces_of(clip)
    late = [p for p in pieces if isinstance(p, Waveform) and 1.0 <= p.start_s < 1.5]
    on_time = [p for p in pieces if not any(p is one for one in late)]
    at = next(i for i, p in enumerate(on_time) if isinstance(p, VideoFrame) and p.time_s > 2.6)
    with Streamer(estimator, wait_s=0.2) as stream:
        results = played(stream, on_time[:at] + late + on_time[at:])
        assert len(results) == 75
        assert "0.50 s of sound" in " ".join(stream.notes)
