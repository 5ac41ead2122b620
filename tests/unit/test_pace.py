"""Where the machine is too slow, faces are skipped, and nothing waits for long; all by a clock of the test's own."""

from __future__ import annotations

import numpy as np
import pytest

from avgate.apps.pace import LATE_S, MOST_LATE_S, STALLED_S, Pace, Playback

STEP_S = 0.1


class Hands:
    """A clock that goes on only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def spend(self, seconds: float) -> None:
        self.now_s += seconds


def played(face_s: float, fps: float = 25.0, seconds: float = 60.0, other_s: float = 0.001, speed: float = 1.0):
    """Frames of a machine that takes so long for a face: their times, lateness, whether they were looked at."""
    hands = Hands()
    playback, pace = Playback(speed, hands, hands.spend), Pace(STEP_S)
    times = np.arange(round(seconds * fps)) / fps
    late, looked = [], []
    for time_s in times:
        late.append(playback.wait(time_s))
        looked.append(pace.looks(time_s, late[-1]))
        hands.spend(face_s if looked[-1] else other_s)
    return times, np.array(late), np.array(looked), pace, playback


@pytest.mark.parametrize("face_s", [0.001, 0.02, 0.039])
def test_a_machine_that_is_fast_enough_looks_at_every_face(face_s):
    _, late, looked, pace, _ = played(face_s)
    assert looked.all()
    assert (pace.frames, pace.skipped) == (1500, 0)
    assert late.max() == pytest.approx(0.0, abs=1e-6)


def test_frames_may_wait_as_long_as_a_piece_of_sound_and_no_longer():
    pace = Pace(STEP_S)
    assert pace.every(3.0, late_s=0.1) == 1
    assert [pace.looks(i / 25, late_s=0.7) for i in range(10)] == [True] * 10
    assert not all(pace.looks(1 + i / 25, late_s=3.15) for i in range(10))
    assert pace.every(0.02, late_s=0.1) == 1
    assert not all(pace.looks(2 + i / 25, late_s=0.7) for i in range(10))


def test_sound_is_analysed_twice_a_second_from_when_it_waits_for_long_until_nothing_waits():
    pace = Pace(STEP_S)
    late = [0.0, MOST_LATE_S, MOST_LATE_S + 0.06, LATE_S, 0.06, 0.0]
    assert [pace.every(0.05, late_s) for late_s in late] == [1, 1, 5, 5, 1, 1]


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
@pytest.mark.parametrize("face_s", [0.05, 0.09, 0.15, 0.3, 0.7])
def test_a_slow_machine_skips_as_few_faces_as_it_can_and_nothing_piles_up(face_s, fps):
    times, late, looked, pace, playback = played(face_s, fps)
    assert late.max() <= MOST_LATE_S + face_s, "the backlog is bounded"
    assert late[-500:].mean() <= late[:500].mean() + 0.02, "and doesn't grow"
    possible = 1 / fps / face_s
    assert looked.mean() == pytest.approx(possible, rel=0.12), "it looks at what it has time for"
    assert pace.skipped == (~looked).sum()
    assert np.diff(times[looked]).max() <= 1.1 * max(STEP_S, face_s) + 2 / fps, "the faces are spread over time"
    assert playback.stopped_s == 0


def test_a_machine_that_is_a_little_too_slow_looks_at_a_face_in_nearly_every_step():
    times, _, looked, _, _ = played(0.06)
    steps = np.floor(times / STEP_S + 1e-6)
    assert len(set(steps[looked])) >= 0.9 * len(set(steps))


def test_one_hiccup_is_caught_up_with_and_forgotten():
    pace = Pace(STEP_S)
    late = [0.0, 0.0, 0.35, 0.31, 0.27, 0.23, 0.0, 0.0]
    looked = [pace.looks(0.04 * i, late_s) for i, late_s in enumerate(late)]
    assert looked == [True, True, False, False, False, False, True, True]


def test_lateness_below_the_limit_costs_no_face():
    pace = Pace(STEP_S)
    assert all(pace.looks(0.04 * i, LATE_S) for i in range(50))


def test_a_file_plays_at_the_speed_that_is_asked_for():
    hands = Hands()
    playback = Playback(2.0, hands, hands.spend)
    assert playback.wait(5.0) == 0, "it starts with the first piece, whatever its time"
    began_s = hands()
    assert playback.wait(7.0) == 0
    assert hands() - began_s == pytest.approx(1.0)
    hands.spend(0.25)
    assert playback.wait(7.1) == pytest.approx(0.2)
    assert playback.due_s(7.1) == pytest.approx(began_s + 1.05)


def test_at_speed_0_nothing_waits_and_nothing_is_late():
    _, late, looked, _, playback = played(3.0, speed=0.0, seconds=4)
    assert looked.all()
    assert not late.any()
    assert playback.stopped_s == 0


def test_a_file_that_a_machine_cannot_follow_is_stopped_and_faces_are_still_looked_at():
    _, late, looked, _, playback = played(0.02, other_s=0.01, speed=20.0)
    assert late.max() <= STALLED_S
    assert playback.stopped_s > 10, "60 s in 3 s are too much; every frame takes 10 ms or more"
    assert looked.mean() > 0.01
