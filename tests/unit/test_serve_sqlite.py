"""What is SQLite's own in the store of jobs; the rest stands in tests/contract/test_job_stores.py."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from avgate.apps.serve.jobs import Job, Options
from avgate.apps.serve.stores.sqlite import SqliteJobs
from avgate.core.errors import OutputError


def test_a_file_of_another_kind_is_refused_and_left_as_it_is(tmp_path: Path):
    (tmp_path / "jobs").write_text("these are my notes, and not a database of anything\n" * 100)
    with pytest.raises(OutputError, match="can't be the jobs' database"):
        SqliteJobs(tmp_path / "jobs")
    assert (tmp_path / "jobs").read_text().startswith("these are my notes")


def test_a_database_of_a_later_version_is_refused(tmp_path: Path):
    SqliteJobs(tmp_path / "jobs").close()
    with sqlite3.connect(tmp_path / "jobs") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(OutputError, match="later version"):
        SqliteJobs(tmp_path / "jobs")


def test_a_database_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path):
    store = SqliteJobs(tmp_path / "jobs")
    store.add(Job("1" * 32, "a.mp4", 1, Options()))
    store.close()
    with sqlite3.connect(tmp_path / "jobs") as connection:
        connection.execute("ALTER TABLE jobs DROP COLUMN duration_s")  # which the first version hadn't
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    for _ in range(2):  # once it is, nothing is left to do
        store = SqliteJobs(tmp_path / "jobs")
        (job,) = store.list()
        assert (job.name, job.duration_s) == ("a.mp4", None)
        store.close()


def test_a_folder_that_is_missing_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(OutputError, match="nowhere"):
        SqliteJobs(tmp_path / "nowhere" / "jobs")


def test_the_tables_of_others_in_the_same_file_stay(tmp_path: Path):
    with sqlite3.connect(tmp_path / "jobs") as connection:
        connection.execute("CREATE TABLE uploads (id TEXT)")
    connection.close()
    SqliteJobs(tmp_path / "jobs").close()
    with sqlite3.connect(tmp_path / "jobs") as connection:
        assert connection.execute("SELECT count(*) FROM uploads").fetchone() == (0,)
    connection.close()


def test_an_error_within_a_transaction_leaves_the_store_usable(tmp_path: Path):
    store = SqliteJobs(tmp_path / "jobs")
    with pytest.raises(UnicodeEncodeError):
        store.add(Job("1" * 32, "\udcff", 1, Options()))
    store.add(Job("1" * 32, "a", 1, Options()))
    assert store.count()["queued"] == 1
    store.close()


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
def test_what_was_added_survives_a_kill(tmp_path: Path):
    program = f"""
import os, signal
from pathlib import Path
from avgate.apps.serve.jobs import Job, Options
from avgate.apps.serve.stores.sqlite import SqliteJobs
store = SqliteJobs(Path({str(tmp_path / "jobs")!r}))
store.add(Job("1" * 32, "a.mp4", 1, Options()))
store.claim("me")
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    store = SqliteJobs(tmp_path / "jobs")
    (cut,) = store.recover(0)
    assert (cut.id, cut.state) == ("1" * 32, "queued")
    store.close()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such permissions")
@pytest.mark.parametrize("before", [None, 0o644, 0o666], ids=["new", "of an earlier version", "open to all"])
def test_nobody_else_can_read_the_database_and_the_files_beside_it(before: int | None, tmp_path: Path):
    file = tmp_path / "jobs"
    if before is not None:
        SqliteJobs(file).close()
        file.chmod(before)
    store = SqliteJobs(file)
    store.add(Job("1" * 32, "a.mp4", 1, Options()))
    found = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    store.close()
    assert found == {"jobs": 0o600, "jobs-wal": 0o600, "jobs-shm": 0o600}
