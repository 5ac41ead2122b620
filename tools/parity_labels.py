"""Rows of docs/parity.md about metrics, merging and label formats: against definitions and the libraries for them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from avgate.core import metrics
from avgate.core.types import LabelTrack
from avgate.labels.agreement import agreement
from avgate.labels.delay import mutual_information, ridge_ccc
from avgate.labels.formats import label_format, read_labels
from avgate.labels.merge import ewe, mean, raaw

Row = tuple[str, str, str, float]
Rng = np.random.Generator

TRIALS = 50
"""Random inputs of each comparison."""

METRICS = f"""Over {TRIALS} random pairs of curves of 10 to 400 steps in float64, a tenth of them unknown. SciPy and
pandas get the steps where both are known; what has no library here is written out as its definition says."""

MERGING = f"""Over {TRIALS} random clips of 3 to 6 raters and 300 steps. EWE is Grimm and Kroschel's (2005): a rater
counts by the correlation with the mean of all. MuSe-Toolbox calls something else EWE: it weighs by the mean CCC with
each of the other raters, with n - 1 in the variances, and rounds CCCs to four decimals and labels to three. That
difference is in the table, and is no rounding. Its code knows no unknown ratings."""

FORMATS = f"""Over {TRIALS} random files: the largest difference in any time (in seconds) or value between what avgate
reads and what the other one does. pympi reads ELAN's and Praat's files; it also wrote those."""


def _over(trial: Callable[[Rng], float]) -> float:
    """The largest result of all trials."""
    return max(trial(np.random.default_rng(seed)) for seed in range(TRIALS))


def _apart(one: object, other: object) -> float:
    """The largest difference of two arrays; infinite where only one is NaN, or shapes differ."""
    a, b = np.atleast_1d(np.asarray(one, np.float64)), np.atleast_1d(np.asarray(other, np.float64))
    if a.shape != b.shape or (np.isnan(a) != np.isnan(b)).any():
        return math.inf
    known = ~np.isnan(a)
    return float(np.abs(a - b)[known].max(initial=0.0))


def _pair(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    n = int(rng.integers(10, 400))
    label = np.tanh(np.cumsum(rng.normal(size=n)) / 8)
    prediction = np.clip(0.6 * label + 0.3 * rng.normal(size=n), -1, 1)
    for values in (label, prediction):
        values[rng.random(n) < 0.05] = np.nan
    return prediction, label


def _both(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = ~(np.isnan(x) | np.isnan(y))
    return x[known], y[known]


def _lin(x: np.ndarray, y: np.ndarray) -> float:
    """Lin's coefficient as he wrote it: the correlation times how far the scatter lies from the line of identity."""
    x, y = _both(x, y)
    v, u = x.std() / y.std(), (x.mean() - y.mean()) / math.sqrt(x.std() * y.std())
    return stats.pearsonr(x, y).statistic * 2 / (v + 1 / v + u**2)


def _pooled(rng: Rng) -> float:
    clips = [_pair(rng) for _ in range(4)]
    whole = metrics.ccc_of(np.sum([metrics.moments(*clip) for clip in clips], axis=0))
    return _apart(whole, _lin(*map(np.concatenate, zip(*clips, strict=True))))


def _auroc(rng: Rng) -> float:
    score, truth = np.round(rng.normal(size=80), 1), rng.random(80) < 0.3
    truth[:2] = True, False
    higher = score[truth][:, None] - score[~truth][None]
    return _apart(metrics.auroc(score, truth), ((higher > 0) + 0.5 * (higher == 0)).mean())


def _intervals(rng: Rng) -> float:
    x, label = _pair(rng)
    half, level = rng.uniform(0.05, 0.5, len(x)), 0.9
    found = metrics.interval_scores(metrics.interval_sums(x - half, x + half, label, level))
    widths, inside, scores = [], [], []
    for low, high, y in zip(x - half, x + half, label, strict=True):
        if math.isnan(low) or math.isnan(y):
            continue
        widths.append(high - low)
        inside.append(low <= y <= high)
        missed = (low - y) * (y < low) + (y - high) * (y > high)
        scores.append(high - low + 2 / (1 - level) * missed)
    return _apart(list(found.values()), [np.mean(inside), np.mean(widths), np.mean(scores)])


def _risk(rng: Rng) -> float:
    width, error = rng.random(100), rng.random(100)
    expected = [error[np.argsort(width)][: round(100 * share)].mean() for share in (0.25, 0.5, 1.0)]
    return _apart(metrics.risk_at_coverage(width, error, (0.25, 0.5, 1.0)), expected)


