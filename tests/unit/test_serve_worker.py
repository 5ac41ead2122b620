"""The worker of the server in this process: what it says, what it keeps to itself, and where it stops."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avgate.apps.predict import one as predicting
from avgate.apps.serve.workers import worker as working
from avgate.apps.serve.workers.process import Limits
from avgate.apps.serve.workers.worker import Worker
from avgate.core.errors import MediaError, OutputError
from avgate.core.processes import how_it_ended, ran_out_of_memory, resident_mb
from avgate.core.text import without_folders
from tests.clips import make_clip, tone
from tests.hostile import CONTENTS, content
from tests.traces import make_trace

LIMITS = Limits(memory_mb=4096, job_s=60, duration_s=10)


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No limit of this process is set, and its place for temporary files comes back."""
    monkeypatch.setattr(working, "limit_time", lambda more_s: None)
    monkeypatch.setattr(Worker, "_load", lambda self, weights, level: None)
    before = tempfile.tempdir
    yield
    tempfile.tempdir = before


@pytest.fixture
def pipe() -> Iterator[tuple[Connection, Connection]]:
    ours, its = Pipe()
    with ours, its:
        yield ours, its


def task_of(folder: Path, source: Path, **options: Any) -> dict[str, Any]:
    (folder / "attempt-1").mkdir(exist_ok=True)
    plain = {"model": "default", "level": 0.9, "formats": [], "report": False, **options}
    return {
        "job": "1" * 32,
        "input": str(source),
        "out": str(folder / "attempt-1"),
        "options": plain,
        "models": {"default": None},
    }


def work(pipe: tuple[Connection, Connection], task: dict[str, Any], limits: Limits = LIMITS) -> list[dict[str, Any]]:
    """All messages of one job."""
    Worker(pipe[1], limits).work(task)
    said = []
    while pipe[0].poll():
        said.append(json.loads(pipe[0].recv_bytes()))
    return said


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "a.wav", sound=[(0.0, tone(2.0))], sound_codec="pcm_s16le")


def doing(monkeypatch: pytest.MonkeyPatch, do: Callable[..., Any]) -> None:
    monkeypatch.setattr(predicting, "predict_one", do)


