"""The named recipes. A new one is a value in RECIPES; a test builds every one of them."""

from __future__ import annotations

from avgate.config import Recipe, TrainConfig
from avgate.encoders import GruConfig, TcnConfig
from avgate.errors import choose
from avgate.fusions.hgrjca import HgrjcaConfig
from avgate.model import ModelConfig

_SMALL_TCN = {m: TcnConfig(channels=(48, 48, 48), dropout=0.3) for m in ("audio", "video")}

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name="demo",
        model=ModelConfig(fusion=HgrjcaConfig(dropout=0.3), encoders=_SMALL_TCN, head_dropout=0.3),
        train=TrainConfig(epochs=40, patience=12, batch=8, lr=1e-3, seed=1),
    ),
    Recipe(
        name="demonstration-weights",
        model=ModelConfig(
            fusion=HgrjcaConfig(time_mixing="relative", dropout=0.3), encoders=_SMALL_TCN, head_dropout=0.3
        ),
        train=TrainConfig(epochs=60, patience=15, lr=1e-3),
    ),
    Recipe(
        name="hazumi",
        backbones=("is09", "openface"),
        label_rate=1.0,  # steps are exchanges, not seconds; a window holds the longest session
        window_s=128.0,
        hop_s=128.0,
        model=ModelConfig(
            fusion=HgrjcaConfig(dropout=0.3),
            encoders={m: GruConfig(dim=64, dropout=0.3) for m in ("audio", "video")},
            head_dropout=0.3,
        ),
        train=TrainConfig(epochs=40, patience=10, batch=8, lr=2e-3),
        smooth_s=(0.0,),
    ),
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


def recipe_named(name: str) -> Recipe:
    """The recipe of that name; UsageError with the choices where there is none."""
    return choose("recipe", name, {r.name: r for r in RECIPES})
