"""One damaged input: made from its number, used, and judged."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
from transformers.utils.logging import get_logger

from avgate.apps.predict.resume import FOLDER
from avgate.core.console import quiet
from avgate.core.errors import AvgateError
from tests.fuzz.mutations import damage
from tests.fuzz.seeds import trained
from tests.fuzz.trials import TRIALS
from tests.fuzz.uses import KINDS, Case

_ALL = KINDS | TRIALS
get_logger()  # which writes to stderr as it is when the first one is asked for

_LONGEST_LINE = 1500
"""Characters that a line of an error may have; what is quoted of a file is much shorter."""


@dataclass(frozen=True)
class Outcome:
    """What became of an input.

    Attributes:
        number: of the input.
        kind: of the input.
        seed: name of the sound input.
        how: it was damaged.
        verdict: "result", "error" (an AvgateError) or "fault".
        said: the error, or what is wrong.
        seconds: of processor time.
        memory: the process' largest resident memory meanwhile, in bytes.
    """

    number: int
    kind: str
    seed: str
    how: str
    verdict: str
    said: str
    seconds: float
    memory: int


def write_seeds(root: Path, kinds: Sequence[str]) -> None:
    """Write the sound inputs of these kinds, and what their use needs."""
    with quiet():
        if set(kinds) & set(KINDS):
            trained(root / "_trained")
        for name in kinds:
            kind = _ALL[name]
            (root / name).mkdir(parents=True)
            kind.make(root / name, root / "_trained") if kind.needs_trained else kind.make(root / name)


def kind_of_case(seed: int, number: int, kinds: Sequence[str]) -> str:
    """The kind of input that a number stands for."""
    return Random(f"kind {seed} {number}").choices(kinds, [_ALL[name].share for name in kinds])[0]


def prepare(seeds: Path, folder: Path, kind: str, seed: int, number: int) -> tuple[Case, str]:
    """Copy a sound input into a folder and damage one of its files; returns the case and how."""
    random = Random(f"{seed} {number}")
    source = random.choice(sorted(path for path in (seeds / kind).iterdir() if path.is_dir()))
    given = folder / "given"
    shutil.copytree(source, given, copy_function=os.link)
    files = sorted(path for path in given.rglob("*") if path.is_file() and _may_be_hit(path.relative_to(given)))
    tables = [file for file in files if file.suffix in (".csv", ".txt")]
    hit = random.choice(tables if kind == "corpora" and tables and random.random() < 0.7 else files)
    how = damage(hit, random)
    (folder / "out").mkdir()
    return Case(source, given, hit, folder / "out", seeds / "_trained", random), how


def _may_be_hit(path: Path) -> bool:
    return not any(part.startswith("_") for part in path.parts)


def run_case(seeds: Path, folder: Path, seed: int, number: int, kinds: Sequence[str]) -> Outcome:
    """Make and use one damaged input in an empty folder, and judge what happened."""
    kind = kind_of_case(seed, number, kinds)
    case, how = prepare(seeds, folder, kind, seed, number)
    (folder / "tmp").mkdir()
    (folder / "how.txt").write_text(f"{kind}, {case.seed.name}, {case.hit.relative_to(case.given)}: {how}\n")
    before, faults, said = _Surroundings.now(case.given), [], ""
    with _captured(folder / "printed.txt"), _temporary(folder / "tmp"):
        _forget_peak()
        start = time.process_time()
        verdict = "result"
        try:
            _ALL[kind].use(case)
        except AvgateError as error:
            verdict, said = "error", str(error)
        except Exception:  # whatever isn't an AvgateError is a fault, and reported
            faults.append(traceback.format_exc())
        seconds, memory = time.process_time() - start, _peak()
    if any(len(line) > _LONGEST_LINE for line in said.splitlines()):
        faults.append(f"the error is too long: {said[:3000]}")
    if printed := (folder / "printed.txt").read_text("utf-8", "replace").strip():
        faults.append(f"it printed: {printed[:1500]}")
    faults += before.changes(case, folder / "tmp")
    if faults:
        verdict, said = "fault", "\n".join(faults)
    return Outcome(number, kind, case.seed.name, f"{case.hit.name}: {how}", verdict, said, seconds, memory)


@dataclass(frozen=True)
class _Surroundings:
    """What an input may not change."""

    given: dict[str, tuple[int, int]]
    open_files: set[str]
    threads: int
    processes: set[psutil.Process]

    @classmethod
    def now(cls, given: Path) -> _Surroundings:
        return cls(_stats(given), _open_files(), threading.active_count(), set(psutil.Process().children()))

    def changes(self, case: Case, temporary: Path) -> list[str]:
        """What was left behind, one sentence each."""
        found = []
        if _stats(case.given) != self.given:
            found.append("it changed its input")
        if left := [path.name for path in temporary.iterdir()]:
            found.append(f"it left temporary files: {', '.join(left)}")
        written = [path for path in case.out.rglob("*") if path.name != FOLDER]
        if half := [str(p.relative_to(case.out)) for p in written if p.name.startswith(".") or _empty(p)]:
            found.append(f"it left unfinished files: {', '.join(half)}")
        if _open_files() - self.open_files:
            gc.collect()
            if more := _open_files() - self.open_files:
                found.append(f"it left open files: {', '.join(sorted(more))}")
        if threading.active_count() > self.threads:
            time.sleep(0.3)
            if (more := threading.active_count()) > self.threads:
                names = ", ".join(thread.name for thread in threading.enumerate())
                found.append(f"it left threads: {more - self.threads} ({names})")
        if children := set(psutil.Process().children()) - self.processes:
            found.append(f"it left processes: {children}")
        return found


def _stats(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def _empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def _open_files() -> set[str]:
    """Files that this process holds open, by descriptor and name, but for those of installed libraries."""
    found = set()
    for entry in os.scandir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            name = str(Path(entry.path).readlink())
            if name.startswith("/") and not name.startswith(("/dev/", "/proc/", sys.prefix)):
                found.add(f"{entry.name}: {name}")
    return found


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return 0


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    """Temporary files go into a folder of their own."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def _captured(path: Path) -> Iterator[None]:
    """All that is printed, by native libraries too, goes into a file; avgate's own messages nowhere."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    streams = sys.stdout, sys.stderr
    with path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1) as file, quiet():
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        try:
            with warnings.catch_warnings():
                for category in (RuntimeWarning, UserWarning, ResourceWarning):
                    warnings.simplefilter("always", category)
                yield
        finally:
            file.flush()
            sys.stdout, sys.stderr = streams
            for fd, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, fd)
                os.close(copy)
