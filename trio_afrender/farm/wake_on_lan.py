"""Packets that wake hosts: six bytes 0xFF, then sixteen times the MAC address, by UDP broadcast."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence

__all__ = ("is_mac", "make_magic_packet", "send_magic_packets")

_MAC = re.compile(r"(?:[0-9a-f]{2}[:-]?){5}[0-9a-f]{2}", re.IGNORECASE)


def is_mac(text: str) -> bool:
    """Whether a text is a MAC address of a host: six bytes, not all of them zero."""
    return bool(_MAC.fullmatch(text)) and any(digit not in "0:-" for digit in text)


def make_magic_packet(mac: str) -> bytes:
    """Return the 102 bytes for a MAC address as ``aa:bb:cc:dd:ee:ff``. Raises ValueError."""
    if not is_mac(mac):
        raise ValueError(f"not a MAC address: {mac!r}")
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "").replace("-", "")) * 16


def send_magic_packets(macs: Sequence[str], address: str, port: int) -> None:
    """Send a packet for each MAC address. Does not block; raises OSError if one cannot be sent.

    `address` is an IP address: for a name, a lookup might block.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for mac in macs:
            sender.sendto(make_magic_packet(mac), (address, port))
