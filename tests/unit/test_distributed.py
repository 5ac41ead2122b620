"""Several processes train as one does: the same gradients, the same run, and one end for all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import distributed

from avgate.core.errors import AvgateError, UsageError
from avgate.core.types import Clip, LabelTrack
from avgate.evaluation.examples import Example
from avgate.labels.tracks import labels_on_grid
from avgate.models.checkpoint import FeatureSpec, modality_dims
from avgate.models.encoders import TcnConfig
from avgate.models.fusions.hgrjca import HgrjcaConfig, RhgrjcaConfig
from avgate.models.network import Model, ModelConfig
from avgate.models.recipe import CorruptConfig, LossConfig, Recipe
from avgate.training import train as training
from avgate.training.batches import Prepared, prepare
from avgate.training.several import fabric_of, must_begin_others
from tests.tiny import BACKBONES, COLUMNS, RECIPE, TARGETS, make_clip, stopped_in_epoch

CORPUS = SimpleNamespace(name="tiny", synthetic=False)
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="a process that may use a GPU can't be copied")
SPECS = tuple(FeatureSpec(BACKBONES[m], m, COLUMNS[m], "f" * 16) for m in COLUMNS)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """Seven windows of six lengths; batches of four leave one of three, and the last source has one alone."""

    def example(seed: int, n: int, source: str = "") -> Example:
        features = make_clip(n, seed=seed, absent={"audio": range(3), "video": range(2, 4)}, name=f"clip{seed}")
        values = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
        values[2] = np.nan
        labels = LabelTrack(features.grid.times(n), values, TARGETS)
        clip = Clip(features.name, Path("x.mp4"), "train", f"person{seed}", source=source)
        return Example(clip, features, labels, labels_on_grid(labels, features.grid, n))

    clips = [example(i, n) for i, n in enumerate([20, 13, 17, 20, 6, 18, 20])]
    return prepare([*clips, example(8, 16, "another")], [example(9, 20)], SPECS, "tiny")


def recipe_with(fusion: HgrjcaConfig, spans: Any = "pooled", **settings: Any) -> Recipe:
    """All losses, corrupted windows, and no dropout: its random numbers are each process' own."""
    encoders = {m: TcnConfig(channels=(4,), dropout=0.0) for m in COLUMNS}
    model = ModelConfig(fusion, encoders, head_dropout=0.0, unimodal_heads=True)
    corrupt = CorruptConfig(kinds=("noise",), probability=0.7, share=(0.2, 0.6), dropout=0.2, jitter=0.1)
    train = replace(RECIPE.train, corrupt=corrupt, mse_weight=0.5, unimodal_weight=0.3, reliability_weight=0.7)
    return replace(RECIPE, model=model, train=replace(train, **settings), loss=LossConfig(spans))


class Kept(torch.optim.SGD):
    """Keeps the gradients of all steps, and changes no weight."""

    def step(self, closure: Any = None) -> None:
        self.kept = [*getattr(self, "kept", ()), [p.grad.clone() for g in self.param_groups for p in g["params"]]]


def epoch(data: Prepared, recipe: Recipe, count: int, precision: Any) -> tuple[float, list[list[torch.Tensor]]]:
    """Loss and gradients of one epoch, in this process or in each of several."""
    fabric = Fabric(accelerator="cpu", devices=count, strategy="ddp" if count > 1 else "auto", precision=precision)
    fabric.launch()
    torch.manual_seed(1)
    model = Model(recipe.model, modality_dims(SPECS), len(TARGETS), recipe.window)
    wrapped, optimizer = fabric.setup(model, Kept(model.parameters(), lr=0.1))
    loss = training._run_epoch(fabric, wrapped, optimizer, data, recipe, 0)
    return loss, optimizer.optimizer.kept


def in_forks(count: int, folder: Path, work: Callable[[], Any]) -> list[Any]:
    """What copies of this process make of the same work, as avgate's own processes would. Faster than new ones."""

    def member(rank: int) -> None:
        os.environ |= {"LOCAL_RANK": str(rank)}
        distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=count)
        torch.save(work(), folder / f"{rank}.pt")

    meeting = folder / f"meeting{len([*folder.iterdir()])}"
    processes = [get_context("fork").Process(target=member, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        process.kill()
    assert [process.exitcode for process in processes] == [0] * count
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "spans", "precision"),
    [(2, "pooled", "32-true"), (3, "per_sequence", "32-true"), (3, "pooled", "64-true")],
)
@NO_GPU
def test_processes_together_have_the_gradients_of_one_at_the_same_batch(prepared, count, spans, precision, tmp_path):
    """Three processes have 1, 1 and 2 windows of a batch of four, and none, none and one of the last batch."""
    recipe = recipe_with(RhgrjcaConfig(dropout=0.0), spans)
    loss, gradients = epoch(prepared, recipe, 1, precision)
    assert len(gradients) == 3
    assert all(any(float(g.abs().max()) > 1e-3 for g in step) for step in gradients)
    close = {"rtol": 0, "atol": 1e-6 if precision == "32-true" else 1e-13}
    for found, together in in_forks(count, tmp_path, lambda: epoch(prepared, recipe, count, precision)):
        assert found == pytest.approx(loss, abs=close["atol"])
        torch.testing.assert_close(together, gradients, **close)


