"""Seats for connections that have proven nothing yet: newer ones displace older ones. No I/O.

Such a connection costs memory and a descriptor before any token has been checked, so their number is
limited, in total and for each address. A new one is never refused: a client that means it needs its
seat for milliseconds, so of many that stay, the oldest is displaced, and of several addresses that
which has most. So connections that are opened and never used keep nothing from others.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

__all__ = ("ConnectionSeats", "address_group", "host_of")


@attrs.define(eq=False)
class _Seat:
    group: str
    displace: Callable[[], None]


class ConnectionSeats:
    """`total` seats, of which one group of addresses has at most `share`."""

    def __init__(self, total: int, share: int) -> None:
        self._total = total
        self._share = share
        # The oldest first, in both: dictionaries keep the order of insertion.
        self._groups: dict[str, dict[_Seat, None]] = {}
        self._taken = 0
        self.displaced: int = 0
        """How many connections have lost their seats to newer ones."""

    @contextmanager
    def take(self, host: str, displace: Callable[[], None]) -> Iterator[None]:
        """Hold a seat while the body runs. `displace` is called when a newer connection needs it.

        The body is to end then; the seat counts as free at once.
        """
        seat = _Seat(address_group(host), displace)
        own = self._groups.get(seat.group, {})
        if len(own) >= self._share:
            self._displace(next(iter(own)))
        elif self._taken >= self._total:
            most = max(self._groups.values(), key=len)
            self._displace(next(iter(most)))
        self._groups.setdefault(seat.group, {})[seat] = None
        self._taken += 1
        try:
            yield
        finally:
            self._leave(seat)

    def _displace(self, seat: _Seat) -> None:
        self._leave(seat)
        self.displaced += 1
        seat.displace()

    def _leave(self, seat: _Seat) -> None:
        """Free a seat. May be called again."""
        own = self._groups.get(seat.group, {})
        if seat in own:
            del own[seat]
            self._taken -= 1
            if not own:
                del self._groups[seat.group]


def address_group(host: str) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 network of an IPv6 address.

    A single IPv6 host usually has a whole /64 to choose addresses from (RFC 4291, section 2.5.4).
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def host_of(peer: str) -> str:
    """Return the address in the ``HOST:PORT`` or ``[HOST]:PORT`` of a peer."""
    return (peer.rpartition(":")[0] or peer).strip("[]")
