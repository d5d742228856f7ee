"""A task supervisor: adopts a tree's orphans, reads its output, ends it, proves that it is empty.

It serves one agent at a time over a socket, and sends its whole state after every change, so an agent
that connects late has missed nothing. Without an agent it continues for `LaunchSpec.agent_timeout`,
then stops the tree; in both cases it stores the last state at the record when the tree is over.

One loop around `poll` decides everything. The only process that is forked here is the leader: so
every other child of this process is an orphan of the tree.
"""

from __future__ import annotations

import contextlib
import logging
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
from trio_afrender.supervisor.listening_socket import ListeningSocket
from trio_afrender.supervisor.output_capture import OutputCapture
from trio_afrender.supervisor.paths import identify_socket, remove_socket, write_end
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
from trio_afrender.supervisor.run_folders import make_folders
from trio_afrender.supervisor.signal_pipe import SignalPipe
from trio_afrender.supervisor.spawn import StartError, start_process
from trio_afrender.supervisor.unix_sockets import BACKLOG
from trio_afrender.supervisor.user_spawn import start_as_user

__all__ = ("HostCapabilities", "TaskSupervisor")

logger: logging.Logger = logging.getLogger(__name__)

OUTPUT_REPORT_INTERVAL = 0.02
"""Seconds between two states that report nothing but more output."""
DRAIN_TIMEOUT = 1.0
"""Seconds for which a process outside an empty tree may hold its pipe open."""
MAX_FREEZE_ROUNDS = 50
"""How often members outside the frozen cgroup are looked for; one that cannot be moved stays there."""
MAX_PEERS = 8
"""Connections that may be open without being the agent's."""
KILL_BACKOFF = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25)
"""Seconds between two KILLs to a tree that does not become empty; the last one repeats."""
RETRY_DELAY = 0.05
"""Seconds before a request, or a turn of the loop, that failed is repeated."""
REQUEST_TIMEOUT = 10.0
"""Seconds for which most requests are tried again; the agent waits no longer."""
GIVE_UP_TIMEOUT = 60.0
"""Seconds after which a loop whose every turn fails ends; the supervisor then kills the tree."""
_SUSPENSIONS = ("suspend", "resume")
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class HostCapabilities:
    """What the supervisor found out at its start, the same for all trees."""

    cgroups: str = ""
    """Path of the cgroup that holds those of the trees; empty: none can be made."""
    oom_scores: tuple[int, int] | None = None
    """OOM score of leaders, and of the supervisor and the task supervisors; None: the same."""
    lacking: tuple[str, ...] = ()
    """Capabilities without which no tree can be another user's."""


