"""A trained model as one file that describes itself: weights, statistics, recipe, features, training data, scores."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avgate.core.errors import CheckpointError, FeatureError
from avgate.core.files import make_folder
from avgate.core.kinds import fits
from avgate.core.places import Address, Place, place
from avgate.core.sealed import description, read_sealed, write_sealed
from avgate.core.types import FeatureTrack
from avgate.features.stats import FeatureStats
from avgate.models.intervals import Intervals
from avgate.models.network import Model
from avgate.models.recipe import Recipe, from_plain, to_plain

FORMAT = 1
DEMONSTRATION_NOTE = (
    "Demonstration weights: trained on rendered clips of one face and a synthetic voice only. "
    "They show how avgate works; they do not measure real people's emotions."
)
_ABOUT = {
    "recipe": dict,
    "features": list[dict],
    "targets": list[str],
    "smooth_steps": int,
    "trained_on": dict,
    "scores": dict,
    "demonstration": bool,
    "avgate": str,
}
CHECKPOINT_NAME = "checkpoint.safetensors"
"""Name of a checkpoint in the folder of its run."""

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "default.safetensors"
"""The weights that come with avgate."""

LIVE_WEIGHTS = DEFAULT_WEIGHTS.with_name("live.safetensors")
"""The weights for live use that come with avgate: those of a causal model."""

SHIPPED = {"default": DEFAULT_WEIGHTS, "live": LIVE_WEIGHTS}
"""Name by which weights that come with avgate can be asked for -> their file."""


@dataclass(frozen=True)
class FeatureSpec:
    """One backbone's features as the model was trained on them: modality, column names, fingerprint."""

    backbone: str
    modality: str
    columns: tuple[str, ...]
    fingerprint: str

    @classmethod
    def of(cls, track: FeatureTrack) -> FeatureSpec:
        """The description of a track."""
        return cls(track.backbone, track.modality, track.columns, track.fingerprint)

    @classmethod
    def read(cls, plain: dict[str, Any]) -> FeatureSpec:
        """The description in a checkpoint's file: KeyError, TypeError or ValueError where it is none."""
        spec = cls(**(plain | {"columns": tuple(plain["columns"])}))
        if not isinstance(plain["columns"], list) or not fits(vars(spec), dict[str, str | tuple[str, ...]]):
            raise ValueError("its 'features' are of another kind than avgate writes")
        return spec


def modality_dims(features: Sequence[FeatureSpec]) -> dict[str, int]:
    """Modality -> how many columns its backbones have together, in the backbones' order."""
    dims: dict[str, int] = {}
    for spec in features:
        dims[spec.modality] = dims.get(spec.modality, 0) + len(spec.columns)
    return dims


