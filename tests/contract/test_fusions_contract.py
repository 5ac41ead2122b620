"""What every fusion promises. A new one in FUSIONS is covered without a new test, with every choice in its config."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avgate.core.errors import UsageError
from avgate.models.encoders import LstmConfig, TcnConfig
from avgate.models.fusions import FUSIONS, Fusion, build_fusion, fusion_class, fusion_named
from avgate.models.fusions.hgrjca import HgrjcaConfig
from avgate.models.fusions.single import AudioConfig, VideoConfig
from avgate.models.losses import ccc_loss, unimodal_loss
from avgate.models.network import Model, ModelConfig, ModelOutput

WINDOW = 12
DIMS = {"audio": 8, "video": 12}
ENCODERS = {"tcn": TcnConfig(channels=(8, 8)), "lstm": LstmConfig(dim=8)}
seeded = torch.default_generator.manual_seed
"""torch.manual_seed, without what it notes down for GPUs that aren't there: a stack trace at every call."""

GARBAGE = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, 0.0])


def variants() -> list[Any]:
    """Every fusion's default config, and each single departure from it that a Literal or a bool offers.

    Of a fusion that is another one with other defaults, the defaults will do.
    """
    found = []
    for fusion in FUSIONS:
        default, kinds = fusion.Config(), get_type_hints(fusion.Config)
        found.append(pytest.param(default, id=fusion.name))
        if any(issubclass(fusion, other) for other in FUSIONS if other is not fusion):
            continue
        for field in fields(fusion.Config):
            kind, current = kinds[field.name], getattr(default, field.name)
            choices = get_args(kind) if get_origin(kind) is Literal else (True, False) if kind is bool else ()
            found += [
                pytest.param(replace(default, **{field.name: choice}), id=f"{fusion.name}-{field.name}={choice}")
                for choice in choices
                if choice != current
            ]
    return found


VARIANTS = [
    *variants(),
    pytest.param(HgrjcaConfig(reliability="fallback", one_encoder=True), id="hgrjca-reliability=fallback-one_encoder"),
]
ENCODED = [pytest.param(v.values[0], "tcn", id=v.id) for v in VARIANTS]
ENCODED += [pytest.param(fusion.Config(), "lstm", id=f"{fusion.name}-lstm") for fusion in FUSIONS]
"""Each variant behind one encoder, and each fusion's default behind the other: a fusion sees of either but tensors."""

EXPORTED = [v for v in VARIANTS if "=" not in v.id or "time_mixing=" in v.id or "reliability=" in v.id]
"""Exporting takes its time: every default, and the choices that bring other operations than the defaults have."""

WITH_FIXED_WINDOW = [v for v in VARIANTS if getattr(v.values[0], "time_mixing", None) == "window"]


def make_fusion(config: Any) -> Fusion:
    seeded(0)
    dims = {m: DIMS[m] for m in fusion_class(config).modalities(tuple(DIMS))}
    return build_fusion(config, dims, WINDOW).eval()


