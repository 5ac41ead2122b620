"""Commands of every verb on small inputs, in processes that are ended by signals, and what they leave behind."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import psutil

from tests.clips import greys, make_clip, tone
from tests.waiting import wait_until

KILLS = int(os.environ.get("FAULT_KILLS", "1"))
"""How often each command is ended by each signal."""

AUDIO = "backbones=('logmel',)"
SMALL = (AUDIO, "window_s=2.0", "hop_s=1.0", "tuning=()", "smooth_s=(0.0,)")
"""Settings of a recipe that hears alone, for which no face is looked for."""


@dataclass(frozen=True)
class Job:
    """A command, and where it writes.

    Attributes:
        args: of avgate.
        out: the folder of its results.
    """

    args: tuple[str, ...]
    out: Path

    @property
    def alone(self) -> list[str]:
        """The same in one process, which gives the same."""
        return [*self.args, *(["--workers", "1"] if "--workers" in self.args else [])]


def extract_job(root: Path, data: Path, *more: str) -> Job:
    """Features of a list of clips, in two processes."""
    args = ("extract", "--corpus", "manifest", "--data", str(data), "--store", str(root / "out"), "--recipe", "smoke")
    return Job((*args, "--set", AUDIO, "--workers", "2", *more), root / "out")


def train_job(root: Path, data: Path) -> Job:
    """A training of 150 epochs on extracted features."""
    args = ("train", "--corpus", "manifest", "--data", str(data), "--out", str(root / "out"), "--recipe", "smoke")
    changed = ("--fusion", "audio", "--set", *SMALL, "train.epochs=150", "train.patience=150")
    return Job((*args, *changed), root / "out")


def compare_job(root: Path, data: Path) -> Job:
    """Three trainings in two processes."""
    args = ("compare", "--corpus", "manifest", "--data", str(data), "--out", str(root / "out"), "--recipe", "smoke")
    changed = ("--fusions", "audio", "--reference", "audio", "--folds", "0", "--seeds", "3", "--workers", "2")
    return Job((*args, *changed, "--set", *SMALL, "train.epochs=2"), root / "out")


def predict_job(root: Path, videos: Sequence[Path]) -> Job:
    """Results and reports of recordings, in two processes."""
    args = ("predict", *map(str, videos), "--out", str(root / "out"), "--workers", "2")
    return Job(args, root / "out")


def export_job(root: Path, checkpoint: Path) -> Job:
    """A model's .pt2 file."""
    return Job(("export", str(checkpoint), "--out", str(root / "out"), "--formats", "pt2"), root / "out")


def recordings(root: Path) -> list[Path]:
    """Two videos of a second, without a face."""
    root.mkdir(parents=True, exist_ok=True)
    return [make_clip(root / f"{name}.mp4", greys(20), sound=[(0.0, tone(1.0))]) for name in "ab"]


@contextmanager
def running(job: Job, root: Path, *before: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A job in a session of its own, with places of its own for temporary files and shared memory.

    Args:
        job: what runs.
        root: where those places are.
        before: a command that runs it, such as unshare with options.
        env: further variables of the environment.
    """
    for place in ("temporary", "shm"):
        (root / place).mkdir(exist_ok=True)
    command = [*before, sys.executable, "-m", "avgate", *job.args]
    if not before and os.geteuid() == 0 and shutil.which("unshare"):
        mounted = f"mount --bind '{root / 'shm'}' /dev/shm 2>/dev/null; exec \"$@\""
        command = ["unshare", "--mount", "sh", "-c", mounted, "sh", *command]
    environ = os.environ | {"TMPDIR": str(root / "temporary")} | (env or {})
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def members(session: int) -> list[psutil.Process]:
    """The processes of a session that still run."""
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def ended_by(job: Job, root: Path, sign: signal.Signals, dice: random.Random, spread_s: float) -> str:
    """Begin a job, and end it by a signal some time after it has begun to write; returns what it said.

    No process of it is left then.
    """
    with running(job, root) as process:
        wait_until(lambda: job.out.is_dir() or process.poll() is not None, 120.0)
        time.sleep(dice.uniform(0.0, spread_s))
        process.send_signal(sign)
        _, said = process.communicate(timeout=120)
    wait_until(lambda: not members(process.pid), 60.0)
    said = " ".join(said.split())
    ended = {-9} if sign == signal.SIGKILL else {128 + sign}
    # All was done already: 0, or Python was just leaving, and no longer handled signals.
    done = sign != signal.SIGKILL and process.returncode == -sign and "ended by" not in said
    assert process.returncode in {*ended, 0} or done, said
    if (process.returncode == 0 or done) and KILLS == 1:
        assert spread_s > 0.01, "it is always done before it can be ended"
        shutil.rmtree(job.out)
        return ended_by(job, root, sign, dice, spread_s / 2)
    if process.returncode == 128 + sign:
        assert f"ended by {sign.name}: what is finished is kept" in said, said
    assert "Traceback" not in said
    return said


def files(folder: Path) -> dict[str, bytes]:
    """What is in a folder: path -> bytes, hidden files too.

    What differs between two undisturbed runs is left out: times that a comparison's results tell, and the names that
    torch invents in a .pt2 file.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole = _weights(path) if path.suffix == ".pt2" and ".avgate-" not in path.name else path.read_bytes()
            found[path.relative_to(folder).as_posix()] = whole
    if "results.json" in found:  # a comparison: what it took is another in each run
        results = json.loads(found["results.json"])
        found = {name: whole for name, whole in found.items() if name.startswith("checkpoints/")}
        told = json.dumps(_without(results, "seconds"), sort_keys=True)
        found["results.json"] = told.replace(str(folder), "OUT").encode()  # a command that is advised
    return found


def _weights(path: Path) -> bytes:
    with ZipFile(path) as archive:
        assert archive.testzip() is None
        return b"".join(archive.read(name) for name in sorted(archive.namelist()) if "/weights/" in name)


def _without(value, name: str):
    if isinstance(value, dict):
        return {key: _without(part, name) for key, part in value.items() if key != name}
    return [_without(part, name) for part in value] if isinstance(value, list) else value


def leftovers(*folders: Path) -> list[Path]:
    """What is half-written or temporary in folders; what predict keeps of a recording to go on from is neither."""
    return [path for folder in folders for path in folder.rglob("*") if re.match(r"\.avgate-[0-9a-f]{12}", path.name)]
