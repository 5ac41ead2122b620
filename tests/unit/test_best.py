"""The best variant is chosen by validation, and the command that trains it anew says all of its recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avgate.compare.ablations import CHANGES, ablations
from avgate.compare.best import best_of, settings_between
from avgate.compare.kept import Kept
from avgate.compare.outcome import Outcome
from avgate.compare.protocol import Protocol, Variant
from avgate.models.encoders import GruConfig
from avgate.models.overrides import override
from avgate.models.recipe import Recipe
from avgate.models.recipes import recipe_named

DEMO = recipe_named("demo")
PROTOCOL = Protocol("rendered", Path("clips"), Path("clips/features"), folds=2)


def best(*variants: Variant, protocol: Protocol = PROTOCOL, settings: tuple[str, ...] = ("", "")) -> dict:
    """Of variants each of which is better than those before it."""
    outcomes = {
        (v.name, 0, fold): Outcome(0.1 * i, setting, ("valence",), ("audio",), (), np.zeros((0, 1, 6)))
        for i, v in enumerate(variants)
        for fold, setting in enumerate(settings)
    }
    return best_of(protocol, variants, outcomes, Kept(Path("out")))


def test_the_best_variant_is_chosen_on_validation_clips_and_its_best_model_is_named():
    scores = {"concat": (0.2, 0.9, 0.2, float("nan")), "hgrjca": (0.4, 0.5, 0.6, 0.4), "ca": (float("nan"),) * 4}
    # Test scores say the opposite: they have no part in it.
    outcomes = {
        (name, 0, fold): Outcome(score, "", ("valence",), ("audio",), ("clip",), np.full((1, 1, 6), -score))
        for name, of_folds in scores.items()
        for fold, score in enumerate(of_folds)
    }
    variants = [Variant(name, DEMO.with_fusion(name)) for name in scores]
    found = best_of(replace(PROTOCOL, folds=4), variants, outcomes, Kept(Path("out")))
    assert (found["fusion"], found["validation"]) == ("hgrjca", pytest.approx(0.475))
    assert found["checkpoint"] == "checkpoints/hgrjca-seed0-fold2.safetensors"


@pytest.mark.parametrize("name", CHANGES)
def test_the_settings_of_every_ablation_turn_the_recipe_into_it(name):
    (variant,) = ablations(DEMO, [name])
    named = DEMO.with_fusion("hgrjca")
    settings = settings_between(named, variant.recipe)
    assert override(named, *settings) == variant.recipe
    assert len(settings) == len(CHANGES[name])


@pytest.mark.parametrize(
    "settings",
    [
        ("hop_s=4.0", "window_s=8.0"),
        ("hop_s=40.0", "window_s=80.0"),
        ("train.corrupt.share=(0.5,0.75)", 'train.corrupt.kinds=("noise",)', "smooth_s=(0.0,)"),
        ("model.encoders.audio.channels=(8,8)", "model.unimodal_heads=True"),
    ],
)
def test_settings_that_differ_turn_one_recipe_into_the_other(settings):
    wanted = override(DEMO, *settings)
    found = settings_between(DEMO, wanted)
    assert override(DEMO, *found) == wanted
    assert len(found) == len(settings)


def test_a_recipe_that_no_setting_can_say_has_no_command():
    gru = replace(DEMO, model=replace(DEMO.model, encoders={"audio": GruConfig()}))
    assert settings_between(DEMO, gru) is None
    assert best(Variant("gru", gru))["command"] is None
    assert best(Variant("own", Recipe(name="my own")))["command"] is None


def test_the_command_names_recipe_fusion_changes_and_the_setting_that_most_folds_chose():
    (variant,) = ablations(override(DEMO, "train.epochs=7"), ["tau 0.5"])
    settings = ("train.lr=2e-3", "train.lr=5e-3", "train.lr=5e-3")
    assert best(Variant("worse", DEMO), variant, settings=settings) == {
        "fusion": "tau 0.5",
        "validation": pytest.approx(0.1),
        "checkpoint": "checkpoints/tau 0.5-seed0-fold0.safetensors",
        "setting": "train.lr=5e-3",
        "command": "avgate train --corpus rendered --data clips --out out/best --recipe demo --fusion hgrjca "
        "--set model.fusion.tau=0.5 train.epochs=7 train.lr=0.005",
    }


def test_a_store_elsewhere_is_named_and_odd_paths_are_quoted():
    command = best(Variant("a", DEMO), protocol=replace(PROTOCOL, data=Path("my clips"), store=Path("s")))["command"]
    assert "--data 'my clips' --store s --out" in command