def make_model(
    config: Any,
    encoder: str = "tcn",
    dims: dict[str, int] = DIMS,
    dropout: bool = True,
    seed: int = 0,
    heads: bool = False,
) -> Model:
    """Every parameter is moved off its initial value: identities and zeros would hide what leaks."""
    seeded(seed)
    encoding, head_dropout = ENCODERS[encoder], 0.1
    if not dropout:
        encoding, head_dropout = replace(encoding, dropout=0.0), 0.0
        config = replace(config, dropout=0.0) if hasattr(config, "dropout") else config
    settings = ModelConfig(config, dict.fromkeys(dims, encoding), head_dropout, unimodal_heads=heads)
    model = Model(settings, dims, targets=2, window=WINDOW)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def fused_batch(fusion: Fusion, steps: int = WINDOW) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a fusion by itself reads, further views of the modalities among it, and their presence."""
    _, present = make_batch(steps)
    features = {name: torch.randn(7, steps, d) for name, d in fusion.inputs.items()}
    return features, {m: present[m] for m in fusion.dims}


def make_batch(steps: int = WINDOW, dims: dict[str, int] = DIMS) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Seven sequences: complete, three with gaps, without the first modality, without the last, without anything."""
    seeded(1)
    features = {m: torch.randn(7, steps, d) for m, d in dims.items()}
    present = {m: torch.rand(7, steps) < 0.6 for m in dims}
    for mask in present.values():
        mask[0] = True
        mask[3, steps // 2 :] = False
        mask[6] = False
    next(iter(present.values()))[4] = False
    list(present.values())[-1][5] = False
    return features, present


def spoken(model: Model) -> list[str]:
    """What single modalities say in training: each by its head, and each as the fusion would fall back on it."""
    return [*model.modalities, *(f"fallback/{m}" for m in model.modalities if model.fusion.falls_back)]


def garbage_like(x: Tensor) -> Tensor:
    """All of GARBAGE in turn."""
    return GARBAGE.to(x)[torch.arange(x.numel()) % len(GARBAGE)].view_as(x)


def with_garbage(features: dict[str, Tensor], present: dict[str, Tensor]) -> dict[str, Tensor]:
    return {m: torch.where(present[m][..., None], x, garbage_like(x)) for m, x in features.items()}


def padded(features: dict[str, Tensor], present: dict[str, Tensor], steps: int):
    more = {m: torch.cat([x, garbage_like(x[:, :1].expand(-1, steps, -1))], 1) for m, x in features.items()}
    return more, {m: torch.cat([p, p.new_zeros(len(p), steps)], 1) for m, p in present.items()}


def tensors(output: ModelOutput) -> dict[str, Tensor]:
    return {"targets": output.targets, **output.gates, **{f"unimodal/{m}": x for m, x in output.unimodal.items()}}


def assert_same_bits(
    one: ModelOutput, other: ModelOutput, rows: slice = slice(None), steps: slice = slice(None)
) -> None:
    """All of `one` against those rows and steps of `other`, NaN against the same NaN."""
    assert set(tensors(one)) == set(tensors(other))
    for name, expected in tensors(one).items():
        found = tensors(other)[name][rows, steps]
        assert torch.equal(expected.view(torch.int32), found.contiguous().view(torch.int32)), name


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tensors are tiny here, and waiting for a second thread costs more than the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _no_grad_unless_asked_for():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("config", VARIANTS)
class TestFusion:
    @pytest.mark.parametrize("training", [True, False], ids=("train", "eval"))
    def test_fused_features_and_gates_have_the_promised_shapes_and_ranges(self, config, training):
        fusion = make_fusion(config).train(training)
        out = fusion(*fused_batch(fusion))
        assert out.fused.shape == (7, WINDOW, fusion.out_dim)
        assert torch.isfinite(out.fused).all()
        for name, gate in out.gates.items():
            assert gate.shape[:2] == (7, WINDOW), name
            assert gate.ndim == 3, name
            assert ((gate >= 0) & (gate <= 1)).all(), name
            if not name.startswith(("attended/", "reliability/")):
                torch.testing.assert_close(gate.sum(-1), torch.ones(7, WINDOW), msg=name)

    def test_a_fusion_that_falls_back_says_what_it_fuses_of_one_modality_alone(self, config):
        fusion = make_fusion(config)
        features, _ = fused_batch(fusion)
        if fusion.falls_back:
            shapes = {m: x.shape for m, x in fusion.alone(features).items()}
            assert shapes == dict.fromkeys(fusion.dims, (7, WINDOW, fusion.out_dim))
        else:
            with pytest.raises(NotImplementedError, match=f"{fusion.name} doesn't fall back"):
                fusion.alone(features)

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
            (ccc_loss(out.targets, labels) + unimodal_loss(out.unimodal, labels, reliable)).backward()
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name
                if parameter.grad.any():
                    idle.discard(name)
            if not idle:
                break
        assert not idle

    def test_eval_is_deterministic(self, config):
        model, batch = make_model(config), make_batch()
        assert_same_bits(model(*batch), model(*batch))

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


@pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned during export")
@pytest.mark.parametrize("config", EXPORTED)
def test_export_gives_the_same_numbers(config):
    fusion = make_fusion(config)

    class Exportable(nn.Module):
        def __init__(self):
            super().__init__()
            self.fusion = fusion

        def forward(self, features, present):
            out = self.fusion(features, present)
            return {"fused": out.fused, **out.gates}

    inputs = fused_batch(fusion)
    exported = torch.export.export(Exportable(), inputs).module()(*inputs)
    torch.testing.assert_close(exported, Exportable()(*inputs), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("config", "encoder"), ENCODED)
class TestFusionBehindEncoders:
    @pytest.mark.parametrize("training", [True, False], ids=("train", "eval"))
    def test_what_stands_in_absent_steps_changes_no_bit(self, config, encoder, training):
        model = make_model(config, encoder, dropout=False, heads=training).train(training)
        features, present = make_batch()
        assert_same_bits(model(features, present), model(with_garbage(features, present), present))

    def test_padding_changes_no_bit_in_eval_mode(self, config, encoder):
        model = make_model(config, encoder)
        batch = make_batch(steps=7)
        more = model(*padded(*batch, WINDOW - 7))
        assert_same_bits(model(*batch), more, steps=slice(7))
        assert torch.isnan(more.targets[:, 7:]).all()

    def test_neighbours_in_the_batch_change_no_bit_in_eval_mode(self, config, encoder):
        model, (features, present) = make_model(config, encoder), make_batch()
        together = model(features, present)
        for i in (0, 3, 4, 5):  # complete, with a gap, without the first modality, without the last
            row = slice(i, i + 1)
            alone = model(
                {m: x[row].clone() for m, x in features.items()}, {m: p[row].clone() for m, p in present.items()}
            )
            assert_same_bits(alone, together, rows=row)

    def test_padding_in_training_changes_nothing_beyond_rounding(self, config, encoder):
        """Eval mode cuts padding off; in training the encoders' and the fusion's own masks must do it."""
        model = make_model(config, encoder, dropout=False, heads=True).double().train()
        features, present = make_batch(steps=7)
        features = {m: x.double() for m, x in features.items()}
        expected = tensors(model(features, present))
        found = tensors(model(*padded(features, present, WINDOW - 7)))
        for name, value in expected.items():
            torch.testing.assert_close(found[name][:, :7], value, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("config", WITH_FIXED_WINDOW)
class TestFusionWithFixedWindow:
    def test_longer_input_is_refused_with_both_lengths(self, config):
        features, _ = make_batch(steps=WINDOW + 1)
        present = {m: torch.ones(7, WINDOW + 1, dtype=torch.bool) for m in DIMS}
        with pytest.raises(ValueError, match=rf"window .*{WINDOW} steps .*{WINDOW + 1}"):
            make_model(config)(features, present)

    def test_no_window_length_is_refused_with_the_way_out(self, config):
        with pytest.raises(ValueError, match="relative"):
            build_fusion(config, DIMS, window=None)


@pytest.mark.parametrize("config", [v for v in VARIANTS if getattr(v.values[0], "time_mixing", "window") != "window"])
def test_time_mixing_without_a_window_takes_any_length(config):
    fusion = build_fusion(config, DIMS, window=None)
    assert fusion(*fused_batch(fusion, steps=5 * WINDOW)).fused.shape[1] == 5 * WINDOW


def test_names_and_configs_find_their_fusion_and_no_other():
    for fusion in FUSIONS:
        assert fusion_named(fusion.name) is fusion
        assert fusion_class(fusion.Config()) is fusion
    with pytest.raises(UsageError, match=r"did you mean 'hgrjca'\? choose one of: audio, video"):
        fusion_named("hgrja")


@pytest.mark.parametrize(
    ("config", "missing", "available"), [(AudioConfig(), "audio", "video"), (VideoConfig(), "video", "audio")]
)
def test_one_modality_models_refuse_features_without_it(config, missing, available):
    with pytest.raises(UsageError, match=rf"needs {missing} features.* only: {available}"):
        make_model(config, dims={available: 5})


@pytest.mark.parametrize(
    ("config", "own", "other"), [(AudioConfig(), "audio", "video"), (VideoConfig(), "video", "audio")]
)
def test_one_modality_models_never_see_the_other(config, own, other):
    model, (features, present) = make_model(config), make_batch()
    expected = model({own: features[own]}, {own: present[own]})
    assert_same_bits(expected, model({own: features[own], other: torch.full_like(features[other], torch.nan)}, present))
