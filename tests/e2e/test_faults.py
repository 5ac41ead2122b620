"""Every verb that writes, ended by signals at any moment: the next run ends with the bytes of an undisturbed one."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from avgate.cli import main
from avgate.core.errors import WorkerError
from tests.clips import make_clip, tone
from tests.faults import (
    KILLS,
    Job,
    compare_job,
    ended_by,
    export_job,
    extract_job,
    files,
    leftovers,
    members,
    predict_job,
    recordings,
    running,
    train_job,
)
from tests.few import few
from tests.own_corpus import edit, write_own_corpus
from tests.tiny import make_checkpoint
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("any_face_model"),
    pytest.mark.skipif(os.name != "posix", reason="ends processes as POSIX does"),
    pytest.mark.timeout(300 + 60 * KILLS),
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of four clips."""
    return write_own_corpus(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def jobs(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[Path], Job]]:
    """Verb -> its job below a folder."""
    store = tmp_path_factory.mktemp("store")
    main(extract_job(store, clips).alone)
    features = "--store", str(store / "out")
    videos = recordings(tmp_path_factory.mktemp("videos"))
    checkpoint = make_checkpoint().save(tmp_path_factory.mktemp("model") / "checkpoint.safetensors")

    def with_features(make: Callable[[Path, Path], Job]) -> Callable[[Path], Job]:
        return lambda root: Job((*(job := make(root, clips)).args, *features), job.out)

    return {
        "extract": lambda root: extract_job(root, clips),
        "train": with_features(train_job),
        "compare": with_features(compare_job),
        "predict": lambda root: predict_job(root, videos),
        "export": lambda root: export_job(root, checkpoint),
    }


