"""Metrics against other formulas and loops, and how they treat what is unknown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avgate.core.metrics import (
    METRICS,
    auroc,
    bootstrap_ccc,
    bootstrap_groups,
    ccc,
    ccc_of,
    interval_scores,
    interval_sums,
    moments,
    pcc,
    pooled,
    rank_correlation,
    risk_at_coverage,
    rmse,
)

values = st.floats(-1, 1, width=32)
vectors = st.integers(2, 40).flatmap(
    lambda n: st.tuples(arrays(float, n, elements=values), arrays(float, n, elements=values))
)
clips_with_holes = st.lists(
    st.integers(0, 12).flatmap(
        lambda n: st.tuples(*(arrays(float, n, elements=st.one_of(values, values, st.just(np.nan))) for _ in "xy"))
    ),
    min_size=1,
    max_size=5,
)
CONSTANTS = [0.0, 0.5, 0.1, -0.3]


def assume_spread(*vectors_: np.ndarray) -> None:
    """Leave out inputs that are nearly constant, where every formula is rounding noise."""
    for x in vectors_:
        assume(x.std() > 1e-3)


def ccc_from_errors(x: np.ndarray, y: np.ndarray) -> float:
    """1 - E[(x - y)^2] / (what it would be without any covariance): Lin 1989, as he introduces it."""
    return 1 - ((x - y) ** 2).mean() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def random_clips(rng: np.random.Generator, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Clips of different lengths with a common error, about every eighth value of each side unknown."""
    clips = []
    for _ in range(count):
        y = rng.uniform(-1, 1) + 0.3 * rng.normal(size=rng.integers(5, 60))
        x = 0.6 * y + 0.3 * rng.normal(size=len(y)) + 0.1
        x[rng.random(len(x)) < 0.12] = np.nan
        y[rng.random(len(y)) < 0.12] = np.nan
        clips.append((x, y))
    return clips


@given(vectors)
def test_ccc_agrees_with_the_formula_from_errors(pair):
    x, y = pair
    assume_spread(np.concatenate(pair))
    assume(x.var() + y.var() + (x.mean() - y.mean()) ** 2 > 1e-6)
    assert ccc(x, y) == pytest.approx(ccc_from_errors(x, y), abs=1e-9)


@given(vectors)
def test_ccc_agrees_with_the_formula_from_pearson(pair):
    x, y = pair
    assume_spread(x, y)
    rho = np.corrcoef(x, y)[0, 1]
    expected = 2 * rho * x.std() * y.std() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert ccc(x, y) == pytest.approx(expected, abs=1e-9)
    assert pcc(x, y) == pytest.approx(rho, abs=1e-9)


@given(vectors, st.floats(-10, 10), st.floats(0.1, 10), st.sampled_from([-1, 1]))
def test_ccc_is_symmetric_and_indifferent_to_the_unit_of_both(pair, shift, factor, sign):
    x, y = pair
    assume_spread(x, y)
    assert ccc(x, y) == pytest.approx(ccc(y, x), abs=1e-12)
    assert ccc(sign * factor * x + shift, sign * factor * y + shift) == pytest.approx(ccc(x, y), abs=1e-7)


@given(vectors, st.floats(0.05, 2), st.floats(1.1, 5))
def test_ccc_punishes_shift_and_scale_where_pearson_does_not(pair, shift, factor):
    y = pair[1]
    assume_spread(y)
    assert ccc(y, y) == pytest.approx(1)
    assert ccc(y + shift, y) == pytest.approx(2 * y.var() / (2 * y.var() + shift**2), abs=1e-9)
    centred = y - y.mean()
    assert ccc(factor * centred, centred) == pytest.approx(2 * factor / (1 + factor**2), abs=1e-9)
    assert ccc(-centred, centred) == pytest.approx(-1)
    assert pcc(factor * y + shift, y) == pytest.approx(1)


@given(vectors)
def test_ccc_is_never_better_than_pearson(pair):
    x, y = pair
    assume_spread(x, y)
    assert abs(ccc(x, y)) <= abs(pcc(x, y)) + 1e-9
    assert abs(pcc(x, y)) <= 1 + 1e-9


