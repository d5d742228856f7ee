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
    Caller,
    CallLimits,
    HostDied,
    HostFailure,
    HostReply,
    MovedError,
    PendingCall,
    Request,
    read_answer,
)
from trio_afrender.plugins.host.connection import HostProcess
from trio_afrender.plugins.host.fault_attribution import (
    SLOW_CALL_FACTOR,
    CallView,
    find_cpu_hog,
    find_unresponsive,
)
from trio_afrender.plugins.host.host_protocol import dump_plugin_settings, load_error
from trio_afrender.plugins.host.plugin_threads import PluginThreads

__all__ = ("PluginHost",)

logger = logging.getLogger(__name__)

PING_AFTER = 0.015
"""Seconds after which a call is slow and the host is asked for a sign of life, and after which that
is late."""
SILENCE_LIMIT = 0.25
"""Seconds without a sign of life that are too many even if nothing in the host seems to run."""
MIN_CPU_SHARE = 0.3
"""Share of the time below which a thread that could run is not let run."""


class PluginHost:
    """Made for one `HostProcess`. `run` serves it until something is wrong."""

    def __init__(
        self,
        process: HostProcess,
        limits: CallLimits,
        *,
        ward: bool = False,
        changed: Callable[[], None],
    ) -> None:
        self.process = process
        self.quarantine = ward
        """Whether it is for runs whose calls are made alone."""
        self.turn = trio.Lock()
        """Held during a call in a ward."""
        self.unresponsive = False
        """Whether it does not answer at the moment."""
        self.overloaded = False
        """Whether a call that takes long keeps the others from running well."""
        self.ready = trio.Event()
        """Set when the host is up. `changed` is called then, and whenever the above changes."""
        self.judged = trio.Event()
        """Set when it is over and it has been decided whose fault that was."""
        self.trouble: HostFailure | None = None
        self._ended = trio.Event()
        self._exited = trio.Event()
        self._changed = changed
        self._limits = limits
        self._asked: dict[int, PendingCall] = {}
        self._threads = PluginThreads()
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

    def fail(self, trouble: HostFailure) -> None:
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

    async def run(self, settings: PluginSettings, folders: Sequence[Path]) -> HostFailure:
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
                    "settings": dump_plugin_settings(settings),
                    "folders": [str(folder) for folder in folders],
                    "memory": self._limits.memory,
                }
            )
            with trio.move_on_after(self._limits.start):
                await self._wait_first(self.ready, self._ended)
            if not self.ready.is_set():
                self.fail(HostFailure(f"did not come up within {self._limits.start:g} s"))
            await self._ended.wait()
            trouble = await self._explain(listened)
            nursery.cancel_scope.cancel()
        return trouble

    # -- calls ----------------------------------------------------------------------------------

    async def ask(self, caller: Caller, request: Request) -> HostReply:
        """Make a call and wait for the answer. Raises `LifeOver`, `ProtocolError`.

        Whoever calls must stay until it returns: a call under way is never given up.
        """
        answered = trio.Event()
        asked = self.ask_soon(caller, request, lambda _: answered.set())
        await answered.wait()
        if asked.moved:
            raise MovedError
        if asked.answer is None:
            raise HostDied
        return asked.answer

    def ask_soon(
        self, caller: Caller, request: Request, then: Callable[[PendingCall], None]
    ) -> PendingCall:
        """Make a call and go on; `then` is called when it is over. Raises as `ask`."""
        if self.over:
            raise HostDied
        self._number += 1
        number = self._number
        message = {"id": number, "op": request.op, "run": caller.number, **request.fields}
        fresh = caller.number not in self._threads
        if fresh:
            message["thread"] = self._threads.next
        self._send(message)
        if fresh:  # not before: a message that is too large is not sent
            self._threads.take(caller.number)
        asked = PendingCall(caller, request, trio.current_time(), then)
        if not self._asked:
            self._rest.deadline = asked.started + PING_AFTER
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
            self.fail(HostFailure(f"answered nonsense: {error}", died=True))
            return
        # It has closed its end, as a rule by dying: see how it ends before it is killed.
        with trio.move_on_after(self._limits.exit):
            await self._exited.wait()
        self.fail(HostFailure("died", died=True))

    def _take(self, message: Mapping[str, object]) -> None:
        """One message of the host. Raises `ProtocolError`."""
        if "hello" in message:
            self.ready.set()
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
            if self.unresponsive:
                self.unresponsive = False
                self._changed()
            return
        asked = self._asked.get(number) if isinstance(number, int) else None
        if asked is None:
            raise ProtocolError("an answer to what nobody asked")
        if "error" in message:
            asked.answer = HostReply(error=load_error(message["error"]))
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
            self._threads.mark_clean(asked.caller.number)
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
        self.fail(HostFailure("died", died=True))

    async def _watch_calls(self) -> None:
        """Look after calls that take long; sleep while there are none."""
        while True:
            with trio.CancelScope() as self._rest:
                self._rest.deadline = self._eldest() + PING_AFTER
                await trio.sleep_forever()
            if trio.current_time() - self._eldest() < PING_AFTER:
                continue  # the one that this was for has been answered
            while self._asked:
                self._look(trio.current_time())
                await trio.sleep(self._until_next_look(trio.current_time()))
            if self.overloaded:
                self.overloaded = False
                self._changed()

    def _eldest(self) -> float:
        """When the call was made that has been under way for longest."""
        return next((asked.started for asked in self._asked.values()), math.inf)

    def _until_next_look(self, now: float) -> float:
        if self._ping is not None and now - self._ping[1] < SILENCE_LIMIT:
            return PING_AFTER
        return max(PING_AFTER, self._pinged + self._limits.look - now)

    def _look(self, now: float) -> None:
        self._weigh(self.process.resident())
        silent = 0.0 if self._ping is None else now - self._ping[1]
        if silent >= SLOW_CALL_FACTOR * self._limits.time:
            self.fail(HostFailure("does not answer, and nothing in it seems to run", died=True))
            return
        views = [self._view(asked, now) for asked in self._asked.values()]
        hung = find_unresponsive(views, silent=silent, limit=self._limits.time)
        if hung is not None:
            what = "holds the interpreter lock" if silent else "does not come back"
            op = next(a.request.op for a in self._asked.values() if a.caller.number == hung)
            age = max(view.age for view in views if view.run == hung)
            self.fail(HostFailure(f"the call {op} {what} after {age:.1f} s", hung))
        elif self._ping is not None:
            self._consider_silence(views, silent)
        elif now - self._pinged >= self._limits.look:
            self._consider_crowd(views, now)
            self._ask_for_life(now)

    def _consider_silence(self, views: Sequence[CallView], silent: float) -> None:
        """Let those go elsewhere who only wait for another's call."""
        burner = find_cpu_hog(views, PING_AFTER / 2)
        if not self.unresponsive and silent >= (
            PING_AFTER if burner is not None else SILENCE_LIMIT
        ):
            self.unresponsive = True
            self._changed()
        if self.unresponsive:
            for asked in tuple(self._asked.values()):
                innocent = (
                    asked.started > self._pinged
                    if burner is None
                    else asked.caller.number != burner
                )
                if innocent and not asked.moved and silent >= asked.caller.time_limit:
                    asked.moved = True
                    self._threads.mark_unclean(asked.caller.number)
                    asked.tell()

    def _consider_crowd(self, views: Sequence[CallView], now: float) -> None:
        enough = MIN_CPU_SHARE * (now - self._used_at)
        crowded = any(view.age >= self._limits.look and view.cpu >= enough for view in views)
        if crowded != self.overloaded:
            self.overloaded = crowded
            self._changed()

    def _ask_for_life(self, now: float) -> None:
        """Ask for a sign of life, and note what the threads have used until now."""
        self._number += 1
        self._ping = (self._number, now)
        self._pinged = self._used_at = now
        self._used = {a.caller.number: self._thread_of(a)[0] for a in self._asked.values()}
        self._send({"id": self._number, "op": "ping"})

    def _view(self, asked: PendingCall, now: float) -> CallView:
        run = asked.caller.number
        cpu, ready = self._thread_of(asked)
        # Of a call that came after the last sign of life was asked for we know from now on.
        used = cpu - self._used.setdefault(run, cpu)
        starved = ready and used < MIN_CPU_SHARE * (now - self._used_at)
        return CallView(run, now - asked.started, used, starved)

    def _thread_of(self, asked: PendingCall) -> tuple[float, bool]:
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
            self.fail(HostFailure(text, worst.number if worst is not None and sure else None))

    async def _explain(self, listened: trio.Event) -> HostFailure:
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
