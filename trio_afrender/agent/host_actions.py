"""Actions of an agent on its host beside tasks: launched commands, sleep, the notice command."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from trio_afrender.agent.agent_dependencies import AgentDependencies
from trio_afrender.config import Config
from trio_afrender.errors import AfRenderError, SpawnError
from trio_afrender.plugins.interfaces import PluginSpec
from trio_afrender.process.command_result import CommandResult
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.task.task_info import make_task_info

__all__ = ("HostActions",)

logger: logging.Logger = logging.getLogger(__name__)

SLEEP_LIMIT = 60.0
"""Seconds of being awake after the end of the command to sleep; then the host does not sleep."""
MAX_REASON = 200
"""Characters of the notice command's output that a drain's reason contains."""


class HostActions:
    """Runs commands with the configured shell. Commands are started only while `run` runs."""

    def __init__(
        self,
        config: Config,
        dependencies: AgentDependencies,
        *,
        registrations: Callable[[], int],
        still_awake: Callable[[str], None],
    ) -> None:
        """`still_awake` is called with the reason if the server ordered the host to sleep and it
        does not; `registrations` returns how often the agent has registered."""
        self._config = config
        self._registrations = registrations
        self._still_awake = still_awake
        self._dependencies = dependencies
        self._nursery: trio.Nursery | None = None
        self._sleeps = 0

    async def run(self, drain: Callable[[str], None]) -> None:
        """Run actions until cancelled. Launched commands survive the cancellation."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                if self._config.notice_command:
                    await self._watch_notice(drain)
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def launch(self, command: str) -> None:
        """Start `command` detached, and log its exit code if the agent still runs then."""
        if self._nursery is not None:
            self._nursery.start_soon(self.launched, command)

    async def launched(self, command: str) -> str:
        """Start `command` detached and wait for it; return why it failed, '' if it exits with 0.

        After a cancellation the command keeps running.
        """
        logger.info("launching: %s", command)
        try:
            code = await self._dependencies.spawn_detached((*self._config.shell, command))
        except SpawnError as error:
            problem = str(error)
        except OSError as error:
            # No thread is left that waits for its end. That must not end the other actions.
            problem = f"{command}: {error.strerror or error}"
        else:
            level = logging.INFO if code == 0 else logging.WARNING
            logger.log(level, "launched command ended with %s: %s", code, command)
            return "" if code == 0 else f"ended with {code}: {command}"
        logger.warning("%s", problem)
        return problem

    def sleep(self, render: str) -> None:
        """Run the command that the Wake-on-LAN service makes from `render` (JSON)."""
        if self._nursery is not None:
            self._nursery.start_soon(self._sleep, render)

    async def _sleep(self, render: str) -> None:
        self._sleeps += 1
        registrations, service = self._registrations(), self._config.sleep_service
        # The service gets a task as from the server's own job (WORKING_DIRECTORY "SLEEP" is how
        # Afanasy's service recognizes it). The server does not know this run.
        task = TaskExec(
            run=f"sleep-{self._sleeps}",
            job=0,
            block=0,
            task=0,
            service=service,
            command_block=render,
            working_directory="SLEEP",
        )
        try:
            try:
                async with self._dependencies.open_run_folder(task) as run_folder:
                    info = make_task_info(task, run_folder.files_dir)
                    spec = PluginSpec(service=service, parser="", task_info=info)
                    opening = self._dependencies.plugins.open_task(spec, run_folder.log)
                    async with opening as plugins:
                        command = plugins.facts.command
                        log = plugins.facts.log.strip() or "no log"
            finally:
                await self._dependencies.remove_run_folders([task])
        except (AfRenderError, OSError) as error:
            # Whatever fails here, a host without descriptors too: the server has to know.
            logger.warning("cannot sleep: %s", error)
            reason = str(error)
        else:
            if command.strip():
                reason = await self.launched(command)
            else:
                logger.error('the service "%s" makes no command: %s', service, log)
                reason = f'the service "{service}" makes no command: {log}'
        # The server counts the render as asleep and gives it no tasks until it registers again.
        if reason:
            self._still_awake(reason)
            return
        # A host that has slept for longer than the zombie time of the server registers again, and
        # its clock is suspended with it.
        await trio.sleep(SLEEP_LIMIT)
        if self._registrations() == registrations:
            self._still_awake(f"the host is awake {SLEEP_LIMIT:g} s after the command to sleep")

    async def _watch_notice(self, drain: Callable[[str], None]) -> None:
        """Run the notice command every `Timing.notice` until it exits with 0, then drain."""
        period, last_problem = self._config.timing.notice, ""
        argv = (*self._config.shell, self._config.notice_command)
        while True:
            try:
                result = await self._dependencies.ask(argv, period)
            except SpawnError as error:
                result = CommandResult(None, str(error))
            if result.code == 0:
                text = result.text.strip().partition("\n")[0][:MAX_REASON]
                drain(f"notice command: {text}" if text else "notice command")
                return
            # Any other exit code means "no notice". A command that cannot run is logged once.
            problem = "" if result.code is not None else result.text or f"no answer in {period:g} s"
            if problem and problem != last_problem:
                logger.warning("the notice command: %s", problem)
            last_problem = problem
            await trio.sleep(period)
