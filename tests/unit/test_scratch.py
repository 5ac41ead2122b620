"""What killed runs leave half-written is removed by the next one, and what living ones write never is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from avgate.core import scratch
from avgate.core.errors import OutputError
from avgate.core.files import atomic_write, make_folder
from avgate.core.scratch import claim, scratch_folder

AT_WORK = """
import sys, tempfile
from pathlib import Path
from avgate.core.files import atomic_write
from avgate.core.scratch import scratch_folder

folder = tempfile.tempdir = sys.argv[1]
with atomic_write(Path(folder) / "a.csv") as half, scratch_folder() as temporary:
    half.write_text("half")
    (temporary / "inside").touch()
    print("at work", flush=True)
    sys.stdin.read()
"""


def look_again() -> None:
    """Do what a process does that has looked into no folder yet."""
    scratch._looked_into.clear()


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    command = [sys.executable, "-c", AT_WORK, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as living, subprocess.Popen(command, **pipes) as killed:
        assert {run.stdout.readline() for run in (living, killed)} == {b"at work\n"}
        killed.kill()
        killed.wait()
        assert len(list(tmp_path.glob("*/inside"))) == 2
        look_again()
        make_folder(tmp_path)
        assert len(list(tmp_path.glob("*/inside"))) == 1
        living.communicate(b"go on")
    assert living.returncode == 0, "it still had what it was writing"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("write", [make_folder, lambda folder: atomic_write(folder / "b.csv").__enter__()])
def test_only_what_nobody_holds_is_abandoned(tmp_path, write):
    (tmp_path / ".avgate-0123456789ab.avgate-lock").touch()
    (tmp_path / ".avgate-0123456789ab.csv").touch()
    (tmp_path / ".avgate-notes").touch()
    with claim(tmp_path) as held:
        held.touch()
        look_again()
        write(tmp_path)
        assert held.exists()
        assert not list(tmp_path.glob(".avgate-0123456789ab*"))
    assert (tmp_path / ".avgate-notes").exists()


def test_a_temporary_folder_goes_with_all_that_is_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder() as folder:
        assert folder.parent == tmp_path
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
    assert not list(tmp_path.iterdir())


def test_an_error_in_the_block_passes_through(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(FileNotFoundError), scratch_folder():
        (tmp_path / "missing").read_text()
    assert not list(tmp_path.iterdir())


def test_no_place_for_temporary_files_is_an_error_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(OutputError, match="TMPDIR") as told, scratch_folder():
        pass
    assert "set TMPDIR" in told.value.hint
    assert str(tmp_path / "gone") in told.value.where
    assert Path(tmp_path / "gone").exists() is False


@pytest.mark.parametrize("name", ["", "*", "[0-9a-f]*", "0123456789a?", "0123456789ab*"])
def test_a_lock_that_anybody_may_have_put_there_removes_nothing_of_a_living_run(tmp_path, name):
    with claim(tmp_path) as held:
        held.touch()
        (tmp_path / f".avgate-{name}.avgate-lock").touch()
        look_again()
        make_folder(tmp_path)
        assert held.exists()


def another_machine(monkeypatch, *, shares_start: bool = False) -> None:
    """From now on this process is on another machine; with the same start, it is in a container of this one."""
    start, name = scratch._machine()
    monkeypatch.setattr(scratch, "_machine", lambda: (start if shares_start else "another start", f"other than {name}"))


@pytest.fixture
def locks_of_one_machine(monkeypatch) -> None:
    """A file system on which locks hold among the processes of one machine alone: another one can lock anything."""
    monkeypatch.setattr(scratch.fcntl, "flock", lambda *_: None)


def test_what_another_machine_writes_stays_where_locks_do_not_reach_it(tmp_path, monkeypatch, locks_of_one_machine):
    with atomic_write(tmp_path / "a.csv") as half:
        half.write_text("half")
        another_machine(monkeypatch)
        look_again()
        make_folder(tmp_path)
        assert half.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(("age_s", "stays"), [(80_000, True), (90_000, False)])
def test_what_another_machine_left_goes_after_a_day_by_the_clock_of_the_disk(
    tmp_path, monkeypatch, locks_of_one_machine, age_s, stays
):
    lock, half = tmp_path / ".avgate-0123456789ab.avgate-lock", tmp_path / ".avgate-0123456789ab.csv"
    lock.write_text("its start\nits name")
    half.touch()
    made_s = lock.stat().st_mtime
    os.utime(lock, (made_s - age_s, made_s - age_s))
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this machine's own clock plays no part
    look_again()
    make_folder(tmp_path)
    assert half.exists() == lock.exists() == stays


@pytest.mark.parametrize("again", ["started again", "a container"])
def test_what_this_machine_left_goes_at_once_also_after_it_was_started_again_and_from_its_containers(
    tmp_path, monkeypatch, again
):
    start, name = scratch._machine()
    said = f"another start\n{name}" if again == "started again" else f"{start}\nanother name"
    (tmp_path / ".avgate-0123456789ab.avgate-lock").write_text(said)
    (tmp_path / ".avgate-0123456789ab.csv").touch()
    look_again()
    make_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_worker_left_goes_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    look_again()
    make_folder(tmp_path)
    for folder in (tmp_path, tmp_path / "temporary"):
        (folder / ".avgate-0123456789ab.avgate-lock").write_text("\n".join(scratch._machine()))
        (folder / ".avgate-0123456789ab.csv").touch()
    scratch.remove_what_workers_left()
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


def test_temporary_files_of_libraries_go_with_the_folder_that_they_were_given(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder() as folder, scratch.place_of_others(folder):
        assert Path(tempfile.mkdtemp(prefix="library.")).parent == folder
    assert tempfile.gettempdir() == str(tmp_path)
    assert not list(tmp_path.iterdir())
