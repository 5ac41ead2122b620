"""Recipes: all settings that decide a result, in one frozen value that checkpoints carry."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from avgate.core.errors import CheckpointError
from avgate.core.kinds import fits
from avgate.core.timeline import Grid
from avgate.features.base import kind_of
from avgate.features.corruption import CORRUPTIONS
from avgate.features.registry import RAW, modality_of
from avgate.models.encoders import GruConfig, LstmConfig, TcnConfig
from avgate.models.finetune import FinetuneConfig
from avgate.models.fusions import FUSIONS, fusion_class, fusion_named
from avgate.models.losses import Spans
from avgate.models.network import ModelConfig

MAX_WINDOW = 100_000
"""Most steps in a window. It runs in one piece, and matrices over its steps must fit into memory."""

MAX_SMOOTH_S = 3600
"""Largest width of the mean filter in seconds."""


@dataclass(frozen=True)
class CorruptConfig:
    """How training corrupts its windows, so that a model learns to cope with missing and misleading modalities.

    Args:
        kinds: kinds of corruption to draw from (see features/corruption.py); () corrupts no stretches.
        probability: probability that stretches of one random modality of a window are corrupted.
        share: least and greatest share of the window's steps in these stretches.
        steps: shortest and longest stretch in steps.
        dropout: probability that one random modality of a window is absent throughout.
        anatomy: how far each modality of a window is moved by what tells two people apart: by the difference between
            two training clips that are neutral throughout (every label 0), times this. Faces and voices then look and
            sound like other people's with the same expression; 0 leaves them as they are.
        jitter: standard deviation of a random number added to each column of a window, in units of the training
            features' deviation.
    """

    tag: ClassVar[str] = "CorruptConfig"

    kinds: tuple[str, ...] = ()
    probability: float = 0.5
    share: tuple[float, ...] = (0.1, 0.6)
    steps: tuple[int, ...] = (10, 60)
    dropout: float = 0.0
    anatomy: float = field(default=0.0, metadata={"omit_empty": True})
    jitter: float = field(default=0.0, metadata={"omit_empty": True})

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in CORRUPTIONS]
        if unknown:
            raise ValueError(f"there is no corruption {', '.join(unknown)}: the kinds are {', '.join(CORRUPTIONS)}")
        if not (len(self.share) == 2 and 0 <= self.share[0] <= self.share[1] <= 1):
            raise ValueError(f"share needs a least and a greatest share from 0 to 1, not {self.share}")
        if not (len(self.steps) == 2 and 1 <= self.steps[0] <= self.steps[1]):
            raise ValueError(f"steps needs a shortest and a longest stretch of at least 1 step, not {self.steps}")
        if not (0 <= self.probability <= 1 and 0 <= self.dropout <= 1):
            raise ValueError(f"probability and dropout are from 0 to 1, not {self.probability} and {self.dropout}")
        if not (0 <= self.anatomy < math.inf and 0 <= self.jitter < math.inf):
            raise ValueError(f"anatomy and jitter are 0 or above, not {self.anatomy} and {self.jitter}")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Args:
        epochs: most epochs.
        patience: stop after this many epochs without a better validation CCC.
        batch: windows per optimiser step.
        lr: peak learning rate of AdamW: one epoch of warm-up, then a cosine down to a tenth.
        weight_decay: weight decay of AdamW.
        mse_weight: weight of the mean squared error, added to the CCC loss.
        unimodal_weight: weight of the unimodal heads' CCC losses (their mean over modalities), in models that have
            such heads.
        reliability_weight: weight of the reliability gates' cross-entropy, in fusions that have such gates; the truth
            is which steps of a modality were not corrupted.
        clip_norm: largest gradient norm.
        corrupt: how training windows are corrupted.
        threads: CPU threads; 0 is torch's own choice. More make small models no faster, and slower on busy machines.
            The last digits of a result depend on the number.
        seed: seed of initial weights, data order and dropout.
    """

    tag: ClassVar[str] = "TrainConfig"

    epochs: int = 40
    patience: int = 12
    batch: int = 16
    lr: float = 2e-3
    weight_decay: float = 1e-2
    mse_weight: float = 0.0
    unimodal_weight: float = 0.3
    reliability_weight: float = 0.0
    clip_norm: float = 1.0
    corrupt: CorruptConfig = field(default_factory=CorruptConfig)
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.batch) < 1 or min(self.lr, self.clip_norm) <= 0:
            raise ValueError("training needs epochs, patience and batch of at least 1, and lr and clip_norm above 0")
        from_0 = ("weight_decay", "mse_weight", "unimodal_weight", "reliability_weight", "seed")
        if min(getattr(self, name) for name in from_0) < 0:
            raise ValueError(f"training needs {', '.join(from_0)} of at least 0")
        if self.seed >= 2**32 or self.threads < 0:
            raise ValueError("training needs a seed below 2^32, and threads of at least 0")