def _ratings(rng: Rng, known: float = 0.95) -> np.ndarray:
    """Float32 [raters n] of raters who rate one course, each with errors and gaps of their own."""
    raters = int(rng.integers(3, 7))
    course = np.tanh(np.cumsum(rng.normal(size=300)) / 10)
    ratings = np.clip(course + rng.uniform(0.1, 1, (raters, 1)) * rng.normal(size=(raters, 300)), -1, 1)
    ratings[rng.random(ratings.shape) > known] = np.nan
    return ratings.astype(np.float32)


def _alpha(rng: Rng) -> float:
    ratings = _ratings(rng)
    covariance = pd.DataFrame(ratings.T.astype(np.float64)).dropna().cov().to_numpy()
    raters = len(ratings)
    expected = raters / (raters - 1) * (1 - np.trace(covariance) / covariance.sum())
    return _apart(agreement(ratings).alpha, expected)


def _pairs_of_raters(rng: Rng) -> float:
    ratings = _ratings(rng).astype(np.float64)
    return _apart(agreement(ratings).pairs, np.mean([_lin(a, b) for a, b in combinations(ratings, 2)]))


def metric_rows() -> list[Row]:
    """CCC and the other scores, agreement of raters, and scores of intervals."""
    curves = f"{TRIALS} pairs with unknown steps"
    raters = f"{TRIALS} clips with unknown ratings"

    def of(metric: Callable[..., float], other: Callable[..., float]) -> float:
        return _over(lambda rng: _apart(metric(*(pair := _pair(rng))), other(*_both(*pair))))

    return [
        ("CCC", "Lin (1989), on SciPy's `pearsonr`", curves, of(metrics.ccc, _lin)),
        ("CCC, pooled from moments", "Lin (1989), of all clips together", f"{TRIALS} times four clips", _over(_pooled)),
        ("PCC", "SciPy's `pearsonr`", curves, of(metrics.pcc, lambda x, y: stats.pearsonr(x, y).statistic)),
        ("RMSE", "NumPy's `linalg.norm`", curves,
         of(metrics.rmse, lambda x, y: float(np.linalg.norm(x - y) / math.sqrt(len(x))))),
        ("rank correlation", "SciPy's `spearmanr`", curves,
         of(metrics.rank_correlation, lambda x, y: stats.spearmanr(x, y).statistic)),
        ("area under the ROC curve", "all pairs counted", f"{TRIALS} times 80 steps with ties", _over(_auroc)),
        ("Cronbach's alpha", "the covariance of pandas", raters, _over(_alpha)),
        ("mean CCC of pairs of raters", "Lin (1989), on SciPy's `pearsonr`", raters, _over(_pairs_of_raters)),
        ("coverage, width and Winkler score", "a loop over the steps", curves, _over(_intervals)),
        ("risk at coverage", "sorted by hand", f"{TRIALS} times 100 steps", _over(_risk)),
    ]  # fmt: skip


def _grimm(rng: Rng) -> float:
    """EWE with pandas' correlations, which leave out what is unknown in either."""
    ratings = _ratings(rng).astype(np.float64)
    table = pd.DataFrame(ratings.T)
    weights = table.corrwith(table.mean(axis=1)).clip(lower=0)
    expected = (table * weights).sum(axis=1, min_count=1) / (table.notna() * weights).sum(axis=1)
    return _apart(ewe(ratings), expected)


def _muse_ewe(ratings: np.ndarray) -> np.ndarray:
    """EWE as MuSe-Toolbox computes it (gold_standard/EWE.py): weights are mean CCCs, numbers are rounded."""
    count, n = ratings.shape
    pairs = np.zeros((count, count))
    for i, k in combinations(range(count), 2):
        x, y = ratings[i], ratings[k]
        spread = (x.var() + y.var()) * n / (n - 1) + (x.mean() - y.mean()) ** 2
        pairs[i, k] = pairs[k, i] = round(2 * ((x - x.mean()) * (y - y.mean())).mean() / spread, 4)
    weights = np.maximum(pairs.sum(1) / (count - 1), 0)
    label = np.zeros(n)
    for rating, weight in zip(ratings, weights / weights.sum(), strict=True):
        label = np.round(label + weight * rating, 3)
    return label


def _against_muse(rng: Rng) -> float:
    ratings = _ratings(rng, known=1.0).astype(np.float64)
    return _apart(ewe(ratings), _muse_ewe(ratings))


def _unmoved(rng: Rng) -> float:
    """Raters who agree in time and shape, and differ in scale alone, needn't be moved."""
    course = np.tanh(np.cumsum(rng.normal(size=120)) / 10)
    ratings = np.stack([course, 0.5 * course + 0.1, 0.8 * course - 0.1])
    return _apart(raaw(ratings), ewe(ratings))