@pytest.fixture(scope="module")
def undisturbed(jobs, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """What a verb writes when nothing disturbs it."""
    known: dict[str, dict[str, bytes]] = {}

    def of(verb: str) -> dict[str, bytes]:
        if verb not in known:
            job = jobs[verb](tmp_path_factory.mktemp(verb))
            main(job.alone)
            known[verb] = files(job.out)
        return known[verb]

    return of


def finish(job: Job, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command again, in this process, with the same place for temporary files."""
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(root / "temporary"))
        patch.setattr("avgate.core.scratch._looked_into", set())
        main(job.alone)


SPREAD_S = {"extract": 1.5, "train": 2.0, "compare": 3.0, "predict": 3.0, "export": 3.0}
"""Seconds after a verb has made its folder within which it is ended; it needs longer."""


SHORT = {("extract", "SIGTERM"), ("train", "SIGKILL"), ("predict", "SIGKILL")}
"""Those that .ci/run has time for."""


@pytest.mark.parametrize(
    ("verb", "sign"),
    [
        pytest.param(verb, sign, id=f"{verb}-{sign.name}", marks=() if (verb, sign.name) in SHORT else pytest.mark.long)
        for verb in SPREAD_S
        for sign in (signal.SIGKILL, signal.SIGTERM)
    ],
)
def test_a_verb_that_a_signal_ends_leaves_nothing_half_done_and_ends_as_if_undisturbed(
    verb, sign, jobs, undisturbed, tmp_path, monkeypatch
):
    job, dice = jobs[verb](tmp_path), random.Random(f"{verb} {sign}")
    expected = undisturbed(verb)
    for _ in range(KILLS):
        ended_by(job, tmp_path, sign, dice, SPREAD_S[verb])
        there = files(job.out) if verb != "compare" else {}
        whole = {name for name in there if ".avgate-" not in name and name in expected}
        in_progress = {"resume.safetensors", "history.csv", "manifest.csv"}  # they grow, each time as a whole
        assert all(there[name] == expected[name] for name in whole - in_progress)
        if sign == signal.SIGTERM:
            assert not leftovers(tmp_path)
        assert not list((tmp_path / "shm").iterdir())
    finish(job, tmp_path, monkeypatch)
    assert files(job.out) == expected
    assert not leftovers(tmp_path)
    assert not list((tmp_path / "temporary").iterdir())


@pytest.fixture(scope="module")
def long_sounds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two sounds of some minutes."""
    folder = tmp_path_factory.mktemp("long")
    sound = {"sound": [(0.0, tone(400.0, rate=16_000))], "sound_rate": 16_000, "sound_codec": "pcm_s16le"}
    return [make_clip(folder / f"{name}.wav", layout="mono", **sound) for name in "xy"]


@pytest.fixture
def long_job(tmp_path: Path, clips: Path, long_sounds: list[Path]) -> tuple[Job, Path]:
    """An extraction of the four clips and of two that take long; and the list, which `shorten` changes."""
    root = Path(shutil.copytree(clips.parent, tmp_path / "own"))
    more = [{"clip": path.stem, "video": str(path), "labels": ""} for path in long_sounds]
    edit(root / "manifest.csv", lambda rows: rows.extend([rows[0] | row for row in more]))
    job = extract_job(tmp_path, root / "manifest.csv")
    return Job(tuple(arg.replace("logmel", "egemaps") for arg in job.args), job.out), root / "manifest.csv"


def shorten(manifest: Path) -> None:
    """Leave the clips that take long out."""
    edit(manifest, lambda rows: rows.__delitem__(slice(4, None)))


def workers_of(process) -> list[psutil.Process]:
    """The worker processes of a job, in the midst of their work."""
    return [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]


def begun(job: Job) -> bool:
    """Whether both workers are at the clips that take long."""
    return len(list(job.out.glob("*/clip?.safetensors"))) == 4


@pytest.mark.parametrize("who", few(["the command", "all of its processes"], 1, pytest.mark.long))
def test_sigterm_ends_workers_in_the_midst_of_a_clip_at_once(long_job, tmp_path, who):
    job, manifest = long_job
    with running(job, tmp_path) as process:
        wait_until(lambda: begun(job), 120.0)
        if who == "the command":
            process.send_signal(signal.SIGTERM)
        else:
            os.killpg(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=30)  # the clips take longer
    assert process.returncode == 143, said
    assert "ended by SIGTERM: what is finished is kept; the same command continues from there." in said
    assert "Traceback" not in said
    wait_until(lambda: not members(process.pid), 30.0)
    assert not leftovers(tmp_path)
    done = {path: path.stat().st_mtime_ns for path in job.out.glob("*/*.safetensors")}
    shorten(manifest)
    main(job.alone)
    assert {path: path.stat().st_mtime_ns for path in job.out.glob("*/*.safetensors")} == done


@pytest.mark.parametrize("how", few(["killed", "limited"], 1, pytest.mark.long))
def test_a_worker_out_of_memory_is_told_and_what_is_finished_is_kept(long_job, tmp_path, how):
    job, manifest = long_job
    with running(job, tmp_path) as process:
        wait_until(lambda: begun(job), 120.0)
        worker = workers_of(process)[0]
        if how == "killed":  # as the system does where memory runs out
            worker.send_signal(signal.SIGKILL)
        else:
            resource.prlimit(worker.pid, resource.RLIMIT_DATA, (1 << 20, 1 << 20))
        _, said = process.communicate(timeout=120)
    said = " ".join(said.split())
    assert process.returncode == WorkerError.exit_code, said
    assert "memory ran out" in said
    assert "-> the same command continues with what is missing; fewer --workers need less memory" in said
    assert "Traceback" not in said
    wait_until(lambda: not members(process.pid), 30.0)
    assert not leftovers(tmp_path)
    assert begun(job)
    shorten(manifest)
    main(job.alone)
    assert len((job.out / "manifest.csv").read_text().splitlines()) >= 5


def test_two_extractions_on_one_store_on_two_machines_give_what_one_gives(jobs, undisturbed, tmp_path):
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can have a second machine's name and processes of its own")
    job = jobs["extract"](tmp_path)
    script = 'hostname other-machine && exec "$@"'
    apart = ("unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh")
    with running(job, tmp_path, "env") as one, running(job, tmp_path, *apart) as other:
        said = [process.communicate(timeout=240)[1] for process in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], said
    assert files(job.out) == undisturbed("extract")
    assert not leftovers(tmp_path)
    assert socket.gethostname() != "other-machine"
