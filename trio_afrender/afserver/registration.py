"""How a render gets in: on as the one that the server still has online, or with a register."""

from __future__ import annotations

import logging

import attrs
import trio

from trio_afrender.afserver.link_state import LinkState
from trio_afrender.afserver.pacing import resolve
from trio_afrender.afserver.requests import AfserverRequests
from trio_afrender.afserver.run_ids import RegisterResult, RunIds
from trio_afrender.afserver.server_view import RegistrationStatus, ServerView, check_registration
from trio_afrender.afserver.task_updates import make_register
from trio_afrender.config import Timing
from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.protocol.afanasy import RenderId
from trio_afrender.protocol.messages import Refused, Register, TaskExec
from trio_afrender.transport.websocket_connection import printable

__all__ = ("NIMBY", "Registration")

_log = logging.getLogger(__name__)

EXIT_ID = -2
"""The id in an answer that refuses; -1 says: register again."""
NIMBY_OWNER, NIMBY = 2, 4
_NEW_RENDER_TEXT = "New render registered"


class Registration:
    """One render's way into one server, and what it asks for there besides tasks."""

    def __init__(self, desk: AfserverRequests, memory: LinkState, timing: Timing) -> None:
        self.registered_as = Register(name="")
        self._desk = desk
        self._memory = memory
        self._timing = timing

    async def register(self, register: Register, runs: RunIds) -> RegisterResult | Refused:
        """Get in with the tasks of `runs`."""
        self.registered_as = register
        standing, belief = await self._find_out(runs)
        if standing is RegistrationStatus.OURS and belief is not None:
            answer = await self._go_on(belief, runs)
        else:
            said = await self._say_register(runs, listed=standing is not RegistrationStatus.UNKNOWN)
            if isinstance(said, Refused):
                return said
            answer = said
        self._memory.unconfirmed_since = None
        await self._introduce(answer)
        return answer

    async def sync_pause(self) -> None:
        """Have the server pause us while we want no tasks, and no longer: it never forgets."""
        memory = self._memory
        if memory.pausing and not memory.paused:
            await memory.save_identity(
                paused=True
            )  # before it is: whoever comes after us undoes it
            await self._act("paused", on=True)
            memory.paused = True
        elif not memory.pausing and memory.identity.paused:
            await self._act("paused", on=False)
            await memory.save_identity(paused=False)
            memory.paused = False

    async def _find_out(self, runs: RunIds) -> tuple[RegistrationStatus, ServerView | None]:
        """Ask how we stand, if there is anything at all to go on with."""
        identity = self._memory.identity
        if not identity.time_launch and not runs.tasks:
            return RegistrationStatus.OFFLINE, None
        await self._desk.settle()
        try:
            belief = await self._desk.server_view(identity.id, self.registered_as.name)
        except ProtocolError as error:
            _log.warning("%s; registering anew", error)
            return RegistrationStatus.OFFLINE, None
        standing = check_registration(belief, identity.id, identity.time_launch)
        if standing is RegistrationStatus.TAKEN and runs.tasks:
            # Whoever kept our identity may have an old one; with runs of ours we were launched then.
            standing = check_registration(belief, 0, self.registered_as.time_launch)
        return standing, belief

    async def _go_on(self, belief: ServerView, runs: RunIds) -> RegisterResult:
        _log.info("%s: going on as render %s", self._desk.url, belief.id)
        await self._memory.save_identity(
            server=self._desk.url,
            name=self.registered_as.name,
            id=belief.id,
            time_launch=belief.time_launch,
        )
        self._memory.pace.next = trio.current_time()  # what was on its way is waited for
        return runs.continue_runs(belief)

    async def _say_register(self, runs: RunIds, *, listed: bool) -> RegisterResult | Refused:
        """Register, with our tasks only if `listed`: a server that does not know the name would
        keep them for ever as tasks that nobody runs."""
        message = make_register(self.registered_as, runs if listed else RunIds(_no_run))
        await self._memory.save_identity(
            server=self._desk.url,
            name=self.registered_as.name,
            id=0,
            time_launch=self.registered_as.time_launch,
        )
        said = await self._desk.send_update(message)
        if isinstance(said, RenderId):
            raise ProtocolError(f"{self._desk.url}: answers a register with the id {said.id} alone")
        if said.id == EXIT_ID:
            await self._memory.save_identity(time_launch=0)
            text = f"{self._desk.url}: {printable(said.log)}"
            return Refused(reason="name-taken", text=text, retry_after=self._memory.pace.zombie / 4)
        if said.id <= 0:
            raise LinkLost(f"{self._desk.url}: {printable(said.log)}", register_now=True)
        await self._memory.save_identity(id=said.id)
        answer = runs.registered(said, listed=listed and not said.log.startswith(_NEW_RENDER_TEXT))
        settings = resolve(said, self._timing)
        self._memory.pace.change(settings)
        self._memory.pace.exchanged(trio.current_time())
        return attrs.evolve(answer, registered=attrs.evolve(answer.registered, **settings))

    async def _introduce(self, answer: RegisterResult) -> None:
        """Tell the user's wish for nimby, once: a server that knows the name ignores it in a
        register, and later on its administrator's word counts."""
        wish = self.registered_as.state & (NIMBY_OWNER | NIMBY)
        if not self._memory.introduced and not self._memory.pausing:
            if wish and not answer.registered.log.startswith(_NEW_RENDER_TEXT):
                await self._act("NIMBY" if wish & NIMBY else "nimby", on=True)
            self._memory.introduced = True
        await self.sync_pause()

    async def _act(self, param: str, *, on: bool) -> None:
        user, host = self.registered_as.user_name, self.registered_as.host_name
        await self._desk.act(self._memory.identity.id, {param: on}, user=user, host=host)


def _no_run(_: TaskExec) -> str:
    raise AssertionError("nothing begins in a register without tasks")