def _information(rng: Rng) -> float:
    label, features = rng.normal(size=200), rng.normal(size=(200, 3))
    features[:, 0] += label
    bins = [pd.qcut(column, 8, labels=False) for column in (label, *features.T)]
    found = []
    for column in bins[1:]:
        joint = pd.crosstab(bins[0], column).to_numpy() / 200
        found.append(stats.entropy(joint.sum(0)) + stats.entropy(joint.sum(1)) - stats.entropy(joint.ravel()))
    return _apart(mutual_information(features, label), np.mean(found))


def _ridge(rng: Rng) -> float:
    """Ridge regression as least squares with further rows, halves trained on each other."""
    label, features = rng.normal(size=120), rng.normal(size=(120, 4))
    label += features @ rng.normal(size=4)
    x = (features - features.mean(0)) / features.std(0)
    predicted = np.empty(120)
    for fit, test in ((slice(60), slice(60, None)), (slice(60, None), slice(60))):
        rows = np.concatenate([x[fit], math.sqrt(60 / 100) * np.eye(4)])
        target = np.concatenate([label[fit] - label[fit].mean(), np.zeros(4)])
        predicted[test] = label[fit].mean() + x[test] @ np.linalg.lstsq(rows, target, rcond=None)[0]
    return _apart(ridge_ccc(features, label), _lin(predicted, label))


def merging_rows() -> list[Row]:
    """Mean, EWE and RAAW of raters, and what a delay is found by."""
    raters = f"{TRIALS} clips with unknown ratings"
    features = f"{TRIALS} times 120 to 200 steps"
    return [
        ("mean", "pandas' `mean`", raters,
         _over(lambda rng: _apart(mean(r := _ratings(rng)), pd.DataFrame(r.astype(np.float64)).mean()))),
        ("EWE", "Grimm and Kroschel (2005), on pandas' `corrwith`", raters, _over(_grimm)),
        ("EWE", "MuSe-Toolbox's EWE, which weighs by CCC", f"{TRIALS} complete clips", _over(_against_muse)),
        ("RAAW of raters who agree in time", "their EWE", f"{TRIALS} complete clips", _over(_unmoved)),
        ("delay by `mi`: mutual information", "SciPy's `entropy` on pandas' `qcut`", features, _over(_information)),
        ("delay by `ccc`: ridge regression", "NumPy's `lstsq`", features, _over(_ridge)),
    ]  # fmt: skip


def _tiers(rng: Rng) -> dict[str, list[tuple[float, float, float]]]:
    """Two tiers of intervals in whole milliseconds that needn't touch."""
    tiers = {}
    for name in ("valence", "arousal"):
        borders = np.sort(rng.choice(20_000, 24, replace=False)) / 1000
        values = np.round(rng.uniform(-1, 1, 12), 4)
        tiers[name] = list(zip(borders[::2].tolist(), borders[1::2].tolist(), values.tolist(), strict=True))
    return tiers


def _read_at(labels: LabelTrack, target: str, times_s: Sequence[float]) -> list[float]:
    """Labels of intervals at some times; NaN where there is none."""
    column, found = labels.values[:, labels.targets.index(target)], []
    for time_s in times_s:
        inside = np.flatnonzero((labels.time_s <= time_s) & (time_s < labels.until_s))
        found.append(float(column[inside[0]]) if len(inside) else math.nan)
    return found


def _against_tiers(labels: LabelTrack, tiers: dict[str, list[tuple[float, float, float]]]) -> float:
    """Largest difference in values just inside and just outside of both ends of every interval."""
    worst = 0.0
    for name, intervals in tiers.items():
        ends = [end for start, until, _ in intervals for end in (start, until)]
        times = [end + step for end in ends for step in (-2e-4, 2e-4)]
        expected = [next((v for s, u, v in intervals if s <= t < u), math.nan) for t in times]
        worst = max(worst, _apart(_read_at(labels, name, times), np.float32(expected)))
    return worst


def _elan(rng: Rng, folder: Path) -> float:
    from pympi import Eaf

    file, document = folder / "a.eaf", Eaf(author="")
    for name, intervals in _tiers(rng).items():
        document.add_tier(name)
        for start, end, value in intervals:
            document.add_annotation(name, round(1000 * start), round(1000 * end), str(value))
    document.to_file(str(file))
    again = Eaf(str(file))
    names = [name for name in again.get_tier_names() if name != "default"]
    data = {name: sorted(again.get_annotation_data_for_tier(name)) for name in names}
    read = {name: [(s / 1000, u / 1000, float(v)) for s, u, v, *_ in rows] for name, rows in data.items()}
    return _against_tiers(read_labels(file), read)


