"""Cross-validate the recipe of the default weights over persons, and write docs/real-people.md.

    python -m tools.real_people --data work/weights/people --store work/weights/features --out work/weights/folds

Run by `make real-people`, after `make weights`, whose recordings and features it takes. Five models are trained, each
without a fifth of the people; every person is estimated by the model that never saw them. What is trained already isn't
trained again. With --into, what was measured is also written into a checkpoint's notes and scores.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.console import console
from avgate.core.errors import FeatureError
from avgate.core.files import atomic_write, write_json
from avgate.core.metrics import ccc, pooled
from avgate.core.processes import Workers
from avgate.corpora.manifest import Manifest
from avgate.evaluation.examples import Example, Reader, load_examples
from avgate.evaluation.scoring import label_traces, pairs
from avgate.features.store import FeatureStore
from avgate.inference.estimator import Estimator
from avgate.models.checkpoint import load_checkpoint
from avgate.models.recipe import to_plain
from avgate.models.recipes import recipe_named
from avgate.training.batches import prepare
from avgate.training.train import train
from tools.people import PARTS
from tools.real_people_page import TARGETS, Estimates, Measured, figures, note, page, widths
from tools.ship import labelled, measured_of

DOCS = Path(__file__).resolve().parents[1] / "docs"
OLD = DOCS.parent / "tests" / "golden" / "demonstration.safetensors"
"""The weights that came with avgate 0.1.0, which knew one rendered face and a synthetic voice alone."""

RECIPE = recipe_named("people")
FOLDS = PARTS // 2
PENALTY = 100.0
"""Of the ridge regressions; features are standardised."""


@dataclass(frozen=True)
class Fold:
    """One of the models: it is tested on two parts of the people, validated on the next one, trained on the rest."""

    number: int

    @property
    def tested(self) -> tuple[int, int]:
        """Parts that the model doesn't see."""
        return 2 * self.number, 2 * self.number + 1

    @property
    def validated(self) -> int:
        """Part that chooses the epoch and the width of the intervals."""
        return (2 * self.number + 2) % PARTS

    def split(self, row: dict[str, str]) -> str:
        """Split of a recording; nothing for copies that the split doesn't use."""
        if not row["part"]:
            return row["split"]
        part = int(row["part"])
        if part in self.tested:
            return "" if row["copy"] == "training" else "test"
        if part == self.validated:
            return "" if row["copy"] else "validation"
        return "train" if row["copy"] in ("", "training") else ""


