"""Where a server's jobs are kept, as its settings say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from avgate.apps.serve.settings import Settings
from avgate.apps.serve.stores.sqlite import SqliteJobs
from avgate.apps.serve.work import open_place, work
from avgate.core.errors import AvgateError, OutputError, UsageError


def test_without_a_database_jobs_are_in_the_data_folder(tmp_path: Path):
    folder, store = open_place(Settings(data=tmp_path / "data"))
    assert isinstance(store, SqliteJobs)
    assert folder.database.is_file()
    store.close()
    folder.release()


def test_workers_without_a_server_need_a_database(tmp_path: Path):
    with pytest.raises(UsageError, match="database"):
        work(Settings(data=tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def test_workers_that_are_none_are_refused(tmp_path: Path):
    open_place(Settings(data=tmp_path / "data", workers=0))[0].release()
    with pytest.raises(UsageError, match="workers"):
        work(Settings(data=tmp_path / "data", workers=0))


def test_a_server_that_works_itself_lets_nobody_else_work_in_its_folder(tmp_path: Path):
    folder, store = open_place(Settings(data=tmp_path / "data", workers=1))
    with pytest.raises(OutputError, match="workers = 0"):
        work(Settings(data=tmp_path / "data", workers=1))
    store.close()
    folder.release()


def test_packages_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "avgate.apps.serve.stores.postgres", raising=False)
    settings = Settings(data=tmp_path / "data", database="postgresql://user:secret@127.0.0.1:1/jobs")
    with pytest.raises(UsageError, match=r"avgate\[cluster\]"):
        open_place(settings)
    folder, store = open_place(Settings(data=tmp_path / "data"))  # nothing holds it
    store.close()
    folder.release()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://user:secret@127.0.0.1:1/jobs", OutputError),
        ("postgresql://user:secret%zz@127.0.0.1/jobs", UsageError),
        ("postgresql://user:secret@127.0.0.1/jobs?no=such", UsageError),
    ],
)
def test_a_database_that_cannot_be_used_is_said_without_the_password(tmp_path: Path, url: str, kind: type[AvgateError]):
    pytest.importorskip("psycopg_pool")
    pytest.importorskip("procrastinate")
    with pytest.raises(kind, match="database") as caught:
        open_place(Settings(data=tmp_path / "data", database=url))
    assert "secret" not in str(caught.value)
