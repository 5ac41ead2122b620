"""The trainings of a comparison on disk: an interruption costs little, and every model can be used afterwards.

OUT/runs/VARIANT-seedS-foldF.safetensors           the training's scores on its test clips
OUT/checkpoints/VARIANT-seedS-foldF.safetensors    the model, an ordinary checkpoint
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from avgate.compare.outcome import Outcome, tell_of_damage
from avgate.compare.protocol import Run
from avgate.core.files import make_folder
from avgate.core.sealed import read_header, read_sealed
from avgate.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class Kept:
    """See the module's docstring; `out` is the comparison's folder."""

    out: Path

    def outcome(self, run: Run) -> Path:
        """Where a run's outcome is, or would be."""
        return self.out / "runs" / f"{run.name}.safetensors"

    def checkpoint(self, run: Run) -> Path:
        """Where a run's model is, or would be."""
        return self.out / "checkpoints" / f"{run.name}.safetensors"

    def make_folders(self) -> None:
        """Make both folders; OutputError where they can't be written to."""
        for folder in ("runs", "checkpoints"):
            make_folder(self.out / folder)

    def save(self, run: Run, identity: str, outcome: Outcome, checkpoint: Checkpoint) -> None:
        """Write both."""
        # The old outcome goes first, so that it never stands beside another training's model.
        self.outcome(run).unlink(missing_ok=True)
        checkpoint.save(self.checkpoint(run))
        outcome.save(self.outcome(run), identity)

    def load(self, run: Run, identity: str, stress: bool) -> Outcome | None:
        """The outcome of an earlier training.

        Args:
            run: which training.
            identity: see data.py.
            stress: whether scores on corrupted clips are needed.

        Returns:
            The outcome; None where there is none, its identity differs, or its model or scores of intervals or on
            corrupted clips are missing or (with a message) damaged.
        """
        if not _whole(self.checkpoint(run)):
            return None
        outcome = Outcome.load(self.outcome(run), identity)
        if outcome is None or not outcome.sure or (stress and not outcome.stressed):
            return None
        return outcome if stress else outcome.without_stress()

    def outdated(self, wanted: Iterable[tuple[Run, set[str]]]) -> int:
        """How many of these runs, each with the identities that it may have, have an outcome with another one."""

        def identity_of(run: Run) -> str | None:
            try:
                identity: str | None = read_header(self.outcome(run))["__metadata__"].get("identity")
            except (ValueError, OSError):  # told of when it is loaded
                return None
            return identity

        return sum(identity_of(run) not in {None, *identities} for run, identities in wanted)


def _whole(checkpoint: Path) -> bool:
    """Whether the file is there and as it was written; one that isn't as it was written is told of."""
    from safetensors.torch import load

    try:
        read_sealed(checkpoint, load)
    except FileNotFoundError:
        return False
    except (ValueError, OSError) as error:
        tell_of_damage(checkpoint, error)
        return False
    return True
