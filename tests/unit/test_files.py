from __future__ import annotations

import contextlib
import csv
import errno
import os
import stat
from pathlib import Path

import pytest

from avgate.core.errors import OutputError, UsageError
from avgate.core.files import atomic_write, make_folder, output_folder, refuse_overwriting, write_csv
from avgate.core.text import as_cell, from_cell
from tests.disks import disk


def test_the_file_appears_only_when_it_is_complete(tmp_path: Path):
    path = tmp_path / "a.csv"
    with atomic_write(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (path.parent, ".csv")
        assert not temporary.exists()
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert list(tmp_path.iterdir()) == [path]


def test_it_has_the_permissions_of_any_new_file(tmp_path: Path):
    with atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("x")
    (tmp_path / "b").write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_any_failure_leaves_the_old_file_and_nothing_else(error: type[BaseException], tmp_path: Path):
    path = tmp_path / "a"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_goes_on_pointing_to_its_file(tmp_path: Path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_nothing_but_files_is_replaced(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path, why in ((tmp_path, "a folder of this name"), (tmp_path / "pipe", "not a regular file")):
        with pytest.raises(OutputError, match=why), atomic_write(path):
            pass
        assert path.exists()


def test_writing_into_a_missing_folder_says_which(tmp_path: Path):
    with (
        pytest.raises(OutputError, match=f"create the folder {tmp_path / 'x'}"),
        atomic_write(tmp_path / "x" / "a") as temporary,
    ):
        temporary.write_text("x")


def test_a_full_disk_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match="No space left") as caught, atomic_write(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "disk" in (caught.value.hint or "")


def test_trouble_with_a_file_that_is_read_keeps_its_own_name(tmp_path: Path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a"):
        (tmp_path / "input").read_text()


def test_a_folder_is_made_with_those_above_it(tmp_path: Path):
    assert make_folder(tmp_path / "x" / "y").is_dir()
    assert make_folder(tmp_path / "x") == tmp_path / "x"
    assert list((tmp_path / "x").iterdir()) == [tmp_path / "x" / "y"]


def test_a_file_in_place_of_a_folder_is_an_output_error(tmp_path: Path):
    (tmp_path / "x").write_text("")
    with pytest.raises(OutputError, match="can't write into this folder"):
        make_folder(tmp_path / "x" / "y")


def test_a_name_that_is_too_long_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match="name too long"), atomic_write(tmp_path / ("x" * 300)) as temporary:
        temporary.write_text("x")


def test_an_output_whose_name_is_too_long_is_refused_before_the_work(tmp_path):
    with pytest.raises(OutputError, match=r"can't be written \(File name too long\)\n.*give it a shorter name"):
        refuse_overwriting([tmp_path], {"--out": tmp_path / f"{'x' * 252}.eaf"})


def test_a_file_in_an_input_folder_is_not_written_over_but_a_new_one_may_be_written_there(tmp_path):
    (tmp_path / "corpus" / "labels").mkdir(parents=True)
    (tmp_path / "corpus" / "labels" / "a.csv").touch()
    with pytest.raises(UsageError, match="part of an input"):
        refuse_overwriting([tmp_path / "corpus"], {"--out": tmp_path / "corpus" / "labels" / "a.csv"})
    refuse_overwriting([tmp_path / "corpus"], {"--out": tmp_path / "corpus" / "report.json"})


def test_an_output_in_a_read_only_folder_is_refused_before_the_work(tmp_path):
    with (
        disk(tmp_path / "disk", "ro") as folder,
        pytest.raises(OutputError, match="Read-only file system"),
    ):
        refuse_overwriting([], {"--out": folder / "scores.json"})


def test_no_name_in_a_table_is_run_as_a_formula_and_numbers_stay_numbers(tmp_path):
    write_csv(
        tmp_path / "a.csv", ["=1+1", "@x", "valence"], [["-0.5", -1.5, ""], ["-x", "+x", "\tx"], ["\r=x", "x", "é"]]
    )
    rows = list(csv.reader((tmp_path / "a.csv").open(encoding="utf-8", newline="")))
    assert rows == [["'=1+1", "'@x", "valence"], ["-0.5", "-1.5", ""], ["'-x", "'+x", "'\tx"], [" =x", "x", "é"]]


@pytest.mark.parametrize("name", ["=x", "-x", "-0.5", "valence", "'quoted'", "'", "", "@"])
def test_a_name_in_a_cell_is_read_as_what_it_was(name):
    assert from_cell(as_cell(name)) == name


def blocked(tmp_path, place):
    """An output that can't be written, for each of the reasons."""
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe.csv")
    return tmp_path / place


@pytest.mark.parametrize("place", ["folder.csv", "file/x.csv", "pipe.csv", "nowhere/x.csv"])
def test_an_output_that_cannot_be_written_is_found_out_before_the_work(tmp_path, place):
    out = blocked(tmp_path, place)
    with pytest.raises(OutputError) as caught:
        refuse_overwriting([], {"--out": tmp_path / "fine.csv", "--report": out})
    assert caught.value.where == str(out)
    assert not (tmp_path / "fine.csv").exists()
    assert not list(tmp_path.glob(".avgate*"))


def test_a_folder_for_results_that_an_error_leaves_empty_is_removed_again(tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    for folder in (tmp_path / "new" / "results", there):
        with pytest.raises(UsageError), output_folder(folder):
            raise UsageError("refused")
    with contextlib.suppress(UsageError), output_folder(tmp_path / "begun") as begun:
        (begun / "part").touch()
        raise UsageError("refused")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "there"]
