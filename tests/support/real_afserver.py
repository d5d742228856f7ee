"""An afserver of CGRU as a program on this host, for tests that need the real one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest

from support.cli import make_environment

__all__ = ("AfserverProgram", "find_afserver", "open_afserver")

_GUARD: Final = 30.0


def find_afserver() -> str:
    """The path of an afserver of this host; skips the test by name without one."""
    if found := os.environ.get("AFSERVER") or shutil.which("afserver"):
        return found
    pytest.skip("no afserver on PATH or named by AFSERVER")


@attrs.define(eq=False)
class AfserverProgram:
    """A running afserver; its store stays when it is started again."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"af://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it unless it runs, and return when it answers connections."""
        if self._process is not None:
            return
        environment = make_environment(
            self.folder, CGRU_LOCATION=str(self.folder), HOSTNAME="farm", USER="ann"
        )
        with (self.folder / "afserver.log").open("ab") as log:
            self._process = subprocess.Popen(
                [find_afserver()],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _GUARD
        while not self._answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """The end of what it has printed."""
        return (self.folder / "afserver.log").read_text(errors="replace")[-4000:]

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@contextmanager
def open_afserver(folder: Path) -> Iterator[AfserverProgram]:
    """Start an afserver with a new store in a folder."""
    find_afserver()
    folder.mkdir()
    with closing(socket.socket()) as probe:
        # An afserver cannot tell which port it got, so it needs one that is free now.
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = {
        "af_servername": "127.0.0.1",
        "af_serverport": port,
        "af_ipv6_disable": 1,
        "af_ip_trust": ["127.0.0.1"],
        "af_store_folder": str(folder / "store"),
    }
    (folder / "config_default.json").write_text(json.dumps({"cgru_config": settings}))
    server = AfserverProgram(folder, port)
    try:
        server.start()
        yield server
    finally:
        server.kill()