def test_stages_and_shares_come_in_order_and_results_last(
    pipe: tuple[Connection, Connection], tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(working, "_TOLD_S", 0.0)

    def predict_one(predictor, video, out, name, writers, *, report, on_time):
        for time_s in (0.5, 1.0, 2.0):
            on_time(time_s)
        for writer in writers:
            writer.write(make_trace(), out / f"{name}{writer.suffix}")
        return make_trace()

    doing(monkeypatch, predict_one)
    *told, last = work(pipe, task_of(tmp_path, sound, formats=["elan"]))
    stages = list(dict.fromkeys(message["stage"] for message in told))
    assert stages == [working.LOADING, working.READING, working.WRITING]
    shares = [message["progress"] for message in told]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert 0.9 <= shares[-1] < 1.0
    done = last["done"]
    assert done["results"] == ["a.csv", "a.eaf", "a.json"]
    assert set(done["stages_s"]) == set(stages)
    assert done["recording_s"] >= 2.0


@pytest.mark.slow
@pytest.mark.parametrize("longest_s", [1.0, 1.9])
def test_a_recording_that_says_it_is_too_long_is_refused_before_it_is_read(
    pipe: tuple[Connection, Connection], tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch, longest_s: float
):
    doing(monkeypatch, lambda *_, **__: pytest.fail("it was read"))
    failed = work(pipe, task_of(tmp_path, sound), Limits(4096, 60, longest_s))[-1]["failed"]
    assert f"{longest_s:g} s (the setting max_duration_s)" in failed["error"]
    assert "max_duration_s" in failed["hint"]


def test_a_recording_that_lasts_longer_than_it_says_is_stopped(
    pipe: tuple[Connection, Connection], tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
):
    doing(monkeypatch, lambda *_, on_time, **__: [on_time(time_s) for time_s in np.arange(0, 100, 0.5)])
    assert "goes on after 10 s" in work(pipe, task_of(tmp_path, sound))[-1]["failed"]["error"]


def test_an_error_keeps_the_folders_of_the_machine_to_itself(
    pipe: tuple[Connection, Connection], tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise OutputError(f"{tmp_path}/attempt-1/a.csv can't be written", hint=f"make {tmp_path}, or /srv/my data/b")

    doing(monkeypatch, fail)
    failed = work(pipe, task_of(tmp_path, sound))[-1]["failed"]
    assert failed["error"] == "a.csv can't be written"
    assert str(tmp_path) not in str(failed)
    assert "/srv" not in str(failed)


def test_notes_keep_the_folders_of_the_machine_to_themselves(
    pipe: tuple[Connection, Connection], tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
):
    note = f"The report shows no video. TMPDIR ({tmp_path}/attempt-1): no room."
    doing(monkeypatch, lambda *_, **__: replace(make_trace(), notes=(note,)))
    assert work(pipe, task_of(tmp_path, sound))[-1]["done"]["notes"] == ["The report shows no video. TMPDIR: no room."]


def test_an_error_of_the_program_is_told_by_number_only(
    pipe: tuple[Connection, Connection], tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
):
    doing(monkeypatch, lambda *_, **__: [][1])
    failed = work(pipe, task_of(tmp_path, sound))[-1]["failed"]
    assert "the server's fault" in failed["error"]
    assert "IndexError" not in failed["error"] + failed["hint"]
    number = failed["error"].split("error ")[1].rstrip(")")
    assert number in failed["log"]
    assert "IndexError" in failed["log"]


def test_the_memory_that_a_recording_took_is_given_back_whatever_became_of_it(
    pipe: tuple[Connection, Connection], tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
):
    given: list[bool] = []
    monkeypatch.setattr(working, "give_memory_back", lambda: given.append(pipe[0].poll()))
    doing(monkeypatch, lambda *_, **__: make_trace())
    assert "done" in work(pipe, task_of(tmp_path, sound))[-1]
    assert "failed" in work(pipe, task_of(tmp_path, sound, formats=["doc"]))[-1]
    doing(monkeypatch, lambda *_, **__: [][1])
    assert "failed" in work(pipe, task_of(tmp_path, sound))[-1]
    assert given == [True] * 3  # after the answer, which nobody has to wait for


class Ended(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
    ],
)
def test_too_little_memory_names_the_setting_and_ends_the_process(
    pipe: tuple[Connection, Connection], tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*_: object, **__: object) -> None:
        raise error

    def end(code: int) -> None:
        raise Ended

    doing(monkeypatch, fail)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(Ended):
        work(pipe, task_of(tmp_path, sound))
    failed = json.loads(pipe[0].recv_bytes())
    while "failed" not in failed:
        failed = json.loads(pipe[0].recv_bytes())
    assert "4096 MiB, the setting memory_mb" in failed["failed"]["error"]


def test_too_little_memory_behind_another_error_is_found():
    error = MediaError("can't be decoded")
    assert not ran_out_of_memory(error)
    error.__cause__ = MemoryError()
    assert ran_out_of_memory(error)
    assert not ran_out_of_memory(MediaError("can't be decoded: unable to allocate"))
    assert not ran_out_of_memory(RuntimeError("shapes don't match"))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("can't be read", "can't be read"),
        ("MP4/MOV/M4A, MPEG-PS/TS and/or WAV", "MP4/MOV/M4A, MPEG-PS/TS and/or WAV"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("'/home/me/a.mp4' is bad", "'a.mp4' is bad"),
        (r"C:\Users\me\a.mp4 is bad", "a.mp4 is bad"),
        ("in /data/my films/a.mp4", "in a.mp4"),
        ("in /data/my films", "in "),
    ],
)
def test_messages_lose_their_folders(text: str, left: str):
    assert without_folders(text, ["/data/my films"]) == left


@pytest.mark.slow
def test_an_unknown_model_and_format_are_named(pipe: tuple[Connection, Connection], tmp_path: Path, sound: Path):
    assert "there is no model 'x'" in work(pipe, task_of(tmp_path, sound, model="x"))[-1]["failed"]["error"]
    assert "there is no output format 'x'" in work(pipe, task_of(tmp_path, sound, formats=["x"]))[-1]["failed"]["error"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONTENTS)
def test_what_is_no_recording_is_refused(pipe: tuple[Connection, Connection], tmp_path: Path, sound: Path, kind: str):
    (tmp_path / "a.mp4").write_bytes(content(kind, sound))
    failed = work(pipe, task_of(tmp_path, tmp_path / "a.mp4"))[-1]["failed"]
    assert failed["error"]
    assert str(tmp_path) not in str(failed)
    assert "log" not in failed


def test_memory_of_a_process_is_told_and_that_of_none_is_nothing():
    assert resident_mb(os.getpid()) > 10
    assert resident_mb(2**22 + 1) == 0


def test_an_end_by_a_signal_is_named():
    assert how_it_ended(-9) == "SIGKILL"
    assert how_it_ended(3) == "exit code 3"
