"""Trees held by task supervisors: the contract of `ProcessTree`, takeover, and killed supervisors."""

from __future__ import annotations

import errno
import math
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import cast

import attrs
import psutil
import pytest
import trio
from support.polling import until
from support.process import (
    RealTrees,
    is_exiting,
    is_suspended,
    lives,
    make_launch,
    make_program,
    make_shell,
    open_trees,
    run_isolated,
)
from support.process_contract import CHECKS, GUARD, KILL, TERM, TreeStarter

from trio_afrender.errors import SpawnError, StoreError
from trio_afrender.message_framing import encode
from trio_afrender.process import supervisor_client
from trio_afrender.process.interfaces import Launch, Persistence, TreeSignal
from trio_afrender.process.procfs import read_token, scan
from trio_afrender.process.supervised_tree import MAX_SEEN, SupervisedTree, read_exit_record
from trio_afrender.process.supervisor_client import (
    SupervisorClient,
    find_task_supervisors,
    has_record,
    open_supervisor,
    stop_trees,
)
from trio_afrender.supervisor.paths import end_path, socket_path
from trio_afrender.supervisor.process_tree import list_children
from trio_afrender.supervisor.protocol import TreeState
from trio_afrender.supervisor.task_supervisor import MAX_PEERS
from trio_afrender.supervisor.unix_sockets import BACKLOG, connect, listen, supervisor_path
from trio_afrender.tasklog.segments import open_reader
from trio_afrender.tasklog.supervised_log import SupervisedLog

AGENT_TIMEOUT = 300.0
SOCKET = Path(supervisor_path("", "sock")).name


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[SupervisorClient]:
    async with open_supervisor(tmp_path) as opened:
        yield opened
    # It ends some moments after its last tree.
    await until(lambda: not (tmp_path / SOCKET).exists())


@pytest.fixture
def trees(supervisor: SupervisorClient, tmp_path: Path) -> RealTrees:
    return RealTrees(supervisor, tmp_path)


def with_record(launch: Launch, folder: Path, **changes: object) -> Launch:
    """The same launch of a tree that outlives the agent, with its record in `folder`.

    Launches with one folder are of one run: they have one token.
    """
    folder.mkdir(exist_ok=True)
    persistence = Persistence(
        record=str(folder / "task"),
        log=str(folder / "log"),
        quota=1 << 30,
        agent_timeout=AGENT_TIMEOUT,
        grace=0.0,
    )
    persistence = attrs.evolve(persistence, **changes)  # type: ignore[arg-type]  # fields by name
    environment = {**launch.environment, "AF_TASK_TOKEN": f"test-{hash(folder):x}"}
    return attrs.evolve(launch, environment=environment, persistence=persistence)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Callable[[TreeStarter], Awaitable[None]], trees: RealTrees) -> None:
    await check(trees)


@pytest.mark.parametrize("words", ["setsid", "daemon"])
async def test_members_in_other_sessions_are_signalled(trees: RealTrees, words: str) -> None:
    async with trees.run(make_program("leave_orphans.py", words, "stay")) as started:
        pids = {started.tree.pid, *started.members}
        assert set(await started.tree.signal_tree(TERM)) == pids
        await started.tree.exited()
        assert await started.tree.signal_tree(KILL) == started.members
        await started.tree.wait_empty()
        assert await started.tree.kill_until_empty(GUARD) == ()


@pytest.mark.parametrize("words", ["", "setsid", "daemon", "quiet", "quiet setsid", "quiet daemon"])
async def test_what_a_leader_leaves_behind_is_found(trees: RealTrees, words: str) -> None:
    async with trees.run(make_program("leave_orphans.py", *words.split())) as started:
        await started.tree.exited()
        assert await started.tree.signal_tree(KILL) == started.members
        await started.tree.wait_empty()
        assert await started.tree.kill_until_empty(GUARD) == ()


@pytest.mark.parametrize("words", ["", "stay", "setsid", "setsid stay"])
async def test_a_chain_of_forks_is_killed(trees: RealTrees, words: str) -> None:
    launch = make_program("fork_storm.py", *words.split())
    async with trees.run(launch) as started:
        assert await started.tree.kill_until_empty(GUARD) == ()
    token = launch.environment["AF_TASK_TOKEN"]
    for _ in range(3):  # a chain that still forks would be seen by one of the scans
        assert not [pid for pid in scan() if read_token(pid) == token]


CROWD = """
import os, signal
for number in range(300):
    if os.fork() == 0:
        if number % 3 == 0:
            os.setsid()
        signal.alarm(100)
        signal.pause()
os.write(1, b"up\\n")
signal.pause()
"""


async def test_all_of_300_members_are_killed(trees: RealTrees) -> None:
    """Many in one process group, whose zombies are reaped in a row, and many with one each."""
    async with trees.run(make_launch(sys.executable, "-I", "-S", "-c", CROWD)) as started:
        pids = await started.tree.signal_tree(KILL)
        assert (len(set(pids)), pids[0]) == (301, started.tree.pid)
        assert await started.tree.kill_until_empty(GUARD) == ()
        assert not any(lives(pid) for pid in pids)


@pytest.mark.parametrize("count", [1, MAX_SEEN - 1, MAX_SEEN, 3 * MAX_SEEN])
async def test_the_members_of_a_tree_of_any_size(count: int, trees: RealTrees) -> None:
    words = f"for i in $(seq {count}); do sleep 300 & echo member $!; done; echo up; wait"
    async with trees.run(make_shell(words)) as started:
        leader, *others = await started.tree.members()
        assert leader == started.tree.pid
        assert (len(others), set(others)) == (count, set(started.members))
        assert await started.tree.kill_until_empty(GUARD) == ()
        assert await started.tree.members() == ()


