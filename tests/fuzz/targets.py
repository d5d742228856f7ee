"""The targets of fuzzing by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

__all__ = ("Target", "all_targets")


@attrs.frozen(kw_only=True)
class Target:
    """A decoder, the errors that it may raise, and valid inputs."""

    run: Callable[[bytes], object]
    """Decodes, and checks the result by assert."""
    corpus: tuple[bytes, ...]
    allowed: tuple[type[Exception], ...] = ()
    """Errors by which it may reject an input."""
    max_error: float = 2000
    """Characters of an error's text. Unlimited for files of settings, whose values it may quote."""
    share: float = 1.0
    """Factor for the number of inputs in the test suite; below 1 for slow targets."""


def all_targets() -> Mapping[str, Target]:
    """Return all targets. Imported here, because each module imports this one."""
    from fuzz import (
        afserver_messages,
        configs,
        frames,
        ipc_messages,
        jobs,
        json_requests,
        task_outputs,
    )

    found: dict[str, Target] = {}
    modules = (frames, afserver_messages, ipc_messages, jobs, configs, task_outputs, json_requests)
    for module in modules:
        found |= module.TARGETS
    return found
