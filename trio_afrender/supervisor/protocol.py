"""What a parent is told to start, and what it tells of it: the words that both ends use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trio_afrender.message_framing import FrameError

__all__ = ("LaunchSpec", "LogSpec", "TreeState")

_AGENT_TIMEOUT_KEY = "patience"
"""The key of `LaunchSpec.agent_timeout` in a message; all other keys are the names of the fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSpec:
    """Where the parent puts the output: a log folder as `output.writer` writes it."""

    folder: str
    quota: int
    segment: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """One tree to start. Seconds; paths are absolute."""

    argv: tuple[str, ...]
    cwd: str
    environment: Mapping[str, str]
    nice: int = 0
    record: str = ""
    """Path without suffix: ``<record>.sock`` is where a later agent finds the parent, and
    ``<record>.end`` tells how the tree ended. Empty: the tree ends with its agent."""
    log: LogSpec | None = None
    """None: the agent sent the write end of a pipe of its own."""
    agent_timeout: float = 60.0
    """The tree is stopped when no agent has been connected for so many seconds."""
    grace: float = 10.0
    """Between TERM and KILL, when the parent has to stop the tree by itself."""

    def to_json(self) -> dict[str, object]:
        """Plain values for a message. Copies nothing: environments are large."""
        values = _values(self)
        values["log"] = _values(self.log) if self.log is not None else None
        values[_AGENT_TIMEOUT_KEY] = values.pop("agent_timeout")
        return values

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> LaunchSpec:
        """Raises `FrameError` for what is no spec. Unknown words are passed over."""
        words = {name: value for name, value in data.items() if name in cls.__slots__}
        if _AGENT_TIMEOUT_KEY in data:
            words["agent_timeout"] = data[_AGENT_TIMEOUT_KEY]
        try:
            log = words.pop("log", None)
            argv = words.pop("argv")
            return cls(
                argv=tuple(map(str, argv if isinstance(argv, list | tuple) else ())),
                log=LogSpec(**log) if isinstance(log, dict) else None,
                **words,  # type: ignore[arg-type]  # both ends are ours; a bad value fails where it is used
            )
        except (KeyError, TypeError) as error:
            raise FrameError(f"a spec that lacks something: {error}") from error


@dataclass(slots=True, kw_only=True)
class TreeState:
    """All that a parent knows of its tree; sent whole whenever something changed."""

    parent: int = 0
    """The parent's own pid."""
    pid: int = 0
    """The leader's."""
    started: float = 0.0
    """Unix time."""
    size: int = 0
    """Bytes in the log, from the start of the run."""
    lost: int = 0
    """Bytes that could not be stored."""
    held: int = 0
    """Bytes at the end that only the parent's memory holds (a full disk)."""
    trouble: str = ""
    """What the disk said when it first refused output; empty: it never did."""
    eof: bool = False
    """Nothing will come from the pipe any more."""
    raw: int | None = None
    """The leader's wait status, once it has ended."""
    ended: float | None = None
    """Unix time of that."""
    empty: bool = False
    """Nothing of the tree lives: proven."""
    suspended: bool = False
    unattended: str = ""
    """Why the parent stopped the tree by itself; empty: it did not."""
    cgroup: str = ""
    """Of the tree, empty when there is none."""
    peak: int = 0
    """Bytes: the largest resident memory at one moment; of the whole tree where the cgroup tells,
    else of one process (`ru_maxrss`)."""
    cpu: float = 0.0
    """Seconds of all processes that have ended."""
    oom_kills: int = 0
    """Members that the kernel killed for lack of memory, where the cgroup tells."""

    def to_json(self) -> dict[str, object]:
        """Plain values for a frame."""
        return _values(self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> TreeState:
        """Unknown words are passed over: the other end may be newer."""
        return cls(**{name: value for name, value in data.items() if name in cls.__slots__})  # type: ignore[arg-type]  # our own other end


def _values(of: LogSpec | LaunchSpec | TreeState) -> dict[str, object]:
    return {name: getattr(of, name) for name in of.__slots__}
