"""SIGTERM and a closed terminal end a process as Ctrl-C does: cleaned up, one line said, and the code of shells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from avgate import cli
from avgate.core.errors import WorkerError
from avgate.core.processes import Workers
from avgate.core.signals import Ended, orderly_end
from tests.unit.test_processes import SCRIPT, await_workers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

ENDED = SCRIPT.replace("from avgate", "from avgate.core.signals import orderly_end\nfrom avgate").replace(
    "        with Workers(work, 2) as pool:", "        with orderly_end(), Workers(work, 2) as pool:"
)


def default(number: int) -> bool:
    return signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cleans_up_says_one_line_and_gives_the_exit_code_of_shells(sign, monkeypatch, capsys):
    cleaned = []

    def verb() -> None:
        """A verb."""
        try:
            signal.raise_signal(sign)
        finally:
            signal.raise_signal(sign)  # once more, in the midst of cleaning
            cleaned.append(True)

    monkeypatch.setitem(cli.VERBS, "demo", verb)
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo"])
    assert ended.value.code == 128 + sign
    assert cleaned == [True]
    said = capsys.readouterr().err
    assert said == f"ended by {sign.name}: what is finished is kept; the same command continues from there.\n"
    assert default(sign), "the process is as it was before"


def test_what_others_have_decided_on_a_signal_stays():
    """As nohup does, or a program that avgate is a part of."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with orderly_end():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_signals_are_left_alone():
    found = []

    def look() -> None:
        with orderly_end():
            found.append(default(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [True]


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [False, True], ids=["to the process", "to its workers, too"])
def test_workers_end_at_once_and_nothing_else_is_said_of_them(tmp_path, to_all):
    (tmp_path / "script.py").write_text(ENDED)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    workers = [psutil.Process(int(file.read_text())) for file in await_workers(tmp_path)]
    if to_all:
        for pid in (*(worker.pid for worker in workers), process.pid):  # one after the other
            os.kill(pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "")
    assert not psutil.wait_procs(workers, timeout=30)[1]
    assert not list(tmp_path.glob("done *"))


def _hungry(_: int) -> None:
    raise MemoryError


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_work_for_which_memory_runs_out_is_told_with_what_to_do(count):
    with pytest.raises(WorkerError, match="memory ran out") as told, Workers(_hungry, count) as pool:
        list(pool.run([1]))
    assert "fewer --workers" in told.value.hint


def test_a_verb_for_which_memory_runs_out_ends_with_one_message(monkeypatch, capsys):
    def verb() -> None:
        """A verb."""
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setitem(cli.VERBS, "demo", verb)
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo"])
    assert ended.value.code == WorkerError.exit_code
    assert "error: memory ran out" in capsys.readouterr().err


def test_ended_names_its_signal():
    ended = Ended(signal.SIGTERM)
    assert (ended.code, ended.name) == (143, "SIGTERM")
