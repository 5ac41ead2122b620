"""Many damaged inputs in processes of their own, so that a crash or a hang costs one input and is reported.

    python -m tests.fuzz.run --inputs 3000 --seed 0

Inputs follow from the seed alone. Of each fault, the input and what was said stay in work/fuzz/SEED-NUMBER.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from avgate.core.console import progress
from tests.fuzz.case import Outcome, kind_of_case, run_case, write_seeds
from tests.fuzz.uses import KINDS

_REACH = 4 << 30
"""Bytes of addresses that an input may ask for, used or not."""

_INPUTS_EACH = 400
"""Inputs after which a process is replaced by a new one: what libraries keep adds up."""


@dataclass(frozen=True)
class Limits:
    """What an input may take.

    Attributes:
        seconds: of processor time, so that a busy machine doesn't count.
        idle_s: seconds in all; an input that takes longer without processor time hangs.
        memory: bytes of resident memory that its process may have meanwhile.
    """

    seconds: float = 10.0
    idle_s: float = 60.0
    memory: int = 2 << 30


@dataclass(frozen=True)
class Plan:
    """What a worker must know: where the sound inputs are, what damage follows from, and which kinds there are."""

    seeds: Path
    seed: int
    kinds: tuple[str, ...]


def fuzz(
    inputs: Sequence[int],
    seed: int,
    *,
    workers: int = 2,
    kinds: Sequence[str] = tuple(KINDS),
    keep: Path | None = None,
    limits: Limits = Limits(),
) -> list[Outcome]:
    """Use these damaged inputs, and say what became of each.

    Args:
        inputs: their numbers.
        seed: what they follow from.
        workers: processes side by side.
        kinds: of inputs.
        keep: folder for inputs with faults.
        limits: what an input may take.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name, progress() as bar:
        root = Path(name)
        plan = Plan(root / "seeds", seed, tuple(kinds))
        write_seeds(plan.seeds, kinds)
        task = bar.add_task("Damaged inputs", total=len(inputs))
        waiting = list(reversed(inputs))
        running: list[_Worker] = []
        try:
            while waiting or any(worker.number is not None for worker in running):
                while waiting and len(running) < workers:
                    running.append(_Worker(Path(tempfile.mkdtemp(dir=root)), plan))
                for worker in running:
                    if waiting and worker.idle:
                        worker.hand_out(waiting.pop())
                wait([worker.pipe for worker in running], timeout=0.2)
                for worker in list(running):
                    if outcome := worker.outcome(limits):
                        found.append(outcome)
                        bar.advance(task)
                        worker.tidy(outcome, keep)
                    if worker.spent:
                        running.remove(worker)
                        worker.end()
        finally:
            for worker in running:
                worker.end()
    return sorted(found, key=lambda outcome: outcome.number)


class _Worker:
    """A process, and the number of the input that it is at.

    Args:
        folder: for its inputs.
        plan: what it does.
    """

    def __init__(self, folder: Path, plan: Plan):
        context = get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=_work, args=(there, folder, plan))
        self.process.start()
        there.close()
        self.folder, self.plan = folder, plan
        self.number: int | None = None
        self._done = 0
        self._since_s = self._used_s = 0.0

    @property
    def idle(self) -> bool:
        return self.number is None and not self.spent

    @property
    def spent(self) -> bool:
        return self.number is None and (self._done >= _INPUTS_EACH or not self.process.is_alive())

    def hand_out(self, number: int) -> None:
        self.number = number
        self._begin()
        with contextlib.suppress(BrokenPipeError):  # it has just ended, which is noticed
            self.pipe.send(number)

    def _begin(self) -> None:
        self._since_s, self._used_s = time.monotonic(), self._processor_s()

    def outcome(self, limits: Limits) -> Outcome | None:
        """The outcome of its input, if there is one; a process that is over a limit is ended."""
        if self.number is None:
            return None
        with contextlib.suppress(EOFError):
            if self.pipe.poll():
                found = self.pipe.recv()
                self.number, self._done = None, self._done + 1
                return _judged(found, limits)
        alive, used_s, memory = self.process.is_alive(), self._processor_s() - self._used_s, self._memory()
        if alive and not (self.folder / str(self.number)).exists():  # it still loads libraries
            self._begin()
            return None
        if not alive:
            said = f"its process ended with {self.process.exitcode}"
        elif used_s > limits.seconds + 1:
            said = f"it takes more than {limits.seconds:g} s"
        elif time.monotonic() - self._since_s > limits.idle_s:
            said = f"it hangs: it took {used_s:.1f} s of processor time in {limits.idle_s:g} s"
        elif memory > 1.5 * limits.memory:
            said = f"it takes {memory / 1e9:.1f} GB"
        else:
            return None
        return self._ended(said, used_s, memory)

    def _ended(self, said: str, used_s: float, memory: int) -> Outcome:
        if self.process.is_alive():
            os.kill(self.process.pid, signal.SIGUSR1)  # it writes where it is
            time.sleep(0.5)
            self.process.kill()
        self.process.join()
        number, place = self.number, self.folder / str(self.number)
        texts = [_read(file)[:4000] for file in (self.folder / "stack.txt", place / "printed.txt")]
        kind = kind_of_case(self.plan.seed, number, self.plan.kinds)
        self.number = None
        said = "\n".join(filter(None, (said, *texts)))
        return Outcome(number, kind, "", _read(place / "how.txt").strip(), "fault", said, used_s, memory)

    def tidy(self, outcome: Outcome, keep: Path | None) -> None:
        """Remove an input, or keep it where it led to a fault."""
        place = self.folder / str(outcome.number)
        if outcome.verdict == "fault" and keep is not None:
            kept = keep / f"{self.plan.seed}-{outcome.number}"
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            if (place / "given").is_dir():
                shutil.copytree(place / "given", kept / "given")
            text = f"{outcome.kind}, {outcome.seed}, {outcome.how}\n{outcome.said}\n"
            (kept / "fault.txt").write_text(text, "utf-8", "replace")
        shutil.rmtree(place, ignore_errors=True)

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _processor_s(self) -> float:
        with contextlib.suppress(psutil.Error):
            used = psutil.Process(self.process.pid).cpu_times()
            return used.user + used.system
        return self._used_s

    def _memory(self) -> int:
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.process.pid).memory_info().rss
        return 0


