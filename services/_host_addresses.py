"""Addresses of hosts, all looked up at once: a name server that is slow costs its delay once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

__all__ = ("addresses",)


def addresses(names: Iterable[str], look_up: Callable[[str], str], limit: float) -> dict[str, str]:
    """Addresses by name, of those that were found within `limit` seconds."""
    found: dict[str, str] = {}

    def find(name: str) -> None:
        try:
            found[name] = look_up(name)
        except (OSError, UnicodeError):  # no such name, or none that a host can have
            return

    threads = [threading.Thread(target=find, args=(name,), daemon=True) for name in {*names}]
    for thread in threads:
        thread.start()
    end = time.monotonic() + limit
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(found)
