"""Microphones, with a sounddevice that has no hardware: rates, channels, clocks, and what can go wrong."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

from avgate.core.errors import MediaError, UsageError
from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.media.microphone import BLOCK_S, Microphone, microphones
from tests.clips import tone
from tests.microphones import FakeSounddevice

OURS_LESS_ITS_S = -500.0
"""Our clock less PortAudio's."""


@pytest.fixture
def plug_in(monkeypatch):
    def plug(**settings) -> FakeSounddevice:
        fake = FakeSounddevice(**settings)
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        return fake

    return plug


def heard(fake: FakeSounddevice, samples: np.ndarray, rate: int, delays_s=(0.005,), latency_s=0.01, from_s=0.0):
    """The pieces that a microphone makes of sound that begins at from_s on our clock, block by block.

    Args:
        fake: the module.
        samples: [n] or [n channels].
        rate: of these.
        delays_s: how much later than PortAudio says we are called, in turn.
        latency_s: from the end of a block to when PortAudio hands it over; None is a system that gives no times.
        from_s: when the first sample is heard.
    """
    pieces: list[Waveform] = []
    now_s = [0.0]
    with Microphone() as microphone:
        microphone.start(pieces.append, lambda: now_s[0])
        block = round(BLOCK_S * rate)
        for i, first in enumerate(range(0, len(samples), block)):
            start_s = from_s + first / rate - OURS_LESS_ITS_S
            called_s = start_s + block / rate + (latency_s or 0.0)
            now_s[0] = called_s + delays_s[i % len(delays_s)] + OURS_LESS_ITS_S
            times = (0.0, called_s) if latency_s is None else (start_s, called_s)
            fake.streams[0].hear(samples[first : first + block], *times)
    assert fake.streams[0].closed
    return pieces


def test_sound_comes_as_it_is_at_16_khz_with_the_time_at_which_it_was_heard(plug_in):
    samples = tone(1.0, SAMPLE_RATE).astype(np.float32)
    pieces = heard(plug_in(), samples, SAMPLE_RATE)
    np.testing.assert_array_equal(np.concatenate([piece.samples for piece in pieces]), samples)
    starts = np.array([piece.start_s for piece in pieces])
    np.testing.assert_allclose(starts, BLOCK_S * np.arange(50) + 0.005, atol=1e-9)


def test_callbacks_that_come_late_do_not_shift_the_sound(plug_in):
    pieces = heard(plug_in(), tone(2.0, SAMPLE_RATE), SAMPLE_RATE, delays_s=(0.001, 0.03, 0.002, 0.015))
    starts = np.array([piece.start_s for piece in pieces])
    np.testing.assert_allclose(starts, BLOCK_S * np.arange(100) + 0.001, atol=1e-9)


def test_a_system_that_gives_no_times_is_believed_to_hand_over_at_once(plug_in):
    pieces = heard(plug_in(), tone(1.0, SAMPLE_RATE), SAMPLE_RATE, latency_s=None)
    starts = np.array([piece.start_s for piece in pieces])
    np.testing.assert_allclose(starts, BLOCK_S * np.arange(50) + 0.005, atol=1e-9)


@pytest.mark.parametrize("rate", [44_100, 48_000, 8_000])
def test_sound_of_another_rate_is_resampled_block_by_block_and_keeps_its_times(rate, plug_in):
    fake = plug_in(rates=(rate,))
    samples = tone(1.0, rate, frequency=300.0)
    samples[: rate // 2] = 0
    pieces = heard(fake, samples, rate)
    assert fake.streams[0].settings["samplerate"] == rate
    for before, after in itertools.pairwise(pieces):
        assert after.start_s == pytest.approx(before.end_s, abs=1.5 / rate)
    sound = np.concatenate([piece.samples for piece in pieces])
    assert len(sound) > 0.97 * SAMPLE_RATE, "hardly anything is held back"
    begins_s = pieces[0].start_s + np.argmax(np.abs(sound) > 0.1) / SAMPLE_RATE
    assert begins_s == pytest.approx(0.505, abs=0.001)
    assert np.abs(sound[-4000:]).max() == pytest.approx(0.5, abs=0.01)


def test_two_channels_are_mixed_where_the_device_has_no_fewer(plug_in):
    fake = plug_in(rates=(48_000,), channels=2)
    left = tone(0.5, 48_000, frequency=300.0)
    pieces = heard(fake, np.stack([left, np.zeros_like(left)], axis=1), 48_000)
    assert fake.streams[0].settings["channels"] == 2
    assert np.abs(np.concatenate([piece.samples for piece in pieces])).max() == pytest.approx(0.25, abs=0.01)


def test_what_was_heard_before_the_beginning_is_left_out(plug_in):
    samples = np.arange(1600) / 1600
    pieces = heard(plug_in(), samples, SAMPLE_RATE, delays_s=(0.0,), from_s=-0.03001)
    assert 0 <= pieces[0].start_s < 1e-4, "never before the beginning, by rounding either"
    sound = np.concatenate([piece.samples for piece in pieces])
    np.testing.assert_array_equal(sound, samples[480:].astype(np.float32))


def test_sound_that_the_system_lost_is_counted(plug_in):
    fake = plug_in()
    with Microphone("usb") as microphone:
        microphone.start(lambda piece: None, lambda: 0.0)
        for i in range(3):
            fake.streams[0].hear(np.zeros(320), 10.0, 10.03, overflow=i == 1)
        assert (microphone.name, microphone.lost) == ("USB headset", 1)


def test_a_microphone_that_is_unplugged_is_noticed(plug_in):
    fake = plug_in()
    with Microphone("1") as microphone:
        microphone.start(lambda piece: None, lambda: 0.0)
        assert microphone.failure is None
        fake.streams[0].active = False
        assert isinstance(microphone.failure, MediaError)
        assert "USB headset: it gives no more sound" in str(microphone.failure)


@pytest.mark.parametrize("device", ["radio", "7", "2", ""])
def test_a_device_that_is_not_one_is_refused_with_the_way_to_the_list(device, plug_in):
    plug_in()
    with pytest.raises(UsageError, match="there is no one microphone") as caught:
        Microphone(device)
    assert "--list" in str(caught.value)


def test_a_machine_without_any_microphone_is_told_to_do_without(plug_in):
    plug_in(names=())
    with pytest.raises(UsageError, match="there is no microphone") as caught:
        Microphone()
    assert "--microphone none" in str(caught.value)


def test_a_microphone_that_is_busy_is_an_error_with_its_name(plug_in):
    plug_in(busy=True)
    with Microphone() as microphone, pytest.raises(MediaError, match="Built-in: it can't be opened"):
        microphone.start(lambda piece: None, lambda: 0.0)


def test_input_devices_are_listed(plug_in):
    plug_in()
    assert microphones() == {0: "Built-in", 1: "USB headset"}


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(UsageError, match="isn't installed") as caught:
        Microphone()
    assert 'pip install "avgate[live]"' in str(caught.value)


def test_without_portaudio_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(UsageError, match="PortAudio library not found") as caught:
        microphones()
    assert "libportaudio2" in str(caught.value)
    assert 'pip install "avgate[live]"' in str(caught.value)
