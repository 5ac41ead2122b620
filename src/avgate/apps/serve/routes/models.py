"""What the models are. Another process loads them to find out: torch would stay in the server's memory."""

from __future__ import annotations

import json
import threading
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avgate.apps.serve.settings import Settings, weights_of
from avgate.core.errors import AvgateError, WorkerError
from avgate.core.processes import end_with_parent, how_it_ended, start
from avgate.core.text import reason
from avgate.inference.purpose import IS_FOR, IS_NOT_FOR, NO_DECISIONS, NO_MODEL_IS_FOR, TRAINED_ON

if TYPE_CHECKING:  # the other process needn't load it
    from avgate.apps.serve.routes.shapes import ModelShape

_LOOK_S = 0.1
"""Seconds between two looks at whether the server ends."""

_Models = tuple[tuple[str, "Path | None"], ...]

_known: dict[_Models, list[dict[str, Any]]] = {}
_asking = threading.Lock()


def described(settings: Settings, ending: threading.Event) -> list[ModelShape]:
    """What the models are, which takes seconds the first time; nothing once the server ends.

    Raises:
        WorkerError: the process that loads them died.
    """
    from avgate.apps.serve.routes.shapes import ModelShape

    models = tuple(settings.models.items())
    with _asking:  # nothing is loaded twice at once
        if models not in _known and (found := _told(models, ending)):
            _known[models] = found
        return [ModelShape(**plain) for plain in _known.get(models, [])]


def _told(models: _Models, ending: threading.Event) -> list[dict[str, Any]]:
    """What another process says of the models; nothing where the server ends meanwhile."""
    ours, theirs = Pipe(duplex=False)
    process = get_context("spawn").Process(target=_tell, args=(theirs, models), name="models", daemon=True)
    with ours:
        with theirs:
            try:
                start(process)
            except OSError as error:
                raise WorkerError(f"no process can be started that loads the models ({reason(error)})") from error
        try:
            while not ending.is_set():
                if ours.poll(_LOOK_S):
                    return list(json.loads(ours.recv_bytes()))
            return []
        except EOFError:
            process.join()
            how = how_it_ended(process.exitcode)
            raise WorkerError(
                f"the process that loads the models died ({how})", hint="see whether memory ran out"
            ) from None
        finally:
            process.kill()
            process.join()


def _tell(connection: Connection, models: _Models) -> None:
    """Say what the models are; in a process of its own."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    connection.send_bytes(json.dumps([_plain(name, path) for name, path in models]).encode())


def _plain(name: str, path: Path | None) -> dict[str, Any]:
    """A model as in ModelShape. Of one that can't be read, what is wrong with it."""
    from avgate.inference.estimator import Estimator

    uses = {"is_for": IS_FOR if path is None else (), "is_not_for": IS_NOT_FOR if path is None else NO_MODEL_IS_FOR}
    short = f"{NO_DECISIONS} {TRAINED_ON}" if path is None else NO_DECISIONS
    try:
        estimator = Estimator(weights_of(name, path))
    except AvgateError as error:
        broken = {"called": "can't be used", "causal": False, "targets": [], "short": "", "notes": [error.what]}
        return {"name": name} | broken | {"is_for": (), "is_not_for": ()}
    checkpoint = estimator.checkpoint
    return {
        "name": name,
        "called": f"{checkpoint.recipe.name} ({checkpoint.recipe.fusion})",
        "causal": estimator.causal,
        "targets": checkpoint.targets,
        "short": short,
        "notes": checkpoint.caveats,
        **uses,
    }
