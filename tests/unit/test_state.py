"""Objects that are saved in the middle of their work go on to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from avgate.core.state import Stateful, pack, unpack


class Part(Stateful):
    STATE = ("seen",)

    def __init__(self):
        self.seen = 0


class Whole(Stateful):
    STATE = ("held", "last", "parts", "name", "part")

    def __init__(self):
        self.held = [np.zeros(0, np.float32)]
        self.last: float | None = None
        self.parts: dict[str, np.ndarray] = {}
        self.name, self.part, self.setting = "", Part(), 7


def test_an_object_comes_back_from_bytes_with_everything_that_it_held():
    one, other = Whole(), Whole()
    one.held = [np.array([1.5, np.nan], np.float32), np.zeros((0, 3), np.int64), np.array(3.0)]
    one.last, one.parts, one.name, one.part.seen = 0.1 + 0.2, {"a": np.array([True, False])}, "x", 5
    other.restore(unpack(pack(one.state())))
    assert [a.dtype for a in other.held] == [a.dtype for a in one.held]
    assert [a.shape for a in other.held] == [a.shape for a in one.held]
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one.held, other.held, strict=True))
    assert (other.last, other.name, other.part.seen, other.setting) == (0.1 + 0.2, "x", 5, 7)
    np.testing.assert_array_equal(other.parts["a"], one.parts["a"])


def test_numbers_of_numpy_infinity_and_none_come_back():
    one, other = Whole(), Whole()
    one.last, one.name = np.float64(np.inf), None
    other.restore(unpack(pack(one.state())))
    assert other.last == np.inf
    assert other.name is None


def test_two_objects_from_one_state_share_nothing():
    one, first, second = Whole(), Whole(), Whole()
    state = one.state() | {"held": [np.zeros(2)]}
    first.restore(state)
    second.restore(state)
    first.held[0][0] = 1.0
    assert second.held[0][0] == 0.0


def test_the_state_of_something_else_is_refused():
    with pytest.raises(ValueError, match="state of a Whole"):
        Whole().restore(Part().state())


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 64, pack({"a": 1})[:-1] + b"\xff"])
def test_damaged_bytes_are_refused(data):
    with pytest.raises(ValueError, match="saved state"):
        unpack(data)
