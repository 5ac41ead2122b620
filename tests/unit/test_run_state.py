"""A run goes on exactly as if it had never stopped, and never as another run."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from avgate.core.errors import CheckpointError, OutputError, UsageError
from avgate.core.sealed import write_sealed
from avgate.models.overrides import override
from avgate.models.recipe import to_plain
from avgate.training.run_state import RunState
from tests.tiny import RECIPE, disk_full_after, make_checkpoint

IDENTITY = {"recipe": to_plain(RECIPE), "features": ["aa", "bb"], "clips": ["c1", "c2"]}


class Net(nn.Module):
    """Two layers with buffers, in float32."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def adam(model):
    return torch.optim.AdamW(model.parameters(), lr=0.05)


def step(model, optimizer, seed):
    torch.manual_seed(seed)
    loss = model.layers(torch.randn(8, 3)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def trained(epochs, scores=(0.1, 0.4, 0.2, 0.3)):
    """Model, optimiser and state after some epochs."""
    model = Net(0)
    optimizer, state = adam(model), RunState.new(IDENTITY, model)
    for epoch in range(epochs):
        state = state.next(model, optimizer, step(model, optimizer, epoch), scores[epoch])
    return model, optimizer, state


def test_a_state_comes_back_as_it_was_saved(tmp_path):
    _, _, state = trained(3)
    state.save(tmp_path)
    back = RunState.load(tmp_path, IDENTITY)

    for name in ("epoch", "best_epoch", "best_score", "history"):
        assert getattr(back, name) == getattr(state, name), name
    for name in ("last", "best", "moments"):
        assert equal(getattr(back, name), getattr(state, name)), name
    assert back.identity == json.loads(json.dumps(IDENTITY))


def test_a_resumed_run_takes_the_very_steps_that_it_would_have_taken(tmp_path):
    model, optimizer, state = trained(2)
    state.save(tmp_path)
    resumed = Net(99)
    resumed_optimizer = adam(resumed)
    RunState.load(tmp_path, IDENTITY).restore(resumed, resumed_optimizer)

    for epoch in (2, 3):
        assert step(model, optimizer, epoch) == step(resumed, resumed_optimizer, epoch)
    assert equal(model.state_dict(), resumed.state_dict())


def test_a_run_before_its_first_epoch_begins_with_the_models_own_weights():
    model = Net(0)
    state = RunState.new(IDENTITY, model)
    step(model, adam(model), 0)
    fresh = Net(1)
    state.restore(fresh, adam(fresh))

    assert equal(fresh.state_dict(), Net(0).state_dict())
    assert (state.epoch, state.best_epoch, state.history) == (0, 0, [])


def test_the_best_epoch_keeps_its_weights_while_training_goes_on():
    weights = [trained(n)[0].state_dict() for n in range(5)]
    _, _, state = trained(4)

    assert (state.epoch, state.best_epoch, state.best_score) == (4, 2, 0.4)
    assert equal(state.best, weights[2])
    assert equal(state.last, weights[4])


def test_of_equally_good_epochs_the_first_counts():
    assert trained(3, (0.4, 0.4, 0.4))[2].best_epoch == 1


def test_an_epoch_without_a_score_is_worse_than_any_other():
    _, _, state = trained(3, (math.nan, -0.5, math.nan))

    assert (state.best_epoch, state.best_score) == (2, -0.5)
    assert math.isnan(state.history[0]["validation_ccc"]), "what could not be measured stays unknown in the history"


def test_history_is_a_table_with_one_row_per_epoch(tmp_path):
    _, _, state = trained(3)
    state.save(tmp_path)
    table = pd.read_csv(tmp_path / "history.csv")

    assert table["epoch"].tolist() == [1, 2, 3]
    assert table["validation_ccc"].tolist() == [0.1, 0.4, 0.2]
    assert table["loss"].tolist() == pytest.approx([row["loss"] for row in state.history])


def test_a_folder_without_a_run_has_no_state(tmp_path):
    assert RunState.load(tmp_path, IDENTITY) is None
    assert RunState.load(tmp_path / "not there yet", IDENTITY) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": to_plain(override(RECIPE, "train.lr=1"))}, "it differs in its recipe"),
        ({"clips": ["c1", "c3"]}, "it differs in its clips"),
        ({"features": ["aa", "cc"], "clips": ["c1"]}, "it differs in its features and clips"),
        ({"corpus": "another"}, "it differs in its corpus"),
    ],
)
def test_a_run_of_something_else_is_refused_with_the_reason(tmp_path, changes, said):
    trained(1)[2].save(tmp_path)

    with pytest.raises(UsageError) as caught:
        RunState.load(tmp_path, IDENTITY | changes)
    assert caught.value.what.endswith(said)
    assert caught.value.where == str(tmp_path)
    assert "--out" in caught.value.hint


def truncated(path):
    path.write_bytes(path.read_bytes()[:-10])


def checkpoint(path):
    make_checkpoint().save(path)


@pytest.mark.parametrize("spoil", [truncated, checkpoint, lambda p: p.write_bytes(b""), lambda p: p.write_text("lost")])
def test_a_spoilt_state_says_which_file_to_delete(tmp_path, spoil):
    trained(1)[2].save(tmp_path)
    spoil(tmp_path / "resume.safetensors")

    with pytest.raises(CheckpointError, match="can't be read") as caught:
        RunState.load(tmp_path, IDENTITY)
    assert caught.value.where == str(tmp_path / "resume.safetensors")
    assert "delete it" in caught.value.hint


def test_a_full_disk_leaves_the_state_of_the_epoch_before(tmp_path):
    model, optimizer, state = trained(1)
    state.save(tmp_path)
    with disk_full_after(500), pytest.raises(OutputError, match=r"resume\.safetensors"):
        state.next(model, optimizer, 0.0, 0.9).save(tmp_path)

    assert RunState.load(tmp_path, IDENTITY).epoch == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["history.csv", "resume.safetensors"]


def test_the_state_of_a_later_version_is_refused(tmp_path):
    trained(1)[2].save(tmp_path)
    path = tmp_path / "resume.safetensors"
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["avgate"]) | {"averaged": True}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    write_sealed(path, save(tensors, {"avgate": json.dumps(about)}))

    with pytest.raises(CheckpointError, match="another version of avgate wrote it: this one doesn't know 'averaged'"):
        RunState.load(tmp_path, IDENTITY)


def test_a_run_that_is_killed_between_its_files_has_the_history_of_all_its_epochs_in_the_end(tmp_path, monkeypatch):
    model, optimizer, state = trained(1)
    state.save(tmp_path)
    after = state.next(model, optimizer, 0.5, 0.9)
    monkeypatch.setattr("avgate.training.run_state.write_sealed", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        after.save(tmp_path)

    assert RunState.load(tmp_path, IDENTITY).epoch == 1, "so that its second epoch is done again"
    assert pd.read_csv(tmp_path / "history.csv")["epoch"].tolist() == [1, 2]
