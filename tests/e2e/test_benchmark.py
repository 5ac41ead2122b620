"""`avgate benchmark` on a tiny folder of dialogues: every run once, resumable, tables add up."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from avgate.cli import main
from avgate.compare.ablations import CHANGES, PUBLISHED
from avgate.compare.comparison import train_and_measure
from avgate.compare.data import load_data
from avgate.compare.protocol import Protocol, Run
from avgate.core.errors import CorpusError, UsageError
from avgate.features.corruption import CORRUPTIONS
from avgate.models.checkpoint import load_checkpoint
from avgate.models.overrides import override
from avgate.models.recipes import recipe_named
from tests.dialogues import write_hazumi

SETTINGS = ["train.epochs=2", "model.encoders.audio.dim=4", "model.encoders.video.dim=4", "hop_s=4.0", "window_s=8.0"]
TARGETS = ("impression", "continuance")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hazumi(tmp_path_factory.mktemp("hazumi"))


def run(folder: Path, out: Path, *more: str, settings: tuple[str, ...] = ("tuning=()",)) -> dict:
    args = ["--data", str(folder), "--out", str(out), "--folds", "2", "--workers", "1", *more]
    main(["benchmark", "hazumi", *args, "--set", *SETTINGS, *settings])
    return json.loads((out / "results.json").read_text())


def untimed(results: dict) -> dict:
    """Without how long it took."""
    fusions = {name: {k: v for k, v in row.items() if k != "seconds"} for name, row in results["fusions"].items()}
    return results | {"fusions": fusions}


def compare(folder: Path, out: Path, *more: str, **kwargs) -> dict:
    chosen = ["--seeds", "2", "--fusions", "audio", "concat", "--reference", "concat"]
    return run(folder, out, *chosen, *more, **kwargs)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_combination_is_trained_once_and_the_tables_are_written(folder, tmp_path, capsys, workers):
    results = compare(folder, tmp_path)
    runs = sorted(path.stem for path in (tmp_path / "runs").iterdir())
    assert runs == [f"{f}-seed{s}-fold{k}" for f in ("audio", "concat") for s in (0, 1) for k in (0, 1)]
    assert set(results["fusions"]) == {"audio", "concat"}
    for target in TARGETS:
        assert len(results["fusions"]["audio"]["ccc"][target]) == 2
        difference = results["fusions"]["audio"]["against"][target]
        means = [np.mean(results["fusions"][f]["ccc"][target]) for f in ("audio", "concat")]
        assert difference["effect"] == pytest.approx(means[0] - means[1], abs=1e-6)
        assert difference["low"] <= difference["effect"] <= difference["high"]
    shown = capsys.readouterr().out
    assert (tmp_path / "results.md").read_text().strip() in shown
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    (tmp_path / "runs" / "audio-seed1-fold0.safetensors").unlink()
    assert all(row["seconds"] > 0 for row in results["fusions"].values())
    repeated = compare(folder, tmp_path, "--workers", str(workers))
    assert untimed(repeated) == untimed(results)  # in a process of its own or not
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert {path.stem for path in again if again[path] != stamps[path]} == {"audio-seed1-fold0"}


@pytest.mark.slow
def test_every_fusion_tries_the_same_settings_on_validation_clips_and_keeps_the_better(folder, tmp_path):
    settings = ('tuning="train.lr=1e-2", "train.lr=1e-9"',)
    results = compare(folder, tmp_path, settings=settings)
    assert len(list((tmp_path / "runs").iterdir())) == 2 * 2 * 2  # fusions, seeds, folds
    for fusion in ("audio", "concat"):
        assert set(results["tuned"][fusion]) <= {"train.lr=1e-2", "train.lr=1e-9"}
        assert len(results["tuned"][fusion]) == 2
        for fold, chosen in enumerate(results["tuned"][fusion]):
            for seed in (0, 1):  # what was chosen with the first seed holds for the other
                with safe_open(tmp_path / "runs" / f"{fusion}-seed{seed}-fold{fold}.safetensors", "np") as file:
                    assert json.loads(file.metadata()["outcome"])["setting"] == chosen


@pytest.mark.long  # test_every_fusion_tries_the_same_settings shows which one is kept
def test_of_several_settings_the_one_that_is_best_on_validation_clips_is_tested(folder):
    recipe = recipe_named("hazumi").with_fusion("concat")
    for assignment in SETTINGS:
        recipe = override(recipe, assignment)
    protocol = Protocol("hazumi", folder, folder / "features", folds=2, accelerator="cpu")
    data = load_data(protocol, recipe)
    settings = ("train.lr=1e-9", "train.lr=1e-2", "train.lr=3e-2 model.head_dropout=0.5")
    found = Run("x", recipe, 0, 7, settings).recipes()[settings[2]]
    assert (found.train.seed, found.train.lr, found.model.head_dropout) == (7, 3e-2, 0.5)

    for fold in (0, 1):
        alone = {s: train_and_measure(protocol, data, Run("x", recipe, fold, 0, (s,)))[0] for s in settings}
        assert {s: outcome.setting for s, outcome in alone.items()} == {s: s for s in settings}
        assert len({outcome.validation for outcome in alone.values()}) == len(settings)
        best = max(settings, key=lambda s, alone=alone: alone[s].validation)
        for order in (settings, settings[::-1]):
            chosen, checkpoint = train_and_measure(protocol, data, Run("x", recipe, fold, 0, order))
            assert (chosen.setting, chosen.validation) == (best, alone[best].validation)
            np.testing.assert_array_equal(chosen.clean, alone[best].clean)
            assert checkpoint.scores["validation"]["smoothed"]["mean"]["ccc"] == chosen.validation


@pytest.mark.slow
def test_every_model_is_kept_and_the_command_of_the_best_trains_it_on_the_own_splits(folder, tmp_path, capsys):
    out = tmp_path / "out"
    results = compare(folder, out, settings=('tuning="train.lr=1e-2", "train.lr=2e-2"', "smooth_s=(0.0,3.0)"))
    names = {path.stem for path in (out / "checkpoints").iterdir()}
    assert names == {path.stem for path in (out / "runs").iterdir()}
    for name in names:
        checkpoint = load_checkpoint(out / "checkpoints" / f"{name}.safetensors")
        assert checkpoint.recipe.fusion == name.split("-")[0]
        assert f"-seed{checkpoint.recipe.train.seed}-" in name
    best = results["best"]
    means = {name: np.mean(row["validation"]) for name, row in results["fusions"].items()}
    assert best["fusion"] == max(means, key=means.get)
    assert best["validation"] == pytest.approx(means[best["fusion"]])
    kept = load_checkpoint(out / best["checkpoint"])
    scores = [
        load_checkpoint(out / "checkpoints" / f"{name}.safetensors").scores["validation"]["smoothed"]["mean"]["ccc"]
        for name in names
        if name.startswith(f"{best['fusion']}-")
    ]
    assert kept.scores["validation"]["smoothed"]["mean"]["ccc"] == max(scores)
    assert best["command"] in capsys.readouterr().out
    program, *args = shlex.split(best["command"])
    assert program == "avgate"
    main(args)
    again = load_checkpoint(out / "best" / "checkpoint.safetensors").recipe
    assert replace(again, train=replace(again.train, seed=0), tuning=()) == replace(
        kept.recipe, train=replace(kept.recipe.train, seed=0, lr=again.train.lr), tuning=()
    )
    assert f"train.lr={again.train.lr}" == best["setting"].replace("1e-2", "0.01").replace("2e-2", "0.02")


def test_a_fold_for_which_there_are_too_few_persons_is_refused_with_what_works(folder, tmp_path, fails):
    args = ["benchmark", "hazumi", "--data", folder, "--out", tmp_path, "--fusions", "audio", "--reference", "audio"]
    said = fails(UsageError.exit_code, *args, "--folds", 4)
    assert "--folds 3" in said
    assert not (tmp_path / "results.json").exists()


@pytest.mark.slow  # test_stress.py shows the same of one model
def test_stress_measures_every_kind_of_corruption_at_every_share(folder, tmp_path):
    results = run(folder, tmp_path, "--fusions", "audio", "hgrjca", "--seeds", "1", "--folds", "0", "--stress")
    assert results["shares"] == [0, 0.25, 0.5, 0.75, 1]
    for fusion in ("audio", "hgrjca"):
        row = results["fusions"][fusion]
        assert set(row["stress"]) == {f"{m} {kind}" for m in ("audio", "video") for kind in CORRUPTIONS}
        for by_target in row["stress"].values():
            for target, found in by_target.items():
                (curve,) = found["curve"]
                assert curve[0] == pytest.approx(row["ccc"][target][0])
                assert found["drop"][0] == pytest.approx(curve[0] - curve[2])
                mean_of_neighbours = np.mean([(a + b) / 2 for a, b in pairwise(curve)])
                assert found["area"][0] == pytest.approx(mean_of_neighbours)
    untouched = results["fusions"]["audio"]["stress"]["video noise"]["impression"]["curve"][0]
    assert untouched == [untouched[0]] * 5
    for target in TARGETS:  # without any sound, voice alone says the training mean, which agrees with nothing
        gone = results["fusions"]["audio"]["stress"]["audio absent"][target]["curve"][0][-1]
        assert gone == pytest.approx(0, abs=0.05)
    gates = results["fusions"]["hgrjca"]["auroc"]["audio noise"]
    assert {"voice_attended", "face_attended"} <= set(gates)
    assert all(0 <= area <= 1 for areas in gates.values() for area in areas)
    tables = (tmp_path / "results.md").read_text()
    assert "hgrjca: voice_attended" in tables
    assert (tmp_path / "curves.png").stat().st_size > 10_000


@pytest.mark.long
def test_ablations_change_one_thing_at_a_time(folder, tmp_path):
    results = run(
        folder, tmp_path, "--ablate", "--seeds", "1", "--folds", "0", settings=("tuning=()", "train.epochs=1")
    )
    assert list(results["fusions"]) == list(CHANGES)
    assert results["reference"] == PUBLISHED
    assert "tau 0.05" in (tmp_path / "results.md").read_text()


def test_a_reference_that_is_not_compared_is_refused(folder, tmp_path, fails):
    args = ["benchmark", "hazumi", "--data", folder, "--out", tmp_path, "--fusions", "audio", "--reference", "rjca"]
    assert "rjca" in fails(UsageError.exit_code, *args)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_folder_without_the_corpus_is_refused_from_whichever_process(tmp_path, workers, fails):
    args = ["benchmark", "hazumi", "--data", tmp_path, "--out", tmp_path / "out", "--fusions", "hgrjca"]
    # One training, since processes begin with the work that they are there for, and each takes seconds to begin.
    said = fails(CorpusError.exit_code, *args, "--folds", 0, "--workers", workers)
    assert str(tmp_path) in said
    assert "Traceback" not in said


def test_a_fusion_named_twice_is_refused(folder, tmp_path, fails):
    args = ["benchmark", "hazumi", "--data", folder, "--out", tmp_path, "--fusions", "hgrjca", "hgrjca"]
    assert "twice" in fails(UsageError.exit_code, *args)


@pytest.mark.slow
def test_a_model_of_features_that_come_with_a_corpus_predicts_no_video(folder, tmp_path, capsys):
    args = ["--corpus", "hazumi", "--data", str(folder), "--recipe", "hazumi", "--out", str(tmp_path / "run")]
    main(["train", *args, "--set", *SETTINGS])
    with pytest.raises(SystemExit):
        main(["predict", "x.mp4", "--checkpoint", str(tmp_path / "run/checkpoint.safetensors"), "--out", str(tmp_path)])
    assert "its features (is09, openface) come with their corpus" in " ".join(capsys.readouterr().err.split())