async def test_a_daemon_without_environment_is_found_beside_other_tasks(trees: RealTrees) -> None:
    """Nothing but its descent shows the task that it belongs to."""
    script = "(exec env -i setsid sh -c 'echo member $$; echo up; exec sleep 100' >&1 &)"
    other = await trees.spawn(make_shell("exec sleep 1000"))
    async with trees.run(make_shell(script)) as started:
        await started.tree.exited()
        assert await started.tree.signal_tree(KILL) == started.members
        assert await started.tree.kill_until_empty(GUARD) == ()
        assert not lives(started.members[0])
    assert lives(other.pid)
    await other.kill_until_empty(GUARD)
    await other.reap()
    await other.output.aclose()


async def test_a_stopped_member_is_resumed_for_term(trees: RealTrees) -> None:
    async with trees.run(make_program("stop_member.py")) as started:
        assert await started.tree.signal_tree(TERM) == (started.tree.pid, *started.members)
        await started.tree.exited()
        await started.tree.wait_empty()
        assert await started.tree.kill_until_empty(GUARD) == ()


async def test_zombies_that_are_not_reaped_do_not_count_as_members(trees: RealTrees) -> None:
    async with trees.run(make_program("leave_zombie.py")) as started:
        assert await started.tree.signal_tree(TERM) == (started.tree.pid,)
        await started.tree.wait_empty()
        assert await started.tree.kill_until_empty(GUARD) == ()


async def test_a_suspended_tree_does_nothing_until_it_is_resumed(trees: RealTrees) -> None:
    ticking = "echo member $$; echo up; while :; do echo tick; sleep 0.01; done"
    async with trees.run(make_shell(ticking)) as started:
        pids = await started.tree.signal_tree(TreeSignal.SUSPEND)
        assert started.tree.pid in pids
        await until(lambda: is_suspended(started.tree.pid))  # the kernel freezes asynchronously
        size = started.log.size
        await started.tree.signal_tree(TreeSignal.RESUME)
        with trio.fail_after(GUARD):
            await started.log.wait_beyond(size)


async def test_a_suspended_wrapper_suspends_what_it_started_at_once(trees: RealTrees) -> None:
    """Its first children are forked before it is moved into its cgroup, and keep forking."""
    child = "(while kill -0 $$; do sh -c :; sh -c :; done) &"  # no longer than the leader
    script = f"{child * 20} echo member $$; echo up; wait"
    async with trees.run(make_shell(script)) as started:
        # The kernel freezes asynchronously: some of these may end before they are frozen.
        pids = await started.tree.signal_tree(TreeSignal.SUSPEND)
        await until(lambda: all(is_suspended(pid) for pid in pids if lives(pid)))
        # The freezer does not wait for one that leaves its cgroup in its exit.
        while any(map(is_exiting, members := await started.tree.members())):
            pass
        assert len(members) >= 21
        assert all(map(is_suspended, members))
        assert await started.tree.members() == members, "none forks any more"
        await started.tree.signal_tree(TreeSignal.RESUME)
        await until(lambda: not any(is_suspended(pid) for pid in members if lives(pid)))


async def test_a_suspended_tree_can_be_terminated(trees: RealTrees) -> None:
    async with trees.start("forks") as started:
        await started.tree.signal_tree(TreeSignal.SUSPEND)
        await started.tree.signal_tree(TERM)
        with trio.fail_after(GUARD):
            await started.tree.wait_empty()
        assert (await started.tree.reap()).signal == signal.SIGTERM