@cache
def recordings(data: Path, store: Path) -> tuple[list[Example], tuple, dict[str, dict[str, str]]]:
    """Every recording with its features, the features' specs, and each one's row of the list; read once a process."""
    with (data / "all.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["clip"]: row for row in csv.DictReader(file)}
    return *load_examples(Manifest(data / "all.csv"), FeatureStore(store), RECIPE, None), rows


def run(fold: Fold, data: Path, store: Path, out: Path) -> Path:
    """Train a fold's model, and write its estimates of everybody whom it didn't see.

    A run of the same recipe is resumed. Estimates are always made anew, since what they depend on may have changed.

    Returns:
        The file of the estimates.

    Raises:
        UsageError: the folder holds a run of another recipe, or on other features or clips.
    """
    folder = out / f"fold{fold.number}"
    file = folder / "estimates.json"
    examples, specs, rows = recordings(data, store)
    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": [], "": []}
    for example in examples:
        parts[fold.split(rows[example.clip.name])].append(example)
    prepared = prepare(parts["train"], parts["validation"], specs, "people")
    estimator = train(Manifest(data / "all.csv"), FeatureStore(store), RECIPE, folder, prepared=prepared)
    write_json(file, estimates(estimator, parts["test"], rows))
    return file


def estimates(estimator: Estimator, examples: Sequence[Example], rows: dict[str, dict[str, str]]) -> Estimates:
    """Means over each recording of the people, and agreement on the rendered clips."""
    people = [e for e in examples if e.clip.source != "rendered"]
    rendered = [e for e in examples if e.clip.source == "rendered"]
    found: Estimates = {"people": [], "rendered": {}}
    width = estimator.checkpoint.smooth_steps
    for example, trace in zip(people, label_traces(estimator, people, [width])[width], strict=True):
        row = rows[example.clip.name]
        about = _about(row)
        seen = any(here.any() for here in example.features.present.values())
        about["yaw"] = _yaw(example)
        for k, target in enumerate(TARGETS):
            about[target] = float(np.nanmean(trace.targets[target])) if seen else None
            if trace.low and seen:
                label = example.labels.values[0, k]
                inside = (trace.low[target] <= label) & (label <= trace.high[target])
                known = np.isfinite(trace.targets[target])
                about[f"{target}_held"] = float(inside[known].mean())
                about[f"{target}_width"] = float((trace.high[target] - trace.low[target])[known].mean())
        found["people"].append(about)
    if rendered:
        traces = label_traces(estimator, rendered, [width])[width]
        found["rendered"] = {t: float(pooled(ccc, pairs(traces, rendered, t))) for t in TARGETS}
    return found


def _yaw(example: Example) -> float | None:
    """How far the head is turned to a side on average, in degrees; None without a face."""
    yaw = np.abs(example.features.values["video"][:, 0][example.features.present["video"]])
    return float(np.degrees(yaw.mean())) if len(yaw) else None


def old(data: Path, store: Path) -> Estimates | None:
    """What the weights of 0.1.0 say of the same recordings; None where their features weren't extracted."""
    estimator = Estimator(OLD)
    _, _, rows = recordings(data, store)
    reader = Reader(Manifest(data / "all.csv"), FeatureStore(store), estimator.recipe)
    examples = []
    for example in recordings(data, store)[0]:
        row = rows[example.clip.name]
        if row["copy"] or row["source"] == "film" or (row["source"] == "rendered" and row["split"] != "test"):
            continue
        try:
            examples.append(replace(example, features=reader.read(example.clip)[0]))
        except FeatureError:
            return None
    return estimates(estimator, examples, rows)


def ridge(data: Path, store: Path, source: str, backbone: str | None = None) -> Estimates | None:
    """Ridge regression on the means of a recording's features, over the same folds.

    Args:
        data: folder of the lists.
        store: features.
        source: "still" or "voice".
        backbone: takes this one's features instead; None is returned where they weren't extracted.
    """
    examples, _, rows = recordings(data, store)
    chosen = [e for e in examples if rows[e.clip.name]["source"] == source and not rows[e.clip.name]["copy"]]
    modality = "video" if source == "still" else "audio"
    x = [e.features.values[modality] for e in chosen]
    if backbone:
        kept = FeatureStore(store)
        try:
            key = kept.find(f"{backbone}-")
            x = [kept.read(e.clip.name, key).values for e in chosen]
        except FeatureError:
            return None
    means = np.stack([np.nanmean(v, 0) if np.isfinite(v).any() else np.full(v.shape[1], np.nan) for v in x])
    labels = np.stack([e.labels.values[0] for e in chosen])
    part = np.array([int(rows[e.clip.name]["part"]) for e in chosen])
    known, said = np.isfinite(means).all(1), np.full(labels.shape, np.nan)
    for fold in map(Fold, range(FOLDS)):
        test = np.isin(part, fold.tested)
        fit = known & ~test
        mean, std = means[fit].mean(0), means[fit].std(0) + 1e-9
        z = (means - mean) / std
        inner = z[fit].T @ z[fit] + PENALTY * np.eye(z.shape[1])
        slope = np.linalg.solve(inner, z[fit].T @ (labels[fit] - labels[fit].mean(0)))
        said[test & known] = z[test & known] @ slope + labels[fit].mean(0)
    return {"people": [_said(rows[e.clip.name], y) for e, y in zip(chosen, said, strict=True)], "rendered": {}}


RULE = {
    "valence": {"mouthSmile": 1.0, "mouthFrown": -1.0, "noseSneer": -1.0, "browDown": -0.5},
    "arousal": {"jawOpen": 1.0, "eyeWide": 1.0, "browInnerUp": 0.5, "browOuterUp": 0.5},
}
"""Target -> weights of blendshapes, each the mean of its left and right side.

Two others were tried on the same photographs and ranked worse: all weights 1, and eyeSquint against arousal.
"""


def rule(data: Path, store: Path) -> Estimates | None:
    """A fixed rule on mediapipe's blendshapes; None where they weren't extracted."""
    examples, _, rows = recordings(data, store)
    kept, found = FeatureStore(store), Estimates(people=[], rendered={})
    try:
        key = kept.find("blendshapes-")
        for example in examples:
            row = rows[example.clip.name]
            if row["source"] == "still" and not row["copy"]:
                track = kept.read(example.clip.name, key)
                shapes = dict(zip(track.columns, np.nan_to_num(track.values[0]), strict=True))
                said = [
                    sum(
                        w * np.mean([v for n, v in shapes.items() if n.startswith(name)]) for name, w in weights.items()
                    )
                    for weights in RULE.values()
                ]
                found["people"].append(_said(row, said if track.present.any() else [np.nan, np.nan]))
    except FeatureError:
        return None
    return found


def _said(row: dict[str, str], values: Sequence[float]) -> dict:
    return _about(row) | {t: float(v) if np.isfinite(v) else None for t, v in zip(TARGETS, values, strict=True)}


def _about(row: dict[str, str]) -> dict[str, Any]:
    """Who is shown how, and in which fold they are left out."""
    kept: dict[str, Any] = {key: row[key] for key in ("clip", "source", "group", "emotion", "copy")}
    return kept | {"fold": next(k for k in range(FOLDS) if int(row["part"]) in Fold(k).tested)}


def main() -> None:
    """Train what isn't trained yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that tools/people.py wrote")
    parser.add_argument("--store", type=Path, required=True, help="features of all.csv, for the recipe people")
    parser.add_argument("--out", type=Path, required=True, help="folder for the folds' models")
    parser.add_argument("--into", type=Path, help="checkpoint to write notes and scores into")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder for the page and its figures")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    shipped = load_checkpoint(args.into) if args.into else None
    if shipped and shipped.recipe != RECIPE:
        parser.error(f"{args.into} isn't of the recipe '{RECIPE.name}' as it is now: run `make weights` first")
    work = partial(run, data=args.data, store=args.store, out=args.out)
    files = {}
    with Workers(work, args.workers) as pool:
        for fold, file in pool.run(Fold(k) for k in range(FOLDS)):
            files[fold.number] = json.loads(file.read_text(encoding="utf-8"))
            console.print(f"fold {fold.number + 1} of {FOLDS} is done")
    ours: Estimates = {"people": [row for k in sorted(files) for row in files[k]["people"]], "rendered": {}}
    ours["rendered"] = {t: float(np.mean([f["rendered"][t] for f in files.values()])) for t in TARGETS}
    given = (args.data, args.store)
    beside = {
        "weights of 0.1.0": old(*given),
        "rule on blendshapes": rule(*given),
        "ridge on blendshapes": ridge(*given, "still", "blendshapes"),
        "ridge on the same face geometry": ridge(*given, "still"),
        "ridge on the same voice features": ridge(*given, "voice"),
    }
    measured: list[Measured] = figures(ours, beside)
    file = args.docs / "real-people.json"
    write_json(
        file, {"about": note(measured, widths(ours)), "recipe": to_plain(RECIPE), "rows": [vars(m) for m in measured]}
    )
    with atomic_write(args.docs / "real-people.md") as temporary:
        temporary.write_text(page(ours, beside, measured, RECIPE), encoding="utf-8")
    if shipped:
        labelled(shipped, measured_of(shipped, file)).save(args.into)


if __name__ == "__main__":
    main()
