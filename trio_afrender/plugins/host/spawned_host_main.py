"""A plugin host that was not forked: started by the agent with ``python -m`` where there is no fork.

It reads a socket from its stdin and prints one character once it has it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import socket
import sys
from typing import NoReturn

from trio_afrender.errors import PluginError
from trio_afrender.plugins.host.host_main import serve_link
from trio_afrender.plugins.loader import claim_packages
from trio_afrender.plugins.task_worker import remember_base

__all__ = ("main",)

_FROM_SHARE = "fromshare"
"""A function that the module has on Windows alone."""


def main() -> NoReturn:
    """Serve the agent whose socket comes over stdin. Never returns."""
    link: socket.socket = getattr(socket, _FROM_SHARE)(sys.stdin.buffer.read())
    sys.stdout.write(".")
    sys.stdout.flush()
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    faulthandler.enable(2)
    claim_packages()  # this process imports nothing but for plugins
    with contextlib.suppress(PluginError):
        remember_base()
    serve_link(link)


if __name__ == "__main__":
    main()
