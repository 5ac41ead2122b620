"""What avgate keeps beside results, so that recordings that are done are passed over, and one that was cut goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from avgate.core.console import console
from avgate.core.errors import ModelFileError, OutputError
from avgate.core.files import json_values, make_folder, sha256_of
from avgate.core.places import Place
from avgate.core.scratch import PREFIX
from avgate.core.state import read_state, write_state
from avgate.core.text import reason
from avgate.faces import Person, face_fingerprint
from avgate.features.sides import Kept
from avgate.features.store import source_fingerprint
from avgate.inference.predictor import Predictor

FOLDER = f"{PREFIX}kept"
"""Name of the folder beside the results."""


def origin(predictor: Predictor, video: Path, fps: float | None, person: Person | None) -> str:
    """All that a recording's trace depends on, as one word: equal ones mean equal results.

    Raises:
        OSError: the recording can't be read.
    """
    about = _about(predictor) | {
        "name": video.resolve().name,
        "recording": source_fingerprint(video),
        "person": None if person is None else person.text,
        "fps": fps,
    }
    return hashlib.sha256(json.dumps(json_values(about), sort_keys=True).encode()).hexdigest()


@cache
def _about(predictor: Predictor) -> dict[str, Any]:
    """What all recordings of a predictor have in common; cached, since all weights are read for it."""
    checkpoint = predictor.estimator.checkpoint
    sees = any(backbone.modality == "video" for backbone in predictor.backbones)
    return {
        "versions": {name: version(name) for name in ("avgate", "av", "numpy", "torch")},
        "weights": checkpoint.fingerprint,
        "checkpoint": checkpoint.about,
        "backbones": {backbone.name: backbone.fingerprint for backbone in predictor.backbones},
        "faces": _faces(predictor) if sees else None,
        "level": predictor.estimator.level,
    }


def _faces(predictor: Predictor) -> str | None:
    """What face tracks depend on; None where there is no face model, with which only sound can be predicted."""
    try:
        return face_fingerprint(predictor.face_model, predictor.faces_every)
    except ModelFileError:
        return None


class Beside:
    """What is kept of one recording.

    Args:
        file: path of its results, without their suffixes.
        of: see `origin`.

    Attributes:
        parts: of its features, until it is done.
    """

    def __init__(self, file: Path, of: str):
        self._results, folder = file.parent, file.parent / FOLDER
        self._linked = folder.is_symlink()  # what a link leads to is somebody's
        self._record, self._of = folder / f"{file.name}.safetensors", of
        self.parts = Kept(folder / file.name, of)

    def holds(self, files: Mapping[Place, str]) -> bool:
        """Whether all of these results are there as they were written, of this very origin.

        Args:
            files: the results, and what each is: a format's name.
        """
        if self._linked:
            return False
        try:
            record = read_state(self._record)
            return record["of"] == self._of and all(
                record["files"].get(file.name) == [kind, self._digest(file)] for file, kind in files.items()
            )
        except (OSError, ValueError, KeyError):
            return False

    def done(self, files: Mapping[Place, str]) -> None:
        """Record that these results have been written, all of them; the parts aren't needed any more.

        Where the record can't be written, that is told, and the results are made again by the next run.
        """
        try:
            if self._linked:
                raise OutputError("it is a link, which isn't followed")
            make_folder(self._record.parent)
            written = {file.name: [kind, self._digest(file)] for file, kind in files.items()}
            write_state(self._record, {"of": self._of, "files": written})
        except (OutputError, OSError) as error:
            why = error.what if isinstance(error, OutputError) else reason(error)
            console.say((f"{self._record.parent}: {why}; the next run makes all anew", "yellow"))
        self.parts.remove()

    def forget(self) -> None:
        """Let everything be made anew."""
        with contextlib.suppress(OSError):
            if not self._linked:
                self._record.unlink()
        self.parts.remove()

    def _digest(self, file: Place) -> str:
        return sha256_of(self._results / file.name)
