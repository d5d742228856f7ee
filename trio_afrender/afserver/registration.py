"""Registration of a render: continue under the id that the server still has online, or register.

A register is refused while the server counts the name as online, and that lasts for a zombie time
(16 s by default) after a crash or a lost answer. So a render that may be online asks the server
first, over JSON, and continues under its old id without a register if the server agrees.
"""

from __future__ import annotations

import logging

import attrs
import trio

from trio_afrender.afserver.link_state import LinkState
from trio_afrender.afserver.pacing import resolve
from trio_afrender.afserver.requests import AfserverRequests
from trio_afrender.afserver.run_ids import RegisterResult, RunIds
from trio_afrender.afserver.server_view import RegistrationStatus, check_registration
from trio_afrender.afserver.task_updates import make_register
from trio_afrender.config import Timing
from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.protocol.afanasy import RenderId
from trio_afrender.protocol.messages import NIMBY, NIMBY_OWNER, ONLINE, PAUSED, Refused, Register
from trio_afrender.text import printable

__all__ = ("Registration",)


EXIT_ID = -2
"""The id in an answer that refuses the name. -1 means: register again."""
_REFUSED_INTERVAL = 60.0
"""Seconds until a pause, or its end, that the server has refused is requested again."""
_NEW_RENDER_TEXT = "New render registered"


