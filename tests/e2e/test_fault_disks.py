"""Folders that are full or read-only, for every verb that writes: an error that names them, and nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest

from avgate.cli import main
from avgate.core.errors import OutputError
from tests.disks import disk, remount
from tests.faults import Job, compare_job, export_job, extract_job, files, leftovers, predict_job, recordings, train_job
from tests.few import few
from tests.own_corpus import write_own_corpus
from tests.tiny import make_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("any_face_model")]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory):
    """A job below a folder, by its verb; in one process."""
    clips = write_own_corpus(tmp_path_factory.mktemp("own"))
    store = tmp_path_factory.mktemp("store")
    main([*extract_job(store, clips, "--workers", "1").args])
    videos = recordings(tmp_path_factory.mktemp("videos"))
    checkpoint = make_checkpoint().save(tmp_path_factory.mktemp("model") / "checkpoint.safetensors")
    features, alone = ("--store", str(store / "out")), ("--workers", "1")
    changed = {
        "extract": lambda root: (extract_job(root, clips), alone),
        "train": lambda root: (train_job(root, clips), (*features, "--seed", "1")),
        "compare": lambda root: (compare_job(root, clips), (*features, *alone)),
        "predict": lambda root: (predict_job(root, videos[:1]), (*alone, "--no-report")),
        "export": lambda root: (export_job(root, checkpoint), ()),
    }

    def job(verb: str, root: Path) -> Job:
        made, more = changed[verb](root)
        return Job((*made.args, *more), made.out)

    return job


WORK = {
    "extract": "avgate.features.extract.open_recording",
    "train": "avgate.training.train._run_epoch",
    "compare": "avgate.compare.comparison.train",
    "predict": "avgate.apps.predict.one.open_recording",
    "export": "avgate.apps.export.export.record_window",
}
"""Verb -> where its long work begins."""


@pytest.mark.parametrize("verb", WORK)
def test_a_read_only_folder_is_named_before_the_work(verb, jobs, tmp_path, fails, monkeypatch):
    monkeypatch.setattr(WORK[verb], lambda *_, **__: pytest.fail("it began to work"))
    with disk(tmp_path / "disk", "ro") as root:
        job = jobs(verb, root)
        said = fails(OutputError.exit_code, *job.args)
    assert str(job.out) in said
    assert "Read-only file system" in said
    assert "-> choose another folder" in said


ROOM = {"extract": "12k", "train": "60k", "compare": "60k", "predict": "16k", "export": "40k"}
"""Room on the disk: for some of the results."""


@pytest.mark.parametrize("verb", few([*ROOM], 3, pytest.mark.long))
def test_a_full_disk_is_named_and_once_there_is_room_the_same_command_ends_as_ever(
    verb, jobs, tmp_path, fails, monkeypatch
):
    monkeypatch.setattr("avgate.training.train._SETTLED", 10_000)
    expected = jobs(verb, tmp_path / "undisturbed")
    (tmp_path / "undisturbed").mkdir()
    main([*expected.args])
    with disk(tmp_path / "disk", f"size={ROOM[verb]}") as root:
        job = jobs(verb, root)
        said = fails(OutputError.exit_code, *job.args)
        assert str(job.out) in said
        assert "can't be written" in said
        assert "No space left" in said
        assert "free space on the disk" in said
        assert not leftovers(root)
        remount(root, "size=64m")
        main([*job.args])
        assert files(job.out) == files(expected.out)
        assert not leftovers(root)


@pytest.mark.long
def test_a_store_that_is_read_only_and_whole_is_all_that_a_training_needs(jobs, tmp_path, capsys):
    with disk(tmp_path / "disk", "size=64m") as root:
        job = jobs("extract", root)
        main([*job.args])
        remount(root, "ro")
        capsys.readouterr()
        main([*job.args])
        assert "0 clips extracted, 4 were there" in capsys.readouterr().err
        train = jobs("train", tmp_path)
        main([*train.args, "--store", str(job.out)])
    assert (train.out / "checkpoint.safetensors").is_file()
