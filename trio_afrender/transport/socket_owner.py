"""The user at the other end of a connection within this machine, from Linux's tables of sockets.

The kernel is asked for one socket by `sock_diag`, a netlink protocol. Where that is not there (other
kernels, some sandboxes), ``/proc/net/tcp`` is read: each line is one socket, with its own address, the
address of its peer, its state, the user id of its owner, its inode. Its making takes the kernel 10 ms
on large hosts. In both, the client's socket is the one whose own address is our peer.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import trio

from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.transport.address import is_loopback

__all__ = (
    "Address",
    "OwnerCheck",
    "ask_kernel",
    "find_listener",
    "find_owner",
    "format_address",
    "make_owner_check",
    "read_owner",
)

_TABLES = ("tcp", "tcp6")
_LIMIT = 64 * 1024 * 1024
"""Bytes that are read of a table: 400,000 sockets."""
_LISTEN = "0A"

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h. Numbers are in native order, ports and
# addresses in network order.
_NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _ERROR, _REQUEST = 20, 2, 1
_HEAD = struct.Struct("=IHHII")
"""Length, type, flags, number, sender."""
_QUERY = struct.Struct("=BBBBI")
"""Family, protocol, extensions, filler, states."""
_NO_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
"""Any interface, any cookie."""
_OWNER = struct.Struct("=II")
"""User id and inode, at this place of the answer."""
_OWNER_AT = _HEAD.size + 4 + 48 + 12

Address = tuple[str, int]
"""Address and port of one end, as `socket.getpeername` returns them first."""
OwnerCheck: TypeAlias = Callable[[Address, Address], Awaitable[bool]]
"""Tells of a connection, from our peer's address and ours, whether the user of this program made it."""


def make_owner_check(at_once: int) -> OwnerCheck:
    """Return a check that does so many look-ups at once."""
    look_ups = trio.CapacityLimiter(at_once)

    async def is_own(peer: Address, local: Address) -> bool:
        if not is_loopback(peer[0]):
            return False
        try:
            owner = await call_in_thread(partial(find_owner, peer, local), limiter=look_ups)
        except OSError:  # the host has no thread left
            return False
        return owner is not None and owner == os.geteuid()

    return is_own


def find_owner(peer: Address, local: Address, folder: Path = Path("/proc/net")) -> int | None:
    """Return the user id of the owner of our peer's socket; None if it is not found. Blocking.

    A socket whose program has closed it has no owner any more: Linux then gives user 0, inode 0.
    """
    try:
        return ask_kernel(peer, local)
    except OSError:
        pass  # no netlink, or the kernel has no such socket: then the tables have none either
    for table in _TABLES:
        try:
            with (folder / table).open("rb") as file:
                text = file.read(_LIMIT).decode("ascii", "replace")
        except OSError:
            continue  # no IPv6, or not Linux: then nothing is found, and only the token counts
        owner = read_owner(text, peer, local)
        if owner is not None:
            return owner
    return None


def ask_kernel(peer: Address, local: Address) -> int | None:
    """Ask for the owner of our peer's socket; None if its program has closed it.

    Raises OSError where there is no netlink, and for a socket that there is not.
    """
    if not hasattr(socket, "AF_NETLINK"):
        raise OSError("no netlink")
    one, other = (ipaddress.ip_address(end[0].partition("%")[0]) for end in (peer, local))
    one, other = (getattr(each, "ipv4_mapped", None) or each for each in (one, other))
    family = socket.AF_INET if one.version == 4 else socket.AF_INET6
    query = b"".join(
        (
            _QUERY.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF),
            struct.pack("!HH", peer[1], local[1]),
            one.packed.ljust(16, b"\0"),
            other.packed.ljust(16, b"\0"),
            _NO_COOKIE,
        )
    )
    head = _HEAD.pack(_HEAD.size + len(query), _BY_FAMILY, _REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)
        kernel.sendto(head + query, (0, 0))
        answer = kernel.recv(4096)
    if _HEAD.unpack_from(answer)[1] == _ERROR:
        (error,) = struct.unpack_from("=i", answer, _HEAD.size)
        raise OSError(-error, os.strerror(-error))
    owner, inode = _OWNER.unpack_from(answer, _OWNER_AT)
    return owner if inode else None


def read_owner(table: str, peer: Address, local: Address) -> int | None:
    """Find the owner of a peer's socket in the text of a table."""
    wanted = {(format_address(peer, wide=w), format_address(local, wide=w)) for w in (False, True)}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) > 9 and (fields[1], fields[2]) in wanted:
            if fields[7].isdecimal() and fields[9] != "0":
                return int(fields[7])
            return None
    return None


def format_address(address: Address, *, wide: bool) -> str:
    """An address as the tables write it: words of 32 bits in the byte order of this machine, in hex.

    A `wide` one is of IPv6; an IPv4 address then stands in its mapped form.
    """
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.version == 6 and not wide:
        return ""
    if ip.version == 4 and wide:
        ip = ipaddress.ip_address(f"::ffff:{ip}")
    packed = ip.packed
    words = (packed[i : i + 4] for i in range(0, len(packed), 4))
    native = (int.from_bytes(word, "big") for word in words)
    text = "".join(f"{socket.htonl(word):08X}" for word in native)
    return f"{text}:{address[1]:04X}"


def find_listener(port: int) -> str:
    """Describe the program that listens on a TCP port of this machine; '' if it cannot be found.

    Programs of other users are found only by root. Blocking.
    """
    inodes = set()
    for table in _TABLES:
        try:
            lines = Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and fields[1].endswith(f":{port:04X}"):
                inodes.add(f"socket:[{fields[9]}]")
    for folder in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            if any(os.readlink(each) in inodes for each in (folder / "fd").iterdir()):  # noqa: PTH115 - text
                # A program may give itself any bytes as its name.
                name = (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"{name} (process {folder.name})"
        except OSError:
            continue  # of another user, or it has just ended
    return ""
