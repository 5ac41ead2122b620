from __future__ import annotations

import cmath
import dataclasses
import math
import tracemalloc

import numpy as np
import pytest

from avgate.core.errors import FeatureError, UsageError
from avgate.core.types import SAMPLE_RATE, FeatureTrack, Waveform
from avgate.features.audio.logmel import FFT, FLOOR, WINDOW, Logmel, LogmelConfig, log_mel, mel_weights
from avgate.features.steps import features_of
from tests.sounds import babble, noise, pieces, speech


def extract(sound: np.ndarray, start_s: float = 0.0, end_s: float | None = None, **config) -> FeatureTrack:
    backbone = Logmel(LogmelConfig(**{"rate": 10.0, **config}))
    return features_of(
        backbone, [Waveform(sound, start_s)], start_s + len(sound) / SAMPLE_RATE if end_s is None else end_s
    )


def triangle(band: int, bands: int, hz: float) -> float:
    """HTK's filter bank as its book has it, one weight at a time."""
    top = 2595 * math.log10(1 + 8000 / 700)
    left, peak, right = (700 * (10 ** (top * (band + i) / (bands + 1) / 2595) - 1) for i in range(3))
    if left < hz <= peak:
        return (hz - left) / (peak - left)
    return (right - hz) / (right - peak) if peak < hz < right else 0.0


