"""A seam for system calls that fail: one call of a function of the standard library, once, with an errno.

In this process a function is replaced. In the supervisor, and so in its task supervisors, it is replaced
by the code that starts it (`supervisor_client.BOOT_CODE`).
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from trio_afrender.process import supervisor_client

__all__ = ("Fault", "failing_here", "failing_supervisor")


@attrs.frozen
class Fault:
    """The call number `turn` (from 1) of ``module.name`` fails."""

    module: str
    name: str
    number: int
    """The errno; for ``threading.Thread.start`` the error is the interpreter's own."""
    turn: int = 1

    def __str__(self) -> str:
        return f"{self.module}.{self.name} {os.strerror(self.number)} {self.turn}"


@attrs.define
class FaultCounts:
    """How often the function was called, and whether the fault has happened."""

    calls: int = 0
    failed: bool = False


@contextmanager
def failing_here(fault: Fault) -> Iterator[FaultCounts]:
    """Let a call fail that the agent makes in this process, not the farm; yield the counts."""
    owner: Any = importlib.import_module(fault.module)
    *path, name = fault.name.split(".")
    for part in path:
        owner = getattr(owner, part)
    real: Callable[..., Any] = getattr(owner, name)
    counts, lock = FaultCounts(), threading.Lock()

    def replaced(*args: Any, **words: Any) -> Any:  # noqa: ANN401 - of any function
        frame = sys._getframe(1)
        # Also the caller of the caller: farm and agent use the same functions for their files.
        callers = [
            each.f_globals.get("__name__", "") for each in (frame, frame.f_back) if each is not None
        ]
        of_agent = callers[0].startswith("trio_afrender") and not any(
            caller.startswith(_NOT_AGENT) for caller in callers
        )
        wanted = fault.module == "threading" or of_agent
        if wanted and not counts.failed:
            with lock:
                counts.calls += 1
                counts.failed = counts.calls == fault.turn
            if counts.failed:
                if fault.module == "threading":
                    raise RuntimeError("can't start new thread")
                raise OSError(fault.number, os.strerror(fault.number))
        return real(*args, **words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, replaced)
        yield counts


_NOT_AGENT = ("trio_afrender.farm", "trio_afrender.transport.websocket_server")
_BOOT = """
import sys; sys.path.insert(0, sys.argv[1])
import os, importlib
mark = {mark!r}
owner = importlib.import_module({module!r})
*path, name = {name!r}.split(".")
for part in path: owner = getattr(owner, part)
real, calls = getattr(owner, name), []
def replaced(*args, **words):
    if not os.path.exists(mark) and sys._getframe(1).f_globals.get("__name__", "").startswith(("trio_afrender", "threading")):
        calls.append(1)
        if len(calls) == {turn}:
            handle = real_open(mark, os.O_CREAT | os.O_WRONLY); os.close(handle)
            if {module!r} == "threading": raise RuntimeError("can't start new thread")
            raise OSError({number}, os.strerror({number}))
    return real(*args, **words)
real_open = os.open
from trio_afrender.supervisor.daemon import main
setattr(owner, name, replaced)
sys.exit(main(sys.argv[2:]))
"""


@contextmanager
def failing_supervisor(fault: Fault, mark: Path) -> Iterator[None]:
    """Let a call fail in the next supervisor, or in one of its task supervisors; `mark` exists then."""
    code = _BOOT.format(
        mark=str(mark),
        module=fault.module,
        name=fault.name,
        number=fault.number,
        turn=fault.turn,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor_client, "BOOT_CODE", code)
        yield