class Registration:
    """Registers one render on one server, and sets its nimby and paused states there."""

    def __init__(self, requests: AfserverRequests, state: LinkState, timing: Timing) -> None:
        self.registered_as: Register = Register(name="")
        self._requests = requests
        self._state = state
        self._timing = timing
        self._nimby: int | None = None
        """The configured nimby state, until it has been requested; None: nothing to request."""

    def note_state(self, state: int) -> None:
        """Take the state bits that the render reports; `sync_states` requests them."""
        self._state.pausing = bool(state & PAUSED)
        if not self._state.pausing and not self._state.nimby_sent:
            self._nimby = state & (NIMBY_OWNER | NIMBY)

    async def register(self, register: Register, runs: RunIds) -> RegisterResult | Refused:
        """Register with the tasks of `runs`, or continue under the old id."""
        self.registered_as = register
        self.note_state(register.state)
        identity, view = self._state.identity, None
        status = RegistrationStatus.OFFLINE
        # Without an old registration and without runs there is nothing to continue.
        if identity.time_launch or runs.tasks:
            await self._requests.settle()
            try:
                view = await self._requests.server_view(identity.id, register.name)
            except ProtocolError as error:
                self._state.log(logging.WARNING, f"{error}; registering anew")
            else:
                status = check_registration(view, identity.id, identity.time_launch)
                if status is RegistrationStatus.TAKEN and runs.tasks:
                    # The program that stored the id, a gateway for example, may have an old one. A
                    # render that has runs in hand was registered with its present launch time, so
                    # name and launch time are proof enough.
                    status = check_registration(view, 0, register.time_launch)
        if status is RegistrationStatus.OURS and view is not None:
            text = f"{self._requests.url}: continuing as render {view.id}"
            self._state.log(logging.INFO, text)
            await self._state.save_identity(
                server=self._requests.url,
                name=register.name,
                id=view.id,
                time_launch=view.time_launch,
            )
            # An exec may be waiting in the server's next answer, which is requested at once.
            self._state.pace.next = trio.current_time()
            result = runs.continue_runs(view)
        else:
            listed = status is not RegistrationStatus.UNKNOWN
            answer = await self._send_register(runs, listed=listed)
            if isinstance(answer, Refused):
                return answer
            result = answer
        self._state.unconfirmed_since = None
        if self._nimby is not None and result.registered.log.startswith(_NEW_RENDER_TEXT):
            self._nimby, self._state.nimby_sent = None, True
        await self.sync_states()
        return result

    async def sync_states(self) -> None:
        """Request the configured nimby state once; pause this render while `LinkState.pausing` is set."""
        # A server that has the name ignores the state in a register, so an action sets it, once in the
        # life of this render. Later the administrator's changes count
        # (test_the_configured_nimby_counts_for_a_known_name_too).
        nimby, self._nimby = self._nimby, None
        if nimby is not None:
            name = "NIMBY" if nimby & NIMBY else "nimby"
            # What is refused is requested again at the next register.
            self._state.nimby_sent = not nimby or await self._set_param(name, on=True)
        await self._sync_pause()

    async def _sync_pause(self) -> None:
        state = self._state
        refused, again_at = state.pause_refused
        if state.pausing == refused and trio.current_time() < again_at:
            return
        if state.pausing and not state.paused:
            before = state.identity.paused
            # Stored before the request: the server keeps a pause for ever, so if this agent is
            # killed in between, the next one has to know that it must undo it
            # (test_a_pause_that_could_not_be_undone_is_undone_at_the_next_register).
            await state.save_identity(paused=True)
            if await self._set_param("paused", on=True):
                state.paused = True
            else:
                self._note_refusal()
                await state.save_identity(paused=before)
        elif not state.pausing and state.identity.paused:
            if await self._set_param("paused", on=False):
                # First: the next link pauses only what it does not take for paused.
                state.paused = False
                await state.save_identity(paused=False)
            else:
                # It stays stored, so that the next agent asks again, too.
                self._note_refusal()

    def _note_refusal(self) -> None:
        again_at = trio.current_time() + _REFUSED_INTERVAL
        self._state.pause_refused = (self._state.pausing, again_at)

    async def _send_register(self, runs: RunIds, *, listed: bool) -> RegisterResult | Refused:
        """Register, with the tasks of `runs` only if `listed`."""
        # A server that does not have the name does not resume the tasks of a register. It attaches
        # them to the new render for ever, where they count against its task limit.
        message = make_register(self.registered_as, runs.tasks if listed else ())
        if self._state.pausing:
            # The server keeps the state of a new name for ever, so one that passes is not sent.
            message = attrs.evolve(message, state=ONLINE)
        # Stored before the request: if its answer is lost, name and launch time alone identify this
        # render in the server's list (test_a_lost_answer_to_a_register_is_not_a_taken_name).
        await self._state.save_identity(
            server=self._requests.url,
            name=self.registered_as.name,
            id=0,
            time_launch=self.registered_as.time_launch,
        )
        answer = await self._requests.send_update(message)
        if isinstance(answer, RenderId):
            raise ProtocolError(
                f"{self._requests.url}: answers a register with the id {answer.id} alone"
            )
        if answer.id == EXIT_ID:
            # The name may be this render's own former connection. The real render exits here; this
            # one reports the refusal, and the session tries again for two zombie times.
            await self._state.save_identity(time_launch=0)
            text = f"{self._requests.url}: {printable(answer.log)}"
            return Refused(reason="name-taken", text=text, retry_after=self._state.pace.zombie / 4)
        if answer.id <= 0:
            raise LinkLost(f"{self._requests.url}: {printable(answer.log)}", register_now=True)
        await self._state.save_identity(id=answer.id)
        # The log text alone tells whether the name was new to the server, which then resumed
        # nothing although tasks were listed.
        is_new = answer.log.startswith(_NEW_RENDER_TEXT)
        result = runs.registered(answer, listed=listed and not is_new)
        settings = resolve(answer, self._timing)
        self._state.pace.change(settings)
        self._state.pace.exchanged(trio.current_time())
        return attrs.evolve(result, registered=attrs.evolve(result.registered, **settings))

    async def _set_param(self, param: str, *, on: bool) -> bool:
        """Request a state of this render; return whether the server has not refused it."""
        user, host = self.registered_as.user_name, self.registered_as.host_name
        return await self._requests.act(self._state.identity.id, {param: on}, user=user, host=host)
