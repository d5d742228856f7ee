"""What an agent does for its host beside tasks: launched commands, sleep, the notice command."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from trio_afrender.agent.agent_dependencies import AgentDependencies
from trio_afrender.config import Config
from trio_afrender.errors import AfRenderError, SpawnError
from trio_afrender.plugins.interfaces import PluginSpec
from trio_afrender.process.host_commands import CommandResult
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.task.task_info import make_task_info

__all__ = ("HostActions",)

logger = logging.getLogger(__name__)

MAX_REASON = 200


class HostActions:
    """Starts commands by the configured shell. `run` must be running."""

    def __init__(
        self, config: Config, outside: AgentDependencies, awake: Callable[[], None]
    ) -> None:
        """`awake` is called when the host was told to sleep and does not."""
        self._config = config
        self._awake = awake
        self._outside = outside
        self._nursery: trio.Nursery | None = None
        self._sleeps = 0

    async def run(self, drain: Callable[[str], None]) -> None:
        """Carry errands until cancelled, which leaves launched commands running."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                if self._config.notice_command:
                    await self._watch_notice(drain)
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def launch(self, command: str) -> None:
        """Start `command` on its own and log how it ends, if we live to see it."""
        if self._nursery is not None:
            self._nursery.start_soon(self.launched, command)

    async def launched(self, command: str) -> bool:
        """Start `command` and wait for its end; cancelled, it goes on. Whether it ended well."""
        logger.info("launching: %s", command)
        try:
            code = await self._outside.spawn_detached((*self._config.shell, command))
        except SpawnError as error:
            logger.warning("%s", error)
            return False
        level = logging.INFO if code == 0 else logging.WARNING
        logger.log(level, "launched command ended with %s: %s", code, command)
        return code == 0

    def sleep(self, render: str) -> None:
        """Run what the Wake-on-LAN service makes of `render` (JSON) for going to sleep."""
        if self._nursery is not None:
            self._nursery.start_soon(self._sleep, render)

    async def _sleep(self, render: str) -> None:
        # A service is asked as for a task of the server's own job; nobody hears of this run.
        self._sleeps += 1
        service = self._config.sleep_service
        task = TaskExec(
            run=f"sleep-{self._sleeps}",
            job=0,
            block=0,
            task=0,
            service=service,
            command_block=render,
            working_directory="SLEEP",
        )
        command = ""
        try:
            async with self._outside.open_run_folder(task) as place:
                info = make_task_info(task, place.files_dir)
                spec = PluginSpec(service=service, parser="", task_info=info)
                async with self._outside.plugins.open_task(spec, place.log) as plugins:
                    command = plugins.facts.command
                    if not command.strip():
                        said = plugins.facts.log.strip() or "it says nothing"
                        logger.error('the service "%s" makes no command: %s', service, said)
            await self._outside.remove_places([task])
        except AfRenderError as error:
            logger.warning("cannot go to sleep: %s", error)
        if not (command.strip() and await self.launched(command)):
            self._awake()

    async def _watch_notice(self, drain: Callable[[str], None]) -> None:
        """Ask the notice command until it says yes once."""
        period, complaint = self._config.timing.notice, ""
        argv = (*self._config.shell, self._config.notice_command)
        while True:
            try:
                answer = await self._outside.ask(argv, period)
            except SpawnError as error:
                answer = CommandResult(None, str(error))
            if answer.code == 0:
                text = answer.text.strip().partition("\n")[0][:MAX_REASON]
                drain(f"the notice command says: {text}" if text else "the notice command says so")
                return
            said = "" if answer.code is not None else answer.text or f"no answer in {period:g} s"
            if said and said != complaint:
                logger.warning("the notice command: %s", said)
            complaint = said
            await trio.sleep(period)
