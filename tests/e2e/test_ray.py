"""Ray, on this machine and on a cluster: the bytes of a plain run, whatever is killed, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray", reason='Ray needs pip install "avgate[scale]"')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes and sockets as Linux has them"),
]

WAIT_S = 180


@dataclass
class Place:
    """A corpus whose store is empty, and a folder for temporary files that nothing else uses."""

    root: Path
    scratch: Path
    settings: dict[str, str] = field(default_factory=dict)

    def begin(self, *args: object) -> subprocess.Popen[str]:
        """avgate with these arguments, in a session of its own."""
        environ = os.environ | {"TMPDIR": str(self.scratch)} | self.settings
        command = [sys.executable, "-m", "avgate", *map(str, args)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.root, env=environ, start_new_session=True, **pipes)

    def extract(self, *args: object) -> subprocess.Popen[str]:
        """avgate extract, into an empty store."""
        shutil.rmtree(self.root / "features", ignore_errors=True)
        return self.begin("extract", "--data", ".", "--recipe", "smoke", *args)

    @property
    def kept(self) -> dict[str, bytes]:
        """The store's files."""
        files = sorted((self.root / "features").rglob("*"))
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files if path.is_file()}


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], list[str]]:
    """How it ended, and its lines on stdout and stderr."""
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, out.splitlines(), err.splitlines()


def awaited(what: Callable[[], object], process: subprocess.Popen[str]) -> object:
    """What comes about while a process runs."""
    deadline = time.monotonic() + WAIT_S
    while not (found := what()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)
    return found


def at_work(under: int) -> list[psutil.Process]:
    """The processes below this one that do a task of ours."""
    found = []
    for process in psutil.Process(under).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] == ["ray::avgate"]:
                found.append(process)
    return found


@pytest.fixture
def place(corpus: Path, tmp_path: Path) -> Iterator[Place]:
    root = tmp_path / "corpus"
    shutil.copytree(corpus, root)
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:  # Ray's sockets need a short path
        yield Place(root, Path(scratch))
        assert list(Path(scratch).iterdir()) == []


@pytest.fixture
def plain(corpus: Path) -> dict[str, bytes]:
    """The files of the store that this corpus has by a plain run."""
    files = sorted((corpus / "features").rglob("*"))
    return {str(path.relative_to(corpus)): path.read_bytes() for path in files if path.is_file()}


@dataclass
class Cluster:
    """A head without cores and two machines of one core each, all here."""

    address: str
    machines: list[subprocess.Popen[bytes]]
    settings: dict[str, str]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with contextlib.ExitStack() as scope:
        folder = scope.enter_context(tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True))
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
        ray = [Path(sys.executable).with_name("ray"), "start", "--block", "--node-ip-address=127.0.0.1"]
        head = ["--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false", "--num-cpus=0"]
        machines: list[subprocess.Popen[bytes]] = []

        def end() -> None:
            for machine in machines:
                for process in (psutil.Process(machine.pid), *psutil.Process(machine.pid).children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                machine.wait()

        scope.callback(end)
        for options in (head, *[[f"--address=127.0.0.1:{port}", "--num-cpus=1"]] * 2):
            log = scope.enter_context((Path(folder) / f"{len(machines)}.log").open("wb"))
            command = list(map(str, [*ray, *options]))
            machines.append(subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log))
            deadline = time.monotonic() + WAIT_S
            while b"Ray runtime started" not in Path(log.name).read_bytes():
                assert machines[-1].poll() is None, Path(log.name).read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield Cluster(f"127.0.0.1:{port}", machines, settings)


def test_two_workers_of_ray_make_the_bytes_of_a_plain_run_tell_of_failed_clips_and_leave_nothing(place, plain):
    broken = next(place.root.glob("**/*.mp4"))
    content = broken.read_bytes()
    broken.write_bytes(b"no video")
    code, out, err = ended(place.extract("--engine", "ray", "--workers", 2))
    assert code == 1
    assert out == []
    assert err[0] == "Starting Ray with 2 workers on this machine; this takes some seconds"
    assert "1 of 6 clips could not be extracted" in err[1]
    assert err[2].startswith(f"  {broken.stem}: ")
    assert len(err) <= 5, err
    assert set(plain) - set(place.kept) == {name for name in plain if name.endswith(f"/{broken.stem}.safetensors")}

    broken.write_bytes(content)
    code, out, err = ended(
        place.begin("extract", "--data", ".", "--recipe", "smoke", "--engine", "ray", "--workers", 2)
    )
    assert (code, out, len(err)) == (0, [], 2)
    assert err[1].startswith("1 clips extracted, 5 were there")
    assert place.kept == plain


@pytest.mark.long
def test_a_worker_that_is_killed_costs_its_clips_time_and_no_result(place, plain):
    process = place.extract("--engine", "ray", "--workers", 2)
    awaited(lambda: list(place.root.glob("features/*/*.safetensors")), process)
    awaited(lambda: at_work(process.pid), process)[0].kill()
    code, out, err = ended(process)
    assert (code, out) == (0, []), err
    assert err[1:-1] == ["A worker was lost; its work is handed out again"]
    assert place.kept == plain


