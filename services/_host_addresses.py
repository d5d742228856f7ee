"""Addresses of hosts, resolved at the same time: a slow name server delays all only once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

__all__ = ("resolve_all",)


def resolve_all(
    names: Iterable[str], look_up: Callable[[str], str], timeout: float
) -> dict[str, str]:
    """Return addresses by name, without names that are not resolved within `timeout` seconds."""
    found: dict[str, str] = {}

    def resolve(name: str) -> None:
        try:
            found[name] = look_up(name)
        except (OSError, UnicodeError):  # no such name, or none that a host can have
            return

    threads: list[threading.Thread] = []
    with suppress(RuntimeError):  # the host has no thread left: the names are used as they are
        for name in {*names}:
            thread = threading.Thread(target=resolve, args=(name,), daemon=True)
            thread.start()
            threads.append(thread)
    end = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(found)  # a copy: threads that are late still write
