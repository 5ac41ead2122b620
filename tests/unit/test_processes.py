"""Worker processes: a clean Ctrl-C, a useful error when one dies, and one worker is this process itself."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import psutil
import pytest

from avgate.core.errors import WorkerError
from avgate.core.processes import Workers, few_heaps, give_memory_back, limit_memory, resident_mb


def state(_: int) -> tuple[int, int, str, bool]:
    """Of the process that is asked: its number, its threads, and whether it is deaf to Ctrl-C."""
    deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return os.getpid(), cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"], deaf


@pytest.mark.slow
def test_several_workers_are_other_processes_of_one_thread_that_are_deaf_to_ctrl_c(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with Workers(state, 2) as pool:
        found = [result for _, result in pool.run(range(4))]
    assert os.getpid() not in {pid for pid, *_ in found}
    assert {(threads, omp, deaf) for _, threads, omp, deaf in found} == {(1, "1", True)}


def test_one_worker_is_this_process_set_up_once():
    done = []
    with Workers(lambda task: (done.append(task), os.getpid())[1], 1, lambda: done.append("set up")) as pool:
        assert list(pool.run("ab")) == [("a", os.getpid()), ("b", os.getpid())]
    assert done == ["set up", "a", "b"]


@pytest.mark.parametrize("count", [1, 2])
def test_further_work_may_follow_from_a_result(count):
    def follow(task: int, result: int) -> list[int]:
        return [task + 10] if result < 20 else []

    with Workers(abs, count) as pool:
        assert sorted(pool.run([1, 2], follow)) == [(n, n) for n in (1, 2, 11, 12, 21, 22)]


def test_an_error_of_the_work_ends_it():
    with pytest.raises(ZeroDivisionError), Workers(lambda n: 1 // n, 1) as pool:
        list(pool.run([1, 0, 1]))


SCRIPT = """
import os
import signal
import sys
import threading
import time
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path

from avgate.core.processes import Workers

FOLDER = Path(sys.argv[1])


def work(n):
    (FOLDER / f"begun {n}").write_text(str(os.getpid()))
    deadline = time.monotonic() + 60
    while not (FOLDER / "go on").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    (FOLDER / f"done {n}").touch()


if __name__ == "__main__":
    if sys.argv[2:]:  # another thread is given the signals, so that the system doesn't wake the one that waits
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        ensure_running()  # which lets them in again
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        with Workers(work, 2) as pool:
            list(pool.run(range(5)))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.slow
def test_no_worker_outlives_a_process_that_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(tmp_path / "script.py"), str(tmp_path)])
    begun = await_workers(tmp_path)
    workers = [psutil.Process(int(file.read_text())) for file in begun]
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(workers, timeout=30)
    for worker in alive:
        worker.kill()
    assert len(gone) == 2
    assert not list(tmp_path.glob("done *")), "they ended in the midst of their work"


def begin(folder: Path, *more: str) -> subprocess.Popen:
    """The script, in a process group of its own."""
    (folder / "script.py").write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(folder / "script.py"), str(folder), *more],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def await_workers(folder: Path) -> list[Path]:
    """The files that two workers write when they begin."""
    deadline = time.monotonic() + 60
    while len(begun := [file for file in folder.glob("begun *") if file.stat().st_size]) < 2:
        assert time.monotonic() < deadline, "the workers never began"
        time.sleep(0.02)
    return begun


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals to a process group")
def test_ctrl_c_finishes_what_has_begun_and_begins_nothing_else(tmp_path):
    process = begin(tmp_path)
    await_workers(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    said = process.stderr.readline()
    (tmp_path / "go on").touch()
    said += process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "Stopping once what has begun is done, to keep it (still at work: 2)" in " ".join(said.split())
    assert "Traceback" not in said
    for what in ("begun", "done"):
        assert {path.name for path in tmp_path.glob(f"{what} *")} == {f"{what} 0", f"{what} 1"}


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals to a process group")
@pytest.mark.parametrize(
    "apart_s",
    [
        pytest.param(0.0, id="at once"),
        pytest.param(0.3, marks=pytest.mark.slow, id="a moment later"),
        *(pytest.param(n * 1e-4, marks=pytest.mark.slow, id=f"{n / 10} ms later") for n in (1, 2, 4, 8, 12, 16)),
    ],
)
def test_a_second_ctrl_c_drops_what_has_begun_and_leaves_no_worker(tmp_path, apart_s):
    process = begin(tmp_path)
    begun = await_workers(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    said = process.stderr.readline()
    time.sleep(apart_s)
    os.killpg(process.pid, signal.SIGINT)
    said += process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "Ctrl-C again drops it" in " ".join(said.split())
    assert "Traceback" not in said
    assert not list(tmp_path.glob("done *"))
    assert not any(psutil.pid_exists(int(file.read_text())) for file in begun)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals to a process group")
def test_each_ctrl_c_is_seen_though_it_comes_as_a_wait_begins(tmp_path):
    process = begin(tmp_path, "elsewhere")
    await_workers(tmp_path)
    time.sleep(0.2)  # so that it waits
    os.killpg(process.pid, signal.SIGINT)
    said = process.stderr.readline()
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    said += process.communicate(timeout=30)[1]
    assert process.returncode == 130, said
    assert not list(tmp_path.glob("done *"))


DEAF = """
import signal
from multiprocessing import get_context

from avgate.core.processes import start

waiting = signal.pthread_sigmask(signal.SIG_BLOCK, ())
if __name__ == "__main__":
    for _ in range(2):
        process = get_context("spawn").Process(target=print)
        start(process)
        process.join()
else:
    print(waiting >= {signal.SIGINT, signal.SIGTERM}, end="")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals to a process group")
def test_the_first_process_is_deaf_while_it_imports_and_so_are_the_next_ones(tmp_path):
    (tmp_path / "script.py").write_text(DEAF)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_a_process_that_is_killed_is_told_with_the_likely_cause_and_what_to_do():
    with pytest.raises(WorkerError) as told, Workers(os._exit, 2) as pool:
        list(pool.run([9]))
    assert "memory" in told.value.what
    assert "--workers" in told.value.hint


def _held_mb(_: int) -> list[int]:
    """Memory in MiB before much was allocated, with all of it free but a little in between, and given back."""
    few_heaps()
    found = [resident_mb(os.getpid())]
    blocks = [bytearray(os.urandom(8) * 4000) for _ in range(4000)]  # below the size that glibc maps one by one
    kept = blocks[::100]
    del blocks
    found.append(resident_mb(os.getpid()))
    give_memory_back()
    found.append(resident_mb(os.getpid()))
    assert kept
    return [round(mb) for mb in found]


def without_memory(_: int) -> None:
    """Wait for ever, as Python does for a thread that begins where no memory is left."""
    limit_memory(1, 1 << 30)
    threading.Event().wait()


@pytest.mark.slow
@pytest.mark.skipif(platform.system() != "Linux", reason="other systems don't limit data as they map it")
def test_a_worker_that_waits_for_ever_without_memory_ends():
    with Workers(without_memory, 2) as pool, pytest.raises(WorkerError, match="memory ran out"):
        list(pool.run([1]))


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries decide themselves")
def test_memory_that_is_free_between_what_is_held_is_given_back():
    with Workers(_held_mb, 2) as pool:
        for _, (before, free, after) in pool.run(range(2)):
            assert free - before > 60
            assert after - before < (free - before) / 4
