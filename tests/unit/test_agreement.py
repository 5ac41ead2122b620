"""Agreement of raters, against hand-computed cases and an independent computation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from avgate.core.metrics import ccc
from avgate.labels.agreement import agreement, cronbach_alpha

THREE = np.array([[0.0, 0, 1, 1], [0, 0, 1, 1], [1, 0, 1, 0]])


def test_cronbach_alpha():
    assert cronbach_alpha(np.array([[1.0, 2, 3], [1, 3, 2]])) == pytest.approx(2 / 3)
    assert cronbach_alpha(np.array([[1.0, 2, 3], [1, 2, 3]])) == pytest.approx(1)
    assert math.isnan(cronbach_alpha(np.array([[1.0, 1, 1], [1, 1, 1]])))
    assert cronbach_alpha(np.array([[1.0, 2, 3, np.nan], [1, 3, 2, 9]])) == pytest.approx(2 / 3)


def test_agreement_is_the_mean_ccc_of_pairs_and_each_raters_ccc_with_the_mean_of_the_others():
    found = agreement(THREE)
    apart = ccc(THREE[0], THREE[2])
    assert found.pairs == pytest.approx((1 + 2 * apart) / 3)
    assert found.others[2] == pytest.approx(apart)
    assert found.others[0] == pytest.approx(ccc(THREE[0], (THREE[1] + THREE[2]) / 2))


def test_cronbach_alpha_is_that_of_an_independent_computation():
    ratings = np.random.default_rng(0).normal(size=(5, 60)) + np.sin(np.arange(60) / 5)
    covariance = np.cov(ratings)
    expected = 5 / 4 * (1 - np.trace(covariance) / covariance.sum())
    assert cronbach_alpha(ratings) == pytest.approx(expected)


def test_the_page_on_raters_says_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "tools"))
    import raters as docs_raters

    from avgate.corpora.hazumi import Hazumi
    from tests.dialogues import write_hazumi

    page = docs_raters.page(Hazumi(write_hazumi(tmp_path, n=20)))
    # Ratings that were drawn at random agree with nobody.
    for target in ("impression", "continuance"):
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {target} |")]
        *found, alpha = map(float, row.split("|")[2:-1])
        assert max(map(abs, found)) < 0.2
        assert alpha < 0.5
