"""The server's data folder: names, links, strangers, and what is removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgate.apps.serve.folder import DataFolder, remove
from avgate.apps.serve.names import safe_name, shown_name
from avgate.core.errors import OutputError

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


def accepted(folder: DataFolder, job_id: str = ONE, name: str = "clip.mp4", content: bytes = b"video") -> Path:
    folder.upload(job_id).write_bytes(content)
    return folder.accept(job_id, name, folder.upload(job_id))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("clip.mp4", "clip.mp4"),
        ("My holiday (2).MOV", "My_holiday_2.mov"),
        ("Zo\u00e9.webm", "Zoe.webm"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\a.mp4", "a.mp4"),
        ("\u5f20\u4f1f.mp4", "recording.mp4"),
        (".mp4", "recording.mp4"),
        ("..", "recording"),
        ("", "recording"),
        ("/", "recording"),
        ("-rf.mp4", "rf.mp4"),
        ("a\0b\n.mp4", "a_b.mp4"),
        ("con.mp4", "recording.mp4"),
        ("a.tar.gz", "a.tar.gz"),
        ("x" * 300 + ".mp4", "x" * 60 + ".mp4"),
        ("x.averylongsuffix", "x.averylongsuffix"),
        ("=cmd()|x.csv", "cmd_x.csv"),
        ("\udcff.mp4", "recording.mp4"),
        (".avgate-a.mp4", "avgate-a.mp4"),
    ],
)
def test_names_on_disk_are_short_and_plain(name: str, safe: str):
    assert safe_name(name) == safe


@pytest.mark.slow
@given(st.text(max_size=30), st.integers(1, 10))
def test_no_name_leaves_its_folder_or_the_screen(part: str, times: int):
    name = part * times
    safe = safe_name(name)
    assert safe == Path(safe).name
    assert safe.isascii()
    assert 0 < len(safe) <= 69
    assert safe[0] not in ".-"
    assert safe_name(safe) == safe
    shown = shown_name(name)
    assert 0 < len(shown) <= 120
    assert "\n" not in shown
    shown.encode()


def test_owners_see_their_own_name():
    assert shown_name("C:\\films\\Zo\u00e9 \u5f20.mp4") == "Zo\u00e9 \u5f20.mp4"


def test_it_is_for_its_owner_alone(folder: DataFolder):
    assert folder.root.stat().st_mode & 0o077 == 0


def test_a_folder_with_files_of_others_is_refused_and_left_as_it_is(tmp_path: Path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "cv.pdf").touch()
    with pytest.raises(OutputError, match="aren't the server's, such as 'jobs'"):
        DataFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["jobs"]


def test_files_that_others_put_there_later_are_refused(folder: DataFolder):
    (folder.root / "thesis.docx").touch()
    with pytest.raises(OutputError, match=r"thesis\.docx"):
        DataFolder(folder.root)


def test_it_opens_again(folder: DataFolder):
    folder.database.touch()
    assert DataFolder(folder.root).root == folder.root


@pytest.mark.parametrize("part", ["jobs", "uploads"])
def test_a_link_in_place_of_a_folder_is_refused(folder: DataFolder, part: str, tmp_path: Path):
    (folder.root / part).rmdir()
    (tmp_path / "elsewhere").mkdir()
    (folder.root / part).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link"):
        DataFolder(folder.root)


def test_a_file_in_its_place_is_refused(tmp_path: Path):
    (tmp_path / "data").touch()
    with pytest.raises(OutputError, match="data folder"):
        DataFolder(tmp_path / "data")


def test_one_server_works_in_it(folder: DataFolder):
    folder.hold()
    other = DataFolder(folder.root)
    with pytest.raises(OutputError, match="another server"):
        other.hold()
    folder.release()
    other.hold()
    other.release()


@pytest.mark.skipif(os.name != "posix", reason="locks as POSIX has them")
def test_servers_that_share_it_work_in_it_together(folder: DataFolder):
    ours, theirs = DataFolder(folder.root, shared=True), DataFolder(folder.root, shared=True)
    ours.hold()
    theirs.hold()
    with pytest.raises(OutputError, match="another server"):
        folder.hold()
    ours.release()
    theirs.release()
    folder.hold()
    with pytest.raises(OutputError, match="another server"):
        ours.hold()


def test_a_recording_is_moved_to_its_job_once(folder: DataFolder):
    place = accepted(folder, name="../Zo\u00e9.MP4")
    assert place == folder.jobs / ONE / "input" / "Zoe.mp4" == folder.recording(ONE)
    assert not list(folder.uploads.iterdir())
    assert folder.accept(ONE, "../Zo\u00e9.MP4", folder.upload(ONE)) == place  # after a start that was cut
    assert place.read_bytes() == b"video"


def test_an_upload_that_is_not_there_is_no_recording(folder: DataFolder):
    with pytest.raises(OutputError, match="can't be kept"):
        folder.accept(ONE, "a.mp4", folder.upload(ONE))


@pytest.mark.parametrize("bad", ["", ".", "..", "../../x", "1" * 31, "A" * 32, "1" * 32 + "\n", "/etc"])
def test_what_is_no_id_has_nothing(folder: DataFolder, bad: str):
    assert folder.recording(bad) is None
    assert folder.result(bad, "a.csv") is None
    for use in (folder.upload, folder.remove, lambda job_id: folder.begin(job_id, 1), folder.discard):
        with pytest.raises(ValueError, match="no ID"):
            use(bad)


def test_results_appear_as_a_whole_and_replace_those_of_an_attempt_that_was_cut(folder: DataFolder):
    accepted(folder)
    out = folder.begin(ONE, 1)
    (out / "clip.csv").write_text("old")
    (out / "old.csv").touch()
    assert folder.result(ONE, "clip.csv") is None
    assert folder.finish(ONE, 1) == ("clip.csv", "old.csv")
    out = folder.begin(ONE, 2)
    (out / "clip.csv").write_text("new")
    (out / ".avgate-x").touch()
    assert folder.finish(ONE, 2) == ("clip.csv",)
    found = folder.result(ONE, "clip.csv")
    assert found is not None
    assert found.read_text() == "new"
    assert sorted(path.name for path in (folder.jobs / ONE).iterdir()) == ["input", "results"]


@pytest.mark.parametrize("name", ["../input/clip.mp4", "/etc/passwd", "", ".", "..", "clip.csv/", "none.csv"])
def test_results_are_found_by_their_very_name_only(folder: DataFolder, name: str):
    accepted(folder)
    (folder.begin(ONE, 1) / "clip.csv").touch()
    folder.finish(ONE, 1)
    assert folder.result(ONE, name) is None


def test_links_are_never_followed(folder: DataFolder, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "clip.csv").write_text("secret")
    accepted(folder)
    (folder.begin(ONE, 1) / "clip.csv").symlink_to(secret / "clip.csv")
    assert folder.finish(ONE, 1) == ()
    remove(folder.jobs / ONE / "results")
    (folder.jobs / ONE / "results").symlink_to(secret)
    assert folder.result(ONE, "clip.csv") is None
    (folder.jobs / TWO).symlink_to(folder.jobs / ONE)
    assert folder.recording(TWO) is None
    folder.remove(TWO)
    folder.remove(ONE)
    assert (secret / "clip.csv").read_text() == "secret"


def test_an_attempt_begins_empty(folder: DataFolder):
    accepted(folder)
    (folder.begin(ONE, 1) / "half").touch()
    assert list(folder.begin(ONE, 2).iterdir()) == []
    assert sorted(path.name for path in (folder.jobs / ONE).iterdir()) == ["attempt-2", "input"]


def test_what_is_no_job_is_swept_and_what_others_put_there_stays(folder: DataFolder):
    accepted(folder)
    accepted(folder, TWO)
    (folder.jobs / "mine").mkdir()
    assert folder.sweep(lambda job_id: job_id == ONE) == [TWO]
    assert sorted(path.name for path in folder.jobs.iterdir()) == [ONE, "mine"]


def test_what_is_new_in_a_shared_folder_is_not_swept(folder: DataFolder):
    shared = DataFolder(folder.root, shared=True)
    accepted(shared)
    accepted(shared, TWO)
    os.utime(shared.jobs / TWO, (1, 1))
    assert shared.sweep(lambda job_id: False) == [TWO]
    assert [path.name for path in shared.jobs.iterdir()] == [ONE]


def test_an_attempt_that_is_over_never_replaces_results(folder: DataFolder):
    accepted(folder)
    (folder.begin(ONE, 1) / "clip.csv").write_text("late")
    (folder.begin(ONE, 2) / "clip.csv").write_text("right")
    folder.finish(ONE, 2)
    with pytest.raises(OutputError):
        folder.finish(ONE, 1)
    (folder.jobs / ONE / "attempt-1").mkdir()
    (folder.jobs / ONE / "attempt-1" / "clip.csv").write_text("late")
    with pytest.raises(OutputError):
        folder.finish(ONE, 1)
    found = folder.result(ONE, "clip.csv")
    assert found is not None
    assert found.read_text() == "right"


posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such permissions")


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


@posix
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o750, 0o2775, 0o700])
@pytest.mark.parametrize("used", [False, True])
def test_a_folder_that_others_could_look_into_becomes_private(mode: int, used: bool, tmp_path: Path):
    root = tmp_path / "data"
    if used:
        job = accepted(DataFolder(root)).parent
    else:
        root.mkdir()
    root.chmod(mode)
    DataFolder(root)
    assert permissions(root) == 0o700
    assert not used or job.is_dir()


@posix
def test_a_folder_that_stays_open_to_others_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = tmp_path / "data"
    root.mkdir()
    root.chmod(0o755)

    def refused(*_: object) -> None:
        raise PermissionError("not yours")

    for chmod in (refused, lambda *_: None):  # somebody else's, and a disk without permissions
        monkeypatch.setattr(Path, "chmod", chmod)
        with pytest.raises(OutputError, match="can look into it") as caught:
            DataFolder(root)
        assert str(caught.value.where) == str(root)
    assert list(root.iterdir()) == []


@posix
def test_a_folder_of_others_files_is_left_as_it_is(tmp_path: Path):
    (tmp_path / "letter.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(OutputError, match=r"letter\.txt"):
        DataFolder(tmp_path)
    assert permissions(tmp_path) == 0o755
