"""What training minimises: the fused estimate's loss, plus each other loss by its weight."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from avgate.core.errors import UsageError
from avgate.core.types import Clip, LabelTrack, Trace
from avgate.evaluation.examples import Example
from avgate.labels.tracks import labels_on_grid
from avgate.models.checkpoint import Checkpoint, FeatureSpec, load_checkpoint, modality_dims
from avgate.models.encoders import TcnConfig
from avgate.models.fusions.hgrjca import HgrjcaConfig, RhgrjcaConfig
from avgate.models.losses import ccc_loss, reliability_loss, unimodal_loss
from avgate.models.network import Model, ModelConfig
from avgate.models.recipe import CorruptConfig, LossConfig, Recipe
from avgate.training import train as training
from avgate.training.batches import Prepared, batches, prepare
from avgate.training.train import _run_epoch
from tests.few import few
from tests.tiny import BACKBONES, COLUMNS, RECIPE, TARGETS, make_clip, stopped_in_epoch

CORPUS = SimpleNamespace(name="tiny", synthetic=False)
SPECS = tuple(FeatureSpec(BACKBONES[m], m, COLUMNS[m], "f" * 16) for m in COLUMNS)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """Four clips of one window each: an epoch is a single batch."""

    def example(seed: int, group: str) -> Example:
        n = RECIPE.window
        features = make_clip(n, seed=seed, absent={"audio": range(3), "video": range(8, 12)}, name=f"clip{seed}")
        labels = LabelTrack(features.grid.times(n), np.random.default_rng(seed).uniform(-1, 1, (n, 2)), TARGETS)
        clip = Clip(features.name, Path("x.mp4"), "train", group)
        return Example(clip, features, labels, labels_on_grid(labels, features.grid, n))

    return prepare([example(i, f"person{i}") for i in range(4)], [example(9, "somebody else")], SPECS, "tiny")


def recipe_with(fusion: HgrjcaConfig, **weights: float) -> Recipe:
    """No dropout, so that a model says the same twice; half of one modality's steps of every window are noise."""
    encoders = {m: TcnConfig(channels=(4,), dropout=0.0) for m in COLUMNS}
    model = ModelConfig(fusion, encoders, head_dropout=0.0, unimodal_heads=True)
    corrupt = CorruptConfig(kinds=("noise",), probability=1.0, share=(0.5, 0.5))
    return replace(RECIPE, model=model, train=replace(RECIPE.train, corrupt=corrupt, **weights))


@pytest.mark.parametrize("spans", ["pooled", "per_sequence"])
@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.7, 0.0), (2.0, 0.3, 0.5)], ids=str)
@pytest.mark.parametrize("fusion", [HgrjcaConfig(dropout=0.0), RhgrjcaConfig(dropout=0.0)], ids=("hgrjca", "rhgrjca"))
def test_the_loss_of_a_step_is_the_weighted_sum_of_its_parts(prepared, fusion, weights, spans):
    mse, unimodal, reliability = weights
    recipe = recipe_with(fusion, mse_weight=mse, unimodal_weight=unimodal, reliability_weight=reliability)
    recipe = replace(recipe, loss=LossConfig(spans))
    torch.manual_seed(0)
    model = Model(recipe.model, modality_dims(SPECS), len(TARGETS), recipe.window).train()
    (batch,) = batches(prepared, recipe, 0, torch.device("cpu"))
    with torch.no_grad():
        out = model(batch.features, batch.present)
        parts = {
            "fused": float(ccc_loss(out.targets, batch.labels, mse, spans)),
            "unimodal": float(unimodal_loss(out.unimodal, batch.labels, batch.reliable, spans)),
            "reliability": float(reliability_loss(out.gates, batch.reliable)),
        }
    assert parts["unimodal"] > 0.5
    assert (parts["reliability"] > 0.1) == isinstance(fusion, RhgrjcaConfig)

    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters()))
    expected = parts["fused"] + unimodal * parts["unimodal"] + reliability * parts["reliability"]
    assert _run_epoch(fabric, wrapped, optimizer, prepared, recipe, 0) == pytest.approx(expected, abs=1e-5)


NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")