@given(vectors, st.data())
def test_unknown_steps_of_either_side_count_for_nothing(pair, data):
    x, y = pair
    unknown = st.sampled_from([1.0, 1.0, 1.0, np.nan, np.inf, -np.inf])
    x_holes, y_holes = (np.array(data.draw(st.lists(unknown, min_size=len(x), max_size=len(x)))) for _ in "xy")
    known = np.isfinite(x_holes) & np.isfinite(y_holes)
    with_holes = np.where(np.isfinite(x_holes), x, x_holes), np.where(np.isfinite(y_holes), y, y_holes)
    for name, metric in METRICS.items():
        np.testing.assert_equal(metric(*with_holes), metric(x[known], y[known]), err_msg=name)


def test_rmse_is_in_the_unit_of_the_targets():
    assert rmse(np.array([0.0, 3.0, np.nan]), np.array([0.0, -1.0, 5.0])) == pytest.approx(np.sqrt(8))
    assert rmse(np.array([0.5]), np.array([0.25])) == 0.25


def test_nothing_to_measure_is_nan_and_not_zero():
    nothing, one = np.full(4, np.nan), np.array([np.nan, 0.5, np.nan, np.nan])
    y = np.arange(4.0)
    for metric in METRICS.values():
        assert np.isnan(metric(nothing, y))
    assert np.isnan(ccc(one, y))
    assert np.isnan(pcc(one, y))


def test_a_constant_prediction_has_no_concordance():
    y = np.linspace(-1, 1, 11)
    assert ccc(np.full(11, 0.5), y) == pytest.approx(0, abs=1e-15)
    assert ccc(np.full(11, 0.5), np.full(11, 0.25)) == 0


@pytest.mark.parametrize("constant", CONSTANTS)
def test_one_and_the_same_constant_has_no_ccc(constant):
    for x in (np.full(n, constant) for n in (2, 3, 7, 10, 1000)):
        assert np.isnan(ccc(x, x)), len(x)


@pytest.mark.parametrize("constant", CONSTANTS)
def test_a_constant_has_no_pearson_correlation(constant):
    for n in (2, 3, 7, 10, 1000):
        x, y = np.full(n, constant), np.linspace(-0.7, 1, n) ** 2
        assert np.isnan(pcc(x, y)), n
        assert np.isnan(pcc(y, x)), n


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_lengths_that_differ_are_refused_with_both_shapes(metric):
    with pytest.raises(ValueError, match=r"\(3,\) and \(4,\)"):
        metric(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="vectors of one length"):
        metric(np.zeros((3, 2)), np.zeros((3, 2)))


def test_pooled_is_the_metric_of_all_clips_in_a_row_and_not_the_mean_of_clips():
    clips = random_clips(np.random.default_rng(0), 6)
    x, y = np.concatenate([c[0] for c in clips]), np.concatenate([c[1] for c in clips])
    known = np.isfinite(x) & np.isfinite(y)
    assert pooled(ccc, clips) == pytest.approx(ccc_from_errors(x[known], y[known]), abs=1e-12)
    assert pooled(rmse, clips) == pytest.approx(np.sqrt(((x - y)[known] ** 2).mean()), abs=1e-12)
    assert abs(pooled(ccc, clips) - np.mean([ccc(*clip) for clip in clips])) > 0.05


@pytest.mark.parametrize(("count", "level", "seed"), [(2, 0.95, 0), (5, 0.9, 1), (12, 0.95, 2), (30, 0.5, 3)])
def test_bootstrap_agrees_with_a_loop_over_the_same_draws(count, level, seed):
    clips = random_clips(np.random.default_rng(seed), count)
    clips.insert(1, (np.full(4, np.nan), np.zeros(4)))  # without a known step: never drawn
    known = [clip for clip in clips if np.isfinite(clip[0] + clip[1]).any()]
    draws = np.random.default_rng(seed).integers(0, len(known), (150, len(known)))
    scores = [pooled(ccc, [known[i] for i in draw]) for draw in draws]
    expected = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    assert bootstrap_ccc(clips, draws=150, level=level, seed=seed) == pytest.approx(tuple(expected), abs=1e-9)


