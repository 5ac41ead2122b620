"""Damaged inputs end in a result or one clear error, and the fuzzer notices where they don't; `make fuzz` has 3,000."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.case import Outcome, run_case, write_seeds
from tests.fuzz.run import Limits, fuzz
from tests.fuzz.uses import KINDS

QUICK = ("labels", "manifests", "checkpoints", "features", "traces", "settings", "submissions")
"""Kinds whose sound inputs are made in a moment."""


def outcomes(folder: Path, numbers: range, seed: int, kinds: tuple[str, ...]) -> list[Outcome]:
    """The outcomes of damaged inputs in this process, which a crash or a hang would end."""
    write_seeds(folder / "seeds", kinds)
    found = []
    for number in numbers:
        place = folder / str(number)
        place.mkdir()
        found.append(run_case(folder / "seeds", place, seed, number, kinds))
    return found


def faults(found: list[Outcome]) -> list[str]:
    return [f"{o.number}: {o.kind}, {o.seed}, {o.how}: {o.said}" for o in found if o.verdict == "fault"]


def test_damaged_inputs_give_a_result_or_a_clear_error(tmp_path):
    found = outcomes(tmp_path, range(60), 1, QUICK)
    assert not faults(found)
    assert {"result", "error"} == {outcome.verdict for outcome in found}


@pytest.mark.long
def test_damaged_inputs_of_every_kind_cost_a_process_nothing(any_face_model):
    found = fuzz(range(40), 1, workers=1)
    assert not faults(found)
    assert len(found) == 40
    assert len({outcome.kind for outcome in found}) > len(KINDS) / 2


@pytest.mark.slow
def test_the_same_number_is_the_same_damage(tmp_path):
    first, second = (outcomes(tmp_path / name, range(12), 5, ("labels",)) for name in ("a", "b"))
    assert [(o.seed, o.how, o.verdict) for o in first] == [(o.seed, o.how, o.verdict) for o in second]
    files = [sorted((tmp_path / name).glob("?/given/*")) for name in ("a", "b")]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        ("fail", "KeyError: 'price'"),
        ("leave_a_file", "temporary files: tmp"),
        ("leave_a_file", "unfinished files: .avgate-half"),
        ("leave_it_open", "open files: "),
        ("leave_a_thread", "threads: 1"),
        ("change_the_input", "changed its input"),
        ("chatter", "printed: hello\n[native] hello\nhello again"),
    ],
)
def test_what_goes_wrong_is_noticed(tmp_path, trial, said):
    (found,) = outcomes(tmp_path, range(1), 0, (trial,))
    assert found.verdict == "fault"
    assert said in found.said


@pytest.mark.long
def test_what_ends_or_holds_up_a_process_is_noticed_and_the_next_inputs_go_on(tmp_path):
    kinds = ("crash", "spin", "ask_for_too_much")
    found = fuzz(range(3), 1, workers=1, kinds=kinds, keep=tmp_path, limits=Limits(seconds=1))
    assert [outcome.verdict for outcome in found] == ["fault"] * 3
    said = {outcome.kind: outcome.said for outcome in found}
    assert said["crash"].startswith("its process ended with -6")
    assert said["spin"].startswith("it takes more than 1 s")
    assert "MemoryError" in said["ask_for_too_much"]
    assert "in spin" in "".join(file.read_text() for file in tmp_path.glob("*/fault.txt")), "where it was"
