from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest

from avgate.core.errors import FeatureError, UsageError
from avgate.core.types import SAMPLE_RATE, FeatureTrack, Waveform
from avgate.features.audio.chunks import Chunks
from avgate.features.audio.egemaps import (
    LEVEL,
    LLDS,
    LOG_OFFSETS,
    NEUTRAL,
    Egemaps,
    EgemapsConfig,
    Hold,
    descriptors,
)
from avgate.features.audio.extraction import CONTEXT_S
from avgate.features.steps import features_of
from tests.sounds import babble, noise, pieces, speech, vowel

F0 = LLDS.index("F0semitoneFrom27.5Hz")


def extract(sound: np.ndarray, start_s: float = 0.0, end_s: float | None = None, **config) -> FeatureTrack:
    backbone = Egemaps(EgemapsConfig(**{"rate": 10.0, **config}))
    return features_of(
        backbone, [Waveform(sound, start_s)], start_s + len(sound) / SAMPLE_RATE if end_s is None else end_s
    )


def column(track: FeatureTrack, name: str) -> np.ndarray:
    return track.values[:, track.columns.index(name)]


def open_smile():
    import opensmile

    level = opensmile.FeatureLevel.LowLevelDescriptors
    return opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=level)


def test_names_and_order_are_those_of_opensmile():
    assert [name.split("_sma3")[0] for name in open_smile().feature_names] == list(LLDS)
    assert set(NEUTRAL) == set(LLDS[F0:])