@dataclass(frozen=True)
class LossConfig:
    """What training minimises, beside the weights in TrainConfig.

    Args:
        ccc: what a CCC is computed over, see ccc_loss: all steps of a batch (`pooled`), or each window by itself, and
            then the mean (`per_sequence`).
    """

    tag: ClassVar[str] = "LossConfig"

    ccc: Spans = "pooled"


@dataclass(frozen=True)
class Recipe:
    """All settings from features to trace, under one name.

    Args:
        name: name for `avgate train --recipe`.
        backbones: names of the feature extractors; features of one modality are concatenated.
        label_rate: steps per second of features, labels and estimates.
        window_s: length of a window in seconds.
        hop_s: seconds between the starts of neighbouring windows.
        model: the model's shape.
        train: how it is trained.
        smooth_s: widths of the mean filter in seconds; the best on validation clips is taken; 0 is no filter.
        tuning: settings that a comparison tries for every fusion, such as "train.lr=1e-3 model.head_dropout=0.5"; the
            best on validation clips are taken.
        loss: what training minimises.
    """

    tag: ClassVar[str] = "Recipe"

    name: str
    backbones: tuple[str, ...] = ("egemaps", "facemesh")
    label_rate: float = 10.0
    window_s: float = 20.0
    hop_s: float = 10.0
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    smooth_s: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 3.0)
    tuning: tuple[str, ...] = ()
    # Left out of files where it is the usual one, so that versions without this setting can still read them.
    loss: LossConfig = field(default=LossConfig(), metadata={"omit_default": True})

    def __post_init__(self) -> None:
        if not fits(self.backbones, tuple[str, ...]) or not fits(self.tuning, tuple[str, ...]):
            what = f"not {reprlib.repr(self.backbones)} and {reprlib.repr(self.tuning)}"
            raise ValueError(f"a recipe's backbones are names, and its tuning is settings, all as text, {what}")
        if not self.backbones or len(set(self.backbones)) < len(self.backbones):
            raise ValueError(f"a recipe needs at least one backbone, and none twice, not {self.backbones}")
        for modality, tuned in self.model.finetune.items():
            raw, own = RAW[tuned.kind], [name for name in self.backbones if modality_of(name) == modality]
            if [kind_of(name) for name in own] != [raw] or modality_of(raw) != modality:
                listed = ", ".join(own) or "none"
                raise ValueError(f"finetuning a model of {tuned.kind} needs the backbone {raw} alone, not {listed}")
        if self.label_rate <= 0 or not 0 < self.hop_s <= self.window_s:
            raise ValueError(
                f"windows need label_rate > 0 and 0 < hop_s <= window_s, "
                f"not label_rate={self.label_rate}, hop_s={self.hop_s} and window_s={self.window_s}"
            )
        if self.label_rate * self.window_s > MAX_WINDOW:
            raise ValueError(f"a window has at most {MAX_WINDOW} steps, not {self.label_rate * self.window_s:g}")
        if not self.smooth_s or min(self.smooth_s) < 0 or max(self.smooth_s) > MAX_SMOOTH_S:
            raise ValueError(
                f"smooth_s needs widths from 0 to {MAX_SMOOTH_S} seconds, at least one, not {self.smooth_s}"
            )

    @property
    def grid(self) -> Grid:
        """The common clock of features and labels."""
        return Grid(self.label_rate)

    @property
    def window(self) -> int:
        """Steps per window."""
        return self.grid.seconds_to_steps(self.window_s)

    @property
    def hop(self) -> int:
        """Steps between windows."""
        return self.grid.seconds_to_steps(self.hop_s)

    @property
    def fusion(self) -> str:
        """Name of the fusion."""
        return fusion_class(self.model.fusion).name

    def with_fusion(self, name: str) -> Recipe:
        """The same recipe with another fusion.

        The fusion has its default settings, except those that this recipe changed and that both fusions have: a recipe
        with more dropout has it in every fusion. A choice that the other fusion doesn't have isn't kept.
        """
        wanted, own = fusion_named(name), self.model.fusion
        if wanted.name == self.fusion:
            return self
        usual, there = type(own)(), {f.name for f in fields(wanted.Config)}
        changed = {f.name: getattr(own, f.name) for f in fields(own) if getattr(own, f.name) != getattr(usual, f.name)}
        kept = {name: value for name, value in changed.items() if name in there}
        choices = {name: choices_of(wanted.Config, name) for name in kept}
        kept = {name: value for name, value in kept.items() if not choices[name] or value in choices[name]}
        return replace(self, model=replace(self.model, fusion=wanted.Config(**kept)))


