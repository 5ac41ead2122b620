"""How often each address may ask."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache

_MOST_ADDRESSES = 10_000
"""So many addresses are remembered."""


class Rates:
    """Counts requests per address: so many a minute, which may come at once.

    Args:
        per_minute: how many.
        clock: gives the time in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self.per_minute, self._clock = per_minute, clock
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: Hashable) -> float:
        """Count a request: 0 where it may pass, else in how many seconds the next one may."""
        now, most = self._clock(), float(self.per_minute)
        left, then = self._left.pop(address, (most, now))
        left = min(most, left + (now - then) * most / 60)
        passes = left >= 1
        self._left[address] = (left - passes, now)
        while len(self._left) > _MOST_ADDRESSES:
            self._left.popitem(last=False)
        return 0.0 if passes else (1 - left) * 60 / most


def address_of(client: tuple[str, int] | None) -> str:
    """Whose connection it is; all addresses that one household gets in IPv6 are one, and so is all that is none."""
    host = client[0] if client else ""
    return _address(host) if len(host) <= 100 else ""


@lru_cache(4096)
def is_within(host: str, networks: str) -> bool:
    """Whether an address is one of some addresses and networks, with commas between.

    >>> is_within("10.0.0.1", "127.0.0.1,10.0.0.0/8"), is_within("10.0.0.1", "")
    (True, False)
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network) for network in networks.split(",") if network)


@lru_cache(4096)
def _address(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)
