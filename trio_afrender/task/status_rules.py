"""From what happened to the status that the server is told. Pure: a table and one function.

The order of the checks is Afanasy's: exit status, fatal error, error, bad result, files, post
commands. A stop that was asked for wins over all of them, but only if it ended the process: an
end of its own that crosses a stop still counts.
"""

from __future__ import annotations

import enum

import attrs

from trio_afrender.process.interfaces import ExitStatus
from trio_afrender.protocol.messages import TaskStatus

__all__ = ("RunFacts", "StopCause", "StopKind", "decide_status")


class StopKind(enum.Enum):
    """Who or what ends a run before its time."""

    SERVER = "server"
    CLOSED = "closed"
    """The server closed a running run: kill it, report nothing."""
    FORGET = "forget"
    """A stop in the answer to a register: kill it, report nothing, the outcome is superseded."""
    DRAIN = "drain"
    AGENT_EXIT = "agent exit"
    USER = "user"
    STORE_FULL = "store full"
    LIMIT = "limit"
    """It took more time, output or memory than the host's limits allow."""
    STUCK = "stuck"
    """It showed no sign of life for too long."""
    STUCK_HOST = "stuck host"
    """The same, and it waits for a device of this host."""
    MEMORY = "memory"
    """The host ran short of memory, and this task was to go."""
    PARSER_ERROR = "parser error"
    PARSER_FATAL_ERROR = "parser fatal error"
    PARSER_SUCCESS = "parser success"
    """The process is ended, but the work is done: the other checks follow."""

    @property
    def wanted(self) -> bool:
        """Whether somebody asked for the end who had no fault to find with the run."""
        return self.discards_outcome or self in (
            StopKind.SERVER,
            StopKind.DRAIN,
            StopKind.AGENT_EXIT,
            StopKind.USER,
        )

    @property
    def discards_outcome(self) -> bool:
        """Whether the server must hear nothing more of the run."""
        return self in (StopKind.CLOSED, StopKind.FORGET)


STATUS_BY_STOP = {
    StopKind.SERVER: TaskStatus.FinishedKilled,
    StopKind.CLOSED: TaskStatus.FinishedKilled,
    StopKind.FORGET: TaskStatus.FinishedKilled,
    StopKind.DRAIN: TaskStatus.GiveBack,
    StopKind.AGENT_EXIT: TaskStatus.GiveBack,
    StopKind.USER: TaskStatus.GiveBack,
    StopKind.STORE_FULL: TaskStatus.GiveBack,
    StopKind.LIMIT: TaskStatus.FinishedError,
    StopKind.STUCK: TaskStatus.FinishedError,
    StopKind.STUCK_HOST: TaskStatus.GiveBack,
    StopKind.MEMORY: TaskStatus.GiveBack,
    StopKind.PARSER_ERROR: TaskStatus.FinishedParserError,
    StopKind.PARSER_FATAL_ERROR: TaskStatus.FinishedParserFatalError,
}

MAX_GIVE_BACKS = 2
"""A task that this host gives back so often in a row becomes an error: it would circle for ever."""


@attrs.frozen(slots=True, kw_only=True)
class StopCause:
    """Why a run is stopped; `text` is the sentence that people read."""

    kind: StopKind
    text: str


@attrs.frozen(slots=True, kw_only=True)
class RunFacts:
    """All that the verdict depends on."""

    stop: StopCause | None = None
    """Set only if the stop hit the process (it had not ended by itself)."""
    exit: ExitStatus | None = None
    """None: nothing was started, or the leader cannot be reaped (state D)."""
    exit_ok: bool = True
    """What the service's checkExitStatus said of a normal exit."""
    fatalerror: bool = False
    error: bool = False
    badresult: bool = False
    finishedsuccess: bool = False
    files_ok: bool = True
    post_in_time: bool = True
    """Whether what follows the process ended within the limit for all of it."""
    post_ok: bool = True
    give_backs: int = 0
    """How often in a row this host gave this task back before."""


def decide_status(facts: RunFacts) -> TaskStatus:
    """Return the status of a run whose process was started (or that was stopped before)."""
    if facts.stop is None:
        if facts.exit is None or facts.exit.signal is not None:
            return TaskStatus.FinishedKilled
        if not facts.exit_ok:
            return TaskStatus.FinishedError
    elif facts.stop.kind is not StopKind.PARSER_SUCCESS:
        return cap_retries(STATUS_BY_STOP[facts.stop.kind], facts.give_backs)
    checks = (
        (facts.fatalerror, TaskStatus.FinishedParserFatalError),
        (facts.error, TaskStatus.FinishedParserError),
        (facts.badresult, TaskStatus.FinishedParserBadResult),
        (not facts.files_ok, TaskStatus.BadRenderedFiles),
        (not facts.post_in_time, TaskStatus.FinishedError),
        (not facts.post_ok, TaskStatus.FinishedFailedPost),
        (facts.finishedsuccess, TaskStatus.FinishedParserSuccess),
    )
    return next((status for hit, status in checks if hit), TaskStatus.FinishedSuccess)


def cap_retries(status: TaskStatus, give_backs: int) -> TaskStatus:
    """Turn one give-back too many in a row into an error."""
    if status.given_back and give_backs >= MAX_GIVE_BACKS:
        return TaskStatus.FinishedError
    return status
