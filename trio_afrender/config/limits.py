"""What a host allows its tasks, and what it does about stuck ones and short memory: values, and
how the words of three speakers become one. Seconds and bytes unless a name says otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from trio_afrender.config.keys import LIMITS, POLICIES, SERVICES, STUCK, Key, suggest_key

__all__ = ("Limits", "MemoryGuard", "Stuck", "for_service", "read_rules")

T = TypeVar("T", bound="Limits | Stuck")


@attrs.frozen(slots=True, kw_only=True)
class Limits:
    """What a task may take before it is stopped as an error. 0: no limit."""

    run_time: float = 0.0
    """Seconds since the start of its own process."""
    no_output: float = 0.0
    """Seconds without a byte of output."""
    no_progress: float = 0.0
    """Seconds in which neither percent nor frame moved, for a task that has a parser."""
    output: int = 0
    """Bytes printed. The log keeps `Config.log_quota` of them; this ends the task."""
    memory: int = 0
    """Bytes of memory that the whole tree has resident."""
    post_time: float = 0.0
    """Seconds for all that follows the own process: checks, post commands, thumbnails."""


@attrs.frozen(slots=True, kw_only=True)
class Stuck:
    """When a task that does nothing at all counts as stuck, and what is done then."""

    policy: str = "warn"
    """``off``, ``warn`` or ``stop``."""
    warn_after: float = 600.0
    """Seconds without any sign of life until people are told."""
    stop_after: float = 1800.0
    """Seconds without any sign of life until it is stopped, with the policy ``stop``."""
    cpu: float = 0.01
    """Cores: a tree that uses less on average does not work, it only waits."""


@attrs.frozen(slots=True, kw_only=True)
class MemoryGuard:
    """How much memory the host keeps free of tasks. An eighth of its memory at the most counts."""

    floor: int = 256 * 1024 * 1024
    """Bytes available below which a task is stopped and given back. 0: nobody guards."""
    room: int = 512 * 1024 * 1024
    """Bytes available from which on new tasks are taken again."""


def for_service(base: T, own: Mapping[str, object], owner: Mapping[str, object]) -> T:
    """Return `base` with what a service says of itself (`own`), and over it what the host's
    owner says of that service."""
    return attrs.evolve(base, **{**own, **owner})  # type: ignore[arg-type]  # checked at their reading


def read_rules(kind: str, value: object) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what a service class says by its attribute `kind` (``limits``, ``stuck``), and what
    of it is ignored and why. None says nothing."""
    known = {"limits": LIMITS, "stuck": STUCK}[kind]
    if value is None:
        return {}, ()
    if not isinstance(value, Mapping):
        return {}, (f"service.{kind} is {value!r:.100}, not a dict: it is ignored",)
    rules, problems = {}, []
    for name, item in value.items():
        key = known.get(name) if name != SERVICES else None
        if key is None:
            near = suggest_key(str(name), set(known) - {SERVICES})
            problems.append(f'service.{kind} has no "{name!s:.100}", {near}; it is ignored')
        elif (read := _read(key, item)) is None:
            problems.append(f"service.{kind}: {name} is {item!r:.100}: it is ignored")
        else:
            rules[name] = read
    return rules, tuple(problems)


def _read(key: Key, value: object) -> object:
    """A value as `key` wants it, None for one that cannot be meant."""
    if key.kind == "str":
        return value if value in POLICIES else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not (math.isfinite(value) and value >= 0):
        return None
    return int(value) if key.kind == "int" else float(value)
