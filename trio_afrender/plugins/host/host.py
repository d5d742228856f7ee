"""One plugin host from its start to its end: the calls under way, and what ends it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
import trio

from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import ProtocolError
from trio_afrender.plugins.host.calls import (
    Answer,
    Asked,
    Caller,
    LifeOver,
    Limits,
    MovedError,
    Request,
    Trouble,
    read_answer,
)
from trio_afrender.plugins.host.connection import HostProcess
from trio_afrender.plugins.host.fault_attribution import PATIENCE, CallView, find_burner, find_hung
from trio_afrender.plugins.host.host_protocol import error_from, settings_to
from trio_afrender.plugins.host.plugin_threads import Threads

__all__ = ("HostLife",)

logger = logging.getLogger(__name__)

HESITATION = 0.015
"""Seconds after which a call is slow and the host is asked for a sign of life, and after which that
is late."""
QUIET = 0.25
"""Seconds without a sign of life that are too many even if nothing in the host seems to run."""
STARVED = 0.3
"""Share of the time below which a thread that could run is not let run."""


class HostLife:
    """Made for one `HostProcess`. `run` serves it until something is wrong."""

    def __init__(
        self,
        process: HostProcess,
        limits: Limits,
        *,
        ward: bool = False,
        changed: Callable[[], None],
    ) -> None:
        self.process = process
        self.ward = ward
        """Whether it is for runs whose calls are made alone."""
        self.turn = trio.Lock()
        """Held during a call in a ward."""
        self.silent = False
        """Whether it does not answer at the moment."""
        self.crowded = False
        """Whether a call that takes long keeps the others from running well."""
        self.greeted = trio.Event()
        """Set when the host is up. `changed` is called then, and whenever the above changes."""
        self.judged = trio.Event()
        """Set when it is over and it has been decided whose fault that was."""
        self.trouble: Trouble | None = None
        self._ended = trio.Event()
        self._exited = trio.Event()
        self._changed = changed
        self._limits = limits
        self._asked: dict[int, Asked] = {}
        self._threads = Threads()
        self._number = 0
        self._rest = trio.CancelScope()
        """Of who looks after slow calls: ends when one may have become slow."""
        self._ping: tuple[int, float] | None = None
        self._pinged = -math.inf
        self._used: dict[int, float] = {}  # by run: processor time when last asked for life
        self._used_at = 0.0
        self._resident = 0

    @property
    def over(self) -> bool:
        return self.trouble is not None

    @property
    def idle(self) -> bool:
        """Whether it has been used, holds nobody's objects any more and nothing is under way."""
        return self._number > 0 and not self._threads and not self._asked

    @property
    def load(self) -> int:
        """How many calls are under way."""
        return len(self._asked)

    def active(self) -> list[Caller]:
        """Whose calls are under way."""
        return [asked.caller for asked in self._asked.values() if not asked.moved]

    def fail(self, trouble: Trouble) -> None:
        """Say that the host is of no further use; the first to say so gives the reason."""
        if self.trouble is None:
            self.trouble = trouble
            self._ended.set()
            self._changed()

    def release(self) -> None:
        """Let everybody go who still waits for an answer, after the judgement."""
        self.judged.set()
        for asked in tuple(self._asked.values()):
            asked.tell()

    async def run(self, settings: PluginSettings, folders: Sequence[Path]) -> Trouble:
        """Serve the host until it must be ended; return why."""
        async with trio.open_nursery() as nursery:
            listened = trio.Event()
            nursery.start_soon(self._listen, listened)
            nursery.start_soon(self.process.write)
            nursery.start_soon(self._receive)
            nursery.start_soon(self._watch_process)
            nursery.start_soon(self._watch_calls)
            self._send(
                {
                    "op": "setup",
                    "settings": settings_to(settings),
                    "folders": [str(folder) for folder in folders],
                    "memory": self._limits.memory,
                }
            )
            with trio.move_on_after(self._limits.start):
                await self._wait_first(self.greeted, self._ended)
            if not self.greeted.is_set():
                self.fail(Trouble(f"did not come up within {self._limits.start:g} s"))
            await self._ended.wait()
            trouble = await self._explain(listened)
            nursery.cancel_scope.cancel()
        return trouble

    # -- calls ----------------------------------------------------------------------------------

    async def ask(self, caller: Caller, request: Request) -> Answer:
        """Make a call and wait for the answer. Raises `LifeOver`, `ProtocolError`.

        Whoever calls must stay until it returns: a call under way is never given up.
        """
        answered = trio.Event()
        asked = self.ask_soon(caller, request, lambda _: answered.set())
        await answered.wait()
        if asked.moved:
            raise MovedError
        if asked.answer is None:
            raise LifeOver
        return asked.answer

    def ask_soon(self, caller: Caller, request: Request, then: Callable[[Asked], None]) -> Asked:
        """Make a call and go on; `then` is called when it is over. Raises as `ask`."""
        if self.over:
            raise LifeOver
        self._number += 1
        number = self._number
        message = {"id": number, "op": request.op, "run": caller.number, **request.fields}
        fresh = caller.number not in self._threads
        if fresh:
            message["thread"] = self._threads.next
        self._send(message)
        if fresh:  # not before: a message that is too large is not sent
            self._threads.take(caller.number)
        asked = Asked(caller, request, trio.current_time(), then)
        if not self._asked:
            self._rest.deadline = asked.started + HESITATION
        self._asked[number] = asked
        return asked

    def forget(self, caller: Caller) -> None:
        """Let the host drop a run's objects, before it does anything else. Does not wait."""
        if caller.number in self._threads:
            end = self._threads.give_back(caller.number)
            if not self.over:
                self.process.send_later({"op": "close", "run": caller.number, "end": end})

    def _send(self, message: Mapping[str, object]) -> None:
        self.process.send(message)

    # -- what comes back ------------------------------------------------------------------------

    async def _receive(self) -> None:
        try:
            while not self.over and (messages := await self.process.receive()):
                for message in messages:
                    self._take(message)
        except ProtocolError as error:
            self.fail(Trouble(f"answered nonsense: {error}", died=True))
            return
        # It has closed its end, as a rule by dying: see how it ends before it is killed.
        with trio.move_on_after(self._limits.exit):
            await self._exited.wait()
        self.fail(Trouble("died", died=True))

    def _take(self, message: Mapping[str, object]) -> None:
        """One message of the host. Raises `ProtocolError`."""
        if "hello" in message:
            self.greeted.set()
            self._changed()
            return
        if "thread" in message:
            match message["thread"]:
                case [int(thread), int(native), int(ident)]:
                    self._threads.name(thread, native, ident)
                case _:
                    raise ProtocolError("a thread without its numbers")
            return
        number = message.get("id")
        if self._ping is not None and number == self._ping[0]:
            self._ping = None
            if self.silent:
                self.silent = False
                self._changed()
            return
        asked = self._asked.get(number) if isinstance(number, int) else None
        if asked is None:
            raise ProtocolError("an answer to what nobody asked")
        if "error" in message:
            asked.answer = Answer(error=error_from(message["error"]))
        else:
            asked.answer = read_answer(asked.request, message)
        assert isinstance(number, int)  # noqa: S101 - it was a key
        del self._asked[number]
        if not self._asked:
            self._rest.deadline = math.inf
        if asked.moved:
            self._changed()  # it may be idle now
            return
        if message.get("ours") is True:
            self._threads.trust(asked.caller.number)
        if isinstance(resident := message.get("resident"), int):
            self._weigh(resident, asked.caller)
        asked.tell()

    async def _listen(self, over: trio.Event) -> None:
        await self.process.listen()
        over.set()

    # -- what goes wrong ------------------------------------------------------------------------

    async def _watch_process(self) -> None:
        await self.process.exited()
        self._exited.set()
        # What it answered before it died is still in the socket: `_receive` ends at its end.
        await trio.sleep(self._limits.exit)
        self.fail(Trouble("died", died=True))

    async def _watch_calls(self) -> None:
        """Look after calls that take long; sleep while there are none."""
        while True:
            with trio.CancelScope() as self._rest:
                self._rest.deadline = self._eldest() + HESITATION
                await trio.sleep_forever()
            if trio.current_time() - self._eldest() < HESITATION:
                continue  # the one that this was for has been answered
            while self._asked:
                self._look(trio.current_time())
                await trio.sleep(self._until_next_look(trio.current_time()))
            if self.crowded:
                self.crowded = False
                self._changed()

    def _eldest(self) -> float:
        """When the call was made that has been under way for longest."""
        return next((asked.started for asked in self._asked.values()), math.inf)

    def _until_next_look(self, now: float) -> float:
        if self._ping is not None and now - self._ping[1] < QUIET:
            return HESITATION
        return max(HESITATION, self._pinged + self._limits.look - now)

    def _look(self, now: float) -> None:
        self._weigh(self.process.resident())
        silent = 0.0 if self._ping is None else now - self._ping[1]
        if silent >= PATIENCE * self._limits.time:
            self.fail(Trouble("does not answer, and nothing in it seems to run", died=True))
            return
        views = [self._view(asked, now) for asked in self._asked.values()]
        hung = find_hung(views, silent=silent, limit=self._limits.time)
        if hung is not None:
            what = "holds the interpreter lock" if silent else "does not come back"
            op = next(a.request.op for a in self._asked.values() if a.caller.number == hung)
            age = max(view.age for view in views if view.run == hung)
            self.fail(Trouble(f"the call {op} {what} after {age:.1f} s", hung))
        elif self._ping is not None:
            self._consider_silence(views, silent)
        elif now - self._pinged >= self._limits.look:
            self._consider_crowd(views, now)
            self._ask_for_life(now)

    def _consider_silence(self, views: Sequence[CallView], silent: float) -> None:
        """Let those go elsewhere who only wait for another's call."""
        burner = find_burner(views, HESITATION / 2)
        if not self.silent and silent >= (HESITATION if burner is not None else QUIET):
            self.silent = True
            self._changed()
        if self.silent:
            for asked in tuple(self._asked.values()):
                innocent = (
                    asked.started > self._pinged
                    if burner is None
                    else asked.caller.number != burner
                )
                if innocent and not asked.moved and silent >= asked.caller.patience:
                    asked.moved = True
                    self._threads.distrust(asked.caller.number)
                    asked.tell()

    def _consider_crowd(self, views: Sequence[CallView], now: float) -> None:
        enough = STARVED * (now - self._used_at)
        crowded = any(view.age >= self._limits.look and view.cpu >= enough for view in views)
        if crowded != self.crowded:
            self.crowded = crowded
            self._changed()

    def _ask_for_life(self, now: float) -> None:
        """Ask for a sign of life, and note what the threads have used until now."""
        self._number += 1
        self._ping = (self._number, now)
        self._pinged = self._used_at = now
        self._used = {a.caller.number: self._thread_of(a)[0] for a in self._asked.values()}
        self._send({"id": self._number, "op": "ping"})

    def _view(self, asked: Asked, now: float) -> CallView:
        run = asked.caller.number
        cpu, ready = self._thread_of(asked)
        # Of a call that came after the last sign of life was asked for we know from now on.
        used = cpu - self._used.setdefault(run, cpu)
        starved = ready and used < STARVED * (now - self._used_at)
        return CallView(run, now - asked.started, used, starved)

    def _thread_of(self, asked: Asked) -> tuple[float, bool]:
        return self.process.thread(self._threads.ids(asked.caller.number)[0])

    def _weigh(self, resident: int, *callers: Caller) -> None:
        """Take note of the host's memory; blame those whose calls were made when it grew."""
        callers = (*callers, *(asked.caller for asked in self._asked.values()))
        grown = resident - (self._resident or resident)
        self._resident = resident
        for caller in callers:
            caller.grown += grown / len(callers)
        if resident > self._limits.memory:
            worst = max(callers, key=lambda caller: caller.grown, default=None)
            sure = worst is not None and worst.grown > self._limits.memory / 2
            text = (
                f"the plugin host has grown to {resident // 2**20} MiB, more than the "
                f"{self._limits.memory // 2**20} MiB of the setting plugin_memory"
            )
            self.fail(Trouble(text, worst.number if worst is not None and sure else None))

    async def _explain(self, listened: trio.Event) -> Trouble:
        """The trouble with what can be learned from a process that is about to be ended."""
        trouble = self.trouble
        assert trouble is not None  # noqa: S101 - `_ended` was set with it
        if trouble.run is not None and trouble.run in self._threads:
            where = await self.process.where_is(self._threads.ids(trouble.run)[1])
            return attrs.evolve(trouble, details=where)
        with trio.move_on_after(self._limits.exit):
            await listened.wait()
        return attrs.evolve(trouble, details=self.process.printed)

    @staticmethod
    async def _wait_first(*events: trio.Event) -> None:
        async with trio.open_nursery() as nursery:

            async def wait(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            for event in events:
                nursery.start_soon(wait, event)
