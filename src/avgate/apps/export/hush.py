"""torch's exporter and onnxruntime's quantiser, without what they say of their own insides."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import torch.fx


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """No warnings, and no log lines below errors, from any library; what goes wrong raises all the same.

    Nor is noted down, in newer versions of torch, which lines of whose code each node of a program came from: that
    takes a fifth of the time, and no file of ours holds it.
    """
    before = logging.root.manager.disable
    with warnings.catch_warnings(), _untraced():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    config, name = getattr(torch.fx, "config", None), "do_not_emit_stack_traces"
    before = getattr(config, name, None)
    if before is not None:
        setattr(config, name, True)
    try:
        yield
    finally:
        if before is not None:
            setattr(config, name, before)
