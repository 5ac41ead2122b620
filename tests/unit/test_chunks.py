from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgate.core.errors import FeatureError
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.features.audio.chunks import Chunk, Chunks
from avgate.features.audio.pool import StepPool
from tests.sounds import noise, pieces


def cut(waveforms, core_s=2, context_s=1) -> list[Chunk]:
    chunks = Chunks(core_s, context_s)
    return [chunk for piece in waveforms for chunk in chunks.push(piece)] + chunks.close()


@given(sizes=st.lists(st.integers(1, 50_000), min_size=1, max_size=5), n=st.integers(1, 120_000))
def test_chunks_tile_the_sound_and_dont_depend_on_the_pieces(sizes, n):
    sound = noise(120_000 / SAMPLE_RATE, 0.1)[:n]
    sizes = [max(size, n // 300) for size in sizes]  # not thousands of pieces
    chunks = cut(pieces(sound, sizes, start_s=1.5))
    at = 24_000
    for chunk in chunks:
        assert chunk.core_start == at
        at = chunk.core_end
        first, last = max(chunk.core_start - 16_000, 24_000), min(chunk.core_end + 16_000, 24_000 + n)
        assert chunk.start == first
        np.testing.assert_array_equal(chunk.samples, sound[first - 24_000 : last - 24_000])
    assert at == 24_000 + n


def test_a_gap_starts_a_new_stretch_that_sees_nothing_of_the_old_one():
    sound = noise(3.0, 0.1)
    chunks = cut([Waveform(sound, 0.0), Waveform(sound, 3.2)])
    assert [(c.core_start, c.core_end) for c in chunks] == [
        (0, 32_000),
        (32_000, 48_000),
        (51_200, 83_200),
        (83_200, 99_200),
    ]
    assert chunks[2].start == 51_200


def silent(sound: np.ndarray, *stretches: tuple[int, int]) -> np.ndarray:
    sound = sound.copy()
    for first, last in stretches:
        sound[first:last] = 0
    return sound


@given(sizes=st.lists(st.integers(1, 50_000), min_size=1, max_size=5))
def test_digital_silence_is_a_gap_whatever_the_pieces(sizes):
    sound = silent(noise(3.0, 0.1), (0, 2000), (10_000, 11_600), (20_000, 21_500), (30_000, 48_000))
    chunks = Chunks(2, 1)
    cut = [chunk for piece in pieces(sound, [max(size, 200) for size in sizes]) for chunk in chunks.push(piece)]
    cut += chunks.close()
    assert [(c.start, c.core_start, c.core_end) for c in cut] == [(2000, 2000, 10_000), (11_600, 11_600, 30_000)]
    for chunk in cut:
        np.testing.assert_array_equal(chunk.samples, sound[chunk.core_start : chunk.core_end])
    assert chunks.silent_s == pytest.approx((2000 + 1600 + 18_000) / SAMPLE_RATE)
    assert np.diff(chunks.sounding_s).sum() == pytest.approx(3.0 - chunks.silent_s)


def test_silence_of_less_than_a_tenth_of_a_second_belongs_to_the_sound():
    sound = silent(noise(1.0, 0.1), (0, 1599), (5000, 6599), (14_500, 16_000))
    (chunk,) = cut([Waveform(sound)])
    np.testing.assert_array_equal(chunk.samples, sound)


def test_noise_of_one_step_of_16_bits_is_dither_and_that_of_three_is_sound():
    dither = np.random.default_rng(0).integers(-1, 2, SAMPLE_RATE).astype(np.float32) / 2**15
    assert cut([Waveform(dither)]) == []
    (chunk,) = cut([Waveform(3 * dither)])
    assert len(chunk.samples) == SAMPLE_RATE


def test_clocks_rounded_to_milliseconds_make_no_gaps():
    sound = noise(2.0, 0.1)
    rounded = [Waveform(p.samples, round(p.start_s, 3)) for p in pieces(sound, [370])]
    chunks = cut(rounded)
    assert len(chunks) == 1
    np.testing.assert_array_equal(chunks[0].samples, sound)


def test_sound_out_of_order_is_refused():
    chunks = Chunks(2, 1)
    chunks.push(Waveform(noise(1.0, 0.1), 0.0))
    with pytest.raises(FeatureError, match=r"starts at 0\.500 s comes after sound up to 1\.000 s"):
        chunks.push(Waveform(noise(1.0, 0.1), 0.5))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_arent_finite_are_refused_with_their_time(bad):
    sound = noise(1.0, 0.1)
    sound[8000] = bad
    with pytest.raises(FeatureError, match=r"contains NaN or Inf, first at 2\.500 s"):
        Chunks(2, 1).push(Waveform(sound, 2.0))


@given(
    stretches=st.lists(st.tuples(st.floats(0.02, 0.6), st.floats(0.0001, 0.8)), max_size=5),
    rate=st.sampled_from([1.0, 5.0, 7.3, 10.0, 25.0, 29.97]),
    end_s=st.floats(0, 4),
)
def test_covered_counts_samples(stretches, rate, end_s):
    chunks, heard, at = Chunks(1, 1), np.zeros(10 * SAMPLE_RATE, bool), 0
    for gap_s, length_s in stretches:
        at, n = at + round(gap_s * SAMPLE_RATE), max(1, round(length_s * SAMPLE_RATE))
        chunks.push(Waveform(np.ones(n, np.float32), at / SAMPLE_RATE))
        heard[at : at + n] = True
        at += n
    chunks.close()
    grid = Grid(rate)
    n = grid.steps(end_s)
    covered = np.isin(np.arange(n), chunks.covered(grid, 0, n, end_s))
    for i in range(n):
        cell = heard[round(i / rate * SAMPLE_RATE) : round(min((i + 1) / rate, end_s) * SAMPLE_RATE)]
        if abs(2 * cell.sum() - len(cell)) > 4:  # not within rounding of one half
            assert covered[i] == (2 * cell.sum() > len(cell))


@pytest.mark.parametrize(("rate", "width_s"), [(10.0, 0.5), (4.0, 0.25), (29.97, 0.1), (100.0, 0.03)])
def test_pooled_rows_are_the_mean_and_deviation_of_the_frames_in_each_window(rate, width_s):
    rng = np.random.default_rng(1)
    sound = noise(5.0, 0.1)
    frames = rng.standard_normal((500, 3)).astype(np.float32)
    frames[rng.random((500, 3)) < 0.4] = np.nan
    frames[100:200] = np.nan
    least = np.array([1, 2, 4])
    pool = StepPool(Grid(rate), width_s, least)
    for chunk in cut([Waveform(sound, 1.0)]):
        first = (chunk.start - SAMPLE_RATE) // 160
        m = len(chunk.samples) // 160
        pool.add(chunk, np.arange(m) * 160 + 80, frames[first : first + m])
    n = round(7 * rate)
    steps, *pooled = pool.take(n)
    mean, sd = np.full((2, n, 3), np.nan)
    mean[steps], sd[steps] = pooled
    time_s = 1 + (np.arange(500) + 0.5) / 100
    for i in range(n):
        middle = (i + 0.5) / rate
        inside = frames[(time_s >= middle - width_s / 2) & (time_s < middle + width_s / 2)].astype(np.float64)
        for column in range(3):
            known = inside[~np.isnan(inside[:, column]), column]
            if len(known) < least[column]:
                assert np.isnan(mean[i, column])
                assert np.isnan(sd[i, column])
            else:
                assert mean[i, column] == pytest.approx(known.mean(), abs=1e-6)
                assert sd[i, column] == pytest.approx(known.std(), abs=1e-6)


def test_no_sound_gives_no_rows():
    steps, mean, sd = StepPool(Grid(10), 0.5, np.ones(2)).take(3)
    assert steps.shape == (0,)
    assert mean.shape == sd.shape == (0, 2)
