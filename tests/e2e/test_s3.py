"""A store, a run and results on a real S3 server: the bytes of a folder's, nothing half, and clear errors."""

from __future__ import annotations

import csv
import io
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avgate.cli import main
from avgate.core import remote
from avgate.core.errors import MediaError, OutputError, PlaceError, UsageError
from avgate.core.places import place
from avgate.core.remote import opened
from tests.hostile import CONTENTS, content
from tests.s3 import S3, s3_server

pytestmark = pytest.mark.slow

BUCKET = "s3://avgate"
NOISE = ("Traceback", "botocore", "Unclosed", "never retrieved", "avgatekey", "avgatesecret")
"""What nobody must read, whatever goes wrong."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    """The server with an empty bucket; programs of this process find it, and no keys of the person who tests."""
    import fsspec
    from s3fs import S3FileSystem

    for name, value in (server.environment | {"HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    monkeypatch.setattr("avgate.core.places._writable", set())
    system = fsspec.filesystem("s3")
    if system.exists("avgate"):
        system.rm("avgate", recursive=True)
    system.mkdir("avgate")
    yield server
    S3FileSystem.clear_instance_cache()


def avgate(*args: object) -> None:
    main([str(arg) for arg in args])


def begin(*args: object) -> subprocess.Popen[str]:
    """avgate as a process of its own."""
    command = [sys.executable, "-m", "avgate", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """What a process said that must work."""
    said = "".join(process.communicate(timeout=200))
    assert process.returncode == 0, said
    assert [word for word in NOISE if word in said] == []
    return said


def objects(address: str) -> dict[str, bytes]:
    """All that is below an address."""
    at = place(address)
    return {name: (at / name).read_bytes() for name in at.files()}


@pytest.fixture
def local(three: Path, corpus: Path) -> dict[str, bytes]:
    """The features of the three clips as a folder holds them, by their paths in the store; and its manifest."""
    with three.open(newline="") as file:
        clips = {row["clip"] for row in csv.DictReader(file)}
    files = [file for file in (corpus / "features").glob("*/*.safetensors") if file.stem in clips]
    rows = list(csv.reader(io.StringIO((corpus / "features" / "manifest.csv").read_text())))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row for i, row in enumerate(rows) if i == 0 or row[0] in clips)
    found = {file.relative_to(corpus / "features").as_posix(): file.read_bytes() for file in files}
    return {**found, "manifest.csv": text.getvalue().encode()}


def test_the_whole_way_gives_the_bytes_of_folders(s3, three, corpus, local, tmp_path, capsys, monkeypatch):
    store = f"{BUCKET}/features"
    shared = ("--corpus", "manifest", "--data", three)
    avgate("extract", *shared, "--recipe", "smoke", "--store", store, "--workers", 2)
    assert objects(store) == local
    avgate("extract", *shared, "--recipe", "smoke", "--store", store)
    assert "0 clips extracted, 3 were there" in capsys.readouterr().err.replace("\n", " ")

    run, here = f"{BUCKET}/runs/one", tmp_path / "run"
    avgate("train", *shared, "--recipe", "smoke", "--store", store, "--out", run)
    avgate("train", *shared, "--recipe", "smoke", "--store", corpus / "features", "--out", here)
    assert objects(run) == {file.name: file.read_bytes() for file in here.iterdir()}
    assert sorted(objects(run)) == ["checkpoint.safetensors", "history.csv", "resume.safetensors"]
    capsys.readouterr()
    avgate("train", *shared, "--recipe", "smoke", "--store", store, "--out", run)
    assert f"Already finished: {run} after epoch" in capsys.readouterr().err.replace("\n", " ")

    avgate("evaluate", run, *shared, "--store", store, "--out", f"{BUCKET}/scores.json")
    avgate("evaluate", here, *shared, "--store", corpus / "features", "--out", tmp_path / "scores.json")
    assert place(f"{BUCKET}/scores.json").read_bytes() == (tmp_path / "scores.json").read_bytes()

    video = next(corpus.rglob("*.mp4"))
    place(f"{BUCKET}/videos/{video.name}").put(video)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    avgate("predict", f"{BUCKET}/videos/{video.name}", "--checkpoint", run, "--out", f"{BUCKET}/results")
    avgate("predict", video, "--checkpoint", here, "--out", tmp_path / "results")
    found = objects(f"{BUCKET}/results")
    wanted = {file.name: file.read_bytes() for file in (tmp_path / "results").iterdir() if file.is_file()}
    assert sorted(found) == sorted(wanted)
    assert len(found) == 4
    assert [name for name in found if name.endswith((".csv", ".json")) and found[name] != wanted[name]] == []
    assert [*(tmp_path / "scratch").iterdir()] == []
    avgate("predict", video, "--checkpoint", run, "--out", f"{BUCKET}/results")


@pytest.mark.long
def test_what_was_extracted_when_it_was_killed_is_whole_and_the_rest_follows(s3, three, local):
    store = f"{BUCKET}/killed"
    command = ("extract", "--corpus", "manifest", "--data", three, "--recipe", "smoke", "--store", store)
    process = begin(*command, "--workers", 1)
    end_s = time.monotonic() + 200
    while not [name for name in place(store).files() if name.endswith(".safetensors")]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end_s
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = objects(store)
    assert {**local, **found} == local, "each object is whole, or not there"
    finish(begin(*command, "--workers", 1))
    assert objects(store) == local


@pytest.mark.long
def test_two_extracts_at_once_leave_what_one_does(s3, three, local):
    store = f"{BUCKET}/both"
    command = ("extract", "--corpus", "manifest", "--data", three, "--recipe", "smoke", "--store", store)
    both = [begin(*command, "--workers", 1) for _ in range(2)]
    for process in both:
        finish(process)
    assert objects(store) == local


def test_a_manifest_that_was_lost_is_made_anew(s3, three, local, corpus):
    for name, whole in local.items():
        if name != "manifest.csv":
            file = corpus / "features" / name
            assert file.read_bytes() == whole
            place(f"{BUCKET}/lost/{name}").put(file)
    avgate("extract", "--corpus", "manifest", "--data", three, "--recipe", "smoke", "--store", f"{BUCKET}/lost")
    assert objects(f"{BUCKET}/lost") == local


def test_a_training_that_was_stopped_goes_on_at_its_address(s3, corpus, monkeypatch, capsys):
    from avgate.training import train as training

    command = ("train", "--data", corpus, "--recipe", "smoke", "--set", "train.epochs=3")
    avgate(*command, "--out", f"{BUCKET}/whole")
    epoch = training._run_epoch

    def interrupted(*args):
        if args[-1] == 1:
            raise KeyboardInterrupt
        return epoch(*args)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_run_epoch", interrupted)
        with pytest.raises(SystemExit) as ended:
            avgate(*command, "--out", f"{BUCKET}/parts")
    assert ended.value.code == 130
    assert sorted(objects(f"{BUCKET}/parts")) == ["history.csv", "resume.safetensors"]
    capsys.readouterr()
    avgate(*command, "--out", f"{BUCKET}/parts")
    assert "after epoch 1" in capsys.readouterr().err.replace("\n", " ")
    assert objects(f"{BUCKET}/parts") == objects(f"{BUCKET}/whole")


@pytest.fixture
def told(fails: Callable[..., str]) -> Callable[..., str]:
    """The one error of a command, without noise."""

    def run(code: int, *args: object) -> str:
        said = fails(code, *args)
        assert [word for word in NOISE if word in said] == []
        return said

    return run


def commands(bucket: str, corpus: Path, three: Path, video: Path, checkpoint: Path) -> dict[str, tuple[object, ...]]:
    """Verbs that read from a bucket, and those that write into it."""
    data = ("--corpus", "manifest", "--data", three)
    return {
        "extract": ("extract", *data, "--recipe", "smoke", "--store", f"{bucket}/features"),
        "train": ("train", *data, "--recipe", "smoke", "--store", f"{bucket}/features", "--out", three.parent / "run"),
        "train out": ("train", "--data", corpus, "--recipe", "smoke", "--out", f"{bucket}/run"),
        "evaluate": ("evaluate", f"{bucket}/run", *data),
        "predict": ("predict", f"{bucket}/a.mp4", "--checkpoint", checkpoint, "--out", three.parent / "results"),
        "predict out": ("predict", video, "--checkpoint", checkpoint, "--out", f"{bucket}/results"),
    }


WRITING = ("train out", "predict out")


@pytest.mark.parametrize("verb", ["extract", "train", "train out", "evaluate", "predict", "predict out"])
def test_no_bucket_no_permission_no_network_and_no_keys_are_one_clear_error_each(
    verb, s3, corpus, three, checkpoint, told, monkeypatch
):
    from s3fs import S3FileSystem

    video = next(corpus.rglob("*.mp4"))
    kinds = {"predict": MediaError, "train out": OutputError, "predict out": OutputError}
    code = kinds.get(verb, PlaceError).exit_code
    missing = told(code, *commands("s3://nosuch", corpus, three, video, checkpoint)[verb])
    assert "s3://nosuch/" in missing
    assert "no such bucket" in missing

    command = commands(BUCKET, corpus, three, video, checkpoint)[verb]
    s3.asks_for_keys(True)
    try:
        denied = told(code, *command)
    finally:
        s3.asks_for_keys(False)
    assert f"{BUCKET}/" in denied
    assert "access is denied" in denied

    S3FileSystem.clear_instance_cache()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "there are no keys for it" in told(code, *command)

    S3FileSystem.clear_instance_cache()
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert "the store can't be reached" in told(code, *command)
    assert not (three.parent / "run").exists()
    assert not (three.parent / "results").exists()


def test_features_that_are_not_there_are_missed_as_in_a_folder(s3, three, told):
    said = told(
        6, "train", "--corpus", "manifest", "--data", three, "--store", f"{BUCKET}/none", "--out", f"{BUCKET}/r"
    )
    assert f"{BUCKET}/none: there are no features" in said
    assert objects(f"{BUCKET}/r") == {}


def test_what_is_no_recording_at_an_address_is_refused_as_a_file_is(s3, corpus, checkpoint, tmp_path, told):
    video = next(corpus.rglob("*.mp4"))
    out = ("--checkpoint", checkpoint, "--out", tmp_path / "out")
    for i, kind in enumerate(CONTENTS):
        file = tmp_path / f"{i}.mp4"
        file.write_bytes(content(kind, video))
        place(f"{BUCKET}/{i}.mp4").put(file)
        said = told(MediaError.exit_code, "predict", f"{BUCKET}/{i}.mp4", *out)
        assert f"{BUCKET}/{i}.mp4: " in said
        assert ".avgate-" not in said
    assert "there is no such file" in told(MediaError.exit_code, "predict", f"{BUCKET}/none.mp4", *out)
    assert told(UsageError.exit_code, "predict", "s4://bucket/a.mp4", *out)
    assert not (tmp_path / "out").exists()


def test_a_store_that_never_answers_is_given_up(tmp_path, monkeypatch, fails):
    """By themselves, the libraries would wait for it for half an hour."""
    pytest.importorskip("s3fs", reason='addresses need pip install "avgate[scale]"')
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(remote._PATIENCE, "read_timeout", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "the store can't be reached" in fails(
            MediaError.exit_code, "predict", f"{BUCKET}/a.mp4", "--out", tmp_path
        )


def test_what_users_have_set_for_fsspec_counts(monkeypatch):
    pytest.importorskip("s3fs", reason='addresses need pip install "avgate[scale]"')
    fsspec = pytest.importorskip("fsspec", reason='addresses need pip install "avgate[scale]"')
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 99}})
    assert opened(f"{BUCKET}/video.mp4")[0].config_kwargs["read_timeout"] == 99
