"""What is fuzzed, under one name each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

__all__ = ("Target", "all_targets")


@attrs.frozen(kw_only=True)
class Target:
    """A decoder, what it may raise, and right inputs to begin with."""

    run: Callable[[bytes], object]
    """Decode, and check what comes out of it (by assert)."""
    corpus: tuple[bytes, ...]
    allowed: tuple[type[Exception], ...] = ()
    """Errors that are answers."""
    longest: float = 2000
    """Characters of an error. Who made a file of settings may read his own words in it."""
    share: float = 1.0
    """Of the inputs that others get in the suite: some are dear."""


def all_targets() -> Mapping[str, Target]:
    """Every one there is."""
    from fuzz import afserver_messages, configs, frames, ipc_messages, jobs, task_outputs

    found: dict[str, Target] = {}
    for module in (frames, afserver_messages, ipc_messages, jobs, configs, task_outputs):
        found |= module.TARGETS
    return found
