"""Messages between the agent and a task supervisor: what to start, and the state of the tree.

Both ends ignore keys that they do not know, so either may be the newer one. Requests of the agent
(``{"op": ..., "id": ...}``) are in `task_supervisor` and `process.supervised_tree`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trio_afrender.message_framing import FrameError
from trio_afrender.user_switch import UserIds

__all__ = ("LaunchSpec", "LogSpec", "TreeState")

_AGENT_TIMEOUT_KEY = "patience"
"""The key of `LaunchSpec.agent_timeout` in a message; all other keys are the names of the fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSpec:
    """Log folder of the output, and its limits in bytes, as `tasklog.writer.open_writer` has them."""

    folder: str
    quota: int
    segment: int
    held: int
    group: int = -1
    """Group that may read the folder and its files; -1: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """A process tree to start. Times are in seconds, paths are absolute."""

    argv: tuple[str, ...]
    cwd: str
    environment: Mapping[str, str]
    nice: int = 0
    record: str = ""
    """Path without suffix: the task supervisor listens at ``<record>.sock`` for a later agent, and
    stores the last state of the tree in ``<record>.end``. Empty: the tree ends with its agent."""
    log: LogSpec | None = None
    """None: the agent reads the output itself, and sends the write end of a pipe."""
    agent_timeout: float = 60.0
    """The tree is stopped when no agent has been connected for so many seconds."""
    grace: float = 10.0
    """Time between TERM and KILL when the task supervisor stops the tree without an agent."""
    folders: tuple[str, ...] = ()
    """Folders to make, mode 0700, before the leader starts: its working folder may be one of them."""
    processes: int = 0
    """Processes and threads that the tree may have at once; 0: no limit."""
    files: int = 0
    """Files that each of its processes may have open; 0: no limit."""
    user: UserIds | None = None
    """Whose processes they are; None: the supervisor's user's. `folders` exist already then."""
    umask: int = -1
    """The umask of the leader; -1: the supervisor's."""

    def to_json(self) -> dict[str, object]:
        """Return plain values for a message. Environments are large, so nothing is copied."""
        values = _values(self)
        for name, value in (("log", self.log), ("user", self.user)):
            values[name] = _values(value) if value is not None else None
        values[_AGENT_TIMEOUT_KEY] = values.pop("agent_timeout")
        return values

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> LaunchSpec:
        """Read a message. Unknown keys are ignored. Raises `FrameError` for anything else."""
        values = {name: value for name, value in data.items() if name in cls.__slots__}
        if _AGENT_TIMEOUT_KEY in data:
            values["agent_timeout"] = data[_AGENT_TIMEOUT_KEY]
        try:
            log = values.pop("log", None)
            user = values.pop("user", None)
            argv = values.pop("argv")
            folders = values.pop("folders", ())
            # Both ends belong to this package: types are not checked, a wrong one fails where the
            # value is used.
            return cls(
                argv=tuple(map(str, argv if isinstance(argv, list | tuple) else ())),
                folders=tuple(map(str, folders if isinstance(folders, list | tuple) else ())),
                log=LogSpec(**log) if isinstance(log, dict) else None,
                user=_read_user(user),
                **values,  # type: ignore[arg-type]  # see above
            )
        except (KeyError, TypeError) as error:
            raise FrameError(f"an incomplete launch spec: {error}") from error


@dataclass(slots=True, kw_only=True)
class TreeState:
    """Everything a task supervisor knows about its tree; sent whole after every change."""

    parent: int = 0
    """Pid of the task supervisor."""
    pid: int = 0
    """Pid of the leader."""
    started: float = 0.0
    """Start of the leader, Unix time."""
    size: int = 0
    """Bytes in the log, counted from the start of the run."""
    lost: int = 0
    """Bytes that could not be stored."""
    held: int = 0
    """Bytes at the end of the log that only the task supervisor's memory holds (a full disk)."""
    trouble: str = ""
    """The error of the disk when it first refused output; empty without one."""
    eof: bool = False
    """The pipe has ended: no more output will come."""
    raw: int | None = None
    """Wait status of the leader, once it has ended."""
    ended: float | None = None
    """End of the leader, Unix time."""
    empty: bool = False
    """It is proven that no process of the tree lives."""
    suspended: bool = False
    unattended: str = ""
    """Why the task supervisor stopped the tree without an agent; empty if it did not."""
    cgroup: str = ""
    """Path of the tree's cgroup, empty when it has none."""
    peak: int = 0
    """Largest resident memory, in bytes: of the whole tree at one moment where the cgroup counts it,
    else of one process (`ru_maxrss`)."""
    cpu: float = 0.0
    """CPU seconds of all processes of the tree that have ended."""
    oom_kills: int = 0
    """Members that the kernel killed for lack of memory, where the cgroup counts them."""
    refused_forks: int = 0
    """Processes and threads that the kernel refused for the limit, where the cgroup counts them."""
    bare: bool = False
    """The tree has printed nothing, and has left nothing in `LaunchSpec.folders`."""

    def to_json(self) -> dict[str, object]:
        """Return plain values for a message."""
        return _values(self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> TreeState:
        """Read a message. Unknown keys are ignored, missing ones have the default."""
        values = {name: value for name, value in data.items() if name in cls.__slots__}
        return cls(**values)  # type: ignore[arg-type]  # not checked, as in `LaunchSpec.from_json`


def _read_user(value: object) -> UserIds | None:
    """Raises `FrameError`: without its user a tree must not start as the supervisor's."""
    match value:
        case None:
            return None
        case {"uid": int(uid), "gid": int(gid), "groups": [*groups]}:
            return UserIds(uid, gid, tuple(map(int, groups)))
    raise FrameError("a launch spec with an invalid user")


def _values(of: LogSpec | LaunchSpec | TreeState | UserIds) -> dict[str, object]:
    return {name: getattr(of, name) for name in of.__slots__}
