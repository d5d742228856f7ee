"""The parent of one tree: adopts its orphans, reads its output, ends it, and proves that it is empty.

It answers one agent at a time over a socket, with its whole state whenever that changed. Without an
agent it goes on for `LaunchSpec.agent_timeout`, then stops the tree and leaves word of it in the record.

Everything is decided in one loop around `poll`; what is forked here is one leader, and nobody else.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import time
from dataclasses import dataclass

from trio_afrender.message_framing import FrameError
from trio_afrender.supervisor.cgroup import Cgroup
from trio_afrender.supervisor.channel import Channel
from trio_afrender.supervisor.output_capture import OutputCapture
from trio_afrender.supervisor.paths import remove_socket, write_end
from trio_afrender.supervisor.prctl import set_name
from trio_afrender.supervisor.process_tree import (
    collect,
    find_below,
    kill_groups,
    list_children,
    signal_below,
    stop_below,
)
from trio_afrender.supervisor.protocol import LaunchSpec, TreeState
from trio_afrender.supervisor.signal_pipe import SignalPipe
from trio_afrender.supervisor.spawn import StartError, start_process
from trio_afrender.supervisor.unix_sockets import peer_uid

__all__ = ("HostCapabilities", "TaskSupervisor")

OUTPUT_REPORT_INTERVAL = 0.02
"""Seconds between two states that tell of nothing but more output."""
DRAIN_TIMEOUT = 1.0
"""Seconds that a pipe may be held open by somebody outside of a tree that is empty."""
KILL_BACKOFF = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25)
"""Seconds between two KILLs to a tree that does not get empty; the last one repeats."""


@dataclass(frozen=True, slots=True)
class HostCapabilities:
    """What the supervisor found out once, for all trees."""

    cgroups: str = ""
    """The cgroup below which those of trees are made; empty: none may be made."""
    oom_scores: tuple[int, int] | None = None
    """What leaders get back, and what supervisor and parents have; None where they are not protected."""


class TaskSupervisor:
    """One tree's; `run` is all of its life. A process may be the parent of one tree after another."""

    def __init__(
        self,
        spec: LaunchSpec,
        *,
        agent: socket.socket,
        listener: socket.socket | None,
        outputs: tuple[int, ...],
        host: HostCapabilities,
        wakeup: SignalPipe,
        cgroup: Cgroup | None,
    ) -> None:
        """All that it is given is its own from then on, but for `wakeup`."""
        self._spec = spec
        self._channel: Channel | None = Channel(agent)
        self._listener = listener
        self._outputs = outputs  # the agent's own, to be handed on to the leader
        self._host = host
        self._wakeup = wakeup
        self._state = TreeState(parent=os.getpid(), cgroup=cgroup.folder if cgroup else "")
        self._outlet: OutputCapture | None = None
        self._cgroup = cgroup
        self._changed = False
        self._told = 0.0
        self._attended = time.monotonic()
        self._ending = False
        self._kills = 0
        self._kill_at = 0.0
        self._grace_until = float("inf")
        self._drain_until = float("inf")
        self._recorded = False
        self._released = False

    def run(self) -> None:
        """Start the tree and stay until it is empty and somebody knows of it."""
        set_name(f"af:{self._spec.record.rpartition('/')[0].rpartition('/')[2] or 'task'}")
        try:
            self._start()
        except StartError as error:
            self._fail({"number": error.number, "step": error.step})
            return
        except OSError as error:
            self._fail({"number": error.errno or 0, "step": "log"})
            return
        while not self._is_over():
            self._tell()
            self._wait()
            self._reap()
            if self._outlet is not None and self._outlet.drain():
                self._note_output()
            self._act()
        self._leave()

    # -- beginning and end ----------------------------------------------------------------------

    def _start(self) -> None:
        spec, outputs = self._spec, self._outputs
        if spec.log is not None:
            self._outlet = OutputCapture(spec.log)
            outputs = (self._outlet.writing,)
            self._note_output()
        else:
            self._state.eof = True  # not ours to read
        try:
            self._state.pid = start_process(spec, outputs, self._host.oom_scores)
        finally:
            for output in outputs:
                os.close(output)
        self._state.started = time.time()
        self._changed = True
        self._tell()  # before what may wait for others that change their cgroups
        if self._cgroup is not None:
            # A moment late: whom the leader has started by now is looked for as well.
            self._cgroup.take((self._state.pid, *list_children(self._state.pid)))

    def _fail(self, failure: dict[str, object]) -> None:
        if self._channel is not None:
            self._channel.put({"failed": failure})
            self._channel.flush(blocking=True)
        self._clear_away()

    def _is_over(self) -> bool:
        """Whether nothing is left to be done or told."""
        if not self._is_final():
            return False
        self._record()
        self._tell()  # here, or who has released us already would wait for ever
        if self._changed and self._channel is not None:
            return False
        return self._released or self._channel is None

    def _is_final(self) -> bool:
        return (
            self._state.empty
            and self._state.raw is not None
            and (self._state.eof or self._released or time.monotonic() >= self._drain_until)
        )

    def _record(self) -> None:
        """Leave word of the end where a later agent looks for it, before this one is told."""
        if self._recorded:
            return
        self._recorded = True
        if self._outlet is not None:
            self._outlet.finish()
            self._note_output()
        if self._cgroup is not None:
            self._state.peak = max(self._state.peak, self._cgroup.peak())
            self._state.oom_kills = self._cgroup.oom_kills()
        self._changed = True
        if self._spec.record:
            with contextlib.suppress(OSError):  # a full disk: the agent, if there is one, is told
                write_end(self._spec.record, self._state)

    def _leave(self) -> None:
        if self._channel is not None:
            self._channel.flush(blocking=True)
        self._clear_away()

    def _clear_away(self) -> None:
        if self._cgroup is not None:
            self._cgroup.remove()
        if self._outlet is not None:
            self._outlet.close()
        if self._listener is not None:
            remove_socket(self._spec.record)
            self._listener.close()
        if self._channel is not None:
            self._channel.close()

    # -- the loop -------------------------------------------------------------------------------

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wakeup.descriptor, select.POLLIN)
        if self._outlet is not None and self._outlet.descriptor >= 0:
            poll.register(self._outlet.descriptor, select.POLLIN)
        if self._listener is not None:
            poll.register(self._listener, select.POLLIN)
        if self._channel is not None:
            wanted = select.POLLIN | (select.POLLOUT if self._channel.waiting else 0)
            poll.register(self._channel, wanted)
        due = self._next_due() - time.monotonic()
        events = dict(poll.poll(None if due == float("inf") else max(0, due) * 1000 + 0.5))
        self._wakeup.clear()
        if self._wakeup.take_term():
            self._give_up(time.monotonic(), "somebody sent TERM to the parent of the tree")
        if self._listener is not None and self._listener.fileno() in events:
            self._accept()
        elif self._channel is not None and self._channel.fileno() in events:
            self._listen()

    def _next_due(self) -> float:
        due = min(self._grace_until, self._drain_until)
        if self._ending and not self._state.empty:
            due = min(due, self._kill_at)
        if self._channel is None:
            due = min(due, self._attended + self._spec.agent_timeout)
        elif self._changed and not self._channel.waiting:
            due = min(due, self._told + OUTPUT_REPORT_INTERVAL)
        return due

    def _act(self) -> None:
        """Do what the clock says."""
        now = time.monotonic()
        state = self._state
        if self._channel is None and not state.unattended and not state.empty:
            if now >= self._attended + self._spec.agent_timeout:
                text = "no agent came for it" if self._spec.agent_timeout else "its agent went away"
                self._give_up(now, f"{text} in {self._spec.agent_timeout:g} s")
            elif state.raw is not None and not self._ending:
                # Ended with nobody to ask: what it left behind is swept after the usual drain.
                self._grace_until = min(self._grace_until, now + DRAIN_TIMEOUT)
        if now >= self._grace_until:
            self._grace_until = float("inf")
            self._begin_end()
        if state.empty and not state.eof:
            self._drain_until = min(self._drain_until, now + DRAIN_TIMEOUT)
        if self._ending and not state.empty and now >= self._kill_at:
            self._kill()

    def _give_up(self, now: float, text: str) -> None:
        """Stop the tree by ourselves."""
        if self._state.unattended or self._state.empty:
            return
        self._state.unattended = text
        self._changed = True
        self._thaw()
        signal_below(signal.SIGTERM, signal.SIGCONT)
        self._grace_until = now + self._spec.grace

    # -- the agent ------------------------------------------------------------------------------

    def _accept(self) -> None:
        """Take the newest agent for the one that counts."""
        assert self._listener is not None  # noqa: S101 - polled just now
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            if peer_uid(sock) not in (os.getuid(), 0):
                sock.close()
                return
            self._drop_agent()
            self._channel = Channel(sock)
            self._changed, self._told = True, 0.0
            if not self._state.unattended:
                self._grace_until = float("inf")

    def _drop_agent(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._attended = time.monotonic()

    def _listen(self) -> None:
        channel = self._channel
        assert channel is not None  # noqa: S101 - polled just now
        try:
            for message in channel.receive():
                if (answer := self._obey(message)) is not None:
                    channel.put({"re": message.get("id"), **answer})
        except FrameError:
            self._drop_agent()
            return
        channel.flush()
        if channel.over:
            self._drop_agent()
            if not self._spec.record:
                self._begin_end()

    def _obey(self, message: dict[str, object]) -> dict[str, object] | None:
        match message.get("op"):
            case "term":
                self._thaw()
                return {"pids": self._named(signal_below(signal.SIGTERM, signal.SIGCONT))}
            case "kill":
                self._begin_end()
                return {"pids": self._named(self._kill())}
            case "members":
                return {"pids": self._named(find_below())}
            case "suspend":
                return {"pids": self._suspend()}
            case "resume":
                return {"pids": self._resume()}
            case "held":
                if self._outlet is None:
                    return {}
                return {"held": self._outlet.held.decode("latin-1"), "gone": self._outlet.gone}
            case "release":
                self._released = True
        return None

    def _named(self, pids: list[int]) -> list[int]:
        """The leader first."""
        return sorted(pids, key=lambda pid: pid != self._state.pid)

    def _tell(self) -> None:
        channel = self._channel
        if channel is None:
            self._changed = False
        elif self._changed and not channel.waiting and self._is_due():
            self._changed, self._told = False, time.monotonic()
            channel.put({"state": self._state.to_json()})
            channel.flush()

    def _is_due(self) -> bool:
        """States that tell of an end go at once, those of mere output now and then."""
        state = self._state
        return (
            state.raw is not None
            or state.empty
            or time.monotonic() >= self._told + OUTPUT_REPORT_INTERVAL
        )

    # -- the tree -------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Collect whoever ended. Nobody else here has children, so any child is ours to collect."""
        groups: dict[int, int] = {}
        while not self._state.empty:
            try:
                found = collect(groups if self._ending else None)
            except ChildProcessError:
                self._state.empty = self._changed = True
                return
            if found is None:
                return
            pid, raw, usage = found
            self._state.cpu += usage.ru_utime + usage.ru_stime
            # A process begins with the figure of whoever spawned it: less than ours says nothing.
            peak = usage.ru_maxrss * 1024
            if peak > max(
                self._state.peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            ):
                self._state.peak = peak
            if pid == self._state.pid:
                self._state.raw, self._state.ended = raw, time.time()
                self._changed = True

    def _begin_end(self) -> None:
        if not self._ending:
            self._ending = True
            self._kill_at = 0.0

    def _kill(self) -> list[int]:
        """One more KILL to all that is there, and whom; again soon, until nothing is."""
        begin = time.monotonic()
        pids = find_below()
        if self._cgroup is not None:
            self._cgroup.kill()
        kill_groups(pids)  # one of root's may have left the cgroup
        pause, now = KILL_BACKOFF[min(self._kills, len(KILL_BACKOFF) - 1)], time.monotonic()
        self._kills += 1
        # With a thousand members a look takes longer than their end: that is to be seen, too.
        self._kill_at = now + max(pause, now - begin)
        return pids

    def _suspend(self) -> list[int]:
        self._state.suspended = self._changed = True
        if self._cgroup is not None and self._cgroup.freeze(on=True):
            return self._named(find_below())
        return self._named(stop_below())

    def _resume(self) -> list[int]:
        pids = self._named(find_below())
        self._thaw()
        return pids

    def _thaw(self) -> None:
        if self._state.suspended:
            self._state.suspended, self._changed = False, True
            if self._cgroup is None or not self._cgroup.freeze(on=False):
                signal_below(signal.SIGCONT)

    def _note_output(self) -> None:
        if self._outlet is not None:
            self._outlet.tell(self._state)
            self._changed = True
