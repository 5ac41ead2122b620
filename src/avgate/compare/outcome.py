"""The scores of one training of a comparison on its test clips, as a value and as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from avgate.compare.stress import CLEAN, curve
from avgate.core.console import console
from avgate.core.sealed import description, read_sealed, write_sealed
from avgate.core.text import reason
from avgate.evaluation.sureness import SHARES

_ABOUT = {
    "validation": float,
    "setting": str,
    "targets": list[str],
    "modalities": list[str],
    "clips": list[str],
    "auroc": dict[str, dict[str, float]],
    "seconds": float,
    "told": dict[str, dict[str, list[float]]],
}


def tell_of_damage(path: Path, error: Exception) -> None:
    """Say that a file of a kept training can't be read, so that the training is done again."""
    console.say(f"{path.name} can't be read ({reason(error)}): it is trained again")


@dataclass(frozen=True)
class Outcome:
    """Scores of one training on its test clips, or of the trainings of all folds together.

    Attributes:
        validation: mean CCC on the validation clips.
        setting: the setting that was chosen; of several folds, all that were.
        targets: names.
        modalities: what the model reads.
        clips: names of the test clips.
        clean: float64 [clips k 6], their moments (see metrics.moments).
        stressed: condition -> the same, under corruption.
        auroc: "MODALITY KIND" -> gate -> how well that gate tells corrupted steps from others.
        sure: condition, or CLEAN -> float64 [clips k 8], what intervals are scored from (see metrics.interval_sums):
            the model's own, then those of constant width.
        told: condition, or CLEAN -> target -> what widths tell of errors (see sureness.what_widths_tell): the rank
            correlation, then the risks.
        seconds: processor time that training and measuring took; NaN where it isn't known.
    """

    validation: float
    setting: str
    targets: tuple[str, ...]
    modalities: tuple[str, ...]
    clips: tuple[str, ...]
    clean: np.ndarray
    stressed: Mapping[str, np.ndarray] = field(default_factory=dict)
    auroc: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: float = float("nan")
    sure: Mapping[str, np.ndarray] = field(default_factory=dict)
    told: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)

    def save(self, path: Path, identity: str) -> None:
        """Write it with its identity, see data.py."""
        from safetensors.numpy import save

        about = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("clean", "stressed", "sure")}
        tensors = {"clean": self.clean, **{f"stressed/{name}": m for name, m in self.stressed.items()}}
        tensors |= {f"sure/{name}": m for name, m in self.sure.items()}
        metadata = {"identity": identity, "outcome": json.dumps(about)}
        write_sealed(path, save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata))

    @classmethod
    def load(cls, path: Path, identity: str) -> Outcome | None:
        """The outcome in a file; None where it is of something else, isn't there, or (with a message) can't be read."""
        from safetensors.numpy import load

        if not path.exists():
            return None
        try:
            metadata, tensors = read_sealed(path, load)
            if metadata.get("identity") != identity:
                return None
            about = description(metadata, _ABOUT, "outcome")
            about |= {name: tuple(about[name]) for name in ("targets", "modalities", "clips")}
            clean = tensors.pop("clean")
            stressed, sure = (
                {k.removeprefix(kind): v for k, v in tensors.items() if k.startswith(kind)}
                for kind in ("stressed/", "sure/")
            )
            shape = (len(about["clips"]), len(about["targets"]))
            wanted = [(x, (*shape, 6)) for x in (clean, *stressed.values())] + [(x, (*shape, 8)) for x in sure.values()]
            if any(x.shape != fits or not np.isfinite(x).all() for x, fits in wanted):
                raise ValueError("its moments are incomplete")
            if any(len(tells) != 1 + len(SHARES) for told in about["told"].values() for tells in told.values()):
                raise ValueError("what its widths tell of errors is incomplete")
            return cls(**about, clean=clean, stressed=stressed, sure=sure)
        except (OSError, KeyError, TypeError, ValueError) as error:
            tell_of_damage(path, error)
            return None

    @classmethod
    def joined(cls, parts: Sequence[Outcome]) -> Outcome:
        """The outcomes of all folds as one: clips side by side, areas and validation scores averaged."""
        first = parts[0]
        return cls(
            float(np.mean([p.validation for p in parts])),
            ", ".join(dict.fromkeys(p.setting for p in parts)),
            first.targets,
            first.modalities,
            tuple(clip for p in parts for clip in p.clips),
            np.concatenate([p.clean for p in parts]),
            {name: np.concatenate([p.stressed[name] for p in parts]) for name in first.stressed},
            {
                what: {gate: float(np.nanmean([p.auroc[what][gate] for p in parts])) for gate in gates}
                for what, gates in first.auroc.items()
            },
            sum(p.seconds for p in parts),
            {name: np.concatenate([p.sure[name] for p in parts]) for name in first.sure},
            {
                name: {t: np.mean([p.told[name][t] for p in parts], axis=0).tolist() for t in told}
                for name, told in first.told.items()
            },
        )

    def without_stress(self) -> Outcome:
        """The same without scores on corrupted clips."""
        sure = {name: x for name, x in self.sure.items() if name == CLEAN}
        told = {name: x for name, x in self.told.items() if name == CLEAN}
        return replace(self, stressed={}, auroc={}, sure=sure, told=told)

    def curve(self, modality: str, kind: str) -> np.ndarray:
        """Pooled CCC over the corrupted share, see stress.curve."""
        return curve(self.clean, self.stressed, modality, kind)