def test_a_row_is_the_mean_and_deviation_of_opensmiles_frames_in_its_window():
    sound = babble(4.0)
    table = open_smile().process_signal(sound * np.float32(0.999), SAMPLE_RATE)
    track = extract(sound * np.float32(0.999))
    lld = table.to_numpy(np.float64)
    start_s = np.arange(len(lld)) / 100
    for step in (0, 7, 13, 25):
        middle = (step + 0.5) / 10
        for i, name in enumerate(LLDS):
            centre_s = start_s + (0.01 if i < F0 else 0.03)
            inside = (centre_s > middle - 0.2501) & (centre_s < middle + 0.2499)
            if i >= F0:
                inside &= lld[:, F0] > 0
            values = lld[inside, i]
            if name in ("jitterLocal", "shimmerLocaldB"):
                values = values[values > 0]
            elif "RelF0" in name:
                values = values[values > -60]
            if name in LOG_OFFSETS:
                values = np.log(values + LOG_OFFSETS[name])
            assert len(values) >= 3
            assert column(track, f"{name}.mean")[step] == pytest.approx(values.mean(), rel=1e-4, abs=1e-4)
            assert column(track, f"{name}.sd")[step] == pytest.approx(values.std(), rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_the_last_frames_are_nearly_those_of_sound_that_goes_on():
    sound = babble(4.0)
    going_on = extract(sound, end_s=4.0).values
    centre, frames = descriptors(sound[: 2 * SAMPLE_RATE])
    np.testing.assert_array_equal(centre, np.arange(1, 200) * 160)
    assert np.isfinite(frames[:, :F0]).all()
    np.testing.assert_array_equal(frames[:-1, :F0], descriptors(sound)[1][: len(frames) - 1, :F0])
    # Up to here, windows of 0.5 s hear nothing of what follows.
    last = extract(sound[: round(1.7 * SAMPLE_RATE)]).values[14]
    assert np.mean(np.abs(last - going_on[14]) / going_on.std(axis=0)) < 0.03


@pytest.mark.slow
def test_borders_of_chunks_dont_show():
    sound = babble(7.0)
    whole = descriptors(sound)[1]
    chunks = Chunks(2, CONTEXT_S)
    joined = []
    for chunk in chunks.push(Waveform(sound)) + chunks.close():
        position, rows = descriptors(chunk.samples)
        position += chunk.start
        joined.append(rows[(position >= chunk.core_start) & (position < chunk.core_end)])
    assert len(joined) == 4
    np.testing.assert_array_equal(np.concatenate(joined), whole)
    a, b = extract(sound, chunk_s=2), extract(sound, chunk_s=100)
    np.testing.assert_allclose(a.values, b.values, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(a.active, b.active)


@pytest.mark.slow
def test_borders_in_unbroken_voice_show_in_jitter_and_shimmer_only():
    sound = vowel(9.0, 130.0) + noise(9.0, 1e-3)
    a, b = extract(sound, chunk_s=3), extract(sound, chunk_s=100)
    moved = ~np.isclose(a.values, b.values, rtol=1e-5, atol=1e-5).all(axis=0)
    names = {name.split(".")[0] for name, some in zip(a.columns, moved, strict=True) if some}
    assert names <= {"jitterLocal", "shimmerLocaldB"}
    np.testing.assert_array_equal(a.present, b.present)


@pytest.mark.slow
def test_the_sizes_of_the_pieces_dont_matter_to_the_bit():
    sound = babble(3.5)
    once = extract(sound, 0.3, chunk_s=1)
    for sizes in ([1024], [441, 7000, 33]):
        track = features_of(Egemaps(EgemapsConfig(10.0, chunk_s=1)), pieces(sound, sizes, 0.3), 3.8)
        np.testing.assert_array_equal(track.values, once.values)
        np.testing.assert_array_equal(track.active, once.active)
        np.testing.assert_array_equal(track.present, once.present)


def test_frames_stand_where_their_sound_is():
    sound = noise(2.0, 1e-4)
    sound[16_000:19_200] += vowel(0.2)
    centre, rows = descriptors(sound)
    loud = centre[rows[:, LLDS.index("Loudness")] > -1] / SAMPLE_RATE
    voiced = centre[rows[:, -1] == 1] / SAMPLE_RATE
    for found in (loud, voiced):
        assert found.min() == pytest.approx(1.0, abs=0.021)
        assert found.max() == pytest.approx(1.2, abs=0.021)


def test_pitch_is_that_of_the_voice_and_pauses_dont_pull_it_down():
    sound = vowel(6.0, 120.0) * (np.arange(6 * SAMPLE_RATE) / SAMPLE_RATE % 0.5 < 0.25) + noise(6.0, 1e-4)
    track = extract(sound.astype(np.float32))
    np.testing.assert_allclose(column(track, "F0semitoneFrom27.5Hz.mean")[3:-3], 12 * np.log2(120 / 27.5), atol=0.3)
    np.testing.assert_allclose(column(track, "voiced.share")[3:-3], 0.5, atol=0.15)


def test_a_voice_is_held_for_a_while_and_then_neutral():
    sound = noise(6.0, 1e-4)
    sound[: 2 * SAMPLE_RATE] += vowel(2.0, 220.0)
    track = extract(sound, hold_s=1.5)
    pitch, share = column(track, "F0semitoneFrom27.5Hz.mean"), column(track, "voiced.share")
    silent_from = np.flatnonzero(share < 0.05)[0]
    np.testing.assert_allclose(pitch[silent_from : silent_from + 14], 12 * np.log2(220 / 27.5), atol=0.5)
    np.testing.assert_allclose(pitch[silent_from + 16 :], NEUTRAL["F0semitoneFrom27.5Hz"][0])
    assert share[silent_from + 16 :].max() == 0


def test_hold_fills_gaps_column_by_column():
    nan = np.nan
    values = np.array([[nan, 1], [2, nan], [nan, nan], [nan, nan], [nan, 5]])
    filled = Hold(2, np.array([-7, -9]))(np.arange(5), values)
    np.testing.assert_array_equal(filled, [[-7, 1], [2, 1], [2, 1], [2, -9], [-7, 5]])


@pytest.mark.slow
def test_without_level_the_columns_that_follow_the_gain_most_are_left_out():
    sound = speech(6.0)
    loud, quiet = extract(sound), extract(sound / 4)
    moved = np.abs(loud.values - quiet.values)[loud.present].mean(0) / loud.values[loud.present].std(0)
    by_column = dict(zip(loud.columns, moved, strict=True))
    kept = extract(sound, level=False).columns
    assert set(loud.columns) - set(kept) == set(LEVEL)
    assert min(by_column[name] for name in LEVEL) > 2 * max(by_column[name] for name in kept)


def test_steps_without_sound_are_absent():
    heard = [Waveform(babble(1.0), 0.46), Waveform(babble(1.0), 2.0)]  # the first one to 1.46
    track = features_of(Egemaps(EgemapsConfig(10.0)), heard, 3.55)
    assert len(track.values) == 36
    expected = np.zeros(36, bool)
    expected[5:15] = expected[20:30] = True
    np.testing.assert_array_equal(track.present, expected)
    assert np.isfinite(track.values[expected]).all()
    assert np.isnan(track.values[~expected]).all()
    assert np.isnan(track.active[~expected]).all()
    assert ((track.active[expected] >= 0) & (track.active[expected] <= 1)).all()


def test_the_last_step_is_present_when_the_sound_reaches_the_end():
    assert extract(babble(2.03)).present.tolist() == [True] * 21


@pytest.mark.parametrize("n", [0, 1, 100, 959, 960, 1599])
def test_less_than_a_tenth_of_a_second_is_absent(n):
    track = extract(np.full(n, 0.1, np.float32), end_s=0.5)
    assert track.values.shape == (5, 51)
    assert not track.present.any()


def test_a_tenth_of_a_second_is_present():
    assert extract(vowel(0.1)).present.tolist() == [True]


def test_the_faintest_noise_above_dither_is_finite_and_without_voice():
    track = extract(np.random.default_rng(0).integers(-3, 4, 2 * SAMPLE_RATE).astype(np.float32) / 2**15)
    assert track.present.all()
    assert np.isfinite(track.values).all()
    assert (track.active == 0).all()
    assert (column(track, "voiced.share") == 0).all()


def test_full_scale_doesnt_wrap_around():
    wave = np.sign(vowel(2.0, 100.0))
    np.testing.assert_allclose(extract(wave).values, extract(wave * np.float32(0.999)).values, rtol=0.02, atol=0.2)


def test_samples_that_arent_finite_are_an_error():
    with pytest.raises(FeatureError, match="NaN or Inf"):
        extract(np.full(SAMPLE_RATE, np.nan, np.float32))


@pytest.mark.long
def test_memory_doesnt_grow_with_the_length():
    def peak(repeats: int) -> int:
        extraction = Egemaps(EgemapsConfig(10.0, chunk_s=2)).start()
        sound = babble(2.0)
        tracemalloc.start()
        for i in range(repeats):
            extraction.push(Waveform(sound.copy(), 2.0 * i))
        extraction.finish(2.0 * repeats)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    extract(babble(1.0))  # what is loaded once doesn't count
    sound_s = 4
    assert peak(5) - peak(3) < 0.5 * sound_s * SAMPLE_RATE * 4


@pytest.mark.parametrize("change", [{"rate": 5.0}, {"context_s": 1.0}, {"hold_s": 1.0}])
def test_the_fingerprint_changes_with_the_parameters(change):
    config = EgemapsConfig(10.0)
    assert Egemaps(config).fingerprint == Egemaps(EgemapsConfig(10.0)).fingerprint
    assert Egemaps(dataclasses.replace(config, **change)).fingerprint != Egemaps(config).fingerprint


@pytest.mark.parametrize(
    "bad", [{"rate": 0.0}, {"context_s": 0.05}, {"hold_s": -1.0}, {"chunk_s": 0}, {"chunk_s": 2.5}]
)
def test_parameters_that_cant_be_extracted_are_refused(bad):
    with pytest.raises(UsageError, match="egemaps"):
        EgemapsConfig(**{"rate": 10.0, **bad})


@pytest.mark.slow
def test_neutral_values_are_ordinary_for_real_speech(clips_dir):
    from avgate.media import Media

    means = []
    for name in ("grid_bbaf2n.mpg", "grid_lbax4n.mpg", "grid_lrwp9a.mpg", "grid_swiz3n.mpg", "obama_speech.mp4"):
        heard = list(Media(clips_dir / name).sound())
        track = features_of(Egemaps(EgemapsConfig(10.0, hold_s=0.0)), heard, heard[-1].end_s)
        means.append(track.values[column(track, "voiced.share") > 0.1])
    means = np.concatenate(means)
    for i, lld in enumerate(LLDS[F0:], F0):
        low, high = np.percentile(means[:, i], [20, 80])
        assert low < NEUTRAL[lld][0] < high, lld