@pytest.mark.parametrize(
    ("launch", "text"),
    [
        (make_launch("no-such-shell"), 'there is no program "no-such-shell"'),
        (make_launch("/no/such/shell"), 'there is no program "/no/such/shell"'),
        (make_launch("/bin/sh", cwd="/no/such"), 'folder "/no/such" does not exist'),
        (make_launch("/bin/sh", cwd="/etc/passwd"), '"/etc/passwd" is not a folder'),
        (make_launch("/etc/passwd"), '"/etc/passwd" may not be executed'),
        (make_launch("/bin/sh", "-c", "a\0b"), "embedded null byte"),
        (make_launch("/bin/sh", "-c", "x" * 3_000_000), "bytes of command and environment"),
        (make_launch(""), "the command is empty"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
async def test_a_failed_start_is_explained(trees: RealTrees, launch: Launch, text: str) -> None:
    with pytest.raises(SpawnError, match=text.replace("(", r"\(")):
        await trees.spawn(launch)


async def test_priority_and_streams_are_those_of_the_launch(trees: RealTrees) -> None:
    base = os.nice(0)
    script = "nice; ps -o nice= -p $$; cat; echo err >&2; echo up"
    async with trees.run(attrs.evolve(make_shell(script), nice=7)) as started:
        await started.ended.wait()
        words = started.printed.split()
        assert words == [b"%d" % (base + 7), b"%d" % (base + 7), b"err", b"up"]
    async with trees.run(make_shell("nice; echo up")) as started:  # not that of the tree before
        assert started.printed.split()[0] == b"%d" % base


PATIENT_BOOT_CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from trio_afrender.supervisor import daemon

daemon.IDLE_TIMEOUT = 10_000.0
sys.exit(daemon.main(sys.argv[2:]))
"""
"""Starts a supervisor that dismisses no task supervisor because it is idle."""


async def test_one_task_supervisor_starts_trees_of_any_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after another, and keeps its own priority."""
    monkeypatch.setattr(supervisor_client, "BOOT_CODE", PATIENT_BOOT_CODE)
    base = os.nice(0)
    task_supervisors = set()
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        for number, nice in enumerate((7, 7, 3, 0, 7)):
            launch = attrs.evolve(make_shell("nice"), nice=nice)
            run = await open_tree(supervisor, launch, tmp_path / f"run{number}", nursery)
            task_supervisors.add(run.tree.state.parent)
            await run.printed(b"%d\n" % (base + nice))
            with trio.fail_after(GUARD):
                await run.tree.exited()
            assert os.getpriority(os.PRIO_PROCESS, run.tree.state.parent) == base
            assert await run.tree.kill_until_empty(GUARD) == ()
            await run.tree.reap()
            await until(partial(is_idle, run.tree.state.parent))
    assert len(task_supervisors) == 1


def is_idle(task_supervisor: int) -> bool:
    return Path(f"/proc/{task_supervisor}/comm").read_text() == "af:idle\n"


async def test_no_ignored_signal_is_inherited(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
            launch = make_shell("exec cat /proc/self/status")
            run = await open_tree(supervisor, launch, tmp_path / "run", nursery)
            await run.printed(b"SigCgt:")
            (ignored,) = (line for line in run.text().splitlines() if line.startswith(b"SigIgn"))
            mask = int(ignored.split()[1], 16)
            assert {number for number in signal.valid_signals() if mask >> number - 1 & 1} == set()
            await run.tree.kill_until_empty(GUARD)
            await run.tree.reap()
    finally:
        signal.signal(signal.SIGUSR2, before)


async def test_a_tree_that_prints_nothing_leaves_no_log(tmp_path: Path) -> None:
    """Making a folder and a file would be the slowest part of a tiny task."""
    folder = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        run = await open_tree(supervisor, make_shell("exit 3"), folder, nursery)
        with trio.fail_after(GUARD):
            await run.tree.exited()
        assert await run.tree.kill_until_empty(GUARD) == ()
        assert (await run.tree.reap()).code == 3
        assert run.tree.state.eof
        assert not (folder / "log").exists()
        assert (run.text(), open_reader(folder / "log").size()) == (b"", 0)


async def test_a_task_inherits_no_descriptor_and_no_variable(trees: RealTrees) -> None:
    async with trees.run(make_shell("ls /proc/self/fd; env; trap; echo up")) as started:
        await started.ended.wait()
        lines = started.printed.split()
        # 3 is the folder that `ls` reads.
        assert lines[:4] == [b"0", b"1", b"2", b"3"]
        assert not lines[4].isdigit()
        assert sum(b"=" in line for line in lines) <= 4  # PATH, the token, and what the shell adds


# -- agents that leave and return ---------------------------------------------------------------


@attrs.define
class TreeWithLog:
    """A tree that outlives the agent, and its log, which a task follows."""

    tree: SupervisedTree
    log: SupervisedLog

    async def printed(self, text: bytes) -> None:
        with trio.fail_after(GUARD):
            while text not in self.text():
                await self.log.wait_beyond(self.log.size)

    def text(self) -> bytes:
        return self.log.reader().read(0, 1 << 20).data


async def open_tree(
    supervisor: SupervisorClient,
    launch: Launch,
    folder: Path,
    nursery: trio.Nursery,
    **changes: object,
) -> TreeWithLog:
    tree = await supervisor.spawn(with_record(launch, folder, **changes))
    log = SupervisedLog(folder / "log")
    nursery.start_soon(pump, tree, log)
    return TreeWithLog(tree, log)


async def wait_dead(pids: Sequence[int]) -> None:
    await until(lambda: not any(map(lives, pids)))


async def wait_end(folder: Path) -> TreeState:
    """The last state of the tree whose record is in `folder`, once it has ended."""
    await until(lambda: read_exit_record(str(folder / "task")))
    state = read_exit_record(str(folder / "task"))
    assert state is not None
    return state


async def pump(tree: SupervisedTree, log: SupervisedLog) -> None:
    try:
        await tree.output.pump(log)
    except trio.ClosedResourceError:
        return


TICKING = """
i=0; trap 'echo bye; exit 9' TERM
while [ ! -e "$1/go" ]; do i=$((i+1)); echo line $i; sleep 0.005; done
echo last $i; exit 5
"""


def ticking(folder: Path) -> Launch:
    return make_launch("/bin/sh", "-c", TICKING, "sh", str(folder))


async def test_a_later_agent_takes_the_tree_over(tmp_path: Path) -> None:
    """Once while it runs, once after it has ended without an agent."""
    folder = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        first = await open_tree(supervisor, ticking(tmp_path), folder, nursery)
        await first.printed(b"line 3\n")
        pid = first.tree.pid
        assert await first.tree.detach()
    assert lives(pid)
    assert has_record(str(folder / "task"))
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        assert supervisor.facts["records"] == [str(folder / "task")]
        second = await open_tree(supervisor, ticking(tmp_path), folder, nursery, attach=True)
        assert second.tree.pid == pid
        assert second.tree.started is not None
        (tmp_path / "go").touch()
        with trio.fail_after(GUARD):
            await second.tree.exited()
        await second.printed(b"last ")
        assert (await second.tree.reap()).code == 5
    check_lines(second.text())
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        third = await open_tree(supervisor, ticking(tmp_path), folder, nursery, attach=True)
        await third.tree.exited()
        assert await third.tree.kill_until_empty(1) == ()
        assert (await third.tree.reap()).code == 5
        assert await third.tree.signal_tree(KILL) == ()
        await third.printed(b"last ")
    assert third.text() == second.text()


async def test_a_tree_that_ends_while_it_is_attached_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task supervisor closes the connection unread: it was over when the request came."""
    send, sent = supervisor_client._send_now, trio.Event()

    async def send_and_tell(sock: socket.socket, data: bytes) -> None:
        await send(sock, data)
        sent.set()

    monkeypatch.setattr(supervisor_client, "_send_now", send_and_tell)
    monkeypatch.setattr(supervisor_client, "WATCH_INTERVAL", math.inf)  # it continues none
    folder, ended = tmp_path / "run", list[tuple[int, int | None]]()
    shell = make_shell(f"echo $$ >> {tmp_path}/pids; exit 3")
    async with open_supervisor(tmp_path) as supervisor:
        first = await supervisor.spawn(with_record(shell, folder))
        await first.exited()
        # The supervisor first: it would continue the other one.
        stopped = (int(str(supervisor.facts["pid"])), first.state.parent)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
            await until(partial(is_suspended, pid))
        await first.reap()  # it will read that, and the next request no longer

        async def attach() -> None:
            second = await supervisor.spawn(with_record(shell, folder, attach=True))
            ended.append((second.pid, (await second.reap()).code))

        with trio.fail_after(GUARD):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(attach)
                await sent.wait()
                for pid in reversed(stopped):
                    os.kill(pid, signal.SIGCONT)
    assert ended == [(first.pid, 3)]
    assert (tmp_path / "pids").read_text() == f"{first.pid}\n"


def check_lines(text: bytes) -> None:
    """Every line is there once, in order."""
    lines = [line.split() for line in text.splitlines()]
    numbers = [int(words[1]) for words in lines if words[0] == b"line"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert lines[-1] == [b"last", b"%d" % len(numbers)]


async def test_a_tree_that_ends_without_an_agent_leaves_a_record(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        first = await open_tree(supervisor, ticking(tmp_path), folder, nursery)
        await first.printed(b"line 1\n")
        await first.tree.detach()
    (tmp_path / "go").touch()
    state = await wait_end(folder)
    await until(lambda: not (folder / "task.sock").exists())
    assert (state.raw, state.empty, state.eof, state.unattended) == (5 << 8, True, True, "")
    check_lines(open_reader(folder / "log").read(0, 1 << 20).data)


async def test_a_tree_is_stopped_after_the_agent_timeout(tmp_path: Path) -> None:
    """By TERM, the grace, KILL; what it prints after TERM is in its log."""
    folder = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        first = await open_tree(
            supervisor, ticking(tmp_path), folder, nursery, agent_timeout=0.05, grace=float(GUARD)
        )
        await first.printed(b"line 1\n")
        await first.tree.detach()
    state = await wait_end(folder)
    assert state.raw == 9 << 8
    assert "no agent connected" in state.unattended
    assert open_reader(folder / "log").read(0, 1 << 20).data.endswith(b"bye\n")


async def test_a_tree_that_may_not_outlive_its_agent_is_stopped(tmp_path: Path) -> None:
    """By TERM, the grace, KILL, once it is detached; its record says why it was stopped."""
    folder = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        first = await open_tree(
            supervisor, ticking(tmp_path), folder, nursery, agent_timeout=0.0, grace=float(GUARD)
        )
        await first.printed(b"line 1\n")
        assert await first.tree.detach()
    state = await wait_end(folder)
    assert state.raw == 9 << 8
    assert "its agent disconnected" in state.unattended
    assert open_reader(folder / "log").read(0, 1 << 20).data.endswith(b"bye\n")


async def test_nothing_of_a_tree_is_left_when_its_agent_is_gone(tmp_path: Path) -> None:
    async with open_trees(tmp_path) as trees:
        tree = await trees.spawn(make_program("leave_orphans.py", "daemon", "stay"))
        pid = tree.pid
    await until(lambda: not lives(pid) and not (tmp_path / SOCKET).exists())


async def test_trees_survive_the_kill_of_the_supervisor(tmp_path: Path) -> None:
    """Its trees and their agent are not affected; the next tree starts with a new supervisor."""
    folder = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        first = await open_tree(supervisor, ticking(tmp_path), folder, nursery)
        await first.printed(b"line 1\n")
        os.kill(int(str(supervisor.facts["pid"])), signal.SIGKILL)
        await first.printed(b"line 20\n")
        second = await open_tree(supervisor, make_shell("exit 4"), tmp_path / "other", nursery)
        with trio.fail_after(GUARD):
            await second.tree.exited()
        assert (await second.tree.reap()).code == 4
        (tmp_path / "go").touch()
        with trio.fail_after(GUARD):
            await first.tree.exited()
        await first.printed(b"last ")
        assert await first.tree.kill_until_empty(1) == ()
        assert (await first.tree.reap()).code == 5
    check_lines(first.text())


@pytest.mark.parametrize("words", ["stay", "setsid stay", "daemon stay"])
async def test_the_tree_of_a_killed_task_supervisor_is_killed(tmp_path: Path, words: str) -> None:
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        folder = tmp_path / "run"
        launch = make_program("leave_orphans.py", *words.split())
        run = await open_tree(supervisor, launch, folder, nursery)
        await run.printed(b"up\n")
        member = int(run.text().split()[1])
        os.kill(run.tree.state.parent, signal.SIGKILL)
        with trio.fail_after(GUARD):
            await run.tree.exited()
            assert await run.tree.kill_until_empty(GUARD) == ()
        status = await run.tree.reap()
        assert (status.code, status.signal) == (None, None)
        assert "was killed" in run.tree.external_stop_reason
        assert not lives(run.tree.pid)
        assert not lives(member)


async def test_a_start_is_repeated_when_its_task_supervisor_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after it has started the leader and before it could report that: it runs once, again.

    The moment is too short to hit from outside, so the first report is withheld from the client.
    """
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        try_spawn = supervisor._try_spawn
        started: list[SupervisedTree] = []

        async def kill_once(launch: Launch) -> SupervisedTree | None:
            tree = await try_spawn(launch)
            assert tree is not None
            started.append(tree)
            if len(started) > 1:
                return tree
            # The supervisor first: it would adopt the leader and kill it.
            killed = (cast("int", supervisor.facts["pid"]), tree.state.parent)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            # Until it has ended, the supervisor takes the next start, which is lost with it.
            await until(lambda: tree.lost and have_ended(killed))
            return None

        monkeypatch.setattr(supervisor, "_try_spawn", kill_once)
        shell = make_shell(f"echo $$ >> {tmp_path}/pids; exec sleep 1000")
        second = await open_tree(supervisor, shell, tmp_path / "run", nursery)
        assert len(started) == 2
        assert second.tree is started[1]
        assert not lives(started[0].pid), "the leader of the first start was killed by its token"
        assert await second.tree.kill_until_empty(GUARD) == ()
        await second.tree.reap()


async def test_a_failure_of_the_supervisor_is_explained(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor:
        launch = with_record(make_shell("true"), tmp_path / "run")
        (tmp_path / "run").rmdir()
        (tmp_path / "run").write_text("no folder")
        with pytest.raises(StoreError, match=f"store folder {tmp_path / 'run'}: File exists"):
            await supervisor.spawn(launch)


async def test_folders_of_a_launch_are_made_before_the_leader_starts(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        folders = tuple(str(tmp_path / "run" / name) for name in ("work", "files"))
        shell = attrs.evolve(make_shell('stat -c "%a %n" . ../files'), cwd=folders[0])
        run = await open_tree(supervisor, shell, tmp_path / "run", nursery, folders=folders)
        await run.tree.exited()
        assert await run.tree.kill_until_empty(GUARD) == ()
        await run.tree.reap()
        assert open_reader(tmp_path / "run" / "log").read(0, 100).data == b"700 .\n700 ../files\n"


async def test_a_folder_of_a_launch_that_cannot_be_made_is_an_error_of_the_store(
    tmp_path: Path,
) -> None:
    async with open_supervisor(tmp_path) as supervisor:
        launch = with_record(make_shell("true"), tmp_path / "run")
        (tmp_path / "run" / "work").write_text("no folder")
        placed = attrs.evolve(launch.persistence, folders=(str(tmp_path / "run" / "work"),))
        with pytest.raises(StoreError, match="File exists"):
            await supervisor.spawn(attrs.evolve(launch, persistence=placed))


@pytest.mark.parametrize(
    ("words", "nothing"),
    [
        ("true", True),
        ("exit 3", True),
        ("touch work/x; rm work/x", True),
        ("(sleep 0.2; touch files/late.jpg) & exec >&- 2>&-", False),
        ("touch files/x.jpg", False),
        ("touch work/.hidden", False),
        ("echo x", False),
        ("rmdir files", False),
    ],
)
async def test_a_tree_that_left_nothing_is_known(words: str, nothing: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        folders = tuple(str(folder / name) for name in ("work", "files"))
        shell = attrs.evolve(make_shell(words), cwd=str(folder))
        tree = (await open_tree(supervisor, shell, folder, nursery, folders=folders)).tree
        while not (tree.state.eof and tree.state.empty):
            await tree.wait_change()
        assert tree.left_nothing == nothing
        await tree.reap()
    # A post command of this agent may write there: a later one has to look itself.
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        again = await open_tree(supervisor, shell, folder, nursery, attach=True)
        assert again.tree.state.bare == nothing
        assert not again.tree.left_nothing


async def test_folders_are_removed_by_the_supervisor(tmp_path: Path) -> None:
    bare, full = tmp_path / "bare", tmp_path / "full"
    for folder in (bare / "work", bare / "files", full / "work" / "deep"):
        folder.mkdir(parents=True)
    (full / "work" / "deep" / "file").write_text("x")
    async with open_supervisor(tmp_path) as supervisor:
        await supervisor.remove_folders([bare, full, tmp_path / "absent"])
    # The supervisor ends after its agent, and not before it has removed them.
    await until(lambda: not bare.exists() and not full.exists())


def have_ended(pids: Iterable[int]) -> bool:
    return not any(map(lives, pids))


async def test_a_killed_remover_does_not_keep_later_folders(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor:
        for number in range(20):
            folder = tmp_path / f"run{number}"
            for name in range(200):
                (folder / str(name)).mkdir(parents=True)
            await supervisor.remove_folders([folder])
            pool = list_children(int(str(supervisor.facts["pid"])))
            for pid in pool:
                os.kill(pid, signal.SIGKILL)
            # Until they are reaped: what is assigned to one that is dying is left for the next agent.
            await until(partial(have_ended, pool))
        last = tmp_path / "last"
        last.mkdir()
        await supervisor.remove_folders([last])
    await until(lambda: not last.exists())


async def test_the_supervisor_survives_the_kill_of_any_task_supervisor(tmp_path: Path) -> None:
    """Busy and idle ones by turns: it kills the trees that they leave, and starts the next."""
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        for number in range(30):
            folder = tmp_path / f"run{number}"
            run = await open_tree(supervisor, make_shell("exec sleep 1000"), folder, nursery)
            task_supervisor = run.tree.state.parent
            if number % 2:  # idle when it is killed
                assert await run.tree.kill_until_empty(GUARD) == ()
                await run.tree.reap()
            os.kill(task_supervisor, signal.SIGKILL)
            if not number % 2:
                await run.tree.exited()
                assert await run.tree.kill_until_empty(GUARD) == ()
        assert lives(int(str(supervisor.facts["pid"])))
    assert "internal error" not in read_log(tmp_path)


@pytest.mark.parametrize("killed", [True, False])
async def test_an_idle_task_supervisor_that_is_stopped_ends_with_its_supervisor(
    tmp_path: Path, killed: bool
) -> None:
    """Also if the supervisor is killed, which then cannot continue it."""
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        run = await open_tree(supervisor, make_shell("true"), tmp_path / "run", nursery)
        assert await run.tree.kill_until_empty(GUARD) == ()
        await run.tree.reap()
        idle, parent = run.tree.state.parent, int(str(supervisor.facts["pid"]))
        await until(partial(is_idle, idle))
        if killed:
            os.kill(parent, signal.SIGSTOP)  # or it would continue the other one first
        os.kill(idle, signal.SIGSTOP)
        if killed:
            os.kill(parent, signal.SIGKILL)
    await until(partial(have_ended, (idle, parent)))


STOPPED_LATE = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from trio_afrender.supervisor.daemon import SupervisorDaemon
from trio_afrender.supervisor.task_supervisor import HostCapabilities
from trio_afrender.supervisor.unix_sockets import listen

supervisor = SupervisorDaemon(listen(sys.argv[2]), 0, HostCapabilities())
process = supervisor._fork()
supervisor._idle.append(process)
send_signal, stopped = os.kill, []

def kill(pid, number):
    send_signal(pid, number)
    if number == signal.SIGCONT and not stopped:
        stopped.append(pid)
        send_signal(pid, signal.SIGSTOP)

os.kill = kill
if sys.argv[3] == "reaped":
    supervisor._dismiss(process)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    supervisor._reap()
supervisor._term_received = supervisor._had_agent = True
supervisor.run()
print(len(stopped), "ended")
"""


@pytest.mark.parametrize("when", ["reaped", "waited for"])
def test_a_task_supervisor_that_is_stopped_after_its_dismissal_ends(
    tmp_path: Path, when: str
) -> None:
    """Its supervisor waited for it for ever, and no agent could start."""
    assert run_isolated(STOPPED_LATE, str(tmp_path / "sock"), when, timeout=GUARD) == "1 ended\n"


def read_log(store: Path) -> str:
    return Path(supervisor_path(str(store), "log")).read_text()


DYING = """
import os, signal, socket, sys
sys.path.insert(0, sys.argv[1])
from trio_afrender.supervisor.task_supervisor import HostCapabilities
from trio_afrender.supervisor.daemon import SupervisorDaemon
from trio_afrender.supervisor.process_pool import PoolProcess

unused, _other = socket.socketpair()  # in place of the listening socket: no agent connects
supervisor = SupervisorDaemon(unused, 0, HostCapabilities())
ours, theirs = socket.socketpair()
if (pid := os.fork()) == 0:
    theirs.close()
    signal.alarm(60)  # in case that the test does not kill it
    signal.pause()
theirs.close()
supervisor._add(PoolProcess(pid, ours))
supervisor._wait()  # finds its channel closed
os.kill(os.getpid(), signal.SIGCHLD)
supervisor._wait()
supervisor._reap()  # there is nothing to reap yet
os.kill(pid, signal.SIGKILL)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
supervisor._reap()
print(supervisor._pool, supervisor._has_orphans)
"""


def test_the_channel_of_a_killed_task_supervisor_closes_before_it_can_be_reaped() -> None:
    """The kernel closes the descriptors of a process before its parent can reap it."""
    assert run_isolated(DYING) == "{} True\n"


KILLED = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
from trio_afrender.message_framing import encode
from trio_afrender.supervisor.task_supervisor import HostCapabilities
from trio_afrender.supervisor.daemon import SupervisorDaemon
from trio_afrender.supervisor.process_pool import PoolProcess

unused, _other = socket.socketpair()  # in place of the listening socket: no agent connects
supervisor = SupervisorDaemon(unused, 0, HostCapabilities())
for number in (-1, -2):
    ours, theirs = socket.socketpair()
    theirs.close()
    supervisor._add(PoolProcess(number, ours))
    supervisor._idle.append(supervisor._pool[number])
process = supervisor._assign(encode({}), [])
print(process.pid > 0, len(supervisor._idle), len(supervisor._pool_by_fd))
process.close()
os.waitpid(process.pid, 0)
"""


def test_a_tree_is_not_assigned_to_a_pool_process_that_was_just_killed() -> None:
    assert run_isolated(KILLED) == "True 0 1\n"


STOPPED = """
import os, signal, socket, sys
sys.path.insert(0, sys.argv[1])
from trio_afrender.supervisor.process_pool import PoolProcess

message = bytes(4 * 1024 * 1024)  # more than a socket takes, as a large environment
ours, theirs = socket.socketpair()
if (pid := os.fork()) == 0:
    ours.close()
    size = 0
    while data := theirs.recv(65536):
        size += len(data)
    os._exit(size == len(message))
theirs.close()
ours.setblocking(False)
os.kill(pid, signal.SIGSTOP)
os.waitid(os.P_PID, pid, os.WSTOPPED)
signal.alarm(60)
process = PoolProcess(pid, ours)
process.send(message, [])
process.close()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_pool_process_that_is_stopped_before_it_has_read_its_tree_is_continued() -> None:
    """Else the supervisor, which has one thread, would wait for it for ever."""
    assert run_isolated(STOPPED) == "1\n"


REFUSED = """
import errno, os, sys
sys.path.insert(0, sys.argv[1])
from trio_afrender.supervisor import daemon

def refuse():
    raise OSError(errno.EAGAIN, "no process is left")

os.fork, sys.stderr = refuse, sys.stdout
print(daemon.main([sys.argv[2]]))
"""


def test_a_supervisor_that_cannot_be_forked_says_so(tmp_path: Path) -> None:
    printed = run_isolated(REFUSED, str(tmp_path))
    assert printed == f"the supervisor of {tmp_path}: no process is left\n1\n"


FIRST_MESSAGE = """
import socket, sys, threading
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from trio_afrender.message_framing import FrameReader
from trio_afrender.supervisor.task_supervisor import HostCapabilities
from trio_afrender.supervisor.daemon import SupervisorDaemon
from trio_afrender.supervisor.unix_sockets import connect, listen

supervisor = SupervisorDaemon(listen(sys.argv[2]), 0, HostCapabilities())
for pid in range(20_000):
    supervisor._pool[-pid] = SimpleNamespace(record="r" * 100)
messages = []

def agent():
    with connect(sys.argv[2]) as sock:
        sock.settimeout(60)
        frames = FrameReader()
        while not messages:
            messages.extend(frames.feed(sock.recv(65536)))

thread = threading.Thread(target=agent, daemon=True)
thread.start()
while thread.is_alive():
    supervisor._run_once()
print(len(messages[0]["records"]))
"""


def test_an_agent_gets_the_records_of_all_trees_however_many_there_are(tmp_path: Path) -> None:
    """Also when they do not fit into the socket at once."""
    assert run_isolated(FIRST_MESSAGE, str(tmp_path / "sock"), timeout=2 * GUARD) == "20000\n"


async def test_stop_trees_returns_when_the_trees_are_empty(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        folder = tmp_path / "run"
        run = await open_tree(
            supervisor, make_program("leave_orphans.py", "daemon", "stay"), folder, nursery
        )
        await run.printed(b"up\n")
        member = int(run.text().split()[1])
        await run.tree.detach()
        assert await trio.to_thread.run_sync(stop_trees, folder, float(GUARD))
        assert not lives(run.tree.pid)
        assert not lives(member)
        assert await trio.to_thread.run_sync(stop_trees, folder, 0.0), "there is no tree any more"


def test_a_tree_that_cannot_be_looked_for_does_not_count_as_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> Callable[[str], socket.socket]:
        def connect_to(path: str) -> socket.socket:
            raise OSError(number, os.strerror(number), path)

        return connect_to

    module = "trio_afrender.process.supervisor_client"
    (tmp_path / "main.sock").touch()
    looks: tuple[Callable[[], object], ...] = (
        partial(has_record, str(tmp_path / "main")),
        partial(find_task_supervisors, tmp_path),
        partial(stop_trees, tmp_path, 0.0),
    )
    for look in looks:
        monkeypatch.setattr(f"{module}.connect", fail(errno.EMFILE))
        with pytest.raises(OSError, match="Too many open files"):
            look()
        monkeypatch.setattr(f"{module}.connect", fail(errno.ECONNREFUSED))
        look()


def test_a_socket_that_accepts_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task may stop its supervisor and fill the queue of its socket."""
    monkeypatch.setattr("trio_afrender.supervisor.unix_sockets.CONNECT_TIMEOUT", 0.2)
    path = str(tmp_path / "main.sock")
    with closing(listen(path)), ExitStack() as stack:
        for _ in range(BACKLOG + 1):  # as many as Linux lets wait
            stack.enter_context(closing(connect(path)))
        with pytest.raises(TimeoutError, match="accepts no connection"):
            connect(path)
        assert not has_record(str(tmp_path / "main"))


async def test_term_to_a_task_supervisor_terminates_its_tree(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        folder = tmp_path / "run"
        run = await open_tree(supervisor, ticking(tmp_path), folder, nursery, grace=float(GUARD))
        await run.printed(b"line 1\n")
        os.kill(run.tree.state.parent, signal.SIGTERM)
        with trio.fail_after(GUARD):
            await run.tree.exited()
        await run.printed(b"bye\n")
        assert "TERM" in run.tree.external_stop_reason
        assert (await run.tree.reap()).code == 9


async def test_the_newest_agent_counts(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with (
        open_supervisor(tmp_path) as supervisor,
        open_supervisor(tmp_path) as other,
        trio.open_nursery() as nursery,
    ):
        first = await open_tree(supervisor, ticking(tmp_path), folder, nursery)
        await first.printed(b"line 1\n")
        second = await open_tree(other, ticking(tmp_path), folder, nursery, attach=True)
        assert second.tree.pid == first.tree.pid
        with trio.fail_after(GUARD):
            await first.tree.exited()  # its socket was closed, so it gets no state any more
        assert first.tree.lost
        assert await second.tree.kill_until_empty(GUARD) == ()
        await second.tree.reap()


async def test_a_silent_connection_does_not_replace_the_agent(tmp_path: Path) -> None:
    """Nor does one of another run, or many: a neighbour's task can open them."""
    folder = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        run = await open_tree(supervisor, ticking(tmp_path), folder, nursery)
        await run.printed(b"line 1\n")
        with ExitStack() as stack:
            for number in range(3 * MAX_PEERS):
                sock = stack.enter_context(closing(connect(socket_path(str(folder / "task")))))
                if number % 3 == 1:
                    sock.send(encode({"op": "attach", "token": "of another run"}))
                elif number % 3 == 2:
                    sock.send(b"\xff\xff\xff\xff no message")
            at = int(run.text().splitlines()[-1].split()[1])
            await run.printed(b"line %d\n" % (at + 20))
            assert not run.tree.lost
            assert await run.tree.members()
            (tmp_path / "go").touch()
            await run.tree.exited()
        assert (await run.tree.reap()).code == 5


async def test_a_tree_with_another_token_is_ended_and_started_again(tmp_path: Path) -> None:
    """For example because the key of the store was lost: the tree cannot be taken over."""
    folder = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        first = await open_tree(supervisor, ticking(tmp_path), folder, nursery)
        await first.printed(b"line 1\n")
        assert await first.tree.detach()
        launch = with_record(make_shell("exit 3"), folder, attach=True)
        other = attrs.evolve(launch, environment={**launch.environment, "AF_TASK_TOKEN": "other"})
        second = await supervisor.spawn(other)
        assert not lives(first.tree.pid)
        await second.exited()
        assert (await second.reap()).code == 3


async def test_an_agent_cancelled_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor:
        for pauses in range(12):
            launch = with_record(make_shell("exec sleep 1000"), tmp_path)
            async with trio.open_nursery() as nursery:

                async def start(launch: Launch = launch) -> None:
                    tree = await supervisor.spawn(launch)
                    with trio.CancelScope(shield=True):
                        await tree.kill_until_empty(GUARD)
                        await tree.reap()

                nursery.start_soon(start)
                for _ in range(pauses):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
    await until(lambda: not (tmp_path / SOCKET).exists())
    tokens = {pid for pid in scan() if read_token(pid) == launch.environment["AF_TASK_TOKEN"]}
    assert tokens == set()


async def test_a_cancelled_agent_gets_the_end_of_its_trees(tmp_path: Path) -> None:
    """Its cleanup, which is shielded, waits for the proof that they are empty."""
    statuses = []
    with trio.CancelScope() as agent:
        async with open_supervisor(tmp_path) as supervisor:
            tree = await RealTrees(supervisor, tmp_path).spawn(make_shell("exec sleep 1000"))
            agent.cancel()
            with trio.move_on_after(GUARD, shield=True):
                assert await tree.kill_until_empty(2 * GUARD) == ()
                statuses.append(str(await tree.reap()))
                await tree.output.aclose()
    assert statuses == ["signal 9"]


# -- sockets ------------------------------------------------------------------------------------


async def test_sockets_can_be_used_by_their_owner_alone(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        run = await open_tree(supervisor, ticking(tmp_path), tmp_path / "run", nursery)
        for path in (tmp_path / SOCKET, tmp_path / "run" / "task.sock"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await run.tree.kill_until_empty(GUARD)
        await run.tree.reap()


async def test_invalid_messages_do_not_affect_other_agents(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        for data in (b"\xff" * 8, b"\0\0\0\2{}", encode({"op": "start"}), b"\0\0\0\3[1]", b""):
            sock = connect(str(tmp_path / SOCKET))
            sock.setblocking(True)
            sock.sendall(data)
            sock.close()
        run = await open_tree(supervisor, make_shell("exit 3"), tmp_path / "run", nursery)
        with trio.fail_after(GUARD):
            await run.tree.exited()
        assert (await run.tree.reap()).code == 3


def test_a_socket_that_is_removed_while_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier task supervisor of the same record removes it at its end."""
    path, unlink = tmp_path / "task.sock", Path.unlink

    def unlink_too_late(path: Path) -> None:
        unlink(path)
        unlink(path)

    listen(str(path)).close()  # leaves its name behind
    monkeypatch.setattr(Path, "unlink", unlink_too_late)
    with listen(str(path)), connect(str(path)):
        pass


async def test_a_tree_that_was_replaced_leaves_the_files_of_the_later_one(tmp_path: Path) -> None:
    """A run may be started again while its first tree lives, if its agent was deceived."""
    folder = tmp_path / "run"
    record = str(folder / "task")

    def count_listeners() -> int:
        return Path("/proc/net/unix").read_text().count(socket_path(record))

    async with open_supervisor(tmp_path) as supervisor:
        sleeping = with_record(make_launch("/bin/sleep", "1000"), folder)
        first = await supervisor.spawn(sleeping)
        second = await supervisor.spawn(sleeping)
        assert await first.kill_until_empty(GUARD) == ()
        await first.reap()
        await until(lambda: count_listeners() == 1)
        assert not os.access(end_path(record), os.F_OK)
        connect(socket_path(record)).close()
        assert await second.kill_until_empty(GUARD) == ()
        await second.reap()
        await until(lambda: count_listeners() == 0)
        assert os.access(end_path(record), os.F_OK)
        assert not os.access(socket_path(record), os.F_OK)


TRAPPED = """
import ctypes, os, signal, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from trio_afrender.supervisor import process_tree

PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
handler = sys.argv[2]
script = handler + "sleep 1000 & echo; while read line; do :; done"  # until this one ends
shell = subprocess.Popen(["/bin/bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
shell.stdout.readline()
first = process_tree.list_children(shell.pid)
find_below, walks = process_tree.find_below, []

def find():
    walks.append(find_below())
    if len(walks) == 1:  # the shell is not signalled yet
        walks[0].remove(first[0])
    if len(walks) == 2 and handler:
        while len(process_tree.list_children(shell.pid)) < 2:
            time.sleep(0.001)
        walks[1] = find_below()
    return walks[-1]

process_tree.find_below = find
pids = process_tree.signal_below(signal.SIGTERM, signal.SIGCONT)
late = [pid for pid in process_tree.list_children(shell.pid) if pid not in first]
print(shell.pid in pids, first[0] in pids, len(late), [pid for pid in late if pid in pids])
for pid in (shell.pid, *first, *late):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
shell.wait()
"""


@pytest.mark.parametrize(
    ("handler", "printed"),
    [
        ("trap 'sleep 1000' TERM; ", "True False 1 []\n"),
        # What has no handler ends, and what it had started and the first walk missed is asked, too.
        ("", "True True 0 []\n"),
    ],
)
def test_what_a_handler_of_term_starts_is_not_asked_to_end(handler: str, printed: str) -> None:
    """Two walks over the tree may be before and after the start of the commands of a shell's trap."""
    assert run_isolated(TRAPPED, handler) == printed


ORPHANED = """
import ctypes, os, signal, subprocess, sys
sys.path.insert(0, sys.argv[1])
from trio_afrender.supervisor import process_tree

PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
script = "sleep 1000 & echo; while read line; do :; done"  # until this one ends
shell = subprocess.Popen(["/bin/bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
shell.stdout.readline()
first = process_tree.list_children(shell.pid)
look = process_tree._stat

def end_shell(pid):
    facts = look(pid) if int(sys.argv[2]) else None
    if pid == shell.pid:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return facts or look(pid)

process_tree._stat = end_shell
found = process_tree.find_below()
print(found[-1:] == first, found[:-1] == [shell.pid])
os.kill(first[0], signal.SIGKILL)
shell.wait()
"""


@pytest.mark.parametrize(("looks_first", "printed"), [("0", "True False\n"), ("1", "True True\n")])
def test_one_walk_finds_an_orphan_of_the_same_moment(looks_first: str, printed: str) -> None:
    """A parent that ends during the walk, before it is looked at or after that."""
    assert run_isolated(ORPHANED, looks_first) == printed


async def test_the_path_of_a_store_may_be_long(tmp_path: Path) -> None:
    store = tmp_path / ("d" * 120)
    store.mkdir()
    async with open_supervisor(store) as supervisor, trio.open_nursery() as nursery:
        run = await open_tree(supervisor, make_shell("exit 3"), store / "run", nursery)
        with trio.fail_after(GUARD):
            await run.tree.exited()
        await run.tree.reap()


async def test_the_next_agent_continues_a_supervisor_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_client, "WATCH_INTERVAL", math.inf)  # that of the first
    async with open_supervisor(tmp_path) as first:
        pid = int(str(first.facts["pid"]))
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        with trio.fail_after(GUARD):
            async with open_supervisor(tmp_path) as second:
                assert second.facts["pid"] == pid


def test_the_supervisor_imports_the_standard_library_alone() -> None:
    script = "import sys; sys.path.insert(0, sys.argv[1]); import trio_afrender.supervisor.daemon; print(*sys.modules)"
    ours = {name for name in run_isolated(script).split() if name.startswith("trio_afrender.")}
    assert {name.split(".")[1] for name in ours} == {
        "message_framing",
        "safe_files",
        "supervisor",
        "tasklog",
        "user_switch",
        "version",
        "windows_files",
    }


async def test_a_request_for_which_the_kernel_has_no_memory_is_sent_again() -> None:
    """A TERM that is lost would mean a KILL after the grace."""

    class Full:
        def send(self, data: bytes) -> int:
            raise OSError(errno.ENOBUFS, "No buffer space available")

    async def kill_leftovers(seconds: float) -> tuple[int, ...]:
        await trio.lowlevel.checkpoint()
        return ()

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        tree = SupervisedTree(ours, kill_leftovers=kill_leftovers)
        tree._raw = cast("socket.socket", Full())
        await tree._send("term", 1)
        assert theirs.recv(1000) == encode({"op": "term", "id": 1})
