"""What a whole model of every fusion promises, with every choice in its config and behind every kind of encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.export import Dim

from avgate.core.errors import UsageError
from avgate.models.checkpoint import load_checkpoint
from avgate.models.fusions import FUSIONS
from avgate.models.fusions.hgrjca import RhgrjcaConfig
from avgate.models.fusions.single import AudioConfig, VideoConfig
from avgate.models.losses import beta_nll, ccc_loss, unimodal_loss
from avgate.models.network import Model, ModelConfig, ModelOutput
from tests.few import few
from tests.small_models import (
    DIMS,
    ENCODERS,
    VARIANTS,
    WINDOW,
    assert_same_bits,
    make_batch,
    make_model,
    padded,
    tensors,
    with_garbage,
)

pytestmark = pytest.mark.usefixtures("one_thread", "no_grad")

Batch = tuple[dict[str, Tensor], dict[str, Tensor]]

DEFAULTS = [pytest.param(fusion.Config(), id=fusion.name) for fusion in FUSIONS]

ENCODED = [pytest.param(v.values[0], "tcn", id=v.id, marks=v.marks) for v in VARIANTS]
ENCODED += [
    pytest.param(v.values[0], "lstm", id=f"{v.id}-lstm", marks=() if v.id == "rhgrjca" else pytest.mark.slow)
    for v in DEFAULTS
]
"""Each variant behind one encoder, and each fusion's default behind the other: a fusion sees of either but tensors."""

EXPORTED = [
    pytest.param(v.values[0], encoder, id=f"{v.id}-{encoder}")
    for v in VARIANTS
    for encoder in ("tcn", "lstm", "gru")
    if ("time_mixing=" in v.id or "reliability=" in v.id if encoder == "tcn" else v.id == "rhgrjca")
]
"""The choices that bring operations which the defaults don't have, and one default behind recurrent encoders.

What the others' programs give, behind a TCN, is compared by way of their files in test_export_contract.py.
"""

SMALL = RhgrjcaConfig(iterations=1, time_mixing="relative", one_encoder=True)
"""What the default weights have, but smaller: exporting with dynamic sizes takes long."""

WITHOUT_WARNING = pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned during export")
"""Of torch.nn.LSTM, whose list of weights torch.export takes for a new attribute."""


def spoken(model: Model) -> list[str]:
    """What single modalities say in training: each by its head, and each as the fusion would fall back on it."""
    return [*model.modalities, *(f"fallback/{m}" for m in model.modalities if model.fusion.falls_back)]


def double(batch: Batch) -> Batch:
    return {m: x.double() for m, x in batch[0].items()}, batch[1]


def assert_close(one: ModelOutput, other: ModelOutput, tolerance: float, steps: slice = slice(None)) -> None:
    """Those steps of `one` and all of `other` differ by no more than the tolerance, and are NaN at the same places."""
    assert set(tensors(one)) == set(tensors(other))
    for name, expected in tensors(other).items():
        found = tensors(one)[name][:, steps]
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance, equal_nan=True, msg=name)


def read_by(model: Model, batch: Batch) -> Batch:
    """The batch without modalities that the model doesn't read: an exported program takes no others."""
    return {m: batch[0][m] for m in model.modalities}, {m: batch[1][m] for m in model.modalities}


def exported(model: Model, batch: Batch, *dynamic: Dim | None) -> torch.nn.Module:
    """The model as a program, with dynamic batch size and length where they are given."""
    free = dict(enumerate(dynamic))
    shapes = tuple(dict.fromkeys(model.modalities, free) for _ in batch) if dynamic else None
    return torch.export.export(model, batch, dynamic_shapes=shapes).module()


