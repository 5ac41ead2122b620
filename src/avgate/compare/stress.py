"""Stress: what a trained model still gets right when a modality is missing or misleads."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.integrate import trapezoid

from avgate.core.gates import Gate
from avgate.core.metrics import auroc, ccc_of
from avgate.core.timeline import read_off_mask
from avgate.core.types import Trace
from avgate.evaluation.examples import Example
from avgate.evaluation.scoring import label_moments, label_traces
from avgate.evaluation.sureness import constant_width, sums, what_widths_tell
from avgate.features.corruption import CORRUPTIONS, Feature, stretches
from avgate.features.stats import FeatureStats
from avgate.inference.clip import standardised
from avgate.inference.estimator import Estimator

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the steps that are corrupted; 0 is the clean clip."""

CLEAN = "clean"
"""Name of the clips as they are, beside the conditions' names."""

HALF = 0.5
"""The share at which the drop in CCC and the gates' AUROC are measured."""


@dataclass(frozen=True)
class Condition:
    """One way in which a modality is corrupted: its kind (see corruption.py) and the share of the steps."""

    modality: str
    kind: str
    share: float

    @property
    def name(self) -> str:
        """Its name in files."""
        return f"{self.modality} {self.kind} {self.share:g}"


def standardise(examples: Sequence[Example], stats: Mapping[str, FeatureStats]) -> list[Example]:
    """The same clips with the features of these modalities standardised, 0 where absent."""
    return [replace(e, features=replace(e.features, values=standardised(e.features, stats))) for e in examples]


def corrupt(
    examples: Sequence[Example], condition: Condition, steps: tuple[int, ...]
) -> tuple[list[Example], list[np.ndarray]]:
    """Corrupt one modality of clips in stretches, the same ones for every model.

    Args:
        examples: standardised clips, at least two: one lends its features to another.
        condition: what is corrupted, and how.
        steps: shortest and longest stretch.

    Returns:
        The corrupted clips, and per clip bool [n], which steps are corrupted.
    """
    m, found, masks = condition.modality, [], []
    features = [Feature(e.features.values[m], e.features.present[m]) for e in examples]
    for i, example in enumerate(examples):
        random = np.random.default_rng(zlib.crc32(f"{example.clip.name} {condition.name}".encode()))
        j = (i + 1 + int(random.integers(max(1, len(examples) - 1)))) % len(examples)
        mask, where = stretches(len(example.features), condition.share, (steps[0], steps[1]), random)
        corrupted = CORRUPTIONS[condition.kind](features[i], where, random, partial(features.__getitem__, j))
        clip = replace(
            example.features,
            values={**example.features.values, m: corrupted.values},
            present={**example.features.present, m: corrupted.present},
        )
        found.append(replace(example, features=clip))
        masks.append(mask)
    return found, masks


@dataclass(frozen=True)
class Stressed:
    """Scores of one model on corrupted clips.

    Attributes:
        moments: condition's name -> float64 [clips k 6], see metrics.moments.
        auroc: "MODALITY KIND" -> gate's name -> area under the curve of that gate against the corruption.
        sure: condition's name -> float64 [clips k 8], see Outcome.
        told: condition's name -> target -> rank correlation and risks, see Outcome.
    """

    moments: dict[str, np.ndarray]
    auroc: dict[str, dict[str, float]]
    sure: dict[str, np.ndarray]
    told: dict[str, dict[str, list[float]]]