def _read(file: Path) -> str:
    return file.read_text("utf-8", "replace") if file.is_file() else ""


def _judged(outcome: Outcome, limits: Limits) -> Outcome:
    over = []
    if outcome.seconds > limits.seconds:
        over.append(f"it took {outcome.seconds:.1f} s")
    if outcome.memory > limits.memory:
        over.append(f"it took {outcome.memory / 1e9:.1f} GB")
    return replace(outcome, verdict="fault", said="\n".join([*over, outcome.said])) if over else outcome


def _work(pipe: Connection, folder: Path, plan: Plan) -> None:
    """What a worker does: one input after the other, until there are no more."""
    with (folder / "stack.txt").open("w") as stack:
        faulthandler.enable(stack)
        faulthandler.register(signal.SIGUSR1, stack, all_threads=True)
        for kind in plan.kinds:  # one of each first, for which libraries are loaded
            place = folder / f"first-{kind}"
            place.mkdir()
            run_case(plan.seeds, place, plan.seed, -1, [kind])
            shutil.rmtree(place)
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + _REACH, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(EOFError):
            while True:
                number = pipe.recv()
                place = folder / str(number)
                place.mkdir()
                pipe.send(run_case(plan.seeds, place, plan.seed, number, plan.kinds))


def summary(outcomes: Sequence[Outcome]) -> Table:
    """One row per kind: what became of its inputs, and the most that one took."""
    table = Table(title=f"{len(outcomes)} damaged inputs")
    for column in ("kind", "inputs", "results", "errors", "faults", "slowest", "largest"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind in (*KINDS, "all"):
        own = [outcome for outcome in outcomes if kind in (outcome.kind, "all")]
        if own:
            counts = [sum(o.verdict == verdict for o in own) for verdict in ("result", "error", "fault")]
            slowest, largest = max(o.seconds for o in own), max(o.memory for o in own)
            table.add_row(kind, str(len(own)), *map(str, counts), f"{slowest:.1f} s", f"{largest / 1e9:.2f} GB")
    return table


def main() -> None:
    """Run the command line; exits with 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=3000, help="how many (default: 3000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="what they follow from (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), help="kinds of inputs (default: all)")
    parser.add_argument("--keep", type=Path, default=Path("work/fuzz"), help="folder for inputs with faults")
    given = parser.parse_args()
    numbers = range(given.first, given.first + given.inputs)
    outcomes = fuzz(numbers, given.seed, workers=given.workers, kinds=given.kinds or tuple(KINDS), keep=given.keep)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for outcome in outcomes:
        if outcome.verdict == "fault":
            last = outcome.said.strip().splitlines()
            console.print(
                f"{given.seed}-{outcome.number} {outcome.kind}, {outcome.seed}, {outcome.how}: {last[-1][:300]}"
            )
    console.print(summary(outcomes))
    given.keep.mkdir(parents=True, exist_ok=True)
    (given.keep / f"outcomes-{given.seed}.json").write_text(json.dumps([asdict(o) for o in outcomes], indent=0))
    sys.exit(any(outcome.verdict == "fault" for outcome in outcomes))


if __name__ == "__main__":
    main()
