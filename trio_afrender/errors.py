"""Exceptions of the package: one class for each situation, facts as attributes."""

from __future__ import annotations

import errno
from pathlib import Path

__all__ = (
    "AfRenderError",
    "ConfigError",
    "EditRefused",
    "InvalidSetting",
    "JobError",
    "JobGone",
    "LinkLost",
    "LinkRefused",
    "OutputError",
    "PluginError",
    "PluginNotFound",
    "ProtocolError",
    "SpawnError",
    "StoreError",
    "StoreInUse",
    "is_descriptor_missing",
    "is_device_failure",
    "is_exhausted",
)


class AfRenderError(Exception):
    """Base of all errors that this package raises on purpose. The text is one sentence for users."""


class ConfigError(AfRenderError):
    """A setting, an option, or a file that one of them names cannot be used.

    The text has a line for each fault, if several were found.
    """

    problems: tuple[str, ...] = ()
    """Sentences about what was ignored before, for a warning each."""


class InvalidSetting(ConfigError):
    """A settings object was made with a value that its `field` may not have.

    `expected` is the type or the range, in words.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {value!r:.100}")
        self.field = field
        self.value = value
        self.expected = expected


class JobError(ConfigError):
    """A job file cannot be used. `path` is the place in it, for example ``blocks[1].frames_per_task``."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class OutputError(AfRenderError, OSError):
    """What a command was asked to print cannot be written: stdout is closed, or its disk is full."""

    def __str__(self) -> str:
        return f"cannot write to stdout: {self.strerror}"


class EditRefused(AfRenderError):
    """A parameter or an operation that a user asked for is refused. Nothing has changed."""


class JobGone(AfRenderError):
    """A job was deleted while it was looked at or followed."""

    def __init__(self, number: int) -> None:
        super().__init__(f"job {number} is not on the server any more: it was deleted")


class ProtocolError(AfRenderError):
    """The peer sent what the protocol does not allow. The link must be closed."""


class LinkLost(AfRenderError):
    """The connection is lost. With `register_now` the server answers, but no longer knows this render."""

    def __init__(self, text: str, *, register_now: bool = False) -> None:
        super().__init__(text)
        self.register_now = register_now


class LinkRefused(AfRenderError):
    """The server refused this render. `reason` is the server's code, `text` its explanation.

    `retry_after` is in seconds; None: another try is pointless, and the program ends.
    """

    def __init__(self, reason: str, text: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(f"refused by the server: {reason}" + (f" ({text})" if text else ""))
        self.reason = reason
        self.text = text
        self.retry_after = retry_after


class PluginError(AfRenderError):
    """A plugin raised, hung or crashed. `details` is its traceback, or what is known of the crash."""

    def __init__(self, text: str, details: str = "") -> None:
        super().__init__(text)
        self.details = details


class PluginNotFound(PluginError):
    """There is no plugin of that kind and name. `near` holds similar names."""

    def __init__(self, kind: str, name: str, near: tuple[str, ...] = ()) -> None:
        hint = f', did you mean "{near[0]}"?' if near else ""
        super().__init__(f'no {kind} "{name}"{hint}')
        self.kind = kind
        self.name = name
        self.near = near


class SpawnError(AfRenderError):
    """A command could not be started (no such shell, no access to the folder, no memory)."""


_TEMPORARY = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
)


class StoreError(AfRenderError):
    """The store folder cannot be used: wrong owner, a link, not writable, or full."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"store folder {path}: {problem}")
        self.path = path
        self.problem = problem
        self.temporary = False
        """The disk failed, not the settings: another try may succeed later."""

    @classmethod
    def of(cls, path: Path, error: OSError, advice: str = "") -> StoreError:
        """Make the error for what the kernel refused, followed by `advice`."""
        made = cls(path, f"{error.strerror or error}{advice}")
        made.temporary = error.errno in _TEMPORARY or is_exhausted(error)
        return made


class StoreInUse(StoreError):
    """Another agent of the same name on this host has locked the store folder."""


_EXHAUSTED = frozenset(
    {
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ENOBUFS,
    }
)


def is_device_failure(error: BaseException) -> bool:
    """Whether a device of the host, such as its disk, has failed. Also for an error raised from one."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_device_failure, error.exceptions))
    if isinstance(error, OSError):
        return error.errno == errno.EIO
    return error.__cause__ is not None and is_device_failure(error.__cause__)


def is_descriptor_missing(error: OSError) -> bool:
    """Whether no file could be opened because no descriptor or memory was left: that may pass."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def is_exhausted(error: BaseException) -> bool:
    """Whether the host had no process, thread, descriptor, memory or room on the disk left.

    That may pass, and is the fault of no task. Also for an error that was raised from such a one, and for
    a group of nothing else.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_exhausted, error.exceptions))
    if isinstance(error, OSError):
        return error.errno in _EXHAUSTED
    if isinstance(error, RuntimeError):
        return str(error) == "can't start new thread"
    cause = error.__cause__
    return isinstance(error, MemoryError) or (cause is not None and is_exhausted(cause))
