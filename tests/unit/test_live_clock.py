"""Frames and sound of a live stream, in any pieces, late, with holes, and by two clocks that drift."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avgate.core.errors import UsageError
from avgate.core.state import pack, unpack
from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.media.live_clock import LiveClock

FPS = 25


def hum(seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * 220 * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)


def frames(start_s: float, end_s: float, late_s: float = 0.0) -> list[tuple[float, float]]:
    """Frames as (arrival, time)."""
    times = np.arange(round(start_s * FPS), round(end_s * FPS)) / FPS
    return [(t + late_s, t) for t in times.tolist()]


def sound(start_s: float, end_s: float, piece_s: float = 0.1, late_s: float = 0.0) -> list[tuple[float, Waveform]]:
    """Pieces as (arrival, piece); a piece is there when its last sample has been heard."""
    samples, n = hum(end_s - start_s), round(piece_s * SAMPLE_RATE)
    pieces = [Waveform(samples[a : a + n], start_s + a / SAMPLE_RATE) for a in range(0, len(samples), n)]
    return [(piece.end_s + late_s, piece) for piece in pieces]


class Stream:
    """A clock, what it gave, and what was known when."""

    def __init__(self, **settings):
        self.clock = LiveClock(**({"video": True, "sound": True} | settings))
        self.heard: list[Waveform] = []
        self.seen: list[float] = []
        self.known: list[tuple[float, float]] = []

    def play(self, *arrivals: list) -> Stream:
        for arrival, what in sorted((a for some in arrivals for a in some), key=lambda a: a[0]):
            if isinstance(what, Waveform):
                self.heard += self.clock.sound(what)
            elif self.clock.frame(what):
                self.seen.append(what)
            self.known.append((arrival, self.clock.known_s))
        return self

    def delay(self, from_s: float, until_s: float) -> float:
        """How far behind the known time was at most."""
        return max(arrival - known for arrival, known in self.known if from_s <= arrival <= until_s)

    @property
    def heard_s(self) -> list[tuple[float, float]]:
        """Stretches of sound without gaps."""
        spans: list[list[float]] = []
        for piece in self.heard:
            if spans and abs(piece.start_s - spans[-1][1]) < 1e-6:
                spans[-1][1] = piece.end_s
            else:
                spans.append([piece.start_s, piece.end_s])
        return [(round(a, 4), round(b, 4)) for a, b in spans]


def joined(pieces: list[Waveform]) -> np.ndarray:
    return np.concatenate([piece.samples for piece in pieces])


@pytest.mark.parametrize("piece_s", [0.001, 0.02, 0.1, 0.37, 3.0])
@pytest.mark.parametrize("start_s", [0.0, 0.0213, 4000.7])
def test_exact_stamps_change_nothing_to_the_bit(piece_s, start_s):
    samples, n = hum(6.1), round(piece_s * SAMPLE_RATE)
    clock = LiveClock(video=False, sound=True)
    pieces = [Waveform(samples[a : a + n], start_s + a / SAMPLE_RATE) for a in range(0, len(samples), n)]
    given = [piece for pushed in pieces for piece in clock.sound(pushed)] + clock.finish()
    assert [piece.start_s for piece in given] == [piece.start_s for piece in pieces]
    np.testing.assert_array_equal(joined(given), samples)
    assert clock.known_s == pytest.approx(given[-1].end_s, abs=1e-9)
    assert clock.drift_ppm == pytest.approx(0, abs=1e-6)
    assert clock.notes() == []


def test_stamps_that_wobble_change_nothing_either():
    rng, samples = np.random.default_rng(0), hum(60)
    clock = LiveClock(video=False, sound=True)
    given = []
    for first in range(0, len(samples), 320):
        stamp_s = 1 + first / SAMPLE_RATE + rng.uniform(-0.025, 0.025)
        given += clock.sound(Waveform(samples[first : first + 320], stamp_s if first else 1.0))
    np.testing.assert_array_equal(joined(given), samples)
    assert clock.sound_holes == 0


@pytest.mark.slow
@pytest.mark.parametrize("ppm", [200, -200, 30])
def test_over_an_hour_sound_stays_with_the_picture(ppm):
    """The sound's clock is faster or slower, and stamps wobble by 25 ms either way."""
    rng, clock, seconds = np.random.default_rng(1), LiveClock(video=False, sound=True), 3600
    rate, piece = SAMPLE_RATE * (1 + 1e-6 * ppm), np.zeros(SAMPLE_RATE // 2, np.float32)
    ends, truth = [], []
    for first in range(0, int(seconds * rate), len(piece)):
        ends.append(clock.sound(Waveform(piece, 1 + first / rate + rng.uniform(-0.025, 0.025)))[0].end_s)
        truth.append(1 + (first + len(piece)) / rate)
    assert np.abs(np.subtract(ends, truth)).max() < 0.025
    assert clock.squeezed_s - clock.stretched_s == pytest.approx(seconds * 1e-6 * ppm, rel=0.1, abs=0.02)
    assert clock.drift_ppm == pytest.approx(ppm, abs=2)
    assert clock.sound_holes == clock.overlap_s == clock.late_sound_s == 0
    assert f"{ppm:+d} millionths" in clock.notes()[0]


@pytest.mark.parametrize("piece_s", [0.005, 0.02, 0.5])
def test_a_short_loss_is_made_up_for_without_a_gap_or_a_click(piece_s):
    lost = sound(0, 20, piece_s)
    clock = Stream(video=False).play(lost, [(20.04 + a, Waveform(p.samples, p.start_s + 20.04)) for a, p in lost])
    assert clock.heard_s == [(0, pytest.approx(40.04, abs=0.01))]
    assert clock.clock.stretched_s == pytest.approx(0.04, abs=0.01)
    # Between two samples, 220 Hz changes by 0.0864 at most; the loss itself is at a zero crossing.
    assert np.abs(np.diff(joined(clock.heard))).max() < 0.1


def test_a_gap_is_kept_and_an_overlap_is_cut():
    stream = Stream(video=False).play(sound(0, 2), sound(2.5, 4))
    assert stream.heard_s == [(0, 2), (2.5, 4)]
    assert (stream.clock.sound_holes, stream.clock.sound_hole_s) == (1, pytest.approx(0.5))
    for piece in [piece for _, piece in sound(3.7, 5, 0.02)]:
        stream.heard += stream.clock.sound(piece)
    assert stream.heard_s == [(0, 2), (2.5, 5)]
    assert stream.clock.overlap_s == pytest.approx(0.3)
    np.testing.assert_array_equal(joined(stream.heard)[-100:], hum(1.3)[-100:])


def test_what_is_given_does_not_change_when_the_caller_reuses_its_buffer():
    clock, buffer = LiveClock(video=False, sound=True), np.ones(160, np.float32)
    given = clock.sound(Waveform(buffer, 0.0)) + clock.sound(Waveform(buffer, 0.01))
    buffer[:] = 0
    assert joined(given).min() == 1


def test_late_sound_is_waited_for():
    stream = Stream().play(frames(0, 10), sound(0, 10, late_s=0.4))
    assert stream.heard_s == [(0, 10)]
    assert len(stream.seen) == 250
    assert 0.45 < stream.delay(1, 9) < 0.55
    assert stream.clock.notes() == []


@pytest.mark.parametrize("late_s", [-0.01, 0.01])
def test_long_pieces_lose_nothing_where_the_wait_is_longer(late_s):
    """Whether a piece comes just before its frames or after them."""
    stream = Stream(wait_s=5).play(frames(0, 12), sound(0, 12, 3.0, late_s))
    assert stream.heard_s == [(0, 12)]
    assert len(stream.seen) == 300
    assert stream.clock.known_s == pytest.approx(11.96)
    ahead = Stream().play(frames(0, 12), [(piece.start_s - 0.01, piece) for _, piece in sound(0, 12, 3.0)])
    assert ahead.heard_s == [(0, 12)]
    assert len(ahead.seen) == 300


def test_a_file_pushed_a_stretch_at_a_time_loses_nothing():
    stream = Stream(wait_s=4)
    for at in range(0, 12, 3):
        stream.play(frames(at, at + 3))
        stream.play(sound(at, at + 3))
    assert stream.heard_s == [(0, 12)]
    assert len(stream.seen) == 300


def test_sound_that_stops_is_not_waited_for_and_comes_back():
    stream = Stream().play(frames(0, 40), sound(0, 10), sound(30, 40))
    assert 0.9 < stream.delay(10, 11.1) < 1.1
    assert stream.delay(11.2, 30) == 0
    assert stream.heard_s == [(0, 10), (pytest.approx(30.1, abs=0.05), 40)]
    assert 0 < stream.clock.late_sound_s < 0.15
    assert stream.delay(30, 40) < 0.15
    assert len(stream.seen) == 1000


def test_frames_that_stop_are_not_waited_for_and_come_back():
    stream = Stream().play(frames(0, 10), sound(0, 40), frames(30, 40))
    assert stream.heard_s == [(0, 40)]
    assert 0.9 < stream.delay(10, 11.1) < 1.2
    assert stream.delay(11.3, 30) < 0.11
    assert len(stream.seen) == 500
    assert stream.clock.late_frames == 0


@pytest.mark.parametrize("late_s", [0.0, 0.4])
def test_after_a_hole_in_both_each_waits_for_the_other(late_s):
    stream = Stream().play(
        *(part for a, b in [(0, 5), (15, 20)] for part in (frames(a, b), sound(a, b, late_s=late_s)))
    )
    assert stream.heard_s == [(0, 5), (15, 20)]
    assert len(stream.seen) == 250
    assert stream.clock.late_sound_s == 0
    assert stream.clock.known_s >= 14.9


def test_after_a_hole_in_both_one_that_stays_away_is_given_up():
    stream = Stream().play(frames(0, 5), sound(0, 5), frames(15, 20))
    assert stream.delay(16.1, 20) == 0


@pytest.mark.parametrize("start_s", [0, 1000])
def test_a_medium_that_never_comes_is_waited_for_once(start_s):
    stream = Stream().play(frames(start_s, start_s + 5))
    known = [known for arrival, known in stream.known if arrival <= start_s + 1]
    assert known == [LiveClock(video=True, sound=True).known_s] * 26
    assert stream.delay(start_s + 1.01, start_s + 5) == 0


def test_a_medium_that_was_not_declared_is_never_waited_for():
    assert Stream(sound=False).play(frames(0, 5)).delay(0, 5) == 0
    assert Stream(video=False).play(sound(0, 5)).delay(0, 5) < 1e-9


def test_a_slow_camera_does_not_wait_for_dead_sound_for_ever():
    clock = LiveClock(video=True, sound=True)
    clock.sound(Waveform(hum(1), 0.0))
    for time_s in range(0, 20, 2):
        clock.frame(float(time_s))
    assert clock.known_s == 18


def test_sound_far_behind_is_cut_where_everything_is_known_already():
    stream = Stream().play(frames(0, 8), sound(0, 5, late_s=2))
    assert stream.heard == []
    assert stream.clock.late_sound_s == pytest.approx(5)
    assert "5.00 s of sound came too late" in stream.clock.notes()[0]


def test_an_empty_piece_says_how_far_the_sound_has_come():
    clock = LiveClock(video=True, sound=True)
    clock.frame(0.0)
    clock.frame(0.5)
    assert clock.sound(Waveform(np.zeros(0, np.float32), 0.4)) == []
    assert clock.known_s == 0.4
    (piece,) = clock.sound(Waveform(hum(0.2), 0.3))
    assert piece.start_s == pytest.approx(0.4)
    assert clock.known_s == 0.5
    clock.frame(1.0)
    clock.sound(Waveform(np.zeros(0, np.float32), 0.55))
    assert clock.known_s == pytest.approx(0.5), "sound within the wobble of stamps may still come"


def test_frames_out_of_order_are_late():
    clock = LiveClock(video=True, sound=False)
    assert [clock.frame(t) for t in (0.0, 0.08, 0.04, 0.08, 0.12)] == [True, True, False, False, True]
    assert clock.late_frames == 2
    assert clock.known_s == 0.12


def test_frames_before_what_is_known_are_late():
    stream = Stream().play(frames(0, 2), sound(0, 10))
    assert [stream.clock.frame(t) for t in (9.96, 10.0)] == [False, True]
    assert stream.clock.late_frames == 1


def test_the_end_waits_for_nothing():
    stream = Stream().play(frames(0, 1), sound(0, 0.5))
    stream.clock.finish()
    assert stream.clock.known_s == 0.96
    with pytest.raises(UsageError, match="after the end"):
        stream.clock.frame(2.0)


@pytest.mark.parametrize("time_s", [np.nan, np.inf, -7 * 86400 - 1, 7 * 86400 + 1, "1", None])
def test_impossible_times_are_refused(time_s):
    clock = LiveClock(video=True, sound=True)
    with pytest.raises(UsageError, match=r"stream: a frame has the time .*\n.*give seconds, at most 604800 from 0"):
        clock.frame(time_s)
    with pytest.raises(UsageError, match="stream: sound has the time"):
        clock.sound(Waveform(hum(0.1), time_s))
    assert clock.known_s == LiveClock(video=True, sound=True).known_s


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(9), "float64 of shape"),
        (np.zeros((9, 1), np.float32), r"of shape \(9, 1\)"),
        ([0.0], "list"),
        (np.array([0, np.nan], np.float32), "NaN or Inf"),
    ],
)
def test_what_is_no_sound_is_refused(samples, said):
    with pytest.raises(UsageError, match=said):
        LiveClock(video=True, sound=True).sound(Waveform(samples, 1.0))


