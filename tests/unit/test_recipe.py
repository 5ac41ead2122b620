"""A recipe travels through JSON, changes by words, and builds a model."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass, replace

import pytest
import torch

from avgate.cli import options
from avgate.core.errors import CheckpointError, UsageError
from avgate.corpora import CORPORA
from avgate.models.encoders import GruConfig, LstmConfig, TcnConfig
from avgate.models.fusions import FUSIONS
from avgate.models.network import Model, ModelConfig
from avgate.models.overrides import override
from avgate.models.recipe import CONFIGS, Recipe, TrainConfig, from_plain, to_plain
from avgate.models.recipes import RECIPES, recipe_named
from tests.deep import with_tiny_weights

every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
TRIED = ("train.lr=1e-3", "train.lr=1e-2 train.batch=4")
every_fusion = pytest.mark.parametrize("fusion", [f.name for f in FUSIONS])


def through_json(recipe):
    return from_plain(json.loads(json.dumps(to_plain(recipe))))


def run(recipe):
    """A model of the recipe on one window of noise."""
    dims = {"audio": 5, "video": 8 * 8 * 3 if recipe.model.finetune else 4}
    torch.manual_seed(0)
    model = Model(recipe.model, dims, 2, recipe.window).eval()
    features = {m: torch.randn(1, recipe.window, d) for m, d in dims.items()}
    return model(features, {m: torch.ones(1, recipe.window, dtype=torch.bool) for m in dims})


@every_recipe
def test_every_recipe_builds_a_model_that_runs(recipe, tmp_path):
    with torch.no_grad():
        out = run(with_tiny_weights(recipe, tmp_path))

    assert out.targets.shape == (1, recipe.window, 2)
    assert (out.targets.abs() <= 1).all()


@every_recipe
def test_every_recipe_comes_back_from_json_as_it_was(recipe):
    assert through_json(recipe) == recipe


@every_fusion
def test_every_fusion_comes_back_from_json_as_it_was(fusion):
    recipe = RECIPES[0].with_fusion(fusion)

    assert through_json(recipe) == recipe
    assert recipe.fusion == fusion


def test_what_a_comparison_tries_comes_back_from_json_as_it_was():
    assert through_json(replace(RECIPES[0], tuning=TRIED)).tuning == TRIED


def test_every_kind_of_encoder_comes_back_from_json_as_it_was():
    encoders = {"audio": GruConfig(dim=6), "video": TcnConfig(channels=(4, 5)), "text": LstmConfig(layers=2)}
    found = through_json(Recipe("mixed", model=ModelConfig(encoders=encoders))).model.encoders

    assert found == encoders
    assert [type(found[m]) for m in encoders] == [GruConfig, TcnConfig, LstmConfig]


def test_recipe_names_are_unique_and_lead_to_their_recipe():
    assert len({r.name for r in RECIPES}) == len(RECIPES)
    assert all(recipe_named(r.name) is r for r in RECIPES)


def test_a_misspelt_recipe_gets_a_guess():
    with pytest.raises(UsageError, match="did you mean 'smoke'"):
        recipe_named("smok")


def test_windows_and_hops_are_whole_steps_of_the_label_rate():
    recipe = Recipe("x", label_rate=12.5, window_s=4.0, hop_s=1.0)

    assert (recipe.window, recipe.hop, recipe.grid.rate) == (50, 12, 12.5)


@every_recipe
def test_any_recipe_takes_any_fusion_and_keeps_the_rest(recipe):
    for fusion in FUSIONS:
        other = recipe.with_fusion(fusion.name)

        assert other.fusion == fusion.name
        assert replace(other, model=replace(other.model, fusion=recipe.model.fusion)) == recipe


def test_a_recipe_keeps_its_own_settings_of_the_fusion_it_has_already():
    recipe = override(recipe_named("smoke"), "model.fusion.iterations=4")

    assert recipe.with_fusion(recipe.fusion).model.fusion.iterations == 4


def test_an_unknown_fusion_is_refused_with_the_choices():
    with pytest.raises(UsageError, match="there is no fusion 'hgrja'") as caught:
        RECIPES[0].with_fusion("hgrja")
    assert "did you mean 'hgrjca'" in caught.value.hint


@pytest.mark.parametrize(
    ("assignment", "read", "value"),
    [
        ("train.epochs=5", lambda r: r.train.epochs, 5),
        ("train.lr=1e-4", lambda r: r.train.lr, 1e-4),
        ("train.lr=1", lambda r: r.train.lr, 1.0),
        (" window_s = 8 ", lambda r: r.window_s, 8.0),
        ("name=mine", lambda r: r.name, "mine"),
        ("model.fusion.final_relu=False", lambda r: r.model.fusion.final_relu, False),
        ("model.fusion.gate_sees=all", lambda r: r.model.fusion.gate_sees, "all"),
        ("model.fusion.reliability=fallback", lambda r: r.model.fusion.reliability, "fallback"),
        ("model.unimodal_heads=True", lambda r: r.model.unimodal_heads, True),
        ("train.reliability_weight=1", lambda r: r.train.reliability_weight, 1.0),
        ("train.unimodal_weight=1", lambda r: r.train.unimodal_weight, 1.0),
        ("tuning='train.lr=1e-3', 'train.lr=1e-2 train.batch=4'", lambda r: r.tuning, TRIED),
        ("tuning=('train.lr=1e-3',)", lambda r: r.tuning, TRIED[:1]),
        ("model.fusion.time_mixing=relative", lambda r: r.model.fusion.time_mixing, "relative"),
        ("model.encoders.audio.causal=True", lambda r: r.model.encoders["audio"].causal, True),
        ("model.encoders.audio.activation=leaky_relu", lambda r: r.model.encoders["audio"].activation, "leaky_relu"),
        ("model.encoders.audio.projection=False", lambda r: r.model.encoders["audio"].projection, False),
        ("loss.ccc=per_sequence", lambda r: r.loss.ccc, "per_sequence"),
        ("model.encoders.video.channels=(4, 6)", lambda r: r.model.encoders["video"].channels, (4, 6)),
        ("smooth_s=[0, 1.5]", lambda r: r.smooth_s, (0.0, 1.5)),
        ("backbones=('egemaps',)", lambda r: r.backbones, ("egemaps",)),
    ],
)
def test_a_setting_takes_the_value_and_its_type(assignment, read, value):
    recipe = recipe_named("smoke")
    before = to_plain(recipe)
    found = read(override(recipe, assignment))

    assert found == value
    assert type(found) is type(value)
    assert to_plain(recipe) == before, "the named recipe itself never changes"


@pytest.mark.parametrize("order", [("hop_s=30", "window_s=40"), ("window_s=40", "hop_s=30")])
def test_settings_that_fit_only_together_may_come_in_any_order(order):
    changed = override(recipe_named("smoke"), *order)

    assert (changed.hop_s, changed.window_s) == (30, 40)


def test_settings_that_do_not_fit_together_are_all_named():
    with pytest.raises(UsageError, match="hop_s=50") as caught:
        override(recipe_named("smoke"), "hop_s=50", "window_s=40")
    assert caught.value.where == "hop_s, window_s"
    with pytest.raises(UsageError, match="a model of sound needs") as caught:
        override(recipe_named("demo-finetune"), "model.finetune.video.kind=sound")
    assert caught.value.where == "model.finetune.video.kind"


def test_of_two_values_for_one_setting_the_later_counts():
    assert override(recipe_named("smoke"), "train.epochs=5", "train.epochs=6").train.epochs == 6
    assert override(recipe_named("smoke"), "train=5", "train.epochs=6").train.epochs == 6


def test_one_changed_setting_changes_nothing_else():
    recipe = recipe_named("smoke")
    changed = override(recipe, "model.encoders.audio.kernel=3")

    assert changed.model.encoders["video"] == recipe.model.encoders["video"]
    assert override(changed, "model.encoders.audio.kernel=5") == recipe


@pytest.mark.parametrize(
    ("assignment", "guess"),
    [
        ("train.epoch=5", "did you mean 'epochs'"),
        ("trian.epochs=5", "did you mean 'train'"),
        ("model.encoders.audo.kernel=3", "did you mean 'audio'"),
        ("model.fusion.time_mixing=relativ", "did you mean 'relative'"),
        ("model.fusion.gate_sees=everything", "choose one of: attended, both, all"),
        ("model.fusion.reliability=True", "choose one of: off, scaled, fallback"),
        ("model.encoders.audio.activation=gelu", "choose one of: relu, leaky_relu"),
        ("loss.ccc=per_sequences", "did you mean 'per_sequence'"),
        ("train.epochs", "path=value"),
        ("train.epochs.first=1", "its value is 2"),
    ],
)
def test_a_wrong_path_or_choice_says_what_was_meant(assignment, guess):
    with pytest.raises(UsageError) as caught:
        override(recipe_named("smoke"), assignment)
    assert guess in caught.value.hint


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("train.epochs=many", "'many' isn't a whole number"),
        ("train.epochs=2.5", "'2.5' isn't a whole number"),
        ("train.epochs=True", "'True' isn't a whole number"),
        ("train.lr=True", "'True' isn't a number"),
        ("train.lr=", "'' isn't a number"),
        ("train.lr=nan", "'nan' isn't a number"),
        ("train.lr=1e999", "'1e999' isn't a number"),
        ("train.epochs=" + "(" * 300 + ")" * 300, "isn't a whole number"),
        ("model.fusion.final_relu=1", "'1' isn't True or False"),
        ("model.fusion.final_relu=false", "'false' isn't True or False"),
        ("backbones=egemaps", "'egemaps' isn't a list of values"),
        ("smooth_s=(0, 'wide')", "isn't a list of values of the right kind"),
        ("model.encoders.audio.channels=(8.5,)", "isn't a list of values of the right kind"),
        ("tuning='train.lr=1e-3'", "isn't a list of values"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_beside_the_present_one(assignment, complaint):
    with pytest.raises(UsageError) as caught:
        override(recipe_named("smoke"), assignment)
    assert complaint in caught.value.what
    assert caught.value.where == assignment.partition("=")[0]
    assert "its value now is" in caught.value.hint


def test_a_group_of_settings_takes_no_value_and_names_its_parts():
    with pytest.raises(UsageError, match="a group of settings") as caught:
        override(recipe_named("smoke"), "model.fusion=concat")
    assert caught.value.hint.startswith("set its parts: iterations, tau, ")


def test_settings_of_one_kind_of_encoder_are_refused_for_another():
    with pytest.raises(UsageError, match=r"'model\.encoders\.audio\.activation': no"):
        override(recipe_named("hazumi"), "model.encoders.audio.activation=leaky_relu")


def test_settings_that_only_other_recipes_have_are_refused():
    with pytest.raises(UsageError, match="this recipe has no settings there") as caught:
        override(recipe_named("smoke"), "model.finetune.video.source=MODEL")
    assert "demo-finetune" in caught.value.hint
    changed = override(recipe_named("demo-finetune"), "model.finetune.video.source=MODEL")
    assert changed.model.finetune["video"].source == "MODEL"


@pytest.mark.parametrize(
    "assignment",
    [
        "hop_s=30",
        "hop_s=0",
        "window_s=-1",
        "label_rate=0",
        "smooth_s=()",
        "smooth_s=(0, -1)",
        "train.epochs=0",
        "train.batch=0",
        "train.lr=0",
        "train.seed=-1",
        "train.mse_weight=-1",
        "train.reliability_weight=-1",
        "train.unimodal_weight=-1",
        "model.fusion.iterations=0",
        "model.fusion.tau=0",
    ],
)
def test_a_value_that_could_never_work_is_refused_before_any_work(assignment):
    with pytest.raises(UsageError) as caught:
        override(recipe_named("smoke"), assignment)
    assert caught.value.where == assignment.partition("=")[0]
    assert assignment.partition("=")[0].split(".")[-1] in caught.value.what


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda plain: plain["model"]["fusion"].update(temperature_schedule="cosine"), "temperature_schedule"),
        (lambda plain: plain.update(ema=0.99, aged=1), "aged, ema"),
        (lambda plain: plain["model"]["encoders"]["audio"].update(type="MambaConfig"), "MambaConfig"),
        (lambda plain: plain["model"]["fusion"].update(time_mixing="wavelet"), "time_mixing='wavelet'"),
        (lambda plain: plain["model"]["fusion"].update(tau=math.nan), "tau=nan"),
        (lambda plain: plain["model"]["fusion"].update(iterations=2.0), "iterations=2.0"),
        (lambda plain: plain["model"].update(encoders=None), "encoders=None"),
        (lambda plain: plain.update(backbones=["egemaps", 3]), "backbones=('egemaps', 3)"),
        (lambda plain: plain.update(backbones="egemaps"), "backbones='egemaps'"),
        (lambda plain: plain.update(smooth_s=[0, math.inf]), "smooth_s=(0, inf)"),
    ],
)
def test_a_recipe_of_a_newer_version_is_refused_by_naming_what_is_new(change, named):
    plain = json.loads(json.dumps(to_plain(recipe_named("smoke"))))
    change(plain)

    with pytest.raises(CheckpointError) as caught:
        from_plain(plain)
    assert caught.value.what.endswith(f": {named}")
    assert "newer" in caught.value.hint


@pytest.mark.parametrize("change", [{"backbones": (3,)}, {"backbones": "egemaps"}, {"tuning": (1e-3,)}])
def test_backbones_and_tuning_that_are_no_text_are_refused(change):
    with pytest.raises(ValueError, match="backbones are names, and its tuning is settings, all as text"):
        replace(recipe_named("smoke"), **change)


def test_a_recipe_of_an_older_version_takes_defaults_for_what_it_did_not_have():
    plain = to_plain(recipe_named("smoke"))
    del plain["train"]["clip_norm"], plain["train"]["reliability_weight"], plain["train"]["unimodal_weight"]
    del plain["model"]["fusion"]["reliability"], plain["model"]["unimodal_heads"], plain["tuning"]
    found = from_plain(plain)

    assert found.train.clip_norm == TrainConfig().clip_norm
    assert found.train.reliability_weight == 0
    assert found.model.fusion.reliability == "off"
    assert found.model.unimodal_heads is False
    assert found.tuning == ()


def test_the_released_recipe_has_what_the_released_code_has():
    recipe, usual = recipe_named("affwild2-released"), recipe_named("affwild2-rjca")
    fusion = recipe.model.fusion
    assert (recipe.fusion, fusion.form, fusion.iterations, fusion.dropout) == ("rjca", "rjcma", 2, 0.6)
    for encoder in recipe.model.encoders.values():
        assert (encoder.causal, encoder.activation, encoder.projection) == (True, "leaky_relu", False)
        assert (encoder.kernel, encoder.dropout, len(encoder.channels)) == (5, 0.1, 4)
    assert recipe.loss.ccc == "per_sequence"
    assert (recipe.window, recipe.hop, recipe.train) == (300, 200, usual.train)


def test_settings_that_came_later_are_written_only_where_they_are_not_the_usual_ones():
    """So that files without them are read as they always were, and earlier versions read most files of today."""
    later = {"loss", "activation", "projection"}

    def written(plain):
        parts = plain.values() if isinstance(plain, dict) else plain if isinstance(plain, list) else ()
        return (later & set(plain) if isinstance(plain, dict) else set()).union(*map(written, parts))

    found = {recipe.name: written(to_plain(recipe)) for recipe in RECIPES}
    assert {name: names for name, names in found.items() if names} == {"affwild2-released": later}
    assert from_plain(to_plain(recipe_named("smoke"))).loss.ccc == "pooled"


def test_one_encoder_is_written_only_where_it_is_asked_for():
    """So that what was trained before there was a choice counts as the same recipe."""
    recipe = recipe_named("hazumi-absence")
    assert "one_encoder" not in to_plain(recipe)["model"]["fusion"]
    shared = override(recipe, "model.fusion.one_encoder=True")
    assert to_plain(shared)["model"]["fusion"]["one_encoder"] is True
    assert from_plain(to_plain(shared)) == shared


@every_recipe
def test_every_setting_of_every_recipe_can_be_named_on_the_command_line(recipe):
    """Writing the value that is there already leads back to the same recipe, whatever its type."""

    def settings(owner, path=""):
        inside = {f.name: getattr(owner, f.name) for f in fields(owner)} if is_dataclass(owner) else owner
        for name, value in inside.items():
            if is_dataclass(value) or isinstance(value, dict):
                yield from settings(value, f"{path}{name}.")
            else:
                yield f"{path}{name}={value}"

    found = list(settings(recipe))
    assert len(found) > 20
    for assignment in found:
        assert override(recipe, assignment) == recipe


def test_help_names_every_recipe_every_fusion_and_every_corpus():
    assert options.RECIPES.split(", ") == [recipe.name for recipe in RECIPES]
    assert options.FUSIONS.split(", ") == [fusion.name for fusion in FUSIONS]
    assert options.CORPORA.removesuffix(" (your own recordings)").split(", ") == list(CORPORA)


def test_every_config_has_a_tag_of_its_own_that_never_changes():
    """Files name configs by their tags: what stands here is in files that people have."""
    fusions = "Audio Video Concat Ca Jca Rjca Dca Iaca Grjca Hgrjca Rhgrjca Lfan Tagf Crossmodal"
    others = "Recipe ModelConfig TrainConfig CorruptConfig LossConfig TcnConfig GruConfig LstmConfig FinetuneConfig"
    written = {f"{name}Config" for name in fusions.split()} | set(others.split())
    assert written <= set(CONFIGS)
    assert all(vars(config)["tag"] == tag for tag, config in CONFIGS.items()), "no tag is inherited"