@pytest.mark.parametrize("precision", few(["32-true", "64-true", "bf16-mixed"], 1))
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been_and_only_we_speak(
    device, precision, prepared, monkeypatch, capfd, caplog, tmp_path
):
    caplog.set_level(logging.INFO)
    settings = {"prepared": prepared, "accelerator": device, "precision": precision}
    whole = training.train(CORPUS, None, RECIPE, tmp_path / "whole", **settings).checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(training, "_run_epoch", stopped_in_epoch(1))
        with pytest.raises(KeyboardInterrupt):
            training.train(CORPUS, None, RECIPE, tmp_path / "stopped", **settings)
    resumed = training.train(CORPUS, None, RECIPE, tmp_path / "stopped", **settings).checkpoint

    # A GPU adds up in another order each time.
    exact = {"rtol": 0, "atol": 0} if device == "cpu" else {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(resumed.weights, whole.weights, **exact)
    said = "".join(capfd.readouterr().err.split())
    assert said == f"Continuing{tmp_path / 'stopped'}afterepoch1"
    assert caplog.messages == []


@pytest.mark.slow
def test_a_run_does_not_go_on_in_another_precision(prepared, tmp_path):
    training.train(CORPUS, None, RECIPE, tmp_path, prepared=prepared, accelerator="cpu")
    with pytest.raises(UsageError, match="differs in its precision"):
        training.train(CORPUS, None, RECIPE, tmp_path, prepared=prepared, accelerator="cpu", precision="64-true")


@pytest.mark.slow
def test_a_model_carries_the_map_by_which_emotion_words_became_its_labels(prepared, tmp_path):
    words = SimpleNamespace(name="words", synthetic=False, emotion_map="whose ratings")
    trained = training.train(words, None, RECIPE, tmp_path, prepared=prepared, accelerator="cpu")
    assert load_checkpoint(tmp_path).trained_on["emotion_map"] == "whose ratings"
    about = trained.provenance["trained_on"]
    assert about["emotion_map"] == "whose ratings"
    assert (about["train_persons"], about["validation_persons"]) == (4, 1)
    assert "person0" not in str(trained.provenance)
    assert "person0" in load_checkpoint(tmp_path).trained_on["train_groups"]
    plain = training.train(CORPUS, None, RECIPE, None, prepared=prepared, accelerator="cpu")
    assert "emotion_map" not in plain.checkpoint.trained_on


@pytest.mark.parametrize("vary", [False, True], ids=["labels all the same", "labels of noise"])
def test_a_training_that_validation_says_nothing_good_of_says_so(prepared, vary, monkeypatch, capsys):
    if not vary:
        (flat,) = prepared.validation
        values = np.full_like(flat.labels.values, 0.5)
        flat = replace(flat, labels=replace(flat.labels, values=values), steps=np.full_like(flat.steps, 0.5))
        prepared = replace(prepared, validation=[flat])
    monkeypatch.setattr(training, "load_splits", lambda *_: prepared)
    training.train(CORPUS, None, replace(RECIPE, train=replace(RECIPE.train, epochs=1)), None)
    said = " ".join(capsys.readouterr().err.split())
    assert ("no better than guessing" if vary else "the labels don't vary: valence (always 0.5), arousal") in said


@pytest.mark.slow
def test_a_training_that_is_stuck_at_the_ends_of_the_scale_begins_anew_and_says_so(
    prepared, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(training, "_SETTLED", 1)

    def trained(stuck: list[bool], run: Path | None = None) -> Checkpoint:
        monkeypatch.setattr(training, "_saturated", lambda traces: stuck.pop(0) if stuck else False)
        return training.train(CORPUS, None, RECIPE, run, prepared=prepared, accelerator="cpu").checkpoint

    plain, once, again = trained([]), trained([True], tmp_path), trained([True])
    assert "beginning anew (1)" in capsys.readouterr().err
    assert any(not torch.equal(plain.weights[k], once.weights[k]) for k in plain.weights)
    assert all(torch.equal(again.weights[k], once.weights[k]) for k in plain.weights)
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + RECIPE.train.epochs
    trained([True] * 100)  # it gives up beginning anew, and ends


def test_estimates_at_the_ends_of_the_scale_are_told_from_others():
    def trace(values):
        return Trace(np.arange(len(values)), {}, {}, raw={"valence": np.array(values, float)})

    assert training._saturated([trace([1, -1, 0.99, 0.2]), trace([np.nan, -0.98])])
    assert not training._saturated([trace([1, -1, 0.2, 0.3])])
    assert not training._saturated([trace([np.nan])])


def test_a_spread_head_changes_no_bit_of_the_estimates(prepared):
    """Corrupted windows, dropout and a tight gradient norm: all that a further head could disturb."""
    recipe = recipe_with(RhgrjcaConfig(), unimodal_weight=0.3, reliability_weight=1.0, clip_norm=0.1)
    recipe = replace(recipe, model=replace(recipe.model, head_dropout=0.3))
    found = {}
    for spread in (True, False):
        wanted = replace(recipe, model=replace(recipe.model, spread=spread))
        found[spread] = training.train(CORPUS, None, wanted, None, accelerator="cpu", prepared=prepared).checkpoint
    own = {name for name in found[True].weights if name.startswith("spread.")}
    assert own == set(found[True].weights) - set(found[False].weights)
    for name, weight in found[False].weights.items():
        assert torch.equal(weight, found[True].weights[name]), name
    assert found[True].intervals.persons == 1
    assert list(found[True].intervals.scaled) == list(TARGETS)
    assert not found[False].intervals.scaled


@pytest.mark.long
def test_a_model_is_less_sure_where_it_has_lost_what_it_judges_by():
    """The labels are in the voice alone, and the recipe never takes it away."""

    def example(seed: int) -> Example:
        features = make_clip(RECIPE.window, seed=seed, name=f"clip{seed}")
        values = 0.4 * features.values["audio"][:, :2] + 0.05 * np.random.default_rng(seed).standard_normal((20, 2))
        labels = LabelTrack(features.grid.times(20), np.clip(values, -1, 1).astype(np.float32), TARGETS)
        clip = Clip(features.name, Path("x.mp4"), "train", f"person{seed}")
        return Example(clip, features, labels, labels_on_grid(labels, features.grid, 20))

    data = prepare([example(i) for i in range(64)], [example(100 + i) for i in range(12)], SPECS, "tiny")
    recipe = replace(RECIPE.with_fusion("concat"), train=replace(RECIPE.train, epochs=12, lr=1e-2), smooth_s=(0.0,))
    estimator = training.train(CORPUS, None, recipe, None, accelerator="cpu", prepared=data)
    times = RECIPE.grid.times(20)
    whole, lost = (
        estimator.trace(make_clip(20, seed=500, absent={gone: range(20)} if gone else None), times)
        for gone in (None, "audio")
    )
    for t in TARGETS:
        widths = [np.nanmean(trace.high[t] - trace.low[t]) for trace in (whole, lost)]
        assert widths[1] > 1.5 * widths[0]