_WITHIN_RECIPES: tuple[Any, ...] = (
    Recipe,
    ModelConfig,
    TrainConfig,
    LossConfig,
    CorruptConfig,
    TcnConfig,
    GruConfig,
    LstmConfig,
    FinetuneConfig,
    *(fusion.Config for fusion in FUSIONS),
)
CONFIGS: dict[str, type] = {config.tag: config for config in _WITHIN_RECIPES}
"""Tag -> config. Files name configs by tags, so that a class can be renamed and old files still load."""


def to_plain(value: Any) -> Any:
    """A config as dicts, lists and scalars for JSON, every config with its tag as `type`."""
    if is_dataclass(value) and not isinstance(value, type):
        written = [f for f in fields(value) if not _left_out(f, getattr(value, f.name))]
        config: Any = type(value)
        return {"type": config.tag} | {f.name: to_plain(getattr(value, f.name)) for f in written}
    if isinstance(value, Mapping):
        return {k: to_plain(v) for k, v in value.items()}
    return [to_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _left_out(setting: Field[Any], value: Any) -> bool:
    """Whether a file needn't have that setting: `omit_empty` where it is empty, `omit_default` at its default."""
    if setting.metadata.get("omit_default"):
        return bool(value == setting.default)
    return bool(setting.metadata.get("omit_empty")) and not value


def from_plain(value: Any) -> Any:
    """The inverse of to_plain; CheckpointError for a type, field or choice that this version doesn't know."""
    if isinstance(value, list):
        return tuple(from_plain(v) for v in value)
    if not isinstance(value, dict):
        return value
    inner = {k: from_plain(v) for k, v in value.items() if k != "type"}
    if "type" not in value:
        return inner
    kind = CONFIGS.get(value["type"])
    unknown = set(inner) - {f.name for f in fields(kind)} if kind else {value["type"]}
    if kind is not None:
        inner = {f.name: f.metadata["missing"] for f in fields(kind) if "missing" in f.metadata} | inner
    if kind is not None:
        hints = get_type_hints(kind)
        wrong = [k for k in set(inner) - unknown if not (fits(inner[k], hints[k]) and _finite(inner[k]))]
        unknown |= {f"{k}={reprlib.repr(inner[k])}" for k in wrong}
    if kind is None or unknown:
        raise CheckpointError(
            f"its recipe has settings that this version of avgate doesn't know: {', '.join(sorted(unknown))}",
            hint="install the version of avgate that wrote it, or a newer one",
        )
    return kind(**inner)


def _finite(value: Any) -> bool:
    """Whether a setting, and each of several, is no NaN or Inf."""
    if isinstance(value, tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def choices_of(kind: type, name: str) -> tuple[str, ...]:
    """Values that a field may take where its type is a Literal; () for other fields."""
    hint = get_type_hints(kind).get(name)
    return get_args(hint) if get_origin(hint) is Literal else ()