@dataclass(frozen=True)
class Checkpoint:
    """Everything that is needed to use a trained model, and to know what it is.

    Attributes:
        recipe: how it was made.
        features: what it reads, in order.
        targets: what it estimates.
        stats: modality -> training statistics of its columns.
        weights: the model's state dict.
        smooth_steps: width of the mean filter, chosen on validation data; 1 is none.
        trained_on: corpus, clips per split, seed, epoch; where labels are emotion words, the source of their places.
        scores: validation scores, raw and smoothed.
        demonstration: whether it was trained on a synthetic corpus, and its estimates must be labelled so.
        intervals: how wide intervals must be; None where that was never measured, as before version 0.3.
        notes: what a user must know of these weights, one sentence each; shown with everything that they estimate.
        avgate: version that wrote it.
    """

    recipe: Recipe
    features: tuple[FeatureSpec, ...]
    targets: tuple[str, ...]
    stats: Mapping[str, FeatureStats]
    weights: Mapping[str, Tensor]
    smooth_steps: int = 1
    trained_on: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    demonstration: bool = False
    intervals: Intervals | None = None
    notes: tuple[str, ...] = ()
    avgate: str = field(default_factory=lambda: version("avgate"))

    @property
    def caveats(self) -> tuple[str, ...]:
        """The notes, and before them that the weights are a demonstration where they are one."""
        return (DEMONSTRATION_NOTE, *self.notes) if self.demonstration else self.notes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of weights and statistics, 64 hex digits: equal ones estimate alike."""
        digest = sha256()
        for name, values in sorted(self._tensors().items()):
            digest.update(f"{name} {values.dtype} {[*values.shape]}".encode())
            digest.update(values.numpy().tobytes())
        return digest.hexdigest()

    def build(self) -> Model:
        """The model with its weights, in eval mode."""
        model = self.untrained()
        model.load_state_dict(dict(self.weights))
        return model.eval()

    def untrained(self) -> Model:
        """The model with initial weights, which depend on torch's random state."""
        return Model(self.recipe.model, modality_dims(self.features), len(self.targets), self.recipe.window)

    def check(self, features: Sequence[FeatureSpec], where: object) -> None:
        """Refuse features that the model wasn't trained on: other backbones, columns, parameters or code."""
        given = {f.backbone: f for f in features}
        for wanted in self.features:
            found = given.get(wanted.backbone)
            if found is None:
                have = ", ".join(given) or "none"
                raise FeatureError(
                    f"the checkpoint needs '{wanted.backbone}' features, and there are: {have}",
                    where=where,
                    hint="extract with the checkpoint's recipe",
                )
            if found != wanted:
                raise FeatureError(
                    f"the '{wanted.backbone}' features don't match the checkpoint's "
                    f"(fingerprint {found.fingerprint}, {len(found.columns)} columns; "
                    f"trained on {wanted.fingerprint}, {len(wanted.columns)} columns)",
                    where=where,
                    hint="extract with the checkpoint's recipe and this version of avgate, or train on these features",
                )

    def save(self, path: str | Place) -> Place:
        """Write the one file, atomically; OutputError where it can't be written."""
        from safetensors.torch import save

        path = place(path)
        make_folder(path.parent)
        write_sealed(path, save(self._tensors(), {"avgate": json.dumps(self.about)}))
        return path

    @property
    def about(self) -> dict[str, Any]:
        """All but the weights and statistics, as the file holds it: plain values."""
        about = {
            "format": FORMAT,
            "avgate": self.avgate,
            "recipe": to_plain(self.recipe),
            "features": [vars(f) for f in self.features],
            "targets": self.targets,
            "smooth_steps": self.smooth_steps,
            "trained_on": dict(self.trained_on),
            "scores": dict(self.scores),
            "demonstration": self.demonstration,
        }
        if self.intervals is not None:
            about["intervals"] = self.intervals.to_plain()
        if self.notes:
            about["notes"] = self.notes
        return about

    def _tensors(self) -> dict[str, Tensor]:
        """All tensors of the file, by name."""
        tensors = {f"weights/{k}": v.detach().cpu().contiguous() for k, v in self.weights.items()}
        for modality, stats in self.stats.items():
            tensors |= {f"stats/{modality}/{k}": torch.from_numpy(v) for k, v in vars(stats).items()}
        return tensors


