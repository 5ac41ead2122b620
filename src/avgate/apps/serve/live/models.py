"""Models for live use: each is loaded once, and shared by all streams."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from avgate.apps.serve.live.messages import BAD, FAULT, Hello, Refused
from avgate.apps.serve.settings import weights_of
from avgate.core.errors import AvgateError, CheckpointError, UsageError, choose

if TYPE_CHECKING:  # which loads torch
    from avgate.inference.estimator import Estimator
    from avgate.inference.streaming import Streamer

log = logging.getLogger("avgate.serve")

_LEVELS = 8
"""Models that are kept for one file, each for another level of intervals."""


class Models:
    """Weights by name, loaded when they are first asked for. Any number of threads may ask.

    Args:
        files: name -> a causal checkpoint or its run's folder; None is what comes with avgate under that name.
    """

    def __init__(self, files: Mapping[str, str | Path | None]):
        self._files, self._lock = dict(files), threading.Lock()
        self._loaded: dict[str, dict[float, Estimator]] = {}
        self._worked: set[tuple[str, bool, bool]] = set()

    def open(self, hello: Hello) -> Streamer:
        """A new Streamer as a client wants it, which is to be closed.

        Raises:
            Refused: there is no such model or level, the model can't be used live or reads nothing of what will come,
                or something is wrong with the server's own files.
        """
        from avgate.apps.running import open_streamer
        from avgate.inference.streaming import Streamer

        try:
            choose("model", hello.model, self._files)
            kind = (hello.model, hello.video, hello.sound)
            with self._lock:
                estimator = self._estimator(hello)
                if not estimator.causal:
                    what = f"the model '{hello.model}' needs a whole recording: it looks at what comes later"
                    hint = 'leave "model" out, or give one whose "causal" is true in /api/models'
                    raise Refused(BAD, what, hint, "model")
                if kind not in self._worked:
                    opened = open_streamer(estimator, None, hello.level, video=hello.video, sound=hello.sound)
                    self._worked.add(kind)
                    return opened
            return Streamer(estimator, video=hello.video, sound=hello.sound)
        except (UsageError, CheckpointError) as error:
            where = "level" if error.where == "level" else "model"
            raise Refused(BAD, error.what, error.hint or "", where) from error
        except AvgateError as error:
            raise fault(f"the model '{hello.model}' can't be used") from error

    def _estimator(self, hello: Hello) -> Estimator:
        """The model with intervals of that level. The network itself is there once, whatever the level."""
        import torch

        from avgate.inference.estimator import Estimator

        levels = self._loaded.get(hello.model)
        if levels is None:
            try:
                base = Estimator(self._file(hello.model))
            except (AvgateError, OSError) as error:
                raise fault(f"the model '{hello.model}' can't be loaded") from error
            # Streams run side by side: threads of one small model would only wait for those of the others.
            torch.set_num_threads(1)
            levels = self._loaded[hello.model] = {base.level: base}
        level = round(hello.level, 3)
        if level not in levels:
            base = next(iter(levels.values()))
            levels[level] = Estimator(base.checkpoint, model=base.model, level=level)
            if len(levels) > _LEVELS:
                del levels[list(levels)[1]]  # streams that use it keep it
        return levels[level]

    def _file(self, name: str) -> str | Path | None:
        return weights_of(name, self._files[name])


def fault(what: str) -> Refused:
    """What a client is told of a fault that isn't its own; the log has the rest. Within an `except` block only."""
    number = uuid.uuid4().hex[:8]
    log.exception("%s (%s)", what, number)
    return Refused(FAULT, f"{what}; the server's log says why, under {number}", "ask whoever runs the server")
