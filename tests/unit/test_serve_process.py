"""A worker as its parent sees it: of what it says, only an outcome is one."""

from __future__ import annotations

import json
import os
from multiprocessing.connection import Connection
from typing import Any

import pytest

from avgate.apps.serve.jobs import Job, Options
from avgate.apps.serve.workers import process
from avgate.apps.serve.workers.process import Limits, Process

DONE = {"notes": ["a note"], "stages_s": {"looking": 1}, "recording_s": 2.0}
FAILED = {"error": "it is bad", "hint": ""}


class Started:
    """In place of a process, none."""

    def __init__(self, args: tuple[Connection, Limits], **_: Any):
        self.killed = False

    def start(self) -> None:
        pass

    def kill(self) -> None:
        self.killed = True

    def join(self) -> None:
        pass


@pytest.fixture
def worker(monkeypatch):
    """One with a job, and `says`, its end of the pipe."""
    ends: list[Connection] = []
    pipe = process.Pipe

    def kept():
        ours, its = pipe()
        ends.append(ours)
        # What is closed is a copy, so that the test can speak.
        return its, type(its)(os.dup(ours.fileno()))

    monkeypatch.setattr(process, "Pipe", kept)
    monkeypatch.setattr(process, "get_context", lambda kind: type("Context", (), {"Process": Started}))
    worker = Process(Limits(512, 1, 1), None, work=lambda connection, limits: None)
    worker.take(Job("1" * 32, "a.mp4", 1, Options()))
    worker.says = lambda message: ends[0].send_bytes(json.dumps(message).encode())  # type: ignore[attr-defined]
    yield worker
    ends[0].close()
    worker.kill()


@pytest.mark.parametrize("message", [{"done": DONE}, {"failed": FAILED}, {"failed": FAILED | {"log": "more"}}])
def test_an_outcome_is_taken(worker, message):
    worker.says(message)
    worker.listen()
    assert (worker.outcome, worker.ended) == (message, False)


BAD_DONE = [{"notes": 5}, {"notes": [5]}, {"notes": "text"}, {"stages_s": [1]}, {"stages_s": {"a": "b"}}]
BAD_DONE += [{"stages_s": {"a": float("nan")}}, {"recording_s": True}, {"recording_s": -1}, {"recording_s": 10**400}]


@pytest.mark.parametrize(
    "message",
    [
        *({"done": DONE | bad} for bad in BAD_DONE),
        *({"done": {name: DONE[name] for name in DONE if name != left_out}} for left_out in DONE),
        {"done": None},
        {"done": []},
        {"failed": 5},
        {"failed": {"error": "it is bad"}},
        {"failed": FAILED | {"hint": None}},
        {"failed": FAILED | {"log": 1}},
        [],
        5,
    ],
    ids=str,
)
def test_what_is_no_outcome_is_a_dead_worker(worker, message):
    worker.says(message)
    worker.listen()
    assert (worker.outcome, worker.ended) == (None, True)