@pytest.mark.long
def test_ctrl_c_keeps_what_has_begun_and_leaves_no_process(place, plain):
    process = place.extract("--engine", "ray", "--workers", 2)
    awaited(lambda: len(at_work(process.pid)) == 2, process)
    processes = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = ended(process)
    assert (code, out) == (130, []), err
    assert "Stopping once what has begun is done" in err[1]
    assert err[-1].startswith("interrupted:")
    assert psutil.wait_procs(processes, timeout=30)[1] == []
    kept = [name for name in place.kept if name.endswith(".safetensors")]
    assert 0 < len(kept) < len(plain) - 1
    assert all(place.kept[name] == plain[name] for name in kept)


@pytest.mark.long
def test_no_process_outlives_a_run_that_is_killed(place):
    process = place.extract("--engine", "ray", "--workers", 2)
    # Not while they import: Python's own search for libraries (ctypes.util) would leave a temporary file of its own.
    awaited(lambda: list(place.root.glob("features/*/*.safetensors")), process)
    awaited(lambda: at_work(process.pid), process)
    workers, processes = at_work(process.pid), psutil.Process(process.pid).children(recursive=True)
    process.kill()
    ended(process)
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    assert psutil.wait_procs(processes, timeout=WAIT_S)[1] == []  # Ray's agents look for its server for a minute
    # What it left in the folder for temporary files, the next run removes.
    assert ended(place.begin("extract", "--data", ".", "--recipe", "smoke", "--engine", "ray"))[0] == 0


SCRIPT = """
import os
import sys

from avgate.core.cluster import Engine, open_workers


def work(n):
    if n == 1:
        os._exit(1)
    if n == 3:
        raise ZeroDivisionError("of the work")
    return os.getpid()


if __name__ == "__main__":
    with open_workers(work, 2, engine=Engine("ray")) as pool:
        for task, result in pool.run([0, 1, 2], lambda task, result: [4] if task == 2 else []):
            print(task, type(result).__name__, getattr(result, "what", result != os.getpid()), flush=True)
        list(pool.run([3]))
"""


@pytest.mark.long
def test_work_that_is_lost_three_times_is_told_and_an_error_of_the_work_ends_it(place):
    (place.root / "script.py").write_text(SCRIPT)
    environ = os.environ | {"TMPDIR": str(place.scratch)}
    process = subprocess.run(
        [sys.executable, "script.py"], cwd=place.root, env=environ, capture_output=True, text=True, timeout=WAIT_S
    )
    lost = "1 WorkerError 3 workers in a row were lost with it (WorkerCrashedError), most often because memory ran out"
    assert sorted(process.stdout.splitlines()) == ["0 int True", lost, "2 int True", "4 int True"]
    said = process.stderr.splitlines()
    assert said.count("A worker was lost; its work is handed out again") == 2
    assert said[-1] == "ZeroDivisionError: of the work"


@pytest.mark.long
def test_a_cluster_makes_the_same_bytes_when_a_worker_and_a_machine_are_lost_and_goes_on(place, plain, cluster):
    place.settings = cluster.settings
    process = place.extract("--engine", "ray", "--address", cluster.address)
    _, first, second = (machine.pid for machine in cluster.machines)
    awaited(lambda: at_work(first) and at_work(second), process)
    at_work(first)[0].kill()
    awaited(lambda: list(place.root.glob("features/*/*.safetensors")), process)
    awaited(lambda: at_work(second), process)
    for part in (*psutil.Process(second).children(recursive=True), psutil.Process(second)):
        part.kill()
    code, out, err = ended(process)
    assert (code, out) == (0, []), err
    assert err[0] == f"Joined the Ray cluster at {cluster.address}: 3 machines, 2 cores"
    assert "A worker was lost; its work is handed out again" in err
    assert place.kept == plain

    assert [machine.poll() for machine in cluster.machines[:2]] == [None, None]
    code, _, err = ended(place.extract("--engine", "ray", "--address", cluster.address))
    assert code == 0, err
    assert place.kept == plain


@pytest.mark.long
def test_a_comparison_has_the_same_results(place, corpus):
    def compared(*args: object) -> tuple[dict[str, bytes], object]:
        options = ["--fusions", "concat", "rjca", "--reference", "rjca", "--seeds", 2, "--folds", 0]
        process = place.begin("compare", "--data", corpus, "--recipe", "smoke", "--out", "out", *options, *args)
        code, _, err = ended(process)
        assert code == 0, err
        out = (place.root / "out").rename(place.root / secrets.token_hex(4))  # the results name the models' paths
        results = json.loads((out / "results.json").read_text())
        for row in results["fusions"].values():
            assert row.pop("seconds") > 0
        models = sorted((out / "checkpoints").iterdir())
        return {path.name: path.read_bytes() for path in models}, results

    plain = compared("--workers", 2)
    assert len(plain[0]) == 4
    assert compared("--workers", 2, "--engine", "ray") == plain


@pytest.mark.long
def test_predictions_are_the_same(place, corpus):
    videos = [str(path) for path in sorted(corpus.rglob("*.mp4"))[:2]]

    def predicted(name: str, *args: object) -> dict[str, bytes]:
        code, _, err = ended(place.begin("predict", *videos, "--out", name, "--no-report", *args))
        assert code == 0, err
        return {path.name: path.read_bytes() for path in sorted((place.root / name).iterdir()) if path.is_file()}

    plain = predicted("plain", "--jobs", 1)
    assert len(plain) == 4
    assert predicted("ray", "--engine", "ray", "--jobs", 2) == plain
