"""avgate train in several processes: all of them end together, whatever ends one, and the run goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import avgate
from avgate.cli import main
from tests.few import few
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals to processes"),
]

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "examples" / "train.slurm"


def options(corpus: Path, run: Path, epochs: int) -> list[str]:
    settings = [f"train.epochs={epochs}", f"train.patience={epochs}"]
    return ["--data", str(corpus), "--out", str(run), "--recipe", "smoke", "--set", *settings]


def rows(run: Path) -> list[str]:
    return (run / "history.csv").read_text().splitlines()[1:]


def kill_second(command: subprocess.Popen, ranks: list[psutil.Process]) -> None:
    ranks[1].kill()


def press_ctrl_c(command: subprocess.Popen, ranks: list[psutil.Process]) -> None:
    os.killpg(command.pid, signal.SIGINT)


def kill_command(command: subprocess.Popen, ranks: list[psutil.Process]) -> None:
    command.kill()


@pytest.mark.parametrize(
    ("end", "code", "words"),
    few(
        [
            (kill_second, 9, "error: process 2 of 2 was ended (SIGKILL)"),
            (press_ctrl_c, 130, "interrupted:"),
            (kill_command, -signal.SIGKILL, ""),
        ],
        1,
        pytest.mark.long,
    ),
    ids=["a worker killed", "Ctrl-C", "the command killed"],
)
def test_whatever_ends_one_process_ends_all_and_one_process_goes_on(corpus, tmp_path, end, code, words, capsys):
    run, epochs = tmp_path / "run", 150
    command = [sys.executable, "-m", "avgate", "train", *options(corpus, run, epochs), "--devices", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: (run / "resume.safetensors").is_file(), 120)
    ranks = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    assert len(ranks) == 2
    end(process, ranks)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert said.startswith(words)
    assert len(said.splitlines()) <= 2
    # Where nobody asks how orphans ended, they stay in the list.
    wait_until(lambda: all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in ranks), 20)
    done = rows(run)
    assert 0 < len(done) < epochs

    main(["train", *options(corpus, run, epochs)])
    assert "after epoch" in capsys.readouterr().err.replace("\n", " ")
    assert rows(run)[: len(done)] == done
    assert len(rows(run)) == epochs
    names = {path.name for path in run.iterdir() if not path.name.startswith(".avgate-")}
    assert names == {"checkpoint.safetensors", "history.csv", "resume.safetensors"}


@pytest.mark.long
def test_an_error_of_all_processes_is_told_once(corpus, tmp_path, capfd):
    with pytest.raises(SystemExit) as ended:
        main(["train", *options(corpus, tmp_path / "run", 2), "--devices", "2", "--store", str(tmp_path / "none")])
    assert ended.value.code == 6
    said = capfd.readouterr().err
    assert said.count("error:") == 1
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def by_devices(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """History of a run in two processes that avgate itself begins."""
    run = tmp_path_factory.mktemp("devices") / "run"
    main(["train", *options(corpus, run, 3), "--devices", "2"])
    return rows(run)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with .venv/bin/avgate in it, as the script expects."""
    program = tmp_path / ".venv" / "bin" / "avgate"
    program.parent.mkdir(parents=True)
    source = Path(avgate.__file__).parents[1]
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{source}" exec "{sys.executable}" -m avgate "$@"\n')
    program.chmod(0o755)
    return tmp_path


def test_processes_that_slurm_begins_train_as_those_that_avgate_begins(corpus, folder, by_devices):
    """By the environment that Slurm gives to each; it need not be installed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"JOB_ID": "4711", "STEP_ID": "0", "NTASKS": "2", "NTASKS_PER_NODE": "2", "NNODES": "1", "NODEID": "0"}
    common = os.environ | {f"SLURM_{name}": value for name, value in job.items()} | {"MASTER_PORT": str(port)}
    command = [".venv/bin/avgate", "train", *options(corpus, folder / "run", 3), "--nodes", "1", "--devices", "2"]
    tasks = [
        subprocess.Popen(
            command,
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            env=common | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODELIST": "127.0.0.1"},
        )
        for rank in range(2)
    ]
    said = [task.communicate(timeout=120)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert "best epoch" in said[0]
    assert said[1] == ""
    assert rows(folder / "run") == by_devices


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """A cluster of this machine alone, and the environment in which commands find it."""
    programs = {name: shutil.which(name) for name in ("slurmctld", "slurmd", "slurmstepd", "sbatch")}
    if None in programs.values() or os.geteuid() != 0:
        pytest.skip("no Slurm that this account may start: install slurmctld, slurmd and slurm-client")
    host = socket.gethostname().partition(".")[0]
    usr = Path(str(programs["slurmctld"])).parents[1]
    plugins = next(iter([*usr.glob("lib/*/slurm-wlm"), *usr.glob("lib*/slurm")]))
    lines = {
        "ClusterName": "tests",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "AuthType": "auth/none",
        "CredType": "cred/none",
        "SlurmUser": "root",
        "SlurmctldPort": "17817",
        "SlurmdPort": "17818",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "PluginDir": plugins,
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/linear",
        "ReturnToService": "2",
        "NodeName": f"{host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()}",
        "PartitionName": f"all Nodes={host} Default=YES State=UP",
    }
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    servers = [[programs["slurmctld"], "-D"], [programs["slurmd"], "-D", "-N", host, "-d", programs["slurmstepd"]]]
    with contextlib.ExitStack() as scope:
        log = scope.enter_context((folder / "servers.log").open("w"))
        for server in servers:
            process = subprocess.Popen(server, env=env, stdout=log, stderr=log)
            scope.callback(process.wait, 30)
            scope.callback(process.terminate)
        yield env


def test_the_slurm_script_trains_on_a_cluster(corpus, folder, by_devices, tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm")) as env:
        command = ["sbatch", "--wait", str(SCRIPT), *options(corpus, folder / "run", 3)]
        ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=240)
    said = "".join(path.read_text() for path in folder.glob("*.log"))
    assert ended.returncode == 0, said + ended.stderr
    assert said.count("best epoch") == 1
    assert rows(folder / "run") == by_devices
