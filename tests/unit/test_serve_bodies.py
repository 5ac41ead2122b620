"""Bodies that stop, crawl or never end are refused in time."""

from __future__ import annotations

import asyncio
import time

import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from avgate.apps.serve.routes import bodies
from avgate.apps.serve.routes.shapes import Refused


class Sender:
    """A request whose parts come with rests between them."""

    def __init__(self, parts: list[bytes], rest_s: float):
        self.parts, self.rest_s = parts, rest_s

    async def stream(self):
        for part in self.parts:
            await asyncio.sleep(self.rest_s)
            yield part


def read(sender: Sender, longest_s: float | None = None) -> bytes:
    async def all_parts() -> bytes:
        return b"".join([part async for part in bodies.body_parts(sender, longest_s)])  # type: ignore[arg-type]

    return asyncio.run(all_parts())


def test_a_body_that_comes_in_time_comes_whole():
    assert read(Sender([b"ab", b"", b"cd"], 0.0)) == b"abcd"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "longest_s", "what"),
    [
        ({"STALL_S": 0.05}, None, "no byte came"),
        ({"CRAWL_S": 0.3}, None, "fewer than 1024 bytes"),
        ({"LONGEST_S": 0.5}, None, "longer than 0.5 s"),
        ({}, 0.5, "longer than 0.5 s"),
    ],
)
def test_one_that_does_not_is_refused(monkeypatch, limits, longest_s, what):
    for name, value in limits.items():
        monkeypatch.setattr(bodies, name, value)
    began_s = time.monotonic()
    with pytest.raises(Refused, match=what) as caught:
        read(Sender([b"x"] * 100, 0.2), longest_s)
    assert caught.value.status == 408
    assert time.monotonic() - began_s < 5
