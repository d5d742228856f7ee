"""After an agent was killed: its outcomes are still to be delivered, its runs are to be given back."""

from __future__ import annotations

import logging

from trio_afrender.agent.agent_dependencies import AgentDependencies
from trio_afrender.agent.outbox import Outbox
from trio_afrender.protocol.messages import Reason, TaskExec, TaskStatus, TaskUpdate
from trio_afrender.task.tools import TaskDependencies
from trio_afrender.tasklog.redact import Redactor, find_secrets

__all__ = ("recover",)

logger = logging.getLogger(__name__)


async def recover(
    outside: AgentDependencies, outbox: Outbox, tools: TaskDependencies
) -> tuple[TaskExec, ...]:
    """Fill `outbox` with what the journal holds; return the runs that go on.

    Other runs without an outcome get one: given back. Their processes have been ended by then. What
    they printed goes along.
    """
    held = outside.journal.held
    outbox.restore(held)
    if held.outcomes:
        logger.info("%s results of an earlier agent are still to be delivered", len(held.outcomes))
    going_on = tuple(task for task in held.unfinished if task.run in outside.inherited.runs)
    for task in going_on:
        outbox.continue_numbering(task.run, int(tools.wall() * 1000))
    for task in held.unfinished:
        if task in going_on:
            continue
        logger.warning("task %s (%s) lost its agent: given back", task.key, task.name)
        update = await _give_back(task, outside, tools)
        outbox.put_log(task.run, "The agent was killed while the task ran: given back.\n")
        outbox.put_outcome(update, task)
    return going_on


async def _give_back(
    task: TaskExec, outside: AgentDependencies, tools: TaskDependencies
) -> TaskUpdate:
    secrets = (
        *tools.environment.secrets,
        *find_secrets(task.environment, tools.environment.redact),
    )
    now = tools.wall()
    text = "the agent was killed while the task ran"
    why = [Reason(time=now, event="crash", text=text)]
    if outside.inherited.strays:
        text = "what that agent had started was ended before this one began"
        why.append(Reason(time=now, event="sweep", text=text, pids=outside.inherited.strays))
    return TaskUpdate(
        run=task.run,
        **task.key._asdict(),
        status=TaskStatus.GiveBack,
        output=await outside.read_left(task, Redactor(secrets)),
        finished=now,
        why=tuple(why),
    )
