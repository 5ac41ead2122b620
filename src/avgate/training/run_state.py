"""The state of a training run on disk, from which it resumes exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from avgate.core.errors import CheckpointError, UsageError
from avgate.core.files import write_csv
from avgate.core.kinds import fits
from avgate.core.places import Place
from avgate.core.sealed import description, read_sealed, write_sealed
from avgate.core.text import reason
from avgate.core.types import Clip
from avgate.models.checkpoint import FeatureSpec
from avgate.models.recipe import Recipe, to_plain

_ABOUT = {
    "identity": dict,
    "epoch": int,
    "best_epoch": int,
    "best_score": float,
    "history": list[dict[str, float]],
}


def run_identity(recipe: Recipe, specs: Sequence[FeatureSpec], clips: Sequence[Clip], precision: str) -> dict[str, Any]:
    """What a training depends on, as plain values.

    Args:
        recipe: what is trained.
        specs: the features that it reads.
        clips: those of training and validation, in order.
        precision: lightning-fabric's.
    """
    return {
        "recipe": to_plain(recipe),
        "features": [spec.fingerprint for spec in specs],
        "clips": [clip.name for clip in clips],
        "precision": precision,
    }


@dataclass(frozen=True)
class RunState:
    """Where a run stands after `epoch` epochs: last and best weights, optimiser moments, history.

    Attributes:
        identity: see run_identity; a run goes on only with the same.
        epoch: epochs done.
        last: weights after the last epoch.
        moments: the optimiser's state, `PARAMETER/NAME` -> tensor.
        best: weights after the best epoch.
        best_epoch: which one that was.
        best_score: its validation score.
        history: one row per epoch.
        restarts: how often training was begun anew from other initial weights.
    """

    identity: dict[str, Any]
    epoch: int
    last: dict[str, Tensor]
    moments: dict[str, Tensor]
    best: dict[str, Tensor]
    best_epoch: int
    best_score: float
    history: list[dict[str, float]]
    restarts: int = 0

    @classmethod
    def new(cls, identity: dict[str, Any], model: nn.Module, restarts: int = 0) -> RunState:
        """A run before its first epoch."""
        weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        return cls(identity, 0, weights, {}, weights, 0, -math.inf, [], restarts)

    def next(self, model: nn.Module, optimizer: Any, loss: float, validation: float) -> RunState:
        """The state one epoch later, with that epoch's training loss and validation score (NaN is the worst)."""
        epoch = self.epoch + 1
        weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        # A constant estimate has no CCC; it counts as none at all.
        value = validation if math.isfinite(validation) else -1.0
        better = value > self.best_score
        moments = {
            f"{i}/{k}": v.detach().cpu().clone()
            for i, values in optimizer.state_dict()["state"].items()
            for k, v in values.items()
        }
        row = {"epoch": epoch, "loss": loss, "validation_ccc": validation}
        return RunState(
            self.identity,
            epoch,
            weights,
            moments,
            weights if better else self.best,
            epoch if better else self.best_epoch,
            value if better else self.best_score,
            [*self.history, row],
            self.restarts,
        )

    def restore(self, model: nn.Module, optimizer: Any) -> None:
        """Put weights and moments back; CheckpointError where they are another model's."""
        state: dict[int, dict[str, Tensor]] = {}
        try:
            model.load_state_dict(self.last)
            for key, value in self.moments.items():
                index, name = key.split("/")
                state.setdefault(int(index), {})[name] = value
            if state:
                optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        except (RuntimeError, KeyError, ValueError) as error:
            hint = "delete the run's resume.safetensors to start it anew"
            raise CheckpointError(
                "the run's state is of another model", where="resume.safetensors", hint=hint
            ) from error

    def save(self, run: Place) -> None:
        """Write resume state and history, each atomically; OutputError where they can't be written."""
        from safetensors.torch import save

        tensors = {f"last/{k}": v for k, v in self.last.items()}
        tensors |= {f"best/{k}": v.clone() for k, v in self.best.items()}
        tensors |= {f"moments/{k}": v for k, v in self.moments.items()}
        about = {
            "identity": self.identity,
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
            "history": self.history,
            "restarts": self.restarts,
        }
        titles = ("epoch", "loss", "validation_ccc")
        write_csv(run / "history.csv", titles, ([row[title] for title in titles] for row in self.history))
        # Last: a run that is killed in between does its last epoch again, and with it the history.
        whole = save({k: v.contiguous() for k, v in tensors.items()}, {"avgate": json.dumps(about)})
        write_sealed(run / "resume.safetensors", whole)

    @classmethod
    def load(cls, run: Place, identity: dict[str, Any]) -> RunState | None:
        """The state of a run folder, None where there is none.

        Raises:
            UsageError: it is a run of something else.
            CheckpointError: it can't be read.
        """
        from safetensors.torch import load

        path = run / "resume.safetensors"
        if not path.is_file():
            return None
        try:
            metadata, tensors = read_sealed(path, load)
            about = description(metadata, _ABOUT, more={"restarts"})
            if not fits(about.setdefault("restarts", 0), int):  # older files have none
                raise ValueError("its 'restarts' is of another kind than avgate writes")
            parts: dict[str, dict[str, Tensor]] = {"last": {}, "best": {}, "moments": {}}
            for key, tensor in tensors.items():
                kind, name = key.split("/", 1)
                parts[kind][name] = tensor
            state = cls(
                about["identity"],
                about["epoch"],
                parts["last"],
                parts["moments"],
                parts["best"],
                about["best_epoch"],
                about["best_score"],
                about["history"],
                about["restarts"],
            )
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise CheckpointError(
                f"the run's state can't be read ({reason(error)})", where=path, hint="delete it to start this run anew"
            ) from error
        identity = json.loads(json.dumps(identity))
        different = [key for key in identity if identity[key] != state.identity.get(key)]
        if different:
            raise UsageError(
                f"this folder holds another run: it differs in its {' and '.join(different)}",
                where=run,
                hint="choose another --out, or delete the folder",
            )
        return state