def _textgrid(mode: str) -> Callable[[Rng, Path], float]:
    def trial(rng: Rng, folder: Path) -> float:
        import pympi

        file, grid = folder / "a.TextGrid", pympi.TextGrid(xmin=0, xmax=20)
        for name, intervals in _tiers(rng).items():
            tier = grid.add_tier(name)
            for start, end, value in intervals:
                tier.add_interval(start, end, str(value), check=False)
        grid.to_file(str(file), mode=mode)
        again = pympi.TextGrid(str(file))
        rows = {tier.name: list(tier.get_intervals(sort=True)) for tier in again.get_tiers()}
        return _against_tiers(
            read_labels(file), {name: [(s, u, float(v)) for s, u, v in found if v] for name, found in rows.items()}
        )

    return trial


def _track(rng: Rng, single: bool, step_s: float = 0.04) -> LabelTrack:
    n = 200
    values = np.round(rng.uniform(-1, 1, (n, 1 if single else 2)), 5).astype(np.float32)
    values[1:-1][rng.random(n - 2) < 0.1] = np.nan
    return LabelTrack(np.arange(n) * step_s, values, ("valence", "arousal")[: values.shape[1]])


def _table(rng: Rng, folder: Path) -> float:
    file, labels = folder / "a.csv", _track(rng, False)
    label_format("csv").write(labels, file)
    found, table = read_labels(file), pd.read_csv(file)
    return max(_apart(found.time_s, table["time_s"]), _values(found, table[["valence", "arousal"]]))


def _excel(rng: Rng, folder: Path) -> float:
    file, labels = folder / "a.csv", _track(rng, False)
    table = pd.DataFrame({"time_ms": labels.time_s * 1000, **dict(zip(labels.targets, labels.values.T, strict=True))})
    table.to_csv(file, sep=";", decimal=",", index=False, float_format="%.5f")
    found, table = read_labels(file), pd.read_csv(file, sep=";", decimal=",")
    return max(_apart(found.time_s, table["time_ms"] / 1000), _values(found, table[["valence", "arousal"]]))


def _values(found: LabelTrack, table: object) -> float:
    """Difference in values, which avgate keeps as 32-bit floats."""
    return _apart(found.values, np.asarray(table, np.float32).reshape(found.values.shape))


def _muse(rng: Rng, folder: Path) -> float:
    file, labels = folder / "a.csv", _track(rng, True, 0.5)
    label_format("muse").write(labels, file)
    found, table = read_labels(file), pd.read_csv(file)
    return max(_apart(found.time_s, table["timestamp"] / 1000), _values(found, table["value"]))


def _carma(rng: Rng, folder: Path) -> float:
    file, labels = folder / "a.csv", _track(rng, True, 0.25)
    label_format("carma").write(labels, file)
    found, table = read_labels(file), pd.read_csv(file, skiprows=9, names=["second", "rating"])
    return max(_apart(found.until_s, table["second"]), _values(found, table["rating"]))


def _nova(rng: Rng, folder: Path) -> float:
    file, labels = folder / "a.annotation", _track(rng, True)
    label_format("nova-binary").write(labels, file)
    scores = np.fromfile(folder / "a.annotation~", np.dtype([("score", "<f4"), ("confidence", "<f4")]))["score"]
    found = read_labels(file)
    return max(_apart(found.time_s, np.arange(len(scores)) / 25), _values(found, scores))


def _affwild2(rng: Rng, folder: Path) -> float:
    file, labels = folder / "a.txt", _track(rng, False)
    label_format("affwild2").write(labels, file)
    found = read_labels(file, frames=lambda: labels.time_s)
    return _values(found, pd.read_csv(file, na_values=[-5]))


def format_rows() -> list[Row]:
    """What avgate reads of each format, against the libraries that define or read it."""
    kinds: list[tuple[str, str, Callable[[Rng, Path], float]]] = [
        ("ELAN", "pympi's `Eaf`", _elan),
        ("Praat, long", "pympi's `TextGrid`", _textgrid("normal")),
        ("Praat, short", "pympi's `TextGrid`", _textgrid("short")),
        ("Praat, binary", "pympi's `TextGrid`", _textgrid("binary")),
        ("CSV table", "pandas' `read_csv`", _table),
        ("CSV table with semicolons and decimal commas", 'pandas\' `read_csv(sep=";", decimal=",")`', _excel),
        ("MuSe", "pandas' `read_csv`", _muse),
        ("CARMA", "pandas' `read_csv`", _carma),
        ("NOVA, binary", "NumPy's `fromfile`", _nova),
        ("Aff-Wild2", "pandas' `read_csv`", _affwild2),
    ]
    found = []
    for what, against, trial in kinds:
        with tempfile.TemporaryDirectory() as folder:
            largest = _over(lambda rng, trial=trial, folder=folder: trial(rng, Path(folder)))
        found.append((what, against, f"{TRIALS} files", largest))
    return found
