"""Stores of other versions, lists edited by hand, clocks that jump: nothing stale is used, nothing right is redone."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest

from avgate.cli import main
from avgate.core.errors import FeatureError, UsageError
from avgate.corpora import Manifest
from tests.clips import make_clip, tone
from tests.faults import Job, extract_job, files, leftovers, running, train_job
from tests.few import few
from tests.own_corpus import edit, write_own_corpus

pytestmark = pytest.mark.usefixtures("any_face_model")

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A list of four clips."""
    return write_own_corpus(tmp_path / "own")


def in_one_process(job: Job) -> Job:
    return Job((*job.args, "--workers", "1"), job.out)


def extracted(tmp_path: Path, clips: Path) -> Job:
    """The job that has extracted the clips' features."""
    (tmp_path / "store").mkdir()
    job = in_one_process(extract_job(tmp_path / "store", clips))
    main([*job.args])
    return job


def training(tmp_path: Path, clips: Path, store: Path) -> Job:
    job = train_job(tmp_path, clips)
    return Job((*job.args, "--store", str(store), "--seed", "1"), job.out)


def shorter(job: Job) -> list[str]:
    """A training of one epoch."""
    return [arg.replace("=150", "=1") for arg in job.args]


@pytest.mark.long
def test_faces_that_another_version_followed_are_not_trained_on_and_made_anew_beside(corpus, tmp_path, fails, capsys):
    root = tmp_path / "corpus"
    shutil.copytree(corpus, root)
    (folder,) = root.glob("features/facemesh-*")
    made = files(folder)
    old = folder.with_name(re.sub(r"-v(\d+)$", "-v1", folder.name))
    assert old != folder
    folder.rename(old)
    train = ["train", "--data", str(root), "--out", str(tmp_path / "run"), "--recipe", "smoke"]
    said = fails(FeatureError.exit_code, *train)
    assert f"only those of another version: {old.name}" in said
    assert "-> run `avgate extract`" in said
    main(["extract", "--data", str(root), "--recipe", "smoke", "--workers", "1"])
    assert files(folder) == made
    main(train)


@pytest.mark.slow
def test_a_clip_that_was_given_another_recording_is_not_trained_on_with_the_old_ones_features(clips, tmp_path, fails):
    job = extracted(tmp_path, clips)
    before = files(job.out)
    make_clip(tmp_path / "own" / "videos" / "other.mp4", sound=[(0.0, tone(2.0, frequency=300.0))])
    edit(clips, lambda rows: rows[1].update(video="videos/other.mp4"))
    train = training(tmp_path, clips, job.out)
    said = fails(FeatureError.exit_code, *shorter(train))
    assert "clip1.safetensors: these are the features of another recording than the one that the clip has now" in said
    assert "-> run `avgate extract`, which makes them anew" in said
    main([*job.args])
    after = files(job.out)
    assert {name for name in before if before[name] != after[name]} == {
        "manifest.csv",
        next(name for name in before if name.endswith("clip1.safetensors")),
    }
    main(shorter(train))


@pytest.mark.slow
def test_a_list_from_which_clips_were_deleted_does_not_go_on_with_the_run_of_all(clips, tmp_path, fails):
    job = extracted(tmp_path, clips)
    train = training(tmp_path, clips, job.out)
    main(shorter(train))
    edit(clips, lambda rows: rows.__delitem__(0))
    said = fails(UsageError.exit_code, *shorter(train))
    assert "this folder holds another run: it differs in its" in said
    assert "clips" in said
    assert "-> choose another --out, or delete the folder" in said
    assert len(Manifest(clips).clips()) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: "", id="emptied"),
        pytest.param(lambda text: "clip,file\n", id="other columns"),
        pytest.param(lambda text: "\n".join(text.splitlines()[:2]) + "\n", id="rows deleted"),
        pytest.param(lambda text: text + text.splitlines()[1] + "\n", id="row twice"),
        pytest.param(lambda text: text.replace("clip0", "clip9"), id="renamed"),
        pytest.param(lambda text: text.replace("10.0", "25.0"), id="another rate"),
    ],
)
def test_the_list_of_a_store_that_was_edited_is_made_anew_and_nothing_reads_it(clips, tmp_path, change, capsys):
    job = extracted(tmp_path, clips)
    right = files(job.out)
    manifest = job.out / "manifest.csv"
    manifest.write_text(change(manifest.read_text()))
    main(shorter(training(tmp_path, clips, job.out)))
    stamps = {path: path.stat().st_mtime_ns for path in job.out.glob("*/*.safetensors")}
    capsys.readouterr()
    main([*job.args])
    assert "0 clips extracted, 4 were there" in capsys.readouterr().err
    assert files(job.out) == right
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


@pytest.mark.slow
def test_what_a_run_that_was_killed_at_its_very_end_left_goes_with_the_next_one(clips, tmp_path):
    job = extracted(tmp_path, clips)
    right = files(job.out)
    (folder,) = job.out.glob("logmel-*")
    for place in (job.out, folder):
        (place / ".avgate-0123456789ab.avgate-lock").touch()
        (place / ".avgate-0123456789ab.csv").touch()
    from avgate.core import scratch

    scratch._looked_into.clear()
    main([*job.args])
    assert files(job.out) == right


@pytest.mark.slow
@pytest.mark.parametrize("now_s", [0.0, 4e9], ids=["1970", "2096"])
def test_recordings_and_features_of_any_time_are_there_and_others_are_not(clips, tmp_path, now_s, capsys):
    """Times of files play no part: neither is what is old extracted again, nor what is new taken for unchanged."""
    job = extracted(tmp_path, clips)
    for path in (*clips.parent.rglob("*"), *job.out.rglob("*")):
        os.utime(path, (now_s, now_s))
    capsys.readouterr()
    main([*job.args])
    assert "0 clips extracted, 4 were there" in capsys.readouterr().err
    other = make_clip(clips.parent / "videos" / "clip2.mp4", sound=[(0.0, tone(2.0, frequency=300.0))])
    os.utime(other, (now_s, now_s))
    main([*job.args])
    assert "1 clips extracted, 3 were there" in capsys.readouterr().err


@pytest.mark.slow
def test_a_clock_that_is_set_back_again_and_again_changes_no_byte(clips, tmp_path, monkeypatch):
    job = extracted(tmp_path, clips)
    train = training(tmp_path, clips, job.out)
    main(shorter(train))
    days, real = iter(range(10**9)), time.time
    monkeypatch.setattr(time, "time", lambda: real() - 86_400.0 * next(days))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * time.time()))
    (tmp_path / "again").mkdir()
    again = in_one_process(extract_job(tmp_path / "again", clips))
    main([*again.args])
    assert files(again.out) == files(job.out)
    second = training(tmp_path / "again" / "run", clips, again.out)
    second.out.parent.mkdir()
    main(shorter(second))
    assert files(second.out) == files(train.out)


@pytest.mark.slow
@pytest.mark.skipif(not FAKETIME.is_file(), reason="libfaketime isn't installed")
@pytest.mark.parametrize("when", few(["@1971-01-01 00:00:00", "-400d i-3,0"], 1, pytest.mark.long))
def test_processes_with_another_clock_give_the_same_bytes(clips, tmp_path, when):
    """All of a process, with its native libraries: in the past, and running backwards."""
    expected = extracted(tmp_path, clips)
    job = extract_job(tmp_path, clips)
    clock = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": when, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with running(job, tmp_path, "env", env=clock) as process:
        _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert files(job.out) == files(expected.out)
    assert not leftovers(tmp_path)
