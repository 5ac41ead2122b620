from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.stamps import SOUND, VIDEO, Stamped, corrected, off, reordered, steady, stream

SIZES_S = [-3 * 86_400, -7, -2, -0.3, 0.3, 2, 30, 3 * 86_400]
"""Seconds by which stamps are wrong in these tests."""


def untrue(packets: list[Stamped], tolerance_s: float = 0.02) -> list[Stamped]:
    """Packets whose time isn't the true one. Those without a time aren't among them."""
    return [p for p in packets if p.time_s is not None and abs(p.time_s - p.true_s) > tolerance_s]


def test_good_stamps_are_left_alone():
    for packets in (steady(3.0), reordered(steady(3.0)), steady(3.0, fps=2, sound_s=0.5)):
        out, clock = corrected(packets)
        assert out == packets
        assert not clock.restarts
        assert not clock.wrong


@pytest.mark.parametrize(
    "wrong", [[10], [10, 11, 12], [0], *(pytest.param(w, marks=pytest.mark.slow) for w in ([10, 12], [10, 50], [1]))]
)
@pytest.mark.parametrize("kind", [VIDEO, SOUND])
def test_wrong_stamps_move_nothing_but_their_own_packets(kind, wrong: list[int]):
    for packets in (steady(3.0), reordered(steady(3.0))):
        for off_s in SIZES_S:
            bent = off(packets, lambda p, i, s=off_s: s if p.stream is kind and i in wrong else 0.0)
            for starts_over in (False, True):
                out, clock = corrected(bent, starts_over)
                # A first packet that is early can't be told from sound or a picture that is followed by a pause.
                assert len(untrue(out)) <= (wrong == [0] and -3600 < off_s < 0)
                assert sum(p.time_s is None for p in out) <= len(wrong) + (wrong == [10, 12])
                assert not clock.restarts


def test_where_wrong_stamps_should_be_is_told():
    packets = off(steady(3.0), lambda p, i: 2.0 if p.stream is SOUND and i in (10, 60) else 0.0)
    assert corrected(packets)[1].wrong == {"audio": [pytest.approx(0.2), pytest.approx(1.2)]}


@pytest.mark.parametrize("gap_s", [0.15, 2, 30])
def test_a_gap_keeps_its_place_beside_wrong_stamps(gap_s: float):
    before = steady(2.0)
    after = [replace(p, true_s=p.true_s + 2 + gap_s) for p in steady(2.0)]
    after = [replace(p, pts=round(1000 * p.true_s), dts=round(1000 * p.true_s)) for p in after]
    for wrong in ([], [95], [98, 103]):
        bent = off(before + after, lambda p, i, at=wrong: 1.3 if p.stream is SOUND and i in at else 0.0)
        out, clock = corrected(bent)
        assert not untrue(out)
        assert sum(p.time_s is None for p in out) == len(wrong)
        assert not clock.restarts


def test_a_picture_that_stands_still_until_its_last_frame_keeps_that_frames_time():
    packets = stream(VIDEO, [0.0, 0.04, 5.0, 5.04, 60.0], 0.04)
    assert not untrue(corrected(packets)[0])


@pytest.mark.slow
@pytest.mark.parametrize("length_s", [0.32, 0.88, 5.0])
@pytest.mark.parametrize("start_s", [0.0, 1.4])
def test_parts_that_start_over_follow_each_other(length_s: float, start_s: float):
    part = [replace(p, pts=p.pts + 1400, dts=p.dts + 1400) for p in steady(length_s)] if start_s else steady(length_s)
    for one in (part, reordered(part)):
        packets = [replace(p, true_s=p.true_s + k * length_s + start_s) for k in range(4) for p in one]
        for starts_over in (False, True):
            out, clock = corrected(packets, starts_over)
            assert len(clock.restarts) == 3
            assert not untrue(out, 0.04)


def test_streams_that_enter_the_next_part_apart_move_by_the_same_amount():
    first, second = steady(2.0), [replace(p, true_s=p.true_s + 2.0) for p in steady(2.0)]
    packets = [p for p in first + second if p.stream is VIDEO]
    late = iter([p for p in first + second if p.stream is SOUND])
    packets = [x for p in packets for x in (p, next(late), next(late))][10:]
    packets = (
        packets[:60] + [p for p in packets[60:] if p.stream is VIDEO] + [p for p in packets[60:] if p.stream is SOUND]
    )
    out, clock = corrected(packets, starts_over=True)
    assert len(clock.restarts) == 1
    assert not untrue(out, 0.03)


def test_times_that_leap_are_joined_only_where_times_may_start_over():
    packets = steady(2.0) + [
        replace(p, pts=p.pts + 50_000, dts=p.dts + 50_000, true_s=p.true_s + 2) for p in steady(2.0)
    ]
    out, clock = corrected(packets, starts_over=True)
    assert not untrue(out)
    assert clock.restarts == [pytest.approx(2.0)]
    for leap_s in (50, 7200, 3 * 86_400):
        packets = steady(2.0) + steady(2.0, 2.0 + leap_s)
        out, clock = corrected(packets)
        assert out == packets
        assert not clock.restarts


def test_decoding_times_that_are_guessed_out_of_order_change_nothing():
    # As FFmpeg reads a Matroska file in which x264 refers to B-frames after some without.
    pts = [0, 133, 67, 33, 100, 267, 200, 167, 233, 3130, 2000, 300, 3100, 15_000, 9030, 9000, 9060]
    dts = [0, 133, 67, 33, 67, 100, 200, 167, 233, 267, 2000, 300, 3100, 3130, 9030, 9000, 9060]
    packets = [Stamped(VIDEO, p / 1000, p, d, 33) for p, d in zip(pts, dts, strict=True)]
    out, clock = corrected(packets, guessed=True)
    assert out == packets
    assert not clock.wrong
    assert not clock.restarts


def test_packets_that_arent_shown_decide_nothing():
    packets = steady(2.0)
    hidden = [replace(p, pts=p.pts - 700, dts=p.dts - 700, is_discard=True) for p in packets[40:80]]
    out, clock = corrected(packets[:80] + hidden + packets[80:])
    assert [p for p in out if not p.is_discard] == packets
    assert not clock.restarts


def test_an_overlap_isnt_a_further_part_where_times_dont_start_over():
    sound = stream(SOUND, [i / 50 for i in range(100)], 0.02)
    overlapping = [replace(p, pts=p.pts + 1700, dts=p.dts + 1700) for p in sound]
    out, clock = corrected(sound + overlapping)
    assert out == sound + overlapping
    assert not clock.restarts


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_wrong_stamps_of_any_kind_beside_joins_and_gaps(seed: int):
    rng = random.Random(seed)
    one = steady(rng.choice([0.9, 2.0, 4.0]), fps=rng.choice([10, 25, 60]), sound_s=rng.choice([0.02, 0.0232, 0.064]))
    one = reordered(one) if rng.random() < 0.5 else one
    length_s = max(p.true_s + p.duration / 1000 for p in one)
    packets = [replace(p, true_s=p.true_s + k * length_s) for k in range(rng.choice([1, 3])) for p in one]
    inner = [i for i in range(len(packets) - 12) if i % len(one) >= 5]
    chosen = set(rng.sample(inner, rng.choice([1, 2, 3])))
    bent = [
        off([p], lambda p, i: rng.choice(SIZES_S))[0] if number in chosen else p for number, p in enumerate(packets)
    ]
    out, clock = corrected(bent, starts_over=True)
    assert len(clock.restarts) == len(packets) // len(one) - 1
    assert len(untrue(out, 0.03)) <= len(chosen)
