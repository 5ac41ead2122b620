"""The tool behind docs/causality.md: its smoothing, its models, and what it says of what it found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avgate.core.types import Clip, LabelTrack
from avgate.evaluation.examples import Example
from avgate.evaluation.scoring import label_traces
from avgate.inference.estimator import Estimator
from avgate.models.encoders import TcnConfig
from avgate.models.fusions.hgrjca import HgrjcaConfig
from avgate.models.network import Model, ModelConfig
from avgate.models.overrides import override
from avgate.models.recipes import recipe_named
from tests.tiny import RECIPE, TARGETS, make_checkpoint, make_clip
from tools.causality import (
    BOTH,
    FIRST,
    LIVE,
    MODELS,
    ROWS,
    STUDIES,
    UNSMOOTHED,
    Found,
    Reading,
    Row,
    page,
    read,
    within,
)

CAUSAL = replace(
    RECIPE,
    model=ModelConfig(
        fusion=HgrjcaConfig(iterations=2, time_mixing="decay", reach=10),
        encoders=dict.fromkeys(("audio", "video"), TcnConfig(channels=(8,), causal=True)),
    ),
)
WIDTHS = [1, 5]


def labelled(steps: int) -> Example:
    times = np.arange(steps * 2.5) / 25
    labels = LabelTrack(times, np.zeros((len(times), 2), np.float32), TARGETS)
    features = make_clip(steps, absent={"audio": range(5, 9), "video": range(7, 12)})
    return Example(Clip("clip", Path("clip.mp4"), "test", "p"), features, labels, np.zeros((steps, 2), np.float32))


@pytest.mark.parametrize("recipe", [pytest.param(RECIPE, id="centred"), pytest.param(CAUSAL, id="one-sided")])
def test_each_kind_of_smoothing_is_that_of_the_estimator(recipe):
    estimator, examples = Estimator(make_checkpoint(recipe)), [labelled(50), labelled(31)]
    usual = label_traces(estimator, examples, WIDTHS)
    same = read(estimator, examples, WIDTHS, Reading(BOTH, one_sided=estimator.causal))
    other = read(estimator, examples, WIDTHS, Reading(BOTH, one_sided=not estimator.causal))
    for width in WIDTHS:
        for trace, expected, changed in zip(same[width], usual[width], other[width], strict=True):
            for target in TARGETS:
                np.testing.assert_array_equal(trace.targets[target], expected.targets[target])
            assert not np.allclose(changed.targets["valence"], expected.targets["valence"], equal_nan=True)


def test_estimates_are_read_as_many_steps_later_as_asked():
    estimator, example = Estimator(make_checkpoint(CAUSAL)), labelled(50)
    now, later = (
        read(estimator, [example], [1], Reading(BOTH, one_sided=True, later=n))[1][0].targets["valence"] for n in (0, 4)
    )
    # Ten labels are four steps; at the end, the last label's time stands for what comes after it.
    np.testing.assert_array_equal(later[:-10], now[10:])
    np.testing.assert_array_equal(later[-10:], now[-1])


def test_thirds_of_a_clip_share_its_labels_between_them():
    example = labelled(50)
    parts = [np.isfinite(within(example, k / 3, (k + 1) / 3).labels.values[:, 0]) for k in range(3)]
    np.testing.assert_array_equal(np.sum(parts, axis=0), 1)
    assert [int(part.sum()) for part in parts] == [42, 41, 42]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.corpus)
def test_every_model_has_as_many_tries_and_only_the_live_one_is_causal(study):
    recipe = override(recipe_named(study.recipe), *study.quick)
    for name, changes in MODELS.items():
        tries = [override(recipe, *changes, *setting.split()) for setting in study.tries(name)]
        assert len(set(map(repr, tries))) == len(tries) == len(study.window_tries)
        for tried in tries:
            model = Model(tried.model, {"audio": 5, "video": 7}, targets=2, window=tried.window)
            assert model.causal == (name == BOTH)


def moments(ccc: float) -> np.ndarray:
    """Of two clips whose estimates agree with the labels by that much in each of two targets."""
    # n, and the sums of x, y, x^2, y^2 and xy: means 0, variances 1.
    return np.tile([100.0, 0, 0, 100, 100, 100 * ccc], (2, 2, 1))


def found(scores: dict[str, float]) -> Found:
    """Two seeds, .01 above and below the score of each row."""
    seeds = {name: np.stack([moments(ccc + 0.01), moments(ccc - 0.01)]) for name, ccc in scores.items()}
    thirds = {name: np.stack([whole, whole, moments(0.5)[None].repeat(2, 0)]) for name, whole in seeds.items()}
    rows = {name: Row(whole, thirds[name], (0.5,)) for name, whole in seeds.items()}
    tries = {name: {"train.lr=1e-3": [0.5], "train.lr=2e-3": [0.6]} for name in MODELS}
    return Found(STUDIES[0], 2, 1, False, recipe_named("demo"), TARGETS, tries, rows)


def test_the_page_tells_what_each_part_costs():
    scores = dict(zip(ROWS, (0.70, 0.69, 0.65, 0.68, 0.64, 0.62), strict=True))
    text = page([found(scores)], "COMMAND")
    assert "| 0.700 ± 0.010 | 0.700 ± 0.010 | 0.700 ± 0.010 |" in text
    assert f"| {LIVE} | 0.620 ± 0.010 |" in text
    assert "-0.080 in valence, -0.080 in arousal, -0.080 in the mean" in text
    assert "**It loses more than 0.03 in valence and arousal**" in text
    assert "one-sided smoothing changes -0.020; what comes before it, -0.060" in text
    assert "in place of `window` mixing changes -0.010" in text
    assert "first, second and last third of clips: -0.080 / -0.080 / +0.000" in text
    assert "Of the parts changed alone, the dearest is causal encoders (-0.050)." in text
    assert "rests on little" not in text
    assert "Expect a smaller CCC live, in some targets clearly so, and measure it" in text
    assert "| as published: `train.lr=2e-3` | 0.600 | in 1 of 1 |" in text


def test_the_page_says_how_little_a_verdict_rests_on_where_trainings_were_spared():
    scores = dict.fromkeys(ROWS, 0.7)
    one = replace(found(scores), quick=True)
    assert "in any target. That rests on little: 2 seeds, shortened training.\n" in page([one], "COMMAND")
    one = replace(one, study=STUDIES[1])
    assert "That rests on little: 2 seeds, one fold, shortened training.\n" in page([one], "COMMAND")


def test_the_page_says_where_a_causal_model_loses_little():
    text = page([found({FIRST: 0.70, UNSMOOTHED: 0.69, LIVE: 0.68})], "COMMAND")
    assert "It loses no more than 0.03 in any target." in text
    assert "Expect about the same CCC live, and measure it" in text


def test_a_page_of_half_the_models_says_so():
    assert "Not all models are trained yet." in page([found({FIRST: 0.7})], "COMMAND")