def direct_log_mel(frame: np.ndarray, bands: int) -> list[float]:
    """The definition as sums: Hann window, discrete Fourier transform, triangles, logarithm."""
    window = [0.5 - 0.5 * math.cos(2 * math.pi * i / WINDOW) for i in range(WINDOW)]
    scale = sum(w * w for w in window)
    power = []
    for k in range(FFT // 2 + 1):
        total = sum(
            w * float(x) * cmath.exp(-2j * math.pi * k * i / FFT)
            for i, (w, x) in enumerate(zip(window, frame, strict=True))
        )
        power.append(abs(total) ** 2 / scale)
    return [
        math.log(max(FLOOR, sum(triangle(band, bands, k * SAMPLE_RATE / FFT) * p for k, p in enumerate(power))))
        for band in range(bands)
    ]


@pytest.mark.parametrize("bands", [40, 24])
def test_energies_are_those_of_the_definition(bands):
    sound = babble(1.0)
    centre, energies = log_mel(sound, bands)
    assert energies.shape == (98, bands)
    for row in (0, 41, 97):
        start = centre[row] - WINDOW // 2
        np.testing.assert_allclose(energies[row], direct_log_mel(sound[start : start + WINDOW], bands), atol=2e-3)


def test_every_band_hears_something_and_neighbours_add_up_to_one():
    weights = mel_weights(40)
    assert (weights > 0).any(axis=0).all()
    inner = slice(3, 240)  # between the peaks of the first and the last band
    np.testing.assert_allclose(weights[inner].sum(axis=1), 1, atol=1e-5)


def test_a_bin_of_white_noise_has_its_variance():
    _, energies = log_mel(noise(20.0, 0.1), 40)
    per_bin = np.exp(energies.astype(np.float64)).mean(axis=0) / mel_weights(40).sum(axis=0)
    np.testing.assert_allclose(per_bin, 0.01, rtol=0.1)


def test_a_row_is_the_mean_and_deviation_of_the_frames_in_its_window():
    sound = babble(3.0)
    track = extract(sound, context_s=0.3)
    centre, energies = log_mel(sound, 40)
    for step in (0, 9, 29):
        middle = (step + 0.5) / 10
        inside = energies[(centre / SAMPLE_RATE >= middle - 0.15) & (centre / SAMPLE_RATE < middle + 0.15)]
        np.testing.assert_allclose(track.values[step, :40], inside.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(track.values[step, 40:], inside.std(axis=0), rtol=1e-3, atol=1e-4)


def test_borders_of_chunks_dont_show():
    sound = babble(12.0)
    a, b = extract(sound, 0.3, chunk_s=1), extract(sound, 0.3, chunk_s=100)
    np.testing.assert_allclose(a.values, b.values, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(a.active, b.active)


def test_the_sizes_of_the_pieces_dont_matter_to_the_bit():
    sound = babble(6.0)
    tracks = []
    for sizes in ([96_000], [1024], [441, 7000, 33]):
        tracks.append(features_of(Logmel(LogmelConfig(10.0, chunk_s=2)), pieces(sound, sizes), 6.0))
    np.testing.assert_array_equal(tracks[0].values, tracks[1].values)
    np.testing.assert_array_equal(tracks[0].values, tracks[2].values)


def test_steps_without_sound_are_absent():
    track = extract(babble(1.0), 0.46, 2.0)
    expected = np.zeros(20, bool)
    expected[5:15] = True
    np.testing.assert_array_equal(track.present, expected)
    assert np.isnan(track.values[~expected]).all()
    assert np.isfinite(track.values[expected]).all()


@pytest.mark.parametrize("n", [0, 1, 399])
def test_sound_shorter_than_a_frame_is_absent(n):
    assert not extract(np.zeros(n, np.float32), end_s=0.02 if n else 0.5).present.any()


def test_zeros_are_the_floor():
    np.testing.assert_allclose(log_mel(np.zeros(SAMPLE_RATE, np.float32), 40)[1], math.log(FLOOR), rtol=1e-6)


def test_activity_follows_the_voice():
    sound = noise(6.0, 1e-3)
    sound[2 * SAMPLE_RATE : 4 * SAMPLE_RATE] += speech(2.0)
    active = extract(sound).active
    assert active[27:38].mean() > 0.9
    assert active[:19].max() == active[44:].max() == 0


def test_activity_doesnt_depend_on_chunks_or_pieces():
    sound = speech(6.0) + noise(6.0, 0.01)
    whole = extract(sound).active
    np.testing.assert_array_equal(extract(sound, chunk_s=1).active, whole)
    cut = features_of(Logmel(LogmelConfig(10.0)), pieces(sound, [441, 7000, 33]), 6.0)
    np.testing.assert_array_equal(cut.active, whole)
    assert 0.5 < whole.mean() < 1


def test_samples_that_arent_finite_are_an_error():
    with pytest.raises(FeatureError, match="NaN or Inf"):
        extract(np.full(SAMPLE_RATE, np.inf, np.float32))


@pytest.mark.slow
def test_memory_doesnt_grow_with_the_length():
    def peak(repeats: int) -> int:
        extraction = Logmel(LogmelConfig(10.0, chunk_s=5)).start()
        sound = babble(5.0)
        tracemalloc.start()
        for i in range(repeats):
            extraction.push(Waveform(sound.copy(), 5.0 * i))
        extraction.finish(5.0 * repeats)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(3)
    sound_s = 85.0
    assert peak(20) - peak(3) < 0.25 * sound_s * SAMPLE_RATE * 4


def test_the_fingerprint_changes_with_the_parameters():
    config = LogmelConfig(10.0)
    others = [dataclasses.replace(config, **change) for change in ({"rate": 5.0}, {"bands": 20}, {"context_s": 1.0})]
    assert len({Logmel(c).fingerprint for c in (config, *others)}) == 4


def test_columns_name_every_value():
    backbone = Logmel(LogmelConfig(10.0, bands=12))
    assert len(set(backbone.columns)) == 24
    assert extract(babble(1.0), bands=12).values.shape == (10, 24)


@pytest.mark.parametrize("bad", [{"rate": -1.0}, {"context_s": 0.01}, {"bands": 41}, {"chunk_s": 0}])
def test_parameters_that_cant_be_extracted_are_refused(bad):
    with pytest.raises(UsageError, match="logmel"):
        LogmelConfig(**{"rate": 10.0, **bad})
