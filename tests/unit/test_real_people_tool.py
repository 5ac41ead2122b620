"""The tool behind docs/real-people.md, from a store of made-up features to the page and the shipped note."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avgate.core.errors import UsageError
from avgate.core.metrics import bootstrap_groups
from avgate.core.timeline import Grid
from avgate.core.types import FeatureTrack
from avgate.corpora.emodb import SPEAKERS
from avgate.faces import face_fingerprint
from avgate.features.base import kind_of
from avgate.features.face.blendshapes import BLENDSHAPES
from avgate.features.registry import build_backbones
from avgate.features.store import FeatureStore
from avgate.models.checkpoint import Checkpoint, load_checkpoint
from avgate.models.recipes import recipe_named
from tests import tiny
from tools import people, perturb, real_people, real_people_page, ship
from tools.real_people_page import COMMAND, CONTRASTS, auc, chosen

RECIPE = replace(
    tiny.RECIPE,
    name="people",
    backbones=recipe_named("people").backbones,
    train=replace(tiny.RECIPE.train, epochs=1, batch=32),
)
EMOTIONS = {"happiness": (0.8, 0.5), "anger": (-0.5, 0.6), "sadness": (-0.6, -0.3), "neutral": (0.0, 0.0)}
"""Emotion -> what made-up features show of it."""


NOTHING = hashlib.sha256(b"0").hexdigest()[:16]
"""Fingerprint of an empty file, which all of these recordings are."""


def rows(folder: Path) -> Iterator[dict[str, object]]:
    """Ten persons seen and ten others heard, with copies, and rendered clips."""
    for name in ("people", "train", "validation", "test"):
        (folder / name).touch()
    (folder / "labels.csv").write_text("time_s,valence,arousal\n0,-0.5,0.1\n0.5,0.4,-0.3\n0.9,0.2,0.6\n")
    for split in ("train", "validation", "test"):
        about: dict[str, object] = {"clip": split, "video": split, "labels": "labels.csv", "split": split}
        yield about | {"group": f"r-{split}", "source": "rendered", "weight": 1, "emotion": "", "part": "", "copy": ""}
    for source, kinds in (("voice", perturb.SOUND), ("still", perturb.PICTURE)):
        for part, speaker in enumerate(sorted(SPEAKERS)):
            group = f"emodb{speaker}" if source == "voice" else f"face-{speaker}"
            for emotion in EMOTIONS:
                for copy in ("", "training", *kinds):
                    ending = "-" + copy.replace(" ", "-").lower() if copy else ""
                    yield {
                        "clip": f"{source}-{speaker}-{emotion}{ending}",
                        "video": "people",
                        "labels": f"emotion={emotion}",
                        "split": "train",
                        "group": group,
                        "source": source,
                        "weight": 1,
                        "emotion": emotion,
                        "part": part,
                        "copy": copy,
                    }


def tracks(row: dict[str, object], random: np.random.Generator) -> Iterator[FeatureTrack]:
    """A recording's features for the recipe and for the weights of 0.1.0; noise, but for what shows the emotion."""
    n = 1 if row["source"] == "still" else 10
    absent = {"still": "audio", "voice": "video"}.get(str(row["source"]))
    for backbone in build_backbones(("egemaps", *RECIPE.backbones), RECIPE.label_rate):
        present = np.full(n, backbone.modality != absent)
        values = random.normal(0, 0.1, (n, len(backbone.columns))).astype(np.float32)
        values[:, 4:24] += np.tile(EMOTIONS.get(str(row["emotion"]), (0.0, 0.0)), 10)
        values[~present] = np.nan
        grid = Grid(RECIPE.label_rate)
        yield FeatureTrack(
            values, present, grid, backbone.name, backbone.modality, backbone.columns, backbone.fingerprint
        )


