"""Uses that go wrong on purpose, to see that the fuzzer notices."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from tempfile import mkstemp

import numpy as np

from tests.fuzz.uses import Case, Kind

_KEPT: list[object] = []


def _seed(folder: Path) -> None:
    (folder / "one").mkdir()
    (folder / "one" / "text.txt").write_text("one,two\n1,2\n")


def _unless_first(case: Case) -> bool:
    """Not while the process prepares itself."""
    return not case.given.parent.name.startswith("first")


def crash(case: Case) -> None:
    if _unless_first(case):
        os.abort()


def hang(case: Case) -> None:
    if _unless_first(case):
        time.sleep(1000)


def spin(case: Case) -> None:
    while _unless_first(case):
        pass


def hoard(case: Case) -> None:
    if _unless_first(case):
        _KEPT.append(np.ones(50_000_000, np.uint8))


def ask_for_too_much(case: Case) -> None:
    if _unless_first(case):
        np.empty(1 << 40, np.uint8)


def fail(case: Case) -> None:
    raise KeyError("price")


def leave_a_file(case: Case) -> None:
    os.close(mkstemp()[0])
    (case.out / ".avgate-half").write_text("half")


def leave_it_open(case: Case) -> None:
    _KEPT.append(case.hit.open("rb"))


def leave_a_thread(case: Case) -> None:
    threading.Thread(target=time.sleep, args=(2,), daemon=True).start()


def change_the_input(case: Case) -> None:
    case.hit.write_text("changed by its reader")


def chatter(case: Case) -> None:
    print("hello")
    os.write(2, b"[native] hello\n")
    sys.stderr.write("hello again\n")


TRIALS = {
    use.__name__: Kind(1, _seed, use)
    for use in (
        crash, hang, spin, hoard, ask_for_too_much, fail, leave_a_file, leave_it_open, leave_a_thread, change_the_input,
        chatter,
    )
}  # fmt: skip