@pytest.mark.parametrize("config", VARIANTS)
class TestModel:
    # Heads of single modalities speak in training only; what is tested in training is tested with them.
    @pytest.mark.parametrize("training", [True, False], ids=("train", "eval"))
    def test_targets_are_in_range_wherever_there_is_evidence(self, config, training):
        model = make_model(config, heads=True).train(training)
        features, present = make_batch()
        out = model(features, present)
        evidence = torch.stack([present[m] for m in model.modalities]).any(0)
        assert list(out.unimodal) == (spoken(model) if training else [])
        for targets in (out.targets, *out.unimodal.values()):
            assert targets.shape == (7, WINDOW, 2)
            assert (targets[evidence].abs() <= 1).all()

    @pytest.mark.parametrize("training", [True, False], ids=("train", "eval"))
    def test_single_steps_work(self, config, training):
        features, present = make_batch(steps=1)
        out = make_model(config, heads=training).train(training)(features, present)
        for targets in (out.targets, *out.unimodal.values()):
            assert targets.shape == (7, 1, 2)
            assert torch.isfinite(targets).all()

    @torch.enable_grad()
    @pytest.mark.parametrize("heads", [False, True], ids=("fused", "unimodal too"))
    def test_every_parameter_learns_with_finite_gradients_whatever_is_absent(self, config, heads):
        features, present = make_batch()
        reliable = {m: here.float() for m, here in present.items()}
        labels = torch.rand(7, WINDOW, 2, generator=torch.Generator().manual_seed(2)) * 2 - 1
        labels[~torch.stack(list(present.values())).any(0)] = torch.nan
        idle = {name for name, _ in make_model(config, heads=heads).named_parameters()}
        for seed in range(4):  # in a few initialisations a ReLU is closed everywhere, and what is behind it rests
            model = make_model(config, seed=seed, heads=heads).train()
            out = model(with_garbage(features, present), present)
            assert list(out.unimodal) == (spoken(model) if heads else [])
            loss = ccc_loss(out.targets, labels) + unimodal_loss(out.unimodal, labels, reliable)
            (loss + beta_nll(out.centre, out.log_variance, labels)).backward()
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name
                if parameter.grad.any():
                    idle.discard(name)
            if not idle:
                break
        assert not idle

    def test_saved_and_loaded_weights_give_the_same_bits(self, config, tmp_path):
        model, batch = make_model(config, heads=True), make_batch()
        save_file(model.state_dict(), tmp_path / "model.safetensors")
        settings = ModelConfig(config, dict.fromkeys(DIMS, ENCODERS["tcn"]), unimodal_heads=True)
        fresh = Model(settings, DIMS, targets=2, window=WINDOW).eval()
        fresh.load_state_dict(load_file(tmp_path / "model.safetensors"))
        assert_same_bits(model(*batch), fresh(*batch))

    @pytest.mark.parametrize("available", [("audio",), ("video",), ("text",), ("audio", "video", "text")], ids=str)
    def test_other_modalities_work_or_the_error_says_what_is_needed(self, config, available):
        dims = {m: 4 + i for i, m in enumerate(available)}
        refusal = None
        try:
            model = make_model(config, dims=dims)
        except UsageError as error:
            refusal = error
        if refusal is None:
            assert model(*make_batch(dims=dims)).targets.shape == (7, WINDOW, 2)
        else:
            assert ", ".join(available) in refusal.what
            assert refusal.hint


