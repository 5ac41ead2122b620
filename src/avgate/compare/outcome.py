"""What one training of a comparison came to, kept on disk so that an interruption costs little."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.markup import escape

from avgate.compare.stress import curve
from avgate.core.console import console
from avgate.core.files import atomic_write


@dataclass(frozen=True)
class Outcome:
    """What one training came to, or those of all folds together.

    Attributes:
        validation: mean CCC on the validation clips.
        setting: which of the settings that were tried gave it; of several folds, all that did.
        targets: names.
        clips: names of the test clips.
        clean: float64 [clips k 6], their moments (see metrics.moments).
        stressed: condition -> the same, under corruption.
        auroc: "MODALITY KIND" -> gate -> how well that gate tells corrupted steps from others.
        seconds: processor time that training and measuring took; NaN where it isn't known.
    """

    validation: float
    setting: str
    targets: tuple[str, ...]
    clips: tuple[str, ...]
    clean: np.ndarray
    stressed: Mapping[str, np.ndarray] = field(default_factory=dict)
    auroc: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: float = float("nan")

    def save(self, path: Path, identity: str) -> None:
        """Write it; `identity` says what it is the outcome of."""
        from safetensors.numpy import save

        about = {
            name: getattr(self, name) for name in ("validation", "setting", "targets", "clips", "auroc", "seconds")
        }
        tensors = {"clean": self.clean, **{f"stressed/{name}": m for name, m in self.stressed.items()}}
        metadata = {"identity": identity, "outcome": json.dumps(about)}
        with atomic_write(path) as temporary:
            temporary.write_bytes(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata))

    @classmethod
    def load(cls, path: Path, identity: str) -> Outcome | None:
        """The outcome of just that, None where there is none or, which is said, it can't be read."""
        from safetensors import SafetensorError, safe_open

        if not path.exists():
            return None
        try:
            with safe_open(path, "np") as file:
                metadata = file.metadata() or {}
                if metadata.get("identity") != identity:
                    return None
                tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (a safetensors file is no dict)
        except (SafetensorError, OSError) as error:
            console.print(f"{escape(path.name)} can't be read ({escape(str(error))}): it is trained again")
            return None
        about = json.loads(metadata["outcome"])
        return cls(
            about["validation"],
            about["setting"],
            tuple(about["targets"]),
            tuple(about["clips"]),
            tensors.pop("clean"),
            {k.removeprefix("stressed/"): v for k, v in tensors.items()},
            about["auroc"],
            about.get("seconds", float("nan")),
        )

    @classmethod
    def joined(cls, parts: Sequence[Outcome]) -> Outcome:
        """Those of all folds as one: clips side by side, areas and validation scores averaged."""
        first = parts[0]
        return cls(
            float(np.mean([p.validation for p in parts])),
            ", ".join(dict.fromkeys(p.setting for p in parts)),
            first.targets,
            tuple(clip for p in parts for clip in p.clips),
            np.concatenate([p.clean for p in parts]),
            {name: np.concatenate([p.stressed[name] for p in parts]) for name in first.stressed},
            {
                what: {gate: float(np.nanmean([p.auroc[what][gate] for p in parts])) for gate in gates}
                for what, gates in first.auroc.items()
            },
            sum(p.seconds for p in parts),
        )

    def curve(self, modality: str, kind: str) -> np.ndarray:
        """Pooled CCC over the corrupted share, see stress.curve."""
        return curve(self.clean, self.stressed, modality, kind)
