"""The named recipes. A new one is a value in RECIPES; a test builds every one of them."""

from __future__ import annotations

from dataclasses import replace

from avgate.config import CorruptConfig, Recipe, TrainConfig
from avgate.encoders import LstmConfig, TcnConfig
from avgate.errors import choose
from avgate.fusions.hgrjca import HgrjcaConfig
from avgate.model import ModelConfig

_SMALL_TCN = {m: TcnConfig(channels=(48, 48, 48), dropout=0.3) for m in ("audio", "video")}

_DEMO = Recipe(
    name="demo",
    model=ModelConfig(fusion=HgrjcaConfig(dropout=0.3), encoders=_SMALL_TCN, head_dropout=0.3),
    train=TrainConfig(epochs=40, patience=12, batch=8, lr=1e-3, seed=1),
    tuning=("train.lr=1e-3", "train.lr=2e-3"),
)

_HAZUMI = Recipe(
    name="hazumi",
    backbones=("is09", "openface"),
    label_rate=1.0,  # steps are exchanges, not seconds; a window holds the longest session
    window_s=128.0,
    hop_s=128.0,
    model=ModelConfig(
        fusion=HgrjcaConfig(dropout=0.3),
        encoders={m: LstmConfig(dim=64, dropout=0.3) for m in ("audio", "video")},
        head_dropout=0.3,
        unimodal_heads=True,
    ),
    train=TrainConfig(
        epochs=24,
        patience=8,
        batch=8,
        lr=2e-3,
        weight_decay=0.1,
        unimodal_weight=1.0,
        reliability_weight=1.0,
        corrupt=CorruptConfig(steps=(4, 15)),
    ),
    smooth_s=(0.0,),
    tuning=("train.weight_decay=0.1", "train.weight_decay=0.3"),
)


def _for_absence(recipe: Recipe) -> Recipe:
    """The same recipe with windows in which a modality is missing or noise, for a stretch or throughout."""
    corrupt = replace(recipe.train.corrupt, kinds=("absent", "noise"), probability=0.5, share=(0.1, 1.0), dropout=0.3)
    return replace(
        recipe,
        name=f"{recipe.name}-absence",
        model=replace(recipe.model, unimodal_heads=True),
        train=replace(recipe.train, corrupt=corrupt, unimodal_weight=1.0, reliability_weight=1.0),
    )


RECIPES: tuple[Recipe, ...] = (
    _DEMO,
    # Corrupted windows are harder to learn from: with the demonstration's own 40 slow epochs, no gate saw noise well.
    _for_absence(replace(_DEMO, train=replace(_DEMO.train, epochs=80, patience=40, lr=3e-3))),
    Recipe(
        name="demonstration-weights",
        model=ModelConfig(
            fusion=HgrjcaConfig(time_mixing="relative", dropout=0.3), encoders=_SMALL_TCN, head_dropout=0.3
        ),
        train=TrainConfig(epochs=60, patience=15, lr=1e-3),
    ),
    _HAZUMI,
    _for_absence(_HAZUMI),
    Recipe(
        name="smoke",
        window_s=4.0,
        hop_s=2.0,
        model=ModelConfig(
            fusion=HgrjcaConfig(iterations=2),
            encoders={"audio": TcnConfig(channels=(8,)), "video": TcnConfig(channels=(8,))},
        ),
        train=TrainConfig(epochs=2, batch=4),
        smooth_s=(0.0, 0.5),
    ),
)


OF_CORPUS = {"rendered": "demo", "hazumi": "hazumi"}
"""Corpus -> the recipe that comparisons on it take unless told otherwise."""


def recipe_named(name: str) -> Recipe:
    """The recipe of that name; UsageError with the choices where there is none."""
    return choose("recipe", name, {r.name: r for r in RECIPES})