def trained(data: Prepared, recipe: Recipe, folder: Path, count: int, until: int | None = None) -> Any:
    """Weights of a training in several processes, or in this one; each looks for the run in a folder of its own.

    Until an epoch in which somebody presses Ctrl-C; there are no weights then.
    """

    def work() -> Any:
        run = folder / os.environ.get("LOCAL_RANK", "0")
        try:
            how = {"accelerator": "cpu", "precision": "64-true", "devices": count, "prepared": data}
            return dict(training.train(CORPUS, None, recipe, run, **how).checkpoint.weights)
        except KeyboardInterrupt:
            return None

    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        if until is not None:
            patch.setattr(training, "_run_epoch", stopped_in_epoch(until))
        return [work()] if count == 1 else in_forks(count, folder, work)


@pytest.mark.slow
@NO_GPU
def test_a_run_goes_on_with_another_number_of_processes_of_which_one_writes_and_speaks(prepared, capfd, tmp_path):
    recipe = recipe_with(RhgrjcaConfig(dropout=0.0), epochs=2)
    (alone,) = trained(prepared, recipe, tmp_path / "alone", 1)
    whole = trained(prepared, recipe, tmp_path / "whole", 2)
    assert trained(prepared, recipe, tmp_path / "parts", 1, until=1) == [None]
    parts = trained(prepared, recipe, tmp_path / "parts", 2)
    for weights in (*whole, *parts):
        torch.testing.assert_close(weights, alone, rtol=0, atol=1e-9)
    torch.testing.assert_close(parts[1], parts[0], rtol=0, atol=0)
    for folder in ("whole", "parts"):
        assert [path.name for path in (tmp_path / folder).iterdir() if path.is_dir()] == ["0"]
    said = "".join(capfd.readouterr().err.split())
    run = tmp_path / "parts" / "0"
    assert said == f"Continuing{run}afterepoch1"


@pytest.mark.long  # test_train.py goes on with a run of one process
@NO_GPU
def test_a_run_with_dropout_goes_on_to_the_same_bits_with_as_many_processes(prepared, tmp_path):
    recipe = recipe_with(RhgrjcaConfig(dropout=0.3), epochs=3)
    whole = trained(prepared, recipe, tmp_path / "whole", 2)
    trained(prepared, recipe, tmp_path / "parts", 2, until=1)
    parts = trained(prepared, recipe, tmp_path / "parts", 2)
    (alone,) = trained(prepared, recipe, tmp_path / "alone", 1)
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)
    assert any(not torch.equal(weight, alone[name]) for name, weight in whole[0].items())


@NO_GPU
def test_processes_that_would_train_something_else_do_not_train_together(prepared, tmp_path):
    def work() -> str:
        mine = replace(prepared, train=prepared.train[int(os.environ["LOCAL_RANK"]) :])
        with pytest.raises(AvgateError) as ended:
            training.train(CORPUS, None, RECIPE, None, accelerator="cpu", devices=2, prepared=mine)
        return str(ended.value)

    first, second = in_forks(2, tmp_path, work)
    assert second.startswith("this process and the first one of the training differ in their clips\n")
    assert first.startswith("another process of this training is gone")


@pytest.mark.parametrize(
    ("devices", "strategy", "begun"), [(1, "auto", False), ("auto", "auto", False), (2, "auto", True), (2, "ddp", True)]
)
def test_processes_are_begun_where_there_are_several(devices, strategy, begun):
    assert must_begin_others(fabric_of("cpu", "32-true", devices, 1, strategy)) == begun


def test_machines_that_do_not_know_of_each_other_are_told_how_to(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UsageError, match=r"--nodes: machines must know of each other\n.*NODE_RANK"):
        must_begin_others(fabric_of("cpu", "32-true", 2, 2, "auto"))


@pytest.mark.parametrize(("name", "given"), [("NODE_RANK", "2"), ("NODE_RANK", "-1"), ("MASTER_PORT", "abc")])
def test_places_that_no_machine_can_have_are_refused_by_name(monkeypatch, name, given):
    for variable, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "1", name: given}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=f"{name}: '{given}' is out of range"):
        must_begin_others(fabric_of("cpu", "32-true", 2, 2, "auto"))


def test_what_lightning_refuses_is_a_usage_error_in_its_words():
    with pytest.raises(UsageError, match=r"training can't begin: .*accelerator='gpus'"):
        fabric_of("gpus", "32-true", 1, 1, "auto")
