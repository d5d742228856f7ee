"""The status of a run from the facts of its end. Pure: a table and one function.

The order of the checks is Afanasy's: exit status, fatal error, error, bad result, files, post
commands. A stop decides before all of them, but only if it ended the process: when a process ends by
itself while a stop is on its way, its own end counts (`test_an_end_that_crosses_a_stop_counts`).
"""

from __future__ import annotations

import enum

import attrs

from trio_afrender.process.interfaces import ExitStatus
from trio_afrender.protocol.messages import TaskStatus

__all__ = ("RunFacts", "StopCause", "StopKind", "decide_status")


class StopKind(enum.Enum):
    """What stops a run."""

    SERVER = "server"
    CLOSED = "closed"
    """The server closed a run that was running: kill it, report nothing."""
    FORGET = "forget"
    """A stop in the answer to a register: kill the run, report nothing. The server has given the task
    away, so an outcome would be counted for another run."""
    DRAIN = "drain"
    AGENT_EXIT = "agent exit"
    USER = "user"
    LIMIT = "limit"
    """The run exceeded a limit of time, output or memory."""
    STUCK = "stuck"
    """The run showed no activity for too long."""
    STUCK_HOST = "stuck host"
    """As `STUCK`, while it waits for a device of this host."""
    MEMORY = "memory"
    """The host ran short of memory, and the memory guard chose this run."""
    PARSER_ERROR = "parser error"
    PARSER_FATAL_ERROR = "parser fatal error"
    PARSER_SUCCESS = "parser success"
    """The work is done although the process has not ended: the other checks follow the stop."""

    @property
    def requested(self) -> bool:
        """Whether the stop has another reason than what the run did or what the host lacked."""
        return self.discards_outcome or self in (
            StopKind.SERVER,
            StopKind.DRAIN,
            StopKind.AGENT_EXIT,
            StopKind.USER,
        )

    @property
    def discards_outcome(self) -> bool:
        """Whether nothing more of the run may be sent to the server."""
        return self in (StopKind.CLOSED, StopKind.FORGET)


# Give-backs for reasons of the host, errors for reasons of the run: another host would meet those too.
STATUS_BY_STOP = {
    StopKind.SERVER: TaskStatus.FinishedKilled,
    StopKind.CLOSED: TaskStatus.FinishedKilled,
    StopKind.FORGET: TaskStatus.FinishedKilled,
    StopKind.DRAIN: TaskStatus.GiveBack,
    StopKind.AGENT_EXIT: TaskStatus.GiveBack,
    StopKind.USER: TaskStatus.GiveBack,
    StopKind.LIMIT: TaskStatus.FinishedError,
    StopKind.STUCK: TaskStatus.FinishedError,
    StopKind.STUCK_HOST: TaskStatus.GiveBack,
    StopKind.MEMORY: TaskStatus.GiveBack,
    StopKind.PARSER_ERROR: TaskStatus.FinishedParserError,
    StopKind.PARSER_FATAL_ERROR: TaskStatus.FinishedParserFatalError,
}

MAX_GIVE_BACKS = 2
"""A task that this host has given back so often in a row is reported as an error: the server assigns a
task that was given back again, also to this host, without end."""


@attrs.frozen(slots=True, kw_only=True)
class StopCause:
    """Why a run is stopped; `text` is a sentence for people."""

    kind: StopKind
    text: str


@attrs.frozen(slots=True, kw_only=True)
class RunFacts:
    """Everything that the status depends on."""

    stop: StopCause | None = None
    """Set only if the stop ended the process: it had not ended by itself."""
    exit: ExitStatus | None = None
    """None: nothing was started, or the leader cannot be reaped (state D)."""
    exit_ok: bool = True
    """The answer of the service's checkExitStatus to a normal exit."""
    fatalerror: bool = False
    error: bool = False
    badresult: bool = False
    finishedsuccess: bool = False
    files_ok: bool = True
    assets_ok: bool = True
    """False: the program missed files, and the checks make that an error."""
    post_in_time: bool = True
    """Whether all post commands ended within the limit ``post_time``."""
    post_ok: bool = True
    give_backs: int = 0
    """How often in a row this host has given this task back before."""


def decide_status(facts: RunFacts) -> TaskStatus:
    """Return the status of a run that has started its process or was stopped before that."""
    if facts.stop is None:
        # As Afanasy's render: ended by a signal is killed, not failed, whatever sent the signal.
        if facts.exit is None or facts.exit.signal is not None:
            return TaskStatus.FinishedKilled
        if not facts.exit_ok:
            return TaskStatus.FinishedError
    elif facts.stop.kind is not StopKind.PARSER_SUCCESS:
        return cap_retries(STATUS_BY_STOP[facts.stop.kind], facts.give_backs)
    # Stopped because the work is done: the exit status is that of the stop and means nothing.
    checks = (
        (facts.fatalerror, TaskStatus.FinishedParserFatalError),
        (facts.error, TaskStatus.FinishedParserError),
        (facts.badresult, TaskStatus.FinishedParserBadResult),
        (not facts.files_ok, TaskStatus.BadRenderedFiles),
        (not facts.assets_ok, TaskStatus.FinishedParserBadResult),
        (not facts.post_in_time, TaskStatus.FinishedError),
        (not facts.post_ok, TaskStatus.FinishedFailedPost),
        (facts.finishedsuccess, TaskStatus.FinishedParserSuccess),
    )
    # The first that holds counts, so that a fatal error is not reported as an error.
    return next((status for hit, status in checks if hit), TaskStatus.FinishedSuccess)


def cap_retries(status: TaskStatus, give_backs: int) -> TaskStatus:
    """Return `status`, or an error for a give-back after `MAX_GIVE_BACKS` in a row."""
    # Whatever the reason: a host whose store stays full would give the task back for ever.
    if status.given_back and give_backs >= MAX_GIVE_BACKS:
        return TaskStatus.FinishedError
    return status