@pytest.mark.parametrize("settings", [{"video": False, "sound": False}, {"wait_s": -1}, {"wait_s": np.nan}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UsageError, match="stream: "):
        LiveClock(**({"video": True, "sound": True} | settings))


def test_what_was_not_declared_is_refused():
    with pytest.raises(UsageError, match="opened without"):
        LiveClock(video=True, sound=False).sound(Waveform(hum(0.1), 0.0))
    with pytest.raises(UsageError, match="opened without"):
        LiveClock(video=False, sound=True).frame(0.0)


def test_a_source_that_begins_again_is_an_error_and_changes_nothing():
    stream = Stream().play(frames(0, 10), sound(0, 10))
    before = pack(stream.clock.state())
    with pytest.raises(UsageError, match=r"a frame at 0.000 s came after 9.960 s: the clock went back"):
        stream.clock.frame(0.0)
    with pytest.raises(UsageError, match=r"sound at 0.000 s came after 10.000 s"):
        stream.clock.sound(Waveform(hum(0.1), 0.0))
    assert pack(stream.clock.state()) == before


def bumpy() -> list[tuple[float, float | Waveform]]:
    """Two minutes with drift, wobble, a hole in both, a stop of the sound and a piece that comes twice."""
    rng, rate = np.random.default_rng(3), SAMPLE_RATE * 1.001
    samples = hum(120)
    arrivals: list[tuple[float, float | Waveform]] = [*frames(0, 40), *frames(50, 120)]
    for first in range(0, len(samples), 4000):
        stamp_s = 0.1 + first / rate + rng.uniform(-0.02, 0.02)
        if not (40 < stamp_s < 50 or 70 < stamp_s < 80):
            piece = Waveform(samples[first : first + 4000], stamp_s)
            arrivals += [(stamp_s + 0.3, piece)] * (2 if first == 40_000 else 1)
    return sorted(arrivals, key=lambda a: a[0])


@pytest.mark.slow
def test_a_clock_saved_in_the_middle_goes_on_to_the_bit():
    arrivals = bumpy()
    whole = Stream().play(arrivals)
    assert whole.clock.overlap_s > 0.2
    assert whole.clock.sound_holes >= 2
    assert whole.clock.squeezed_s > 0.02
    for middle in (1, 400, 1500, 2400):
        first, second = Stream().play(arrivals[:middle]), Stream()
        second.clock.restore(unpack(pack(first.clock.state())))
        second.play(arrivals[middle:])
        assert second.known == whole.known[middle:]
        assert first.seen + second.seen == whole.seen
        heard = first.heard + second.heard
        assert [piece.start_s for piece in heard] == [piece.start_s for piece in whole.heard]
        np.testing.assert_array_equal(joined(heard), joined(whole.heard))
        assert second.clock.notes() == whole.clock.notes()


a_step = st.floats(-0.05, 0.05) | st.floats(-0.3, 3)
a_frame = st.tuples(st.just("frame"), a_step, st.just(0))
a_piece = st.tuples(st.just("sound"), a_step, st.integers(0, 3 * SAMPLE_RATE))


@pytest.mark.slow
@given(st.lists(a_frame | a_piece, max_size=40), st.sampled_from([0.0, 0.2, 1.0, 5.0]))
@settings(max_examples=100)
def test_whatever_comes_known_time_never_goes_back_and_sound_never_overlaps(steps, wait_s):
    clock = LiveClock(video=True, sound=True, wait_s=wait_s)
    now = {"frame": 1.0, "sound": 1.0}
    heard: list[Waveform] = []
    seen: list[float] = []
    known = [clock.known_s]
    for kind, step_s, n in steps:
        time_s = max(0.0, now[kind] + step_s)
        now[kind] = max(now[kind], time_s + n / SAMPLE_RATE)
        if kind == "frame" and clock.frame(time_s):
            seen.append(time_s)
            assert time_s >= known[-1]
        elif kind == "sound":
            given = clock.sound(Waveform(np.zeros(n, np.float32), time_s))
            assert all(piece.start_s >= known[-1] - 0.51 / SAMPLE_RATE for piece in given)
            heard += given
        known.append(clock.known_s)
    clock.finish()
    assert all(a <= b for a, b in pairwise([*known, clock.known_s]))
    assert all(a < b for a, b in pairwise(seen))
    assert all(len(piece.samples) for piece in heard)
    assert all(a.end_s <= b.start_s + 1e-6 for a, b in pairwise(heard))
    assert all(abs(b.start_s - a.end_s) < 1e-6 or b.start_s - a.end_s > 0.0199 for a, b in pairwise(heard))
