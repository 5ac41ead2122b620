"""A process that worked for this one and is killed, as by a system that runs out of memory, is told in our words."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import pytest

from avgate.compare import protocol as benchmark
from avgate.compare.protocol import Protocol, Run
from avgate.core.errors import WorkerError
from avgate.core.processes import lost_workers_named
from avgate.core.types import Clip
from avgate.corpora.rendered import write
from avgate.corpora.rendered.config import RenderConfig
from avgate.features import extract
from tests.tiny import RECIPE


def killed(*_):
    """What a pool tells of work whose process is gone."""
    raise BrokenProcessPool


def threads(workers, *_):
    return ThreadPoolExecutor(workers)


def test_a_process_that_is_killed_is_told_with_the_likely_cause_and_what_to_do():
    with pytest.raises(WorkerError) as told, lost_workers_named(), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(os._exit, 9).result()
    assert "memory" in told.value.what
    assert "--workers" in told.value.hint


def test_a_comparison_tells_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", threads)
    monkeypatch.setattr(benchmark, "_do", killed)
    protocol = Protocol("hazumi", Path("corpus"), Path("features"), folds=1)
    runs = [Run("concat", RECIPE, fold=0, seed=0, settings=("",))]
    with pytest.raises(WorkerError), benchmark._Pool(protocol, RECIPE, tmp_path, workers=2) as pool:
        list(pool.outcomes(runs, lambda run, outcome: []))


def test_an_extraction_tells_of_it(monkeypatch):
    monkeypatch.setattr(extract, "ProcessPoolExecutor", threads)
    with pytest.raises(WorkerError):
        list(extract._each([Clip("c", Path("c.mp4"), "train", "somebody")], killed, workers=2))


class Lost(ThreadPoolExecutor):
    """A pool that has lost a process before all work is handed in."""

    submit = killed


@pytest.mark.parametrize("pool", [threads, lambda workers, *_: Lost(workers)], ids=("later", "at once"))
def test_rendering_tells_of_it(tmp_path, monkeypatch, pool):
    monkeypatch.setattr(write, "ProcessPoolExecutor", pool)
    monkeypatch.setattr(write, "_record", killed)
    with pytest.raises(WorkerError):
        write._render_all(tmp_path, RenderConfig(), [(0, 0)], workers=2, report=lambda take: None)
