"""A comparison's trainings: what an interruption leaves, and what is made of what it left."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from avgate.compare import protocol as benchmark
from avgate.compare.outcome import Outcome
from avgate.compare.protocol import Protocol, Run
from tests.tiny import RECIPE

PROTOCOL = Protocol("hazumi", Path("corpus"), Path("features"), folds=6)
RUNS = [Run("concat", RECIPE, fold, seed=0, settings=("",)) for fold in range(PROTOCOL.folds)]
OUTCOME = Outcome(0.5, "", ("valence",), ("clip",), np.ones((1, 1, 6)))


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir()}


def test_ctrl_c_keeps_the_trainings_that_have_begun_and_begins_no_other(tmp_path, monkeypatch, capsys):
    begun, end = threading.Barrier(3), threading.Event()

    def train(*_):
        begun.wait(10)
        assert end.wait(10)
        return OUTCOME

    def ctrl_c(*_, **__):
        begun.wait(10)
        raise KeyboardInterrupt

    def as_completed(futures):
        end.set()
        return real_as_completed(futures)

    real_as_completed = benchmark.as_completed
    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", lambda workers, *_: ThreadPoolExecutor(workers))
    monkeypatch.setattr(benchmark, "_do", train)
    monkeypatch.setattr(benchmark, "wait", ctrl_c)
    monkeypatch.setattr(benchmark, "as_completed", as_completed)
    with pytest.raises(KeyboardInterrupt), benchmark._Pool(PROTOCOL, RECIPE, tmp_path, workers=2) as pool:
        list(pool.outcomes(RUNS, lambda run, outcome: []))

    assert names(tmp_path) == {"concat-seed0-fold0", "concat-seed0-fold1"}
    said = " ".join(capsys.readouterr().err.split())
    assert "Stopping once what has begun is done, to keep it (trainings: 2)" in said


def test_a_kept_training_that_is_damaged_is_named_and_done_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "_do", lambda *_: OUTCOME)

    def compared():
        with benchmark._Pool(PROTOCOL, RECIPE, tmp_path, workers=1) as pool:
            return [run for run, _ in pool.outcomes(RUNS, lambda run, outcome: [])]

    compared()
    assert capsys.readouterr().err == ""
    damaged = tmp_path / "concat-seed0-fold3.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:40])
    assert compared() == RUNS
    said = " ".join(capsys.readouterr().err.split())
    assert "concat-seed0-fold3.safetensors can't be read" in said
    assert said.endswith("it is trained again")
    assert Outcome.load(damaged, RUNS[3].identity(PROTOCOL)).validation == 0.5
