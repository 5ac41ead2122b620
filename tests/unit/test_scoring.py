"""Scores are pooled over frames as the field reports them, and count exactly the frames that have a valid label."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from avgate.core.files import json_values
from avgate.core.metrics import ccc_of
from avgate.core.types import Clip, LabelTrack, Trace
from avgate.evaluation.evaluate import FEW_CLIPS, doubts, scores_table
from avgate.evaluation.examples import Example
from avgate.evaluation.scoring import choose_smoothing, label_moments, label_traces, mean_ccc, pairs, score
from avgate.inference.estimator import Estimator
from tests.tiny import TARGETS, make_checkpoint, make_clip


def concordance(x, y):
    """CCC from plain sums over the frames where both are known."""
    known = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    n = len(known)
    mx, my = math.fsum(a for a, _ in known) / n, math.fsum(b for _, b in known) / n
    vx, vy = math.fsum((a - mx) ** 2 for a, _ in known) / n, math.fsum((b - my) ** 2 for _, b in known) / n
    return 2 * math.fsum((a - mx) * (b - my) for a, b in known) / n / (vx + vy + (mx - my) ** 2)


def example(values, name="clip", rate=25.0, targets=TARGETS, clip=None):
    """A labelled clip; values [n k]."""
    values = np.asarray(values, np.float32)
    time_s = np.arange(len(values)) / rate
    features = clip or make_clip(max(1, math.ceil(len(values) / rate * 10)), name=name)
    labels = LabelTrack(time_s, values, targets)
    return Example(Clip(name, Path(f"{name}.mp4"), "validation", name), features, labels, np.zeros((0, 2), np.float32))


def traced(columns, raw=None):
    """A trace with these targets, [n k]."""
    columns = np.asarray(columns, float)
    raw = columns if raw is None else np.asarray(raw, float)
    return Trace(
        time_s=np.arange(len(columns)) / 25,
        targets=dict(zip(TARGETS, columns.T, strict=True)),
        raw=dict(zip(TARGETS, raw.T, strict=True)),
        present={},
    )


@pytest.fixture
def labelled():
    """Three clips of unequal length and level, and noisy estimates of them."""
    rng = np.random.default_rng(0)
    labels = [np.clip(rng.normal(level, 0.3, (n, 2)), -1, 1) for level, n in ((-0.4, 40), (0.3, 90), (0.1, 15))]
    traces = [traced(y + rng.normal(0, 0.1, y.shape), raw=y + rng.normal(0, 0.4, y.shape)) for y in labels]
    return traces, [example(y, f"clip{i}") for i, y in enumerate(labels)]


def test_pooled_scores_are_those_of_all_frames_put_end_to_end(labelled):
    traces, examples = labelled
    found = score(traces, examples, TARGETS)

    by_hand = {}
    for k, target in enumerate(TARGETS):
        x = np.concatenate([t.targets[target] for t in traces])
        y = np.concatenate([e.labels.values[:, k] for e in examples]).astype(float)
        by_hand[target] = concordance(x, y)
        assert found["pooled"][target]["ccc"] == pytest.approx(by_hand[target], abs=1e-12)
        assert found["pooled"][target]["pcc"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
        assert found["pooled"][target]["rmse"] == pytest.approx(math.sqrt(((x - y) ** 2).mean()), abs=1e-12)
    assert found["pooled"]["mean"]["ccc"] == pytest.approx(sum(by_hand.values()) / 2, abs=1e-12)
    assert mean_ccc(traces, examples, TARGETS) == pytest.approx(found["pooled"]["mean"]["ccc"], abs=1e-12)
    assert found["frames"] == 145
    assert found["coverage"] == 1.0


def test_pooling_is_not_the_mean_over_clips(labelled):
    traces, examples = labelled
    found = score(traces, examples, TARGETS)
    clips = [c["valence"]["ccc"] for c in found["clips"].values()]

    assert abs(found["pooled"]["valence"]["ccc"] - np.mean(clips)) > 0.01


def test_every_clip_has_its_own_scores_beside_the_pooled_ones(labelled):
    traces, examples = labelled
    found = score(traces, examples, TARGETS)["clips"]

    assert list(found) == ["clip0", "clip1", "clip2"]
    for trace, e in zip(traces, examples, strict=True):
        for k, target in enumerate(TARGETS):
            alone = concordance(trace.targets[target], e.labels.values[:, k])
            assert found[e.clip.name][target]["ccc"] == pytest.approx(alone, abs=1e-12)


def test_raw_scores_are_those_of_the_estimate_before_post_processing(labelled):
    traces, examples = labelled
    raw, final = score(traces, examples, TARGETS, raw=True), score(traces, examples, TARGETS)
    swapped = [traced(np.stack([t.raw[k] for k in TARGETS], 1)) for t in traces]

    assert raw == score(swapped, examples, TARGETS)
    assert raw["pooled"]["mean"]["ccc"] < final["pooled"]["mean"]["ccc"]


def test_the_interval_lies_around_the_pooled_score(labelled):
    found = score(*labelled, TARGETS)

    for target in TARGETS:
        low, high = found["interval"][target]
        assert low <= found["pooled"][target]["ccc"] <= high


def test_frames_invalid_in_one_target_are_invalid_in_all():
    rng = np.random.default_rng(1)
    labels = rng.uniform(-1, 1, (50, 2))
    labels[10:20, 1] = np.nan
    estimates = rng.uniform(-1, 1, (50, 2))
    found = score([traced(estimates)], [example(labels)], TARGETS)
    valid = np.r_[0:10, 20:50]

    assert found["frames"] == 40
    for k, target in enumerate(TARGETS):
        alone = concordance(estimates[valid, k], np.float32(labels[valid, k]))
        assert found["pooled"][target]["ccc"] == pytest.approx(alone, abs=1e-12)


def test_frames_without_an_estimate_lower_the_coverage_and_count_in_no_score():
    rng = np.random.default_rng(2)
    labels = rng.uniform(-1, 1, (50, 2))
    labels[:10] = np.nan
    estimates = rng.uniform(-1, 1, (50, 2))
    estimates[5:20] = np.nan
    found = score([traced(estimates)], [example(labels)], TARGETS)

    assert found["frames"] == 40
    assert found["coverage"] == 0.75
    alone = concordance(estimates[20:, 0], np.float32(labels[20:, 0]))
    assert found["pooled"]["valence"]["ccc"] == pytest.approx(alone, abs=1e-12)


def test_labels_are_found_by_name_not_by_place():
    rng = np.random.default_rng(3)
    labels, estimates = rng.uniform(-1, 1, (30, 3)), rng.uniform(-1, 1, (30, 2))
    e = example(labels, targets=("arousal", "dominance", "valence"))

    ((prediction, label),) = pairs([traced(estimates)], [e], "valence")
    np.testing.assert_array_equal(prediction, estimates[:, 0])
    np.testing.assert_array_equal(label, np.float32(labels[:, 2]))


def test_clips_without_a_valid_label_have_no_score_at_all():
    found = score([traced(np.zeros((20, 2)))], [example(np.full((20, 2), np.nan))], TARGETS)

    assert found["frames"] == 0
    assert math.isnan(found["coverage"])
    assert math.isnan(found["pooled"]["mean"]["ccc"])


def test_a_trace_too_few_is_never_scored(labelled):
    traces, examples = labelled

    with pytest.raises(ValueError, match="zip"):
        score(traces[:-1], examples, TARGETS)


def test_scores_are_ready_for_json(labelled):
    found = score(*labelled, TARGETS)

    assert json.loads(json.dumps(found))["pooled"] == found["pooled"]


def test_training_and_filters_are_judged_by_the_mean_over_sources():
    """Pooled, the many steps of one source would hide that the other is estimated the wrong way round."""
    many, few = np.linspace(-1, 1, 100), np.linspace(-1, 1, 5)
    examples = [example(np.stack([x, x], 1), name=n) for x, n in ((many, "a"), (few, "b"))]
    examples = [replace(e, clip=replace(e.clip, source=e.clip.name)) for e in examples]
    traces = [traced(np.stack([x, x], 1)) for x in (many, -few)]
    assert mean_ccc(traces, examples, TARGETS) == pytest.approx(0.0, abs=1e-9)


def test_smoothing_is_chosen_by_the_score(labelled):
    _, examples = labelled
    noise = np.random.default_rng(4)
    by_width = {
        width: [traced(e.labels.values + noise.normal(0, spread, e.labels.values.shape)) for e in examples]
        for width, spread in ((1, 0.5), (5, 0.1), (21, 0.3))
    }

    assert choose_smoothing(by_width, examples, TARGETS) == 5


def test_of_equally_good_filters_the_narrowest_is_chosen(labelled):
    traces, examples = labelled

    assert choose_smoothing({21: traces, 5: traces, 9: traces}, examples, TARGETS) == 5


def test_moments_of_every_clip_and_target_add_up_to_the_pooled_score(labelled):
    traces, examples = labelled
    found = label_moments(traces, examples, TARGETS, np.zeros(2))

    assert found.shape == (3, 2, 6)
    assert found[:, :, 0].tolist() == [[40, 40], [90, 90], [15, 15]]
    pooled_scores = score(traces, examples, TARGETS)["pooled"]
    for k, target in enumerate(TARGETS):
        assert ccc_of(found[:, k].sum(0)) == pytest.approx(pooled_scores[target]["ccc"], abs=1e-12)


def test_steps_without_an_estimate_are_scored_by_the_prior_and_all_models_at_the_same_steps():
    rng = np.random.default_rng(6)
    labels, estimates = rng.uniform(-1, 1, (2, 30, 2))
    labels[20:, 1] = np.nan
    knows_half = estimates.copy()
    knows_half[5:25] = np.nan
    prior = np.array([0.25, -0.5])
    found = label_moments([traced(knows_half)], [example(labels)], TARGETS, prior)[0]

    for k in range(2):
        guess = np.where(np.arange(30) < 5, estimates[:, k], prior[k])[:20]
        truth = np.float32(labels[:20, k]).astype(float)
        sums = [20, guess.sum(), truth.sum(), guess @ guess, truth @ truth, guess @ truth]
        assert found[k] == pytest.approx(sums, abs=1e-12)
    knows_all = label_moments([traced(estimates)], [example(labels)], TARGETS, prior)[0]
    np.testing.assert_array_equal(found[:, [0, 2, 4]], knows_all[:, [0, 2, 4]])


def test_a_model_that_knows_nothing_agrees_with_nothing_whatever_the_prior():
    rng = np.random.default_rng(7)
    labels = rng.uniform(-1, 1, (40, 2))
    found = label_moments([traced(np.full((40, 2), np.nan))], [example(labels)], TARGETS, np.array([0.3, -0.1]))

    assert found[0, :, 0].tolist() == [40, 40]
    assert ccc_of(found[0]) == pytest.approx([0, 0], abs=1e-12)


def test_moments_count_the_smoothed_estimate():
    labels = np.linspace(-1, 1, 20)[:, None].repeat(2, 1)
    trace = traced(labels / 2, raw=labels)
    found = label_moments([trace], [example(labels)], TARGETS, np.zeros(2))

    assert ccc_of(found[0]) == pytest.approx([concordance(labels[:, 0] / 2, np.float32(labels[:, 0]))] * 2, abs=1e-9)


def test_traces_are_read_off_at_the_label_times_once_per_filter():
    estimator = Estimator(make_checkpoint())
    rng = np.random.default_rng(5)
    examples = [example(rng.uniform(-1, 1, (n, 2)), f"clip{n}", rate=30.0) for n in (37, 121)]
    found = label_traces(estimator, examples, [1, 7])

    assert list(found) == [1, 7]
    for width, traces in found.items():
        for trace, e in zip(traces, examples, strict=True):
            expected = estimator.read(e.features, estimator.estimate(e.features), e.labels.time_s, width)
            assert trace.source == e.clip.name
            for target in TARGETS:
                np.testing.assert_array_equal(trace.targets[target], expected.targets[target])
                np.testing.assert_array_equal(trace.raw[target], expected.raw[target])
            assert len(trace) == len(e.labels.time_s)


def printed(table) -> str:
    """A table as a wide terminal shows it, on one line."""
    with (console := Console(width=400)).capture() as shown:
        console.print(table)
    return " ".join(shown.get().split())


def result(traces, examples) -> dict:
    of = {kind: score(traces, examples, TARGETS, raw=kind == "raw") for kind in ("raw", "smoothed")}
    about = {"name": "mine", "corpus": "tiny", "split": "test", "clips": len(examples), "smooth_s": 0.3}
    return about | of | {"doubts": doubts(examples, TARGETS, "test")}


def test_scores_on_few_clips_say_that_their_interval_means_little(labelled):
    traces, examples = labelled
    said = printed(scores_table([result(traces, examples)]))
    assert "rest on 3 clips: below 5, the interval over clips means little." in said
    assert "rest on 1 clip, so there is no interval" in printed(scores_table([result(traces[:1], examples[:1])]))
    assert FEW_CLIPS == 5
    assert "rest on" not in printed(scores_table([result([*traces, *traces], [*examples, *examples])]))


def test_labels_that_do_not_vary_are_said_in_words_and_no_score_is_called_nan(labelled):
    traces, examples = labelled
    flat = [example(np.column_stack([e.labels.values[:, 0], np.full(len(e.labels.time_s), 0.25)])) for e in examples]
    found = result(traces, flat)
    said = printed(scores_table([found]))
    assert "In the test split, the labels don't vary: arousal (always 0.25)" in said
    assert "nan" not in said
    assert "–" in said
    assert json_values(found)["raw"]["pooled"]["arousal"]["pcc"] is None