def checkpoint_file(path: str | Place) -> Place:
    """The file of a checkpoint that is given as a file, as the folder of its run, or by a name in SHIPPED.

    Raises:
        CheckpointError: there is no such file, or no checkpoint.safetensors in the folder.
        PlaceError: its address can't be reached or read.
    """
    path = place(path)
    if path.is_file():
        return path
    if isinstance(path, Address):
        if (path / CHECKPOINT_NAME).is_file():
            return path / CHECKPOINT_NAME
        hint = f"give the address of a run, or of the {CHECKPOINT_NAME} that `avgate train` wrote"
        raise CheckpointError("there is no such checkpoint", where=path, hint=hint)
    if str(path) in SHIPPED and not path.exists():
        return SHIPPED[str(path)]
    if not path.is_dir():
        names = " or ".join(SHIPPED)
        hint = f"give the folder of a run, the {CHECKPOINT_NAME} that `avgate train` wrote, or {names}"
        raise CheckpointError("there is no such checkpoint", where=path, hint=hint)
    file = path / CHECKPOINT_NAME
    if file.is_file():
        return file
    held = [entry.name for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
    inside = [
        *path.glob(f"*/{CHECKPOINT_NAME}"),
        *path.glob("checkpoints/*.safetensors"),
    ]  # runs, a comparison's models
    hint = f"`avgate train --out {shlex.quote(str(path))}` writes one, or finishes an interrupted training there"
    raise CheckpointError(
        f"there is no {CHECKPOINT_NAME} in this folder; it holds {_listed(held) or 'nothing'}",
        where=path,
        hint=f"give one of those in it: {_listed(sorted(map(str, inside)))}" if inside else hint,
    )


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def load_checkpoint(path: str | Place | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: its file, the folder of its run, the address of either, or `default` or `live`, the weights that come
            with avgate; None takes the default ones.

    Raises:
        CheckpointError: it isn't there, isn't a checkpoint, is damaged, or is of another version.
        PlaceError: its address can't be reached or read.
    """
    from safetensors.torch import load

    path = DEFAULT_WEIGHTS if path is None else checkpoint_file(path)
    try:
        metadata, tensors = read_sealed(path, load)
        about = description(metadata)
        if about["format"] != FORMAT:
            raise CheckpointError(
                f"it has format {about['format']}, and this version of avgate reads format {FORMAT}",
                hint=f"install the version of avgate that wrote it ({about.get('avgate', 'unknown')})",
            )
        about = description(metadata, _ABOUT)
        checkpoint = Checkpoint(
            recipe=from_plain(about["recipe"]),
            features=tuple(FeatureSpec.read(feature) for feature in about["features"]),
            targets=tuple(about["targets"]),
            stats=_stats(tensors),
            weights={k.removeprefix("weights/"): v for k, v in tensors.items() if k.startswith("weights/")},
            smooth_steps=about["smooth_steps"],
            trained_on=about["trained_on"],
            scores=about["scores"],
            demonstration=about["demonstration"],
            intervals=Intervals.from_plain(about["intervals"]) if "intervals" in about else None,
            notes=_notes(about.get("notes", [])),
            avgate=about["avgate"],
        )
        checkpoint.build()
        _refuse_unusable(checkpoint)
        for name, weight in checkpoint.weights.items():
            if not weight.isfinite().all():
                hint = "train it again, or take an earlier copy of this file"
                raise CheckpointError(f"its weights contain NaN or Inf, first in '{name}'", hint=hint)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=path, hint=error.hint) from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OSError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        hint = "give the checkpoint.safetensors that `avgate train` wrote, in this version of avgate, or copy it anew"
        what = f"this isn't a checkpoint of avgate, or it is damaged ({textwrap.shorten(reason, 200)})"
        raise CheckpointError(what, where=path, hint=hint) from error
    return checkpoint


def _refuse_unusable(checkpoint: Checkpoint) -> None:
    """Refuse statistics and settings that would give wrong numbers without a word: ValueError."""
    dims, steps = modality_dims(checkpoint.features), checkpoint.smooth_steps
    for modality, dim in dims.items():
        stats = checkpoint.stats.get(modality)
        fault = "they aren't there" if stats is None else stats.fault(dim)
        if fault:
            raise ValueError(f"its statistics of {modality} can't be used: {fault}")
    if type(steps) is not int or steps < 1 or steps % 2 == 0:
        raise ValueError(f"its mean filter must have an odd number of steps, not {steps!r}")
    if len(set(checkpoint.targets)) < len(checkpoint.targets):
        raise ValueError("it has two targets of one name")
    if checkpoint.intervals is not None:
        wanted = set(checkpoint.targets)
        scaled = set(checkpoint.intervals.scaled)
        if set(checkpoint.intervals.constant) != wanted or scaled != (
            wanted if checkpoint.recipe.model.spread else set()
        ):
            raise ValueError("its intervals don't fit its targets")


def _notes(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(note, str) and note.strip() for note in given):
        raise ValueError("its notes must be a list of sentences")
    return tuple(given)


def _stats(tensors: Mapping[str, Tensor]) -> dict[str, FeatureStats]:
    parts: dict[str, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        if key.startswith("stats/"):
            modality, _, name = key.removeprefix("stats/").rpartition("/")
            parts.setdefault(modality, {})[name] = tensor.numpy()
    return {modality: FeatureStats(**values) for modality, values in parts.items()}
