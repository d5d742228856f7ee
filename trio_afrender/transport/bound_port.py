"""Bind the port of a server, or say which program has it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import trio

from trio_afrender.errors import ConfigError
from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.transport.socket_owner import find_listener

__all__ = ("open_listeners",)


async def open_listeners(
    host: str, port: int, failure: str = "cannot listen on"
) -> list[trio.SocketListener]:
    """Bind `port` on the addresses of `host`; the caller closes what is returned.

    Raises `ConfigError`: `failure`, the address, the system's reason and the program that has the port.
    """
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        holder = ""
        with suppress(OSError):  # the host has no thread left
            holder = await call_in_thread(partial(find_listener, port))
        used = f", by {holder}" if holder else ""
        text = f"{failure} {host}:{port}: {error.strerror or error}{used}"
        raise ConfigError(text) from error