def test_bootstrap_interval_holds_the_estimate_and_narrows_with_more_clips():
    few, many = (random_clips(np.random.default_rng(4), count) for count in (5, 80))
    widths = []
    for clips in (few, many):
        low, high = bootstrap_ccc(clips)
        assert low < pooled(ccc, clips) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    assert bootstrap_ccc(few, seed=1) == bootstrap_ccc(few, seed=1) != bootstrap_ccc(few, seed=2)


def test_bootstrap_needs_two_clips_with_known_steps():
    clip = (np.array([0.1, 0.4, 0.2]), np.array([0.0, 0.5, 0.3]))
    unknown = (np.full(3, np.nan), np.zeros(3))
    assert np.isnan(bootstrap_ccc([clip])).all()
    assert np.isnan(bootstrap_ccc([clip, unknown])).all()
    assert np.isnan(bootstrap_ccc([])).all()


@pytest.mark.parametrize("constant", [0.5, 0.1])
@pytest.mark.filterwarnings("error")
def test_bootstrap_of_one_and_the_same_constant_is_nan(constant):
    clips = [(np.full(n, constant), np.full(n, constant)) for n in (3, 4, 5)]
    assert np.isnan(bootstrap_ccc(clips, draws=50)).all()


# ---- moments


@given(clips_with_holes)
def test_ccc_of_added_moments_is_that_of_the_clips_put_together(clips):
    x, y = (np.concatenate([clip[side] for clip in clips]) for side in (0, 1))
    known = np.isfinite(x) & np.isfinite(y)
    assume(known.sum() < 2 or x[known].var() + y[known].var() + (x[known].mean() - y[known].mean()) ** 2 > 1e-4)
    added = sum(moments(*clip) for clip in clips)
    assert added == pytest.approx(moments(x, y), abs=1e-12)
    assert float(ccc_of(added)) == pytest.approx(ccc(x, y), abs=1e-9, nan_ok=True)


def test_moments_by_hand():
    x, y = np.array([0.5, np.nan, -1.0, 0.25, 1.0]), np.array([1.0, 0.5, 0.5, np.inf, -0.5])
    assert moments(x, y).tolist() == [3, 0.5, 1.0, 0.25 + 1 + 1, 1 + 0.25 + 0.25, 0.5 - 0.5 - 0.5]
    assert moments(np.zeros(0), np.zeros(0)).tolist() == [0] * 6


def test_many_clips_and_targets_are_scored_at_once():
    clips = random_clips(np.random.default_rng(5), 6)
    table = np.array([moments(*clip) for clip in clips])
    assert ccc_of(table) == pytest.approx([ccc(*clip) for clip in clips], abs=1e-12)
    assert ccc_of(table.reshape(3, 2, 6)).shape == (3, 2)


@pytest.mark.filterwarnings("error")
def test_moments_of_fewer_than_two_steps_and_of_one_constant_have_no_ccc():
    one, none = (np.array([0.5]), np.array([-0.25])), (np.zeros(0), np.zeros(0))
    for clip in (none, one, (np.full(4, 0.5), np.full(4, 0.5))):
        assert np.isnan(ccc_of(moments(*clip)))
    assert ccc_of(moments(np.full(4, 0.5), np.full(4, 0.25))) == 0


# ---- area under the receiver operating characteristic


def share_of_pairs_in_order(score: np.ndarray, truth: np.ndarray) -> float:
    """Of all pairs of a true and another step, how many have the higher score on the true one; a tie is half."""
    won = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, is_true in zip(score, truth, strict=True)
        for b, other in zip(score, truth, strict=True)
        if is_true and not other
    ]
    return sum(won) / len(won) if won else float("nan")


marked_scores = st.lists(
    st.tuples(st.one_of(st.integers(0, 3).map(lambda i: i / 3), st.floats(0, 1)), st.booleans()), max_size=30
).map(lambda rows: (np.array([s for s, _ in rows], float), np.array([t for _, t in rows], bool)))


@given(marked_scores)
def test_auroc_is_the_share_of_pairs_in_the_right_order(marked):
    assert auroc(*marked) == pytest.approx(share_of_pairs_in_order(*marked), abs=1e-12, nan_ok=True)


@given(marked_scores)
def test_auroc_turns_with_the_score_and_with_the_truth(marked):
    score, truth = marked
    expected = pytest.approx(1 - auroc(score, truth), abs=1e-12, nan_ok=True)
    assert auroc(-score, truth) == expected
    assert auroc(score, ~truth) == expected


