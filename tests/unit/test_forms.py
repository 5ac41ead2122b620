"""Joint cross-attention as published and as released: what a form needs, what it changes, and how files name it.

That each form agrees with its equations is in tests/golden/test_fusions.py.
"""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import nn

from avgate.core.errors import CheckpointError, UsageError
from avgate.models.fusions import FUSIONS, build_fusion
from avgate.models.fusions.jca import JcaConfig
from avgate.models.fusions.rjca import RjcaConfig
from avgate.models.overrides import override
from avgate.models.recipe import from_plain, to_plain
from avgate.models.recipes import RECIPES, recipe_named

WITH_FORMS = [fusion for fusion in FUSIONS if "hidden" in {f.name for f in fields(fusion.Config)}]
DIMS = {"audio": 3, "video": 4}
WINDOW = 6


def smoke(fusion: str, *assignments: str):
    return override(recipe_named("smoke").with_fusion(fusion), *assignments)


def parameters(config) -> int:
    return sum(p.numel() for p in build_fusion(config, DIMS, WINDOW).parameters())


def test_all_fusions_with_joint_cross_attention_have_the_same_forms():
    assert [f.name for f in WITH_FORMS] == ["jca", "rjca", "grjca", "hgrjca", "rhgrjca", "tagf"]
    assert {f.Config().form for f in WITH_FORMS} == {"paper"}


@pytest.mark.parametrize("name", [f.name for f in WITH_FORMS])
def test_a_form_that_does_not_exist_or_does_not_fit_is_refused_with_the_reason(name):
    with pytest.raises(UsageError, match="choose one of: paper, released, rjcma, additive"):
        smoke(name, "model.fusion.form=relased")
    with pytest.raises(UsageError, match="needs time_mixing=window"):
        smoke(name, "model.fusion.form=additive", "model.fusion.time_mixing=relative")
    with pytest.raises(UsageError, match="only the form 'additive' has it, not 'released'"):
        smoke(name, "model.fusion.form=released", "model.fusion.hidden=8")
    assert smoke(name, "model.fusion.form=additive", "model.fusion.hidden=8").model.fusion.hidden == 8


def test_a_form_stays_when_the_fusion_changes():
    released, rjcma = (smoke("rjca", f"model.fusion.form={form}") for form in ("released", "rjcma"))
    assert {released.with_fusion(name).model.fusion.form for name in ("jca", "hgrjca", "lfan")} == {"released"}
    assert rjcma.with_fusion("hgrjca").model.fusion.form == "rjcma"
    assert rjcma.with_fusion("lfan").model.fusion.form == "plain", "lfan has no such form"


def test_files_name_a_form_only_where_it_is_not_the_usual_one():
    """So that files without one are read as they always were, and earlier versions read those of today."""
    for recipe in RECIPES:
        plain = to_plain(recipe)["model"]["fusion"]
        usual = getattr(type(recipe.model.fusion), "form", None)
        assert ("form" in plain) == (getattr(recipe.model.fusion, "form", None) != usual), recipe.name
        assert "hidden" not in plain
    plain = to_plain(smoke("jca", "model.fusion.form=additive", "model.fusion.hidden=8"))
    assert plain["model"]["fusion"]["form"] == "additive"
    assert from_plain(plain).model.fusion == JcaConfig(form="additive", hidden=8)
    plain["model"]["fusion"]["form"] = "later"
    with pytest.raises(CheckpointError, match="form='later'"):
        from_plain(plain)


def test_each_form_has_the_weights_that_its_equations_name():
    d, own = sum(DIMS.values()), DIMS.values()
    paper = sum(WINDOW * WINDOW + m * m + d * m for m in own)
    biases = sum(WINDOW + m + m for m in own)
    assert parameters(JcaConfig()) == paper
    assert parameters(JcaConfig(form="rjcma")) == paper + biases
    assert parameters(JcaConfig(form="released")) == paper + biases + d * d + d
    assert parameters(RjcaConfig(form="released", iterations=2)) == 2 * (paper + biases + d * d + d)
    assert parameters(JcaConfig(form="additive", hidden=5)) == sum(WINDOW * WINDOW + 5 * (d + 2 * WINDOW) for _ in own)


@pytest.mark.parametrize(("form", "places"), [("paper", 1), ("additive", 1), ("released", 2), ("rjcma", 2)])
def test_the_released_forms_drop_out_c_as_well(form, places):
    fusion = build_fusion(JcaConfig(form=form, dropout=0.6), DIMS, WINDOW)
    dropped = []
    for module in fusion.modules():
        if isinstance(module, nn.Dropout):
            assert module.p == 0.6
            module.register_forward_hook(lambda _, given, __: dropped.append(tuple(given[0].shape)))
    fusion({m: torch.randn(2, WINDOW, d) for m, d in DIMS.items()}, {m: torch.ones(2, WINDOW) > 0 for m in DIMS})
    d, attended = sum(DIMS.values()), [(2, WINDOW, m) for m in DIMS.values()]
    assert dropped == (attended if places == 1 else [x for m in DIMS.values() for x in ((2, m, d), (2, WINDOW, m))])