def stress(
    estimator: Estimator,
    validation: Sequence[Example],
    test: Sequence[Example],
    modalities: Sequence[str],
    prior: np.ndarray,
) -> Stressed:
    """Measure a model on test clips under every kind of corruption, and how well its gates detect it.

    Some gates open and others close where a modality is corrupted. Which of both a gate does is decided on the
    validation clips, corrupted in the same way: an AUROC of 0.5 on the test clips is chance, and less is worse.

    Args:
        estimator: the model.
        validation: the clips by which it was chosen.
        test: clips that it has never seen.
        modalities: what to corrupt; those that the model doesn't read are left out.
        prior: float [k], the estimate where no modality is present.
    """
    width, stats = estimator.checkpoint.smooth_steps, estimator.stats
    validation, test = (standardise(clips, stats) for clips in (validation, test))
    as_they_are = {m: FeatureStats.identity(len(s.mean)) for m, s in stats.items()}
    on_standardised = Estimator(replace(estimator.checkpoint, stats=as_they_are), model=estimator.model)
    moments, areas, sure, told = {}, {}, {}, {}

    def traces(examples: Sequence[Example], condition: Condition) -> tuple[list[Trace], list[np.ndarray]]:
        corrupted, masks = corrupt(examples, condition, estimator.recipe.train.corrupt.steps)
        found = label_traces(on_standardised, corrupted, [width])[width]
        return found, [_at_labels(e, mask, condition.modality) for e, mask in zip(examples, masks, strict=True)]

    for condition in conditions([m for m in modalities if m in stats]):
        found, masks = traces(test, condition)
        moments[condition.name] = label_moments(found, test, estimator.targets, prior)
        if estimator.checkpoint.intervals is not None:
            sure[condition.name], told[condition.name] = measure_intervals(estimator, found, test)
        if condition.share == HALF and found[0].gates:
            before = _areas(*traces(validation, condition))
            after = _areas(found, masks)
            areas[f"{condition.modality} {condition.kind}"] = {
                gate.name: _turned(area, before[gate]) for gate, area in after.items()
            }
    return Stressed(moments, areas, sure, told)


def measure_intervals(
    estimator: Estimator, traces: Sequence[Trace], examples: Sequence[Example]
) -> tuple[np.ndarray, dict[str, list[float]]]:
    """What Outcome's `sure` and `told` hold of one condition, for a model with intervals."""
    intervals, targets = estimator.checkpoint.intervals, estimator.targets
    assert intervals is not None
    both = [sums(found, examples, targets) for found in (traces, constant_width(traces, intervals))]
    tell = {t: what_widths_tell(traces, examples, t) for t in targets}
    return np.concatenate(both, axis=2), {t: [found["rank"], *found["risk"]] for t, found in tell.items()}


def conditions(modalities: Sequence[str]) -> Iterator[Condition]:
    """Every kind of corruption of every modality, at every share."""
    for modality in modalities:
        for kind in CORRUPTIONS:
            for share in SHARES:
                yield Condition(modality, kind, share)


def _at_labels(example: Example, mask: np.ndarray, modality: str) -> np.ndarray:
    """Whether a modality is corrupted at each label time: 1, 0, or NaN where it was absent anyway."""
    grid, time_s = example.features.grid, example.labels.time_s
    present = read_off_mask(example.features.present[modality], grid, time_s)
    return np.where(present, read_off_mask(mask, grid, time_s), np.nan)


def _areas(traces: Sequence[Trace], corrupted: Sequence[np.ndarray]) -> dict[Gate, float]:
    """Gate -> AUROC against the corrupted times, over all times where both are known."""
    found = {}
    for gate in traces[0].gates:
        values, truth = np.concatenate([t.gates[gate] for t in traces]), np.concatenate(corrupted)
        known = np.isfinite(values) & np.isfinite(truth)
        found[gate] = auroc(values[known], truth[known] == 1)
    return found


def _turned(area: float, validation: float) -> float:
    """The area, or 1 less it for a gate that closes under corruption: below 0.5 on validation clips. NaN if unknown."""
    if np.isnan(validation):
        return float("nan")
    return area if validation >= 0.5 else 1 - area


def curve(clean: np.ndarray, moments: Mapping[str, np.ndarray], modality: str, kind: str) -> np.ndarray:
    """Pooled CCC at 0 and at each of SHARES, float64 [1 + shares, k].

    Args:
        clean: moments of the clean clips, [clips k 6].
        moments: condition -> the same; a condition that isn't there changes nothing.
        modality: what was corrupted.
        kind: and how.
    """
    rows = [clean, *(moments.get(Condition(modality, kind, share).name, clean) for share in SHARES)]
    return np.stack([ccc_of(row.sum(0)) for row in rows])


def area(curve: np.ndarray) -> np.ndarray:
    """Area under such a curve over the share from 0 to 1, float64 [k]: the mean CCC if every share is as likely."""
    return trapezoid(curve, [0.0, *SHARES], axis=0)