def blendshapes(row: dict[str, object]) -> FeatureTrack:
    """Smiles, frowns and open mouths of an emotion."""
    valence, arousal = EMOTIONS[str(row["emotion"])]
    shown = {"mouthSmile": max(valence, 0), "mouthFrown": max(-valence, 0), "jawOpen": max(arousal, 0)}
    values = [next((v for start, v in shown.items() if name.startswith(start)), 0.0) for name in BLENDSHAPES]
    grid = Grid(RECIPE.label_rate)
    return FeatureTrack(
        np.array([values], np.float32), np.ones(1, bool), grid, "blendshapes", "video", BLENDSHAPES, "0" * 16
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    listed, store, random = list(rows(folder)), FeatureStore(folder / "features"), np.random.default_rng(0)
    with (folder / "all.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, people.COLUMNS)
        writer.writeheader()
        writer.writerows(listed)
    for row in listed:
        for track in tracks(row, random):
            faces = f"-{face_fingerprint()}" if track.modality == "video" else ""
            store.write(str(row["clip"]), f"{kind_of(track.backbone)}-{track.fingerprint}{faces}", track, NOTHING)
    return folder


@pytest.fixture
def measure(work, monkeypatch):
    """Runs the tool; the page and its figures come into the folder of the work."""

    def of(*given: object, recipe=RECIPE) -> None:
        monkeypatch.setattr(real_people, "RECIPE", recipe)
        monkeypatch.setattr(
            real_people_page, "bootstrap_groups", lambda of, groups, _: bootstrap_groups(of, groups, 20)
        )
        argv = ["--data", work, "--store", work / "features", "--out", work / "folds", "--docs", work, "--workers", 1]
        monkeypatch.setattr("sys.argv", ["real_people", *map(str, (*argv, *given))])
        real_people.recordings.cache_clear()
        real_people.main()

    return of


def shipped(folder: Path, recipe=RECIPE) -> Path:
    return replace(tiny.make_checkpoint(), recipe=recipe).save(folder / "default.safetensors")


@pytest.mark.long  # trains models for a tool that few run
def test_everybody_is_estimated_once_by_a_model_that_never_saw_them(measure, work):
    measure()
    found = []
    for k in range(real_people.FOLDS):
        about = load_checkpoint(work / "folds" / f"fold{k}").trained_on
        estimated = json.loads((work / "folds" / f"fold{k}" / "estimates.json").read_text())["people"]
        assert not {row["group"] for row in estimated} & {*about["train_groups"], *about["validation_groups"]}
        found += [row["clip"] for row in estimated]
    listed = [row for row in csv.DictReader((work / "all.csv").open()) if row["copy"] != "training"]
    assert sorted(found) == sorted(row["clip"] for row in listed if row["source"] != "rendered")
    text = (work / "real-people.md").read_text()
    assert "40 photographs of 10 persons, and 40 recordings of 10 speakers" in text
    assert f"`{COMMAND}`" in text
    assert "| weights of 0.1.0 |" in text
    assert "| ridge on the same voice features |" in text
    missing = "rule on blendshapes, ridge on blendshapes"
    assert f"Not measured, since their features weren't extracted: {missing}." in text
    assert "| rule on blendshapes |" not in text


@pytest.mark.long
def test_a_second_run_trains_nothing_and_another_recipe_is_not_mixed_in(measure, work, tmp_path):
    if not (work / "real-people.md").is_file():
        measure()
    page, file = (work / "real-people.md").read_text(), work / "folds" / "fold0" / "resume.safetensors"
    then, before = file.stat().st_mtime_ns, load_checkpoint(shipped(tmp_path))
    measure("--into", tmp_path / "default.safetensors")
    after = load_checkpoint(tmp_path / "default.safetensors")
    written = json.loads((work / "real-people.json").read_text())
    assert after.notes == (written["about"],)
    assert after.scores["people"] == {row["what"]: row["measured"] for row in written["rows"]}
    assert after.scores["validation"] == before.scores["validation"]
    assert all((after.weights[name] == before.weights[name]).all() for name in before.weights)
    assert (work / "real-people.md").read_text() == page
    assert file.stat().st_mtime_ns == then
    with pytest.raises(UsageError, match="run"):
        measure(recipe=replace(RECIPE, train=replace(RECIPE.train, lr=0.5)))


@pytest.mark.long
def test_weights_of_another_recipe_are_refused_before_anything_is_trained(measure, work, tmp_path, capsys):
    file = shipped(tmp_path, replace(RECIPE, hop_s=0.5))
    with pytest.raises(SystemExit):
        measure("--into", file, "--out", tmp_path / "folds")
    assert "isn't of the recipe 'people' as it is now" in capsys.readouterr().err
    assert not (tmp_path / "folds").exists()


@pytest.mark.slow
def test_ridge_and_the_rule_rank_people_whose_features_show_the_emotion(work, monkeypatch, tmp_path):
    monkeypatch.setattr(real_people, "RECIPE", RECIPE)
    real_people.recordings.cache_clear()
    with (work / "all.csv").open(newline="", encoding="utf-8") as file:
        stills = [row for row in csv.DictReader(file) if row["source"] == "still" and not row["copy"]]
    shapes = FeatureStore(tmp_path / "shapes")
    for row in stills:
        shapes.write(row["clip"], f"blendshapes-0-{face_fingerprint()}", blendshapes(row), NOTHING)
    for folder in (work / "features").iterdir():
        (tmp_path / "shapes" / folder.name).symlink_to(folder)
    given = (work, tmp_path / "shapes")
    found = {
        "still": [
            real_people.rule(*given),
            real_people.ridge(*given, "still", "blendshapes"),
            real_people.ridge(*given, "still"),
        ],
        "voice": [real_people.ridge(*given, "voice")],
    }
    for contrast in CONTRASTS:
        for estimates in found[contrast.source]:
            ranked = chosen(estimates["people"], contrast.source)
            assert len(ranked) == 40
            assert auc(ranked, contrast)(np.arange(40))[0] > 0.9


def test_weights_are_shipped_with_what_was_measured_of_their_recipe_alone(tmp_path):
    checkpoint: Checkpoint = tiny.make_checkpoint()
    file = tmp_path / "real-people.json"
    assert ship.measured_of(checkpoint, file) is None
    assert ship.labelled(checkpoint, None).notes == (ship.UNMEASURED.format(name="Default weights"),)
    about = {"about": "Ranks 90 of 100 pairs right.", "rows": [{"what": "face", "measured": 0.9}]}
    file.write_text(json.dumps(about | {"recipe": json.loads(json.dumps(ship.to_plain(checkpoint.recipe)))}))
    labelled = ship.labelled(checkpoint, ship.measured_of(checkpoint, file))
    assert labelled.notes == ("Ranks 90 of 100 pairs right.",)
    assert labelled.scores["people"] == {"face": 0.9}
    other = replace(labelled, recipe=replace(checkpoint.recipe, hop_s=0.5))
    assert ship.measured_of(other, file) is None
    assert "people" not in ship.labelled(other, None).scores