class TaskSupervisor:
    """Holds one tree; `run` starts it and returns when it is over.

    A pool process makes one `TaskSupervisor` after another.
    """

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
        """`run` closes and removes what is passed, except `wakeup`."""
        self._spec = spec
        self._channel: Channel | None = Channel(agent)
        self._peers: list[Channel] = []
        """Connections that have not proven to be the agent's."""
        self._listener = ListeningSocket(listener) if listener else None
        self._socket_file = identify_socket(spec.record) if listener else None
        if listener is not None:
            # Again: agents are shown the process that has called it last, and the supervisor may be
            # killed (`peer_credentials`).
            listener.listen(BACKLOG)
        self._outputs = outputs
        """The agent's descriptors for the leader's output; not used with a log."""
        self._host = host
        self._wakeup = wakeup
        self._state = TreeState(parent=os.getpid(), cgroup=cgroup.folder if cgroup else "")
        self._output: OutputCapture | None = None
        self._cgroup = cgroup
        self._changed = False
        """The state has changed since it was sent."""
        self._sent_at = 0.0
        self._agent_left_at = time.monotonic()
        self._ending = False
        """KILL is sent until the tree is empty."""
        self._kills = 0
        self._kill_at = 0.0
        self._delayed: list[tuple[Channel, dict[str, object], float]] = []
        """Requests that could not be executed, with the connections of their answers, and until when
        they are tried again."""
        self._grace_until = _NEVER
        self._drain_until = _NEVER
        self._end_stored = False
        self._frozen = False
        """The cgroup was frozen."""
        self._stopped = False
        """Members were suspended by SIGSTOP."""
        self._released = False
        """The agent needs nothing more."""

    def run(self) -> None:
        """Start the tree, and return once it is empty and no agent waits for its last state."""
        set_name(f"af:{self._spec.record.rpartition('/')[0].rpartition('/')[2] or 'task'}")
        try:
            make_folders(self._spec.folders)
        except OSError as error:
            self._report_failure({"number": error.errno or 0, "step": "store"})
            return
        try:
            self._start()
        except StartError as error:
            self._report_failure({"number": error.number, "step": error.step})
            return
        except OSError as error:
            self._report_failure({"number": error.errno or 0, "step": "log"})
            return
        failing_since = _NEVER
        while True:
            try:
                if self._is_over():
                    break
                self._run_once()
            except Exception as error:
                # This is the only process that can prove the end of its tree. Where the kernel has
                # no descriptor or memory for a moment, it continues
                # (test_every_call_of_a_supervisor_fails_once).
                failing_since = min(failing_since, time.monotonic())
                if time.monotonic() > failing_since + GIVE_UP_TIMEOUT:
                    raise
                bug = None if isinstance(error, OSError) else error
                logger.warning("repeating a turn that failed: %s", error, exc_info=bug)
                time.sleep(RETRY_DELAY)
            else:
                failing_since = _NEVER
        if self._channel is not None:
            self._channel.flush(blocking=True)
        self._close()

    def _run_once(self) -> None:
        self._send_state()
        self._wait()
        self._reap()
        if self._output is not None and self._output.drain():
            self._update_output_state()
        self._act_on_time()
        self._repeat_delayed()

    # -- beginning and end ----------------------------------------------------------------------

    def _start(self) -> None:
        """Raises `StartError`; `OSError` for the log and its pipe."""
        spec, outputs = self._spec, self._outputs
        if spec.log is not None:
            self._output = OutputCapture(spec.log)
            outputs = (self._output.writing,)
            self._update_output_state()
        else:
            self._state.eof = True  # it prints on the agent's console
        try:
            counted = bool(
                spec.processes
                and self._cgroup is not None
                and self._cgroup.limit_processes(spec.processes)
            )
            scores = self._host.oom_scores
            if spec.user is None:
                self._state.pid = start_process(spec, outputs, scores, counted=counted)
            else:
                user, score = spec.user, scores[0] if scores is not None else None
                if self._output is not None:
                    # The pipe is this user's: the task could not open it again (``> /dev/stderr``).
                    os.fchown(self._output.writing, user.uid, user.gid)
                self._state.pid = start_as_user(
                    spec, user, outputs, oom_score=score, cgroup=self._cgroup, counted=counted
                )
        finally:
            # Or the pipe would never end: its reader sees the end when the last writer is closed.
            for output in outputs:
                os.close(output)
        self._state.started = time.time()
        self._changed = True
        # Before the cgroup: a move into it may wait for other programs that change their cgroups,
        # and the agent waits for this state.
        self._send_state()
        if self._cgroup is not None:
            # The leader runs already: children that it has forked meanwhile were born outside.
            with contextlib.suppress(OSError):  # the rest is found when it is looked for
                self._cgroup.add((self._state.pid, *list_children(self._state.pid)))

    def _report_failure(self, failure: dict[str, object]) -> None:
        if self._channel is not None:
            self._channel.put({"failed": failure})
            self._channel.flush(blocking=True)
        self._close()

    def _is_over(self) -> bool:
        """Whether the tree is over, its end is stored, and no agent waits for anything."""
        state = self._state
        if not state.empty or state.raw is None:
            return False
        # While output can still come, the state may change.
        if not (state.eof or self._released or time.monotonic() >= self._drain_until):
            return False
        self._store_end()
        # Here as well as in the loop: an agent that has released the tree already sends nothing
        # more, so the loop would wait for ever with this state unsent.
        self._send_state()
        if self._changed and self._channel is not None:
            return False
        return self._released or self._channel is None

    def _store_end(self) -> None:
        """Store the last state at the record, before it is sent to an agent. Once."""
        if self._end_stored:
            return
        self._end_stored = True
        if self._output is not None:
            self._output.finish()
            self._update_output_state()
        if self._cgroup is not None:
            self._state.peak = max(self._state.peak, self._cgroup.peak())
            self._state.oom_kills = self._cgroup.oom_kills()
        if self._output is not None and not self._state.size:
            # Asked here, where a file call hands over no interpreter lock: without output and files
            # the agent needs no thread at the end of a run.
            with contextlib.suppress(OSError):
                self._state.bare = not any(map(os.listdir, self._spec.folders))
        self._changed = True
        if self._is_replaced():
            return
        # On a full disk there is no record, but a connected agent still gets the state.
        with contextlib.suppress(OSError):
            write_end(self._spec.record, self._state)

    def _is_replaced(self) -> bool:
        """Whether another task supervisor listens at the record: the run was started again, and its
        files are no longer those of this tree."""
        found = identify_socket(self._spec.record) if self._socket_file is not None else None
        return found is not None and found != self._socket_file

    def _close(self) -> None:
        if self._cgroup is not None:
            self._cgroup.remove()
        if self._output is not None:
            self._output.close()
        if self._listener is not None:
            if not self._is_replaced():
                remove_socket(self._spec.record)
            self._listener.close()
        for channel in (*self._peers, self._channel):
            if channel is not None:
                channel.close()

    # -- the loop -------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait for a signal, output, an agent or the next point in time; serve the agent."""
        events = self._poll()
        self._wakeup.clear()
        if self._wakeup.take_term():
            self._stop_tree(time.monotonic(), "the task supervisor received SIGTERM")
        listener, channel = self._listener, self._channel
        if (
            listener is not None
            and listener.fileno() in events
            and (sock := listener.accept()) is not None
        ):
            # It counts as the agent's only after a request ``attach``.
            self._peers.append(Channel(sock))
            # The oldest goes: an agent sends its request at once.
            for peer in self._peers[:-MAX_PEERS]:
                self._drop_peer(peer)
        if channel is not None and channel.fileno() in events:
            try:
                for message in channel.receive():
                    self._answer(channel, message)
            except FrameError:
                self._drop_agent()
            else:
                channel.flush()
                if channel.over:
                    self._drop_agent()
        for peer in [peer for peer in self._peers if peer.fileno() in events]:
            self._receive_from_peer(peer)

    def _poll(self) -> dict[int, int]:
        """Wait for the next event or point in time; return the events of each descriptor."""
        poll = select.poll()
        poll.register(self._wakeup.descriptor, select.POLLIN)
        if self._output is not None and self._output.descriptor >= 0:
            poll.register(self._output.descriptor, select.POLLIN)
        pause = self._listener.pause_left if self._listener is not None else 0.0
        if self._listener is not None and not pause:
            poll.register(self._listener, select.POLLIN)
        for peer in self._peers:
            poll.register(peer, select.POLLIN)
        if self._channel is not None:
            wanted = select.POLLIN | (select.POLLOUT if self._channel.waiting else 0)
            poll.register(self._channel, wanted)
        due = min(self._grace_until, self._drain_until)
        if self._ending and not self._state.empty:
            due = min(due, self._kill_at)
        if self._channel is None:
            due = min(due, self._agent_left_at + self._spec.agent_timeout)
        elif self._changed and not self._channel.waiting:
            due = min(due, self._sent_at + OUTPUT_REPORT_INTERVAL)
        due -= time.monotonic()
        if pause:
            due = min(due, pause)
        if self._delayed:
            due = min(due, RETRY_DELAY)
        return dict(poll.poll(None if due == _NEVER else max(0, due) * 1000 + 0.5))

    def _act_on_time(self) -> None:
        """Do what is due now: stop a tree without an agent, end a grace, kill again."""
        now = time.monotonic()
        state = self._state
        if self._channel is None and not state.unattended and not state.empty:
            timeout = self._spec.agent_timeout
            if now >= self._agent_left_at + timeout:
                text = (
                    f"no agent connected in {timeout:g} s" if timeout else "its agent disconnected"
                )
                self._stop_tree(now, text)
            elif state.raw is not None and not self._ending:
                # With an agent, the agent decides when to kill what the leader left behind.
                self._grace_until = min(self._grace_until, now + DRAIN_TIMEOUT)
        if now >= self._grace_until:
            self._grace_until = _NEVER
            self._begin_kill()
        if state.empty and not state.eof:
            # A process outside the tree holds the pipe open: it got the descriptor over a socket.
            # It is not the task's, so it is neither waited for nor killed.
            self._drain_until = min(self._drain_until, now + DRAIN_TIMEOUT)
        if self._ending and not state.empty and now >= self._kill_at:
            self._kill()

    def _stop_tree(self, now: float, reason: str) -> None:
        """Send TERM to the tree without an agent's request; KILL follows after the grace."""
        if self._state.unattended or self._state.empty:
            return
        self._thaw()
        signal_below(signal.SIGTERM, signal.SIGCONT)
        # Only now: if the signal failed, the next turn sends it.
        self._state.unattended = reason
        self._changed = True
        self._grace_until = now + self._spec.grace

    # -- the agent ------------------------------------------------------------------------------

    def _drop_peer(self, peer: Channel) -> None:
        self._peers.remove(peer)
        peer.close()

    def _receive_from_peer(self, peer: Channel) -> None:
        """Execute the requests of a connection that is not the agent's.

        A process of a task is not even accepted. But a connection that says nothing, or belongs to
        another run, must not take the agent's place either
        (test_a_silent_connection_does_not_replace_the_agent).
        """
        try:
            for message in peer.receive():
                if peer is self._channel:
                    self._answer(peer, message)
                elif message.get("op") == "attach":
                    self._attach(peer, message.get("token"))
                elif message.get("op") == "state":
                    peer.put({"state": self._state.to_json()})
                elif message.get("op") in ("kill", "release"):
                    self._execute(message)
        except FrameError:
            peer.over = True
        if peer.over and peer in self._peers:
            self._drop_peer(peer)

    def _attach(self, peer: Channel, token: object) -> None:
        """Make a connection the agent's, and have the state sent; close it for a wrong token."""
        if token != self._spec.environment.get("AF_TASK_TOKEN"):
            peer.over = True
            return
        # The lock of the store admits one agent, so an earlier connection belongs to one that has
        # ended (test_the_newest_agent_counts).
        self._peers.remove(peer)
        self._drop_agent()
        self._channel = peer
        self._changed, self._sent_at = True, 0.0
        if not self._state.unattended:
            self._grace_until = _NEVER  # the agent decides when the rest is killed

    def _drop_agent(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._agent_left_at = time.monotonic()

    def _answer(self, channel: Channel, message: dict[str, object], until: float = 0.0) -> None:
        try:
            answer = self._execute(message)
        except OSError as error:
            # No descriptor or no memory is left to look at the tree with: tried again until the
            # agent no longer waits, or has it.
            if not until:
                op = message.get("op")
                logger.warning("cannot do %r now: %s", op, error)
                # An agent that no longer waits notes these as done, and does not ask again.
                until = _NEVER if op in _SUSPENSIONS else time.monotonic() + REQUEST_TIMEOUT
            self._delayed.append((channel, message, until))
            return
        if answer is not None:
            channel.put({"re": message.get("id"), **answer})

    def _repeat_delayed(self) -> None:
        delayed, self._delayed = self._delayed, []
        for channel, message, until in delayed:
            if time.monotonic() < until:
                self._answer(channel, message, until)

    def _supersede_suspensions(self) -> None:
        """Answer what was to suspend or resume the tree before a request that has been executed."""
        # Executed after a TERM, a suspension would keep the tree from handling it.
        for delayed in [each for each in self._delayed if each[1].get("op") in _SUSPENSIONS]:
            self._delayed.remove(delayed)
            delayed[0].put({"re": delayed[1].get("id"), "pids": []})

    def _execute(self, message: dict[str, object]) -> dict[str, object] | None:
        """Execute one request; return its answer, None when it has none."""
        match message.get("op"):
            case "term":
                self._thaw()
                pids = self._leader_first(signal_below(signal.SIGTERM, signal.SIGCONT))
                self._supersede_suspensions()
                return {"pids": pids}
            case "kill":
                self._begin_kill()
                pids = self._leader_first(self._kill())
                self._supersede_suspensions()
                return {"pids": pids}
            case "members":
                return {"pids": self._leader_first(find_below())}
            case "suspend":
                self._state.suspended = self._changed = True
                pids = self._leader_first(self._suspend())
                self._supersede_suspensions()
                return {"pids": pids}
            case "resume":
                pids = self._leader_first(find_below())
                self._thaw()
                self._supersede_suspensions()
                return {"pids": pids}
            case "held":
                if self._output is None:
                    return {}
                return {"held": self._output.held.decode("latin-1"), "gone": self._output.missing}
            case "release":
                self._released = True
        return None

    def _leader_first(self, pids: list[int]) -> list[int]:
        return sorted(pids, key=lambda pid: pid != self._state.pid)

    def _send_state(self) -> None:
        """Send the state if it has changed, the last one was sent whole, and it is due."""
        channel, state = self._channel, self._state
        if channel is None:
            self._changed = False
        elif self._changed and not channel.waiting:
            now = time.monotonic()
            # States after the end of the leader are sent at once, those before it at intervals.
            ended = state.raw is not None or state.empty
            if ended or now >= self._sent_at + OUTPUT_REPORT_INTERVAL:
                self._changed, self._sent_at = False, now
                channel.put({"state": state.to_json()})
                channel.flush()

    # -- the tree -------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Reap every dead child: the leader, and orphans of the tree."""
        groups: dict[int, int] = {}
        while not self._state.empty:
            try:
                found = collect(groups if self._ending else None)
            except ChildProcessError:
                # No child is left, and a process that loses its parent becomes a child: this is the
                # proof that the tree is empty.
                self._state.empty = self._changed = True
                if self._cgroup is not None and self._spec.processes:
                    self._state.refused_forks = self._cgroup.refused_forks()
                return
            if found is None:
                return
            pid, raw, usage = found
            self._state.cpu += usage.ru_utime + usage.ru_stime
            # The peak of a process includes its memory before the exec, which was that of the
            # process that spawned it. So a figure up to that of this process is not the member's.
            peak = usage.ru_maxrss * 1024  # from KiB
            if peak > max(
                self._state.peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            ):
                self._state.peak = peak
            if pid == self._state.pid:
                self._state.raw, self._state.ended = raw, time.time()
                self._changed = True

    def _begin_kill(self) -> None:
        if not self._ending:
            self._ending = True
            self._kill_at = 0.0

    def _kill(self) -> list[int]:
        """Send one KILL to all members, return their pids; schedule the next one."""
        begin = time.monotonic()
        pids: list[int] = []
        try:
            pids = find_below()
        except OSError as error:  # no descriptor is left to look with: the next KILL is due soon
            logger.warning("cannot find the processes to kill: %s", error)
        if self._cgroup is not None:
            self._cgroup.kill()
        with contextlib.suppress(OSError):
            kill_groups(pids)  # a member that runs as root may have left the cgroup
        pause, now = KILL_BACKOFF[min(self._kills, len(KILL_BACKOFF) - 1)], time.monotonic()
        self._kills += 1
        # With a thousand members the walk takes longer than their end. A pause as long as the walk
        # leaves half of the time for reaping.
        self._kill_at = now + max(pause, now - begin)
        return pids

    def _suspend(self) -> list[int]:
        """Suspend all members and return their pids.

        By the cgroup, because SIGSTOP can be seen by a parent, and undone by any process.
        """
        if self._cgroup is not None and self._cgroup.freeze():
            self._frozen = True
            # What the leader forked before it was moved is outside, with all that it has forked
            # since. A process that is moved into a frozen cgroup freezes, so each round leaves
            # fewer that can fork (test_a_suspended_wrapper_suspends_what_it_started_at_once).
            for _ in range(MAX_FREEZE_ROUNDS):
                members = find_below()
                if not (outside := self._cgroup.outside(members)):
                    return members
                self._cgroup.add(outside)
        self._stopped = True
        return stop_below()

    def _thaw(self) -> None:
        """Resume a suspended tree. TERM needs that first: a suspended process does not handle it."""
        if self._state.suspended:
            if self._cgroup is not None and self._frozen:
                self._cgroup.thaw()
            if self._stopped:
                signal_below(signal.SIGCONT)
            # Only now: what failed is repeated as a whole.
            self._frozen = self._stopped = self._state.suspended = False
            self._changed = True

    def _update_output_state(self) -> None:
        if self._output is not None:
            self._output.update_state(self._state)
            self._changed = True
