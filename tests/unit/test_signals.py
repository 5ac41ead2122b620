"""Ctrl-C that is held back comes after the block, whichever thread the system gives it to, and never within it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from queue import SimpleQueue

import pytest

from avgate.core.signals import Ended, held_interrupts, orderly_end, take

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


def elsewhere(sign: int) -> None:
    """Send a signal to another thread than the one that calls this, as the system may do."""
    thread = threading.Thread(
        target=lambda: (
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {sign}),
            signal.pthread_kill(threading.get_ident(), sign),
        )
    )
    thread.start()
    thread.join()


@pytest.mark.parametrize("send", [signal.raise_signal, elsewhere])
@pytest.mark.parametrize(("sign", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Ended)])
def test_what_is_held_back_comes_once_after_the_block(send, sign, error):
    steps = []

    def block() -> None:
        with held_interrupts():
            send(sign)
            send(sign)
            steps.append("whole")
        steps.append("after it")

    with orderly_end(), pytest.raises(error):
        block()
    assert steps == ["whole"]


def test_a_block_in_a_block_holds_them_back_until_both_are_over():
    steps = []

    def blocks() -> None:
        with held_interrupts():
            with held_interrupts():
                signal.raise_signal(signal.SIGINT)
            steps.append("the outer one")

    with pytest.raises(KeyboardInterrupt):
        blocks()
    assert steps == ["the outer one"]


def state() -> tuple[object, ...]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), mask


def test_handlers_and_mask_are_as_before():
    before = state()
    with held_interrupts():
        assert state() != before
    assert state() == before


@pytest.mark.parametrize("call", ["pthread_sigmask", "signal"])
@pytest.mark.parametrize("time", range(3))
def test_what_comes_on_the_way_in_or_out_leaves_nothing_held_back(call, time, monkeypatch):
    """Python's own calls do what they are told, and raise what has just come all the same."""
    really, before, calls = getattr(signal, call), state(), []

    def late(*given: object) -> object:
        calls.append(given)
        done = really(*given)
        if len(calls) == time + 1:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(signal, call, late)
    with contextlib.suppress(KeyboardInterrupt), held_interrupts():
        pass
    monkeypatch.undo()
    assert state() == before


@pytest.mark.parametrize(("sign", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Ended)])
def test_what_comes_as_a_wait_begins_ends_it(sign, error):
    """Another thread is given it, so that the system doesn't wake this one: the same as between step and wait."""
    with orderly_end():
        threading.Timer(0.1, elsewhere, [sign]).start()
        with pytest.raises(error):
            take(SimpleQueue())


@pytest.mark.slow
def test_a_handler_may_put_in_what_is_waited_for():
    waiting: SimpleQueue[str] = SimpleQueue()
    before = signal.signal(signal.SIGTERM, lambda *_: waiting.put("asked to end"))
    try:
        threading.Timer(0.1, elsewhere, [signal.SIGTERM]).start()
        assert take(waiting) == "asked to end"
    finally:
        signal.signal(signal.SIGTERM, before)
