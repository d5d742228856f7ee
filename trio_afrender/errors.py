"""The exceptions of the package: one class a situation, facts as attributes."""

from __future__ import annotations

import errno
from pathlib import Path

__all__ = (
    "AfRenderError",
    "ConfigError",
    "JobError",
    "LinkLost",
    "LinkRefused",
    "PluginError",
    "PluginNotFound",
    "ProtocolError",
    "SpawnError",
    "StoreError",
    "StoreInUse",
)


class AfRenderError(Exception):
    """Anything this package raises on purpose; the text is one sentence for a person."""


class ConfigError(AfRenderError):
    """A setting, an option or a file named by one cannot be used."""


class JobError(ConfigError):
    """A job file cannot be used; `path` says where, as ``blocks[1].frames_per_task``."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class ProtocolError(AfRenderError):
    """The peer sent what the protocol does not allow; the link is of no further use."""


class LinkLost(AfRenderError):
    """The connection is gone. With `register_now` the server has forgotten us but is there."""

    def __init__(self, text: str, *, register_now: bool = False) -> None:
        super().__init__(text)
        self.register_now = register_now


class LinkRefused(AfRenderError):
    """The server will not talk to us: `reason` is its word, `retry_after` seconds or None.

    With `retry_after` None another try is pointless: the program ends with that reason.
    """

    def __init__(self, reason: str, text: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(f"refused by the server: {reason}" + (f" ({text})" if text else ""))
        self.reason = reason
        self.text = text
        self.retry_after = retry_after


class PluginError(AfRenderError):
    """A service or parser raised, hung or died; `details` is a traceback or what was seen."""

    def __init__(self, text: str, details: str = "") -> None:
        super().__init__(text)
        self.details = details


class PluginNotFound(PluginError):
    """No plugin of that kind and name; `near` are names that look alike."""

    def __init__(self, kind: str, name: str, near: tuple[str, ...] = ()) -> None:
        hint = f', did you mean "{near[0]}"?' if near else ""
        super().__init__(f'no {kind} "{name}"{hint}')
        self.kind = kind
        self.name = name
        self.near = near


class SpawnError(AfRenderError):
    """A command could not be started at all (no such shell, folder not enterable, no memory)."""


_PASSING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
)


class StoreError(AfRenderError):
    """The store folder cannot be used: not ours, a link, not writable, full."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"store folder {path}: {problem}")
        self.path = path
        self.problem = problem
        self.passing = False
        """Whether the disk is in trouble, not the settings: the same may work later."""

    @classmethod
    def of(cls, path: Path, error: OSError, advice: str = "") -> StoreError:
        """What the kernel refused, with `advice` on the way out of it."""
        made = cls(path, f"{error.strerror or error}{advice}")
        made.passing = error.errno in _PASSING
        return made


class StoreInUse(StoreError):
    """Another agent of the same name on this host holds the store folder's lock."""