@pytest.mark.parametrize(("config", "encoder"), ENCODED)
class TestPresence:
    @pytest.mark.parametrize("training", [True, False], ids=("train", "eval"))
    def test_what_stands_in_absent_steps_changes_no_bit(self, config, encoder, training):
        model = make_model(config, encoder, dropout=False, heads=training).train(training)
        features, present = make_batch()
        assert_same_bits(model(features, present), model(with_garbage(features, present), present))

    def test_padding_changes_no_bit_of_an_exact_estimate(self, config, encoder):
        model = make_model(config, encoder)
        batch = make_batch(steps=7)
        more = model.exact(*padded(*batch, WINDOW - 7))
        assert_same_bits(model.exact(*batch), more, steps=slice(7))
        assert torch.isnan(more.targets[:, 7:]).all()

    def test_neighbours_in_the_batch_change_no_bit_of_an_exact_estimate(self, config, encoder):
        model, (features, present) = make_model(config, encoder), make_batch()
        together = model.exact(features, present)
        for i in (0, 3, 4, 5):  # complete, with a gap, without the first modality, without the last
            row = slice(i, i + 1)
            alone = model.exact(
                {m: x[row].clone() for m, x in features.items()}, {m: p[row].clone() for m, p in present.items()}
            )
            assert_same_bits(alone, together, rows=row)

    def test_a_batch_gives_what_each_sequence_gives_alone_but_for_rounding(self, config, encoder):
        """In float64, where rounding is far below any mistake; `exact` neither sees neighbours nor padding."""
        model, batch = make_model(config, encoder).double(), double(make_batch(steps=7))
        more = padded(*batch, WINDOW - 7)
        assert_close(model(*batch), model.exact(*batch), 1e-10)
        assert_close(model(*more), model.exact(*more), 1e-10)

    @pytest.mark.slow
    def test_padding_in_training_changes_nothing_beyond_rounding(self, config, encoder):
        model = make_model(config, encoder, dropout=False, heads=True).double().train()
        batch = double(make_batch(steps=7))
        assert_close(model(*padded(*batch, WINDOW - 7)), model(*batch), 1e-9, steps=slice(7))


def test_with_the_default_weights_padding_and_neighbours_change_targets_by_less_than_1e_6():
    checkpoint = load_checkpoint()
    dims = {m: len(stats.mean) for m, stats in checkpoint.stats.items()}
    model, steps = checkpoint.build(), checkpoint.recipe.window
    batch = padded(*make_batch(steps - 50, dims), 50)
    found, expected = model(*batch), model.exact(*batch)
    assert not torch.equal(found.targets.nan_to_num(9), expected.targets.nan_to_num(9)), "nothing to tell apart"
    torch.testing.assert_close(found.targets, expected.targets, rtol=0, atol=1e-6, equal_nan=True)
    assert_close(found, expected, 1e-5)


@pytest.mark.slow
@WITHOUT_WARNING
@pytest.mark.parametrize("config", DEFAULTS)
def test_an_exported_model_gives_the_same_numbers(config):
    model = make_model(config, "short tcn", heads=True)
    batch = read_by(model, make_batch())
    assert_close(exported(model, batch)(*batch), model(*batch), 1e-6)


@WITHOUT_WARNING
@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "encoder"),
    few([pytest.param(SMALL, "short tcn", id="small rhgrjca"), *EXPORTED], 1, pytest.mark.long),
)
def test_an_exported_model_takes_any_batch_size_and_behind_a_tcn_any_length(config: Any, encoder: str):
    """Up to the window where time mixing is `window`; behind recurrent encoders, the length of the export alone."""
    model = make_model(config, encoder, heads=True)
    longest = WINDOW if getattr(config, "time_mixing", None) == "window" else 5 * WINDOW
    recurrent = encoder in ("lstm", "gru")
    program = exported(
        model, read_by(model, make_batch()), Dim("batch", max=64), None if recurrent else Dim("steps", max=longest)
    )
    for rows in (slice(1), slice(2, 7)):
        for steps in (WINDOW,) if recurrent else (1, 7, longest):
            features, present = read_by(model, make_batch(steps))
            batch = {m: x[rows] for m, x in features.items()}, {m: p[rows] for m, p in present.items()}
            assert_close(program(*batch), model(*batch), 1e-6)


@pytest.mark.parametrize(
    ("config", "own", "other"), [(AudioConfig(), "audio", "video"), (VideoConfig(), "video", "audio")]
)
def test_one_modality_models_never_see_the_other(config, own, other):
    model, (features, present) = make_model(config), make_batch()
    expected = model({own: features[own]}, {own: present[own]})
    assert_same_bits(expected, model({own: features[own], other: torch.full_like(features[other], torch.nan)}, present))
