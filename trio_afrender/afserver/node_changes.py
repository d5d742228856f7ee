"""What the commands change of renders, jobs, users and tasks: a table of verbs. Pure.

An afserver answers "Action processed." to much that it has ignored. So each change has a test of the
node as it is before, and one as it is afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

import attrs

from trio_afrender.afserver.remote_nodes import (
    JobNode,
    PoolNode,
    RenderNode,
    TaskNode,
    UserNode,
    flag_of,
    integer_of,
)
from trio_afrender.text import count_text

__all__ = (
    "RESTARTS",
    "TASK_CHANGES",
    "VERBS",
    "Change",
    "Node",
    "TaskChange",
    "make_restart",
    "make_task_restart",
)

Node: TypeAlias = RenderNode | JobNode | UserNode | PoolNode
_T = TypeVar("_T")


def _nothing(_node: object) -> str:
    return ""


@attrs.frozen(slots=True, kw_only=True)
class Change:
    """One change of nodes of a kind."""

    did: str
    """What was done, as in "paused 3 jobs"."""
    params: Mapping[str, object] | None = None
    operation: Mapping[str, object] | None = None
    then: Mapping[str, object] | None = None
    """A second operation."""
    before: Callable[[Node], str] = _nothing
    """Why it cannot be done with a node; '' if it can."""
    after: Callable[[Node], str] = _nothing
    """Why it did not take; '' if it did. Not called for a node that is gone."""
    gone: bool = False
    """Whether nodes are expected to be gone afterwards, or about to go."""
    danger: Callable[[Node], int] | None = None
    """How many tasks are lost or stopped; None: it is no danger. Such a change asks."""
    counted: str = ""
    """What `danger` counts."""
    hint: Callable[[Node], str] = _nothing
    """What a user should know afterwards."""


def _render(node: Node) -> RenderNode:
    assert isinstance(node, RenderNode)  # noqa: S101 - the verb is one of renders
    return node


def _job(node: Node) -> JobNode:
    assert isinstance(node, JobNode)  # noqa: S101 - the verb is one of jobs
    return node


def _if(test: Callable[[_T], object], problem: str) -> Callable[[_T], str]:
    return lambda node: problem if test(node) else ""


def _has(*words: str, problem: str) -> Callable[[Node], str]:
    """A test that the states of a node have one of some words."""
    return _if(lambda node: not {*words} & {*getattr(node, "states", ())}, problem)


def _has_none(*words: str, problem: str) -> Callable[[Node], str]:
    return _if(lambda node: {*words} & {*getattr(node, "states", ())}, problem)


def _running(node: Node) -> int:
    return len(node.tasks) if isinstance(node, RenderNode) else _job(node).count("running")


def _can_sleep(node: Node) -> str:
    render = _render(node)
    # A server does nothing in these cases, and calls that a success as well.
    if not render.online:
        return "it is offline"
    if render.tasks:
        return f"it runs {count_text(len(render.tasks), 'task')}"
    return "" if render.fields.get("netifs") else "it has no network interface that could wake it"


def _is_going(node: Node) -> str:
    return "" if isinstance(node, JobNode) and node.locked else "it is still there"


def _note_deleting(node: Node) -> str:
    job = _job(node)
    # A job whose tasks run is locked until their renders have closed them.
    return f"job {job.id} is deleted when its running tasks are closed" if job.locked else ""


def _note_paused(node: Node) -> str:
    job = _job(node)
    return f"job {job.id} is paused: `start {job.id}` starts it" if "OFF" in job.states else ""


def _has_jobs(node: Node) -> str:
    assert isinstance(node, UserNode)  # noqa: S101 - the verb is one of users
    # A server keeps such a user, and says that it has done what it was asked.
    count = integer_of(node.fields, "jobs_num")
    return f"it has {count_text(count, 'job')}: delete these first" if count else ""


VERBS: Mapping[str, Mapping[str, Change]] = {
    "nimby": {
        "render": Change(
            did="set nimby of", params={"nimby": True}, after=_has("NbY", problem="it has no nimby")
        )
    },
    "NIMBY": {
        "render": Change(
            did="set NIMBY of", params={"NIMBY": True}, after=_has("NBY", problem="it has no NIMBY")
        )
    },
    "free": {
        "render": Change(
            did="freed",
            # Either of the two clears both.
            params={"nimby": False},
            after=_has_none("NbY", "NBY", problem="it still has nimby"),
        )
    },
    "pause": {
        "job": Change(
            did="paused", operation={"type": "pause"}, after=_has("OFF", problem="it is not paused")
        ),
        "render": Change(
            did="paused", params={"paused": True}, after=_has("PAU", problem="it is not paused")
        ),
        "user": Change(
            did="paused",
            params={"paused": True},
            after=_if(lambda node: not flag_of(node.fields, "paused"), "it is not paused"),
        ),
        "pool": Change(
            did="paused", params={"paused": True}, after=_has("PAU", problem="it is not paused")
        ),
    },
    "start": {
        "job": Change(
            did="started",
            operation={"type": "start"},
            after=_has_none("OFF", problem="it is still paused"),
        ),
        "render": Change(
            did="started",
            params={"paused": False},
            after=_has_none("PAU", problem="it is still paused"),
        ),
        "user": Change(
            did="started",
            params={"paused": False},
            after=_if(lambda node: flag_of(node.fields, "paused"), "it is still paused"),
        ),
        "pool": Change(
            did="started",
            params={"paused": False},
            after=_has_none("PAU", problem="it is still paused"),
        ),
    },
    "stop": {
        "job": Change(
            did="stopped",
            operation={"type": "stop"},
            after=_has("OFF", problem="it is not stopped"),
            danger=_running,
            counted="running task, to start again from the beginning",
            hint=_note_paused,
        )
    },
    "retry": {
        "job": Change(
            did="retried the failed tasks of",
            operation={"type": "restart_errors"},
            # Else the renders that have failed stay avoided, and nothing happens for hours.
            then={"type": "reset_error_hosts"},
            hint=_note_paused,
        )
    },
    "delete": {
        "job": Change(
            did="deleted",
            operation={"type": "delete"},
            before=_if(lambda node: _job(node).is_system, "it is the server's own job"),
            after=_is_going,
            gone=True,
            danger=_running,
            counted="running task",
            hint=_note_deleting,
        ),
        "render": Change(
            did="deleted",
            operation={"type": "delete"},
            before=_if(lambda node: _render(node).online, "it is online: `exit` ends it first"),
            after=_is_going,
            gone=True,
            danger=_running,
            counted="running task",
        ),
        "user": Change(
            did="deleted",
            operation={"type": "delete"},
            before=_has_jobs,
            after=_is_going,
            gone=True,
            danger=lambda _node: 0,
            counted="job",
        ),
    },
    "eject": {
        "render": Change(
            did="ejected the tasks of",
            operation={"type": "eject_tasks"},
            danger=_running,
            counted="running task, to start again from the beginning",
        )
    },
    "eject --keep-mine": {
        "render": Change(
            did="ejected the tasks of other users of",
            operation={"type": "eject_tasks_keep_my"},
            danger=_running,
            counted="running task, those of other users are ejected",
        )
    },
    "sleep": {
        "render": Change(
            did="sent to sleep",
            operation={"type": "wol_sleep"},
            before=_can_sleep,
            after=_if(
                lambda node: _render(node).online and not {"WFL", "WSL"} & {*_render(node).states},
                "it does not sleep: `log render` tells why",
            ),
        )
    },
    "wake": {
        "render": Change(
            did="woke",
            operation={"type": "wol_wake"},
            before=_has(
                "WSL",
                "WWK",
                problem="it is not asleep: only a render that `sleep` has sent there can be woken",
            ),
            after=_if(
                lambda node: not (_render(node).online or "WWK" in _render(node).states),
                "it was not woken",
            ),
        )
    },
    "recover": {
        "render": Change(
            did="cleared the sickness of",
            operation={"type": "heal_sick"},  # Afanasy's name of it
            after=_has_none("SIC", problem="it is still sick"),
        )
    },
    **{
        name: {
            "render": Change(
                did=did,
                operation={"type": name},
                before=_if(
                    lambda node: not _render(node).online,
                    # Of an offline render a server calls even a reboot done.
                    "it is offline: nothing can be sent to it",
                ),
                danger=_running,
                counted="running task",
            )
        }
        for name, did in (
            ("exit", "sent the instruction to exit to"),
            ("reboot", "sent the instruction to reboot to"),
            ("shutdown", "sent the instruction to shut down to"),
        )
    },
}
"""Verb -> kind of node -> what is done. The first kind is the one that a command means by default."""

RESTARTS: Mapping[str, tuple[str, str]] = {
    "": ("restart", "done"),
    "errors": ("restart_errors", ""),
    "running": ("restart_running", "running"),
    "skipped": ("restart_skipped", ""),
    "done": ("restart_done", "done"),
    "warnings": ("restart_warnings", "done"),
    "pause": ("restart_pause", "done"),
}
"""Option of `restart` -> its operation, and the tasks whose work is lost."""


def make_restart(which: str) -> Change:
    """The change of jobs by ``restart`` with one of its options."""
    operation, lost = RESTARTS[which]
    # A job that is paused stays so: the hint names the command that starts it.
    change = Change(did="restarted", operation={"type": operation}, hint=_note_paused)
    if not lost:
        return change
    return attrs.evolve(change, danger=lambda node: _job(node).count(lost), counted=f"{lost} task")


@attrs.frozen(slots=True, kw_only=True)
class TaskChange:
    """One change of tasks, or of whole blocks."""

    did: str
    operation: Mapping[str, object]
    then: Mapping[str, object] | None = None
    after: Callable[[TaskNode], str] = lambda _task: ""
    """Why it did not take; '' if it did."""
    danger: Callable[[TaskNode], bool] | None = None
    """Whether the work of a task is lost. None: it is no danger."""
    counted: str = ""


def make_task_restart(which: str) -> TaskChange:
    """The change of tasks by ``restart`` with one of its options."""
    operation, lost = RESTARTS[which]
    tests: Mapping[str, Callable[[TaskNode], bool]] = {
        "done": lambda task: "DON" in task.states,
        "running": lambda task: task.running,
    }
    return TaskChange(
        did="restarted",
        operation={"type": operation},
        danger=tests.get(lost),
        counted=f"{lost} task",
    )


_SKIP = TaskChange(
    did="skipped",
    operation={"type": "skip"},
    # One that runs is skipped when its render has closed it; one that is done stays done.
    after=_if(lambda task: not {"SKP", "DON"} & {*task.states}, "it is not skipped"),
)

TASK_CHANGES: Mapping[str, TaskChange] = {
    "skip": _SKIP,
    "retry": TaskChange(
        did="retried",
        operation={"type": "restart_errors"},
        then={"type": "reset_error_hosts"},
    ),
    "skipped=true": _SKIP,
    "skipped=false": make_task_restart("skipped"),
    "done=true": TaskChange(
        did="set done",
        operation={"type": "done"},
        after=_if(lambda task: "DON" not in task.states and not task.running, "it is not done"),
    ),
    "done=false": make_task_restart("done"),
    "suspended=true": TaskChange(
        did="suspended",
        operation={"type": "suspend"},
        after=_if(lambda task: "SUS" not in task.states and not task.over, "it is not suspended"),
    ),
    "suspended=false": TaskChange(
        did="continued",
        operation={"type": "continue"},
        after=_if(lambda task: "SUS" in task.states, "it is still suspended"),
    ),
    "next=true": TaskChange(
        did="put first",
        operation={"type": "trynext", "mode": "append"},
        after=_if(
            lambda task: not ("TRY" in task.states or task.running or task.over),
            "it is not tried next",
        ),
    ),
    "next=false": TaskChange(
        did="put back in order",
        operation={"type": "trynext", "mode": "remove"},
        after=_if(lambda task: "TRY" in task.states, "it is still tried next"),
    ),
}
"""Verb, or setting of a task, -> what is done."""
