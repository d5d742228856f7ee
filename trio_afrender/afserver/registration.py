"""How a render gets in: on as the one that the server still has online, or with a register."""

from __future__ import annotations

import logging

import attrs
import trio

from trio_afrender.afserver.link_state import Memory
from trio_afrender.afserver.pacing import resolve
from trio_afrender.afserver.requests import Desk
from trio_afrender.afserver.run_ids import Answer, Runs
from trio_afrender.afserver.server_view import Belief, Standing, judge
from trio_afrender.afserver.task_updates import make_register
from trio_afrender.config import Timing
from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.protocol.afanasy import RenderId
from trio_afrender.protocol.messages import Refused, Register, TaskExec
from trio_afrender.transport.websocket_connection import printable

__all__ = ("NIMBY", "Entry")

_log = logging.getLogger(__name__)

EXIT = -2
"""The id in an answer that refuses; -1 says: register again."""
NIMBY_OWNER, NIMBY = 2, 4
_NEW = "New render registered"


class Entry:
    """One render's way into one server, and what it asks for there besides tasks."""

    def __init__(self, desk: Desk, memory: Memory, timing: Timing) -> None:
        self.register = Register(name="")
        self._desk = desk
        self._memory = memory
        self._timing = timing

    async def enter(self, register: Register, runs: Runs) -> Answer | Refused:
        """Get in with the tasks of `runs`."""
        self.register = register
        standing, belief = await self._find_out(runs)
        if standing is Standing.OURS and belief is not None:
            answer = await self._go_on(belief, runs)
        else:
            said = await self._say_register(runs, listed=standing is not Standing.UNKNOWN)
            if isinstance(said, Refused):
                return said
            answer = said
        self._memory.doubtful_since = None
        await self._introduce(answer)
        return answer

    async def align(self) -> None:
        """Have the server pause us while we want no tasks, and no longer: it never forgets."""
        memory = self._memory
        if memory.pausing and not memory.paused:
            await memory.remember(paused=True)  # before it is: whoever comes after us undoes it
            await self._act("paused", on=True)
            memory.paused = True
        elif not memory.pausing and memory.identity.paused:
            await self._act("paused", on=False)
            await memory.remember(paused=False)
            memory.paused = False

    async def _find_out(self, runs: Runs) -> tuple[Standing, Belief | None]:
        """Ask how we stand, if there is anything at all to go on with."""
        identity = self._memory.identity
        if not identity.time_launch and not runs.tasks:
            return Standing.OFFLINE, None
        await self._desk.settle()
        try:
            belief = await self._desk.believed(identity.id, self.register.name)
        except ProtocolError as error:
            _log.warning("%s; registering anew", error)
            return Standing.OFFLINE, None
        standing = judge(belief, identity.id, identity.time_launch)
        if standing is Standing.TAKEN and runs.tasks:
            # Whoever kept our identity may have an old one; with runs of ours we were launched then.
            standing = judge(belief, 0, self.register.time_launch)
        return standing, belief

    async def _go_on(self, belief: Belief, runs: Runs) -> Answer:
        _log.info("%s: going on as render %s", self._desk.url, belief.id)
        await self._memory.remember(
            server=self._desk.url,
            name=self.register.name,
            id=belief.id,
            time_launch=belief.time_launch,
        )
        self._memory.pace.next = trio.current_time()  # what was on its way is waited for
        return runs.go_on(belief)

    async def _say_register(self, runs: Runs, *, listed: bool) -> Answer | Refused:
        """Register, with our tasks only if `listed`: a server that does not know the name would
        keep them for ever as tasks that nobody runs."""
        message = make_register(self.register, runs if listed else Runs(_no_run))
        await self._memory.remember(
            server=self._desk.url,
            name=self.register.name,
            id=0,
            time_launch=self.register.time_launch,
        )
        said = await self._desk.tell(message)
        if isinstance(said, RenderId):
            raise ProtocolError(f"{self._desk.url}: answers a register with the id {said.id} alone")
        if said.id == EXIT:
            await self._memory.remember(time_launch=0)
            text = f"{self._desk.url}: {printable(said.log)}"
            return Refused(reason="name-taken", text=text, retry_after=self._memory.pace.zombie / 4)
        if said.id <= 0:
            raise LinkLost(f"{self._desk.url}: {printable(said.log)}", register_now=True)
        await self._memory.remember(id=said.id)
        answer = runs.registered(said, listed=listed and not said.log.startswith(_NEW))
        settings = resolve(said, self._timing)
        self._memory.pace.change(settings)
        self._memory.pace.exchanged(trio.current_time())
        return attrs.evolve(answer, registered=attrs.evolve(answer.registered, **settings))

    async def _introduce(self, answer: Answer) -> None:
        """Tell the user's wish for nimby, once: a server that knows the name ignores it in a
        register, and later on its administrator's word counts."""
        wish = self.register.state & (NIMBY_OWNER | NIMBY)
        if not self._memory.introduced and not self._memory.pausing:
            if wish and not answer.registered.log.startswith(_NEW):
                await self._act("NIMBY" if wish & NIMBY else "nimby", on=True)
            self._memory.introduced = True
        await self.align()

    async def _act(self, param: str, *, on: bool) -> None:
        user, host = self.register.user_name, self.register.host_name
        await self._desk.act(self._memory.identity.id, {param: on}, user=user, host=host)


def _no_run(_: TaskExec) -> str:
    raise AssertionError("nothing begins in a register without tasks")