def test_auroc_by_hand():
    truth = np.array([True, True, False, False])
    assert auroc(np.array([0.9, 0.8, 0.2, 0.1]), truth) == 1
    assert auroc(np.array([0.1, 0.2, 0.8, 0.9]), truth) == 0
    assert auroc(np.full(4, 0.3), truth) == 0.5
    assert auroc(np.array([0.5, 0.1, 0.5, 0.3]), truth) == 1.5 / 4


@pytest.mark.parametrize("truth", [[], [True, True], [False, False]], ids=str)
def test_auroc_of_one_kind_of_steps_is_unknown(truth):
    assert np.isnan(auroc(np.linspace(0, 1, len(truth)), np.array(truth, bool)))


def test_intervals_over_persons_are_those_of_drawing_their_means():
    groups = [str(i // 50) for i in range(1000)]
    rows = np.repeat(np.random.default_rng(1).normal(size=20), 50)
    low, high = bootstrap_groups(lambda r: np.array([rows[r].mean()]), groups)[:, 0]
    spread = rows[::50].std() / np.sqrt(20)
    assert (low, high) == pytest.approx((rows.mean() - 1.96 * spread, rows.mean() + 1.96 * spread), abs=0.15 * spread)


def test_one_person_alone_gives_no_interval():
    assert np.isnan(bootstrap_groups(lambda r: np.array([r.mean(), 1.0]), ["a", "a"])).all()


def test_interval_scores_are_those_of_a_loop_over_known_steps():
    rng = np.random.default_rng(0)
    low, label = rng.uniform(-1, 0.5, 200), rng.uniform(-1, 1, 200)
    high = low + rng.uniform(0, 0.8, 200)
    low[3], high[5], label[7:10] = np.nan, np.nan, np.nan
    inside, widths, winkler = [], [], []
    for a, b, y in zip(low, high, label, strict=True):
        if np.isnan(a) or np.isnan(b) or np.isnan(y):
            continue
        inside.append(a <= y <= b)
        widths.append(b - a)
        # Winkler 1972, with alpha = 0.2
        winkler.append(b - a + (2 / 0.2 * (a - y) if y < a else 2 / 0.2 * (y - b) if y > b else 0))
    parts = [interval_sums(low[part], high[part], label[part], 0.8) for part in (slice(50), slice(50, None))]
    found = interval_scores(sum(parts))
    assert len(inside) == 195
    assert found == pytest.approx({k: np.mean(v) for k, v in zip(found, (inside, widths, winkler), strict=True)})
    assert list(found) == ["coverage", "width", "winkler"]
    assert all(np.isnan(x) for x in interval_scores(np.zeros(4)).values())


def test_the_winkler_score_is_lowest_at_the_true_quantiles():
    label = np.random.default_rng(1).standard_normal(20_000)
    halves = (1.0, 1.4, 1.645, 1.9, 2.4)
    scores = [interval_scores(interval_sums(-h + 0 * label, h + 0 * label, label, 0.9))["winkler"] for h in halves]
    assert np.argmin(scores) == 2


def test_rank_correlation_is_spearmans_and_knows_ties():
    x, y = np.array([1.0, 2, 2, 3, np.nan, 9]), np.array([5.0, 6, 7, 7, 1, 80])
    # ranks 1, 2.5, 2.5, 4, 5 and 1, 2, 3.5, 3.5, 5
    assert rank_correlation(x, y) == pytest.approx(pcc(np.array([1, 2.5, 2.5, 4, 5]), np.array([1, 2, 3.5, 3.5, 5])))
    assert np.isnan(rank_correlation(np.ones(5), np.arange(5.0)))
    assert np.isnan(rank_correlation(np.full(5, np.nan), np.arange(5.0)))


def test_risk_at_coverage_is_the_mean_error_of_the_surest():
    width, error = np.array([0.3, 0.1, 0.2, 0.4, np.nan]), np.array([3.0, 1.0, 2.0, 10.0, 99.0])
    assert risk_at_coverage(width, error, (0.01, 0.25, 0.5, 0.75, 1.0)) == [1.0, 1.0, 1.5, 2.0, 4.0]
    assert np.isnan(risk_at_coverage(width[4:], error[4:], (0.5, 1.0))).all()
