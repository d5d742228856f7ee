"""Trees held by parents of their own: the contract of every child, and what only the supervisor can do."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from support.process import RealStage, lives, make_launch, make_program, make_shell
from support.process_contract import CHECKS, GUARD, KILL, TERM, Stage, watch

from trio_afrender.errors import SpawnError
from trio_afrender.message_framing import encode
from trio_afrender.process.interfaces import Launch, Persistence, TreeSignal
from trio_afrender.process.procfs import read_token, scan
from trio_afrender.process.supervised_tree import SupervisedTree, read_exit_record
from trio_afrender.process.supervisor_client import (
    SupervisorClient,
    can_supervise,
    has_record,
    open_supervisor,
    stop_trees,
)
from trio_afrender.supervisor.protocol import TreeState
from trio_afrender.supervisor.unix_sockets import connect, listen, supervisor_path
from trio_afrender.tasklog.local_log import open_reader
from trio_afrender.tasklog.supervised_log import SupervisedLog

pytestmark = pytest.mark.skipif(not can_supervise(), reason="this platform has no subreapers")

AGENT_TIMEOUT = 300.0
SOCKET = Path(supervisor_path("", "sock")).name


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[SupervisorClient]:
    async with open_supervisor(tmp_path) as opened:
        yield opened
    # It ends by itself, some moments after its last tree.
    await until(lambda: not (tmp_path / SOCKET).exists())


@pytest.fixture
def stage(supervisor: SupervisorClient) -> RealStage:
    return RealStage(spawn=supervisor.spawn)


async def until(holds: Callable[[], object]) -> None:
    """Wait for something that another process does, of which no event tells us."""
    with trio.fail_after(GUARD):
        while not holds():  # noqa: ASYNC110 - as said
            await trio.sleep(0.005)


def kept(launch: Launch, folder: Path, **changes: object) -> Launch:
    """The same launch, held beyond the agent."""
    folder.mkdir(exist_ok=True)
    persistence = Persistence(
        record=str(folder / "task"),
        log=str(folder / "log"),
        quota=1 << 30,
        agent_timeout=AGENT_TIMEOUT,
        grace=0.0,
    )
    persistence = attrs.evolve(persistence, **changes)  # type: ignore[arg-type]  # fields by name
    return attrs.evolve(launch, persistence=persistence)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Callable[[Stage], Awaitable[None]], stage: RealStage) -> None:
    await check(stage)


@pytest.mark.parametrize("words", ["setsid", "daemon"])
async def test_members_in_other_sessions_are_signalled_too(stage: RealStage, words: str) -> None:
    async with stage.run(make_program("leave_orphans.py", words, "stay")) as played:
        pids = {played.child.pid, *played.members}
        assert set(await played.child.signal_tree(TERM)) == pids
        await played.child.exited()
        assert await played.child.signal_tree(KILL) == played.members
        await played.child.wait_empty()
        assert await played.child.kill_until_empty(GUARD) == ()


@pytest.mark.parametrize("words", ["", "setsid", "daemon", "quiet", "quiet setsid", "quiet daemon"])
async def test_what_a_leader_leaves_behind_is_found(stage: RealStage, words: str) -> None:
    async with stage.run(make_program("leave_orphans.py", *words.split())) as played:
        await played.child.exited()
        assert await played.child.signal_tree(KILL) == played.members
        await played.child.wait_empty()
        assert await played.child.kill_until_empty(GUARD) == ()


@pytest.mark.parametrize("words", ["", "stay", "setsid", "setsid stay"])
async def test_a_chain_of_forks_is_broken(stage: RealStage, words: str) -> None:
    launch = make_program("fork_storm.py", *words.split())
    async with stage.run(launch) as played:
        assert await played.child.kill_until_empty(GUARD) == ()
    token = launch.environment["AF_TASK_TOKEN"]
    for _ in range(3):  # whoever goes on forking would be seen by one of the looks
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


async def test_a_crowd_is_ended_to_the_last(stage: RealStage) -> None:
    """Many of one group, whose dead are collected in a row, and many that have one each."""
    async with stage.run(make_launch(sys.executable, "-I", "-S", "-c", CROWD)) as played:
        pids = await played.child.signal_tree(KILL)
        assert (len(set(pids)), pids[0]) == (301, played.child.pid)
        assert await played.child.kill_until_empty(GUARD) == ()
        assert not any(lives(pid) for pid in pids)


async def test_a_daemon_without_environment_is_found_beside_other_tasks(stage: RealStage) -> None:
    """What no agent that is no subreaper could find: nothing ties it to its task but descent."""
    script = "(exec env -i setsid sh -c 'echo member $$; echo up; exec sleep 100' >&1 &)"
    other = await stage.spawn(make_shell("exec sleep 1000"))
    async with watch(await stage.spawn(make_shell(script))) as played:
        await played.child.exited()
        assert await played.child.signal_tree(KILL) == played.members
        assert await played.child.kill_until_empty(GUARD) == ()
        assert not lives(played.members[0])
    assert lives(other.pid)
    await other.kill_until_empty(GUARD)
    await other.reap()
    await other.output.aclose()


async def test_a_stopped_member_gets_its_chance_to_end(stage: RealStage) -> None:
    async with stage.run(make_program("stop_member.py")) as played:
        assert await played.child.signal_tree(TERM) == (played.child.pid, *played.members)
        await played.child.exited()
        await played.child.wait_empty()
        assert await played.child.kill_until_empty(GUARD) == ()


async def test_zombies_of_a_negligent_parent_hold_nothing_up(stage: RealStage) -> None:
    async with stage.run(make_program("leave_zombie.py")) as played:
        assert await played.child.signal_tree(TERM) == (played.child.pid,)
        await played.child.wait_empty()
        assert await played.child.kill_until_empty(GUARD) == ()


async def test_a_suspended_tree_stands_still_until_it_is_resumed(stage: RealStage) -> None:
    ticking = "echo member $$; echo up; while :; do echo tick; sleep 0.01; done"
    async with stage.run(make_shell(ticking)) as played:
        pids = await played.child.signal_tree(TreeSignal.SUSPEND)
        assert played.child.pid in pids
        await until(lambda: is_still(played.child.pid))  # the kernel freezes in its own time
        size = played.log.size
        await played.child.signal_tree(TreeSignal.RESUME)
        with trio.fail_after(GUARD):
            await played.log.wait_beyond(size)


async def test_a_suspended_tree_obeys_a_stop(stage: RealStage) -> None:
    async with stage.play("forks") as played:
        await played.child.signal_tree(TreeSignal.SUSPEND)
        await played.child.signal_tree(TERM)
        with trio.fail_after(GUARD):
            await played.child.wait_empty()
        assert (await played.child.reap()).signal == signal.SIGTERM


def is_still(pid: int) -> bool:
    """Stopped by a signal, or frozen (then it sleeps in the freezer, or its cgroup says so)."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    if state in "Tt":
        return True
    line = next(
        line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line[:3] == "0::"
    )
    events = next(
        mount / line[3:].lstrip("/") / "cgroup.events"
        for mount in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
        if (mount / line[3:].lstrip("/") / "cgroup.events").exists()
    )
    return "frozen 1" in events.read_text()


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
async def test_what_cannot_be_started_is_said(stage: RealStage, launch: Launch, text: str) -> None:
    with pytest.raises(SpawnError, match=text.replace("(", r"\(")):
        await stage.spawn(launch)


async def test_priority_and_streams_are_those_that_were_asked_for(stage: RealStage) -> None:
    base = os.nice(0)
    script = "nice; ps -o nice= -p $$; cat; echo err >&2; echo up"
    async with stage.run(attrs.evolve(make_shell(script), nice=7)) as played:
        await played.ended.wait()
        words = played.printed.split()
        assert words == [b"%d" % (base + 7), b"%d" % (base + 7), b"err", b"up"]
    async with stage.run(make_shell("nice; echo up")) as played:  # not what the one before had
        assert played.printed.split()[0] == b"%d" % base


async def test_one_parent_starts_trees_of_any_priority(tmp_path: Path) -> None:
    """One after another, and stays itself where it was."""
    base = os.nice(0)
    parents = set()
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        for number, nice in enumerate((7, 7, 3, 0, 7)):
            launch = attrs.evolve(make_shell("nice"), nice=nice)
            tree = await open_kept(supervisor, launch, tmp_path / f"run{number}", nursery)
            parents.add(tree.child.state.parent)
            await tree.printed(b"%d\n" % (base + nice))
            with trio.fail_after(GUARD):
                await tree.child.exited()
            assert os.getpriority(os.PRIO_PROCESS, tree.child.state.parent) == base
            assert await tree.child.kill_until_empty(GUARD) == ()
            await tree.child.reap()
            await until(partial(is_idle, tree.child.state.parent))
    assert len(parents) == 1


def is_idle(parent: int) -> bool:
    return Path(f"/proc/{parent}/comm").read_text() == "af:idle\n"


async def test_no_signal_is_ignored_that_whoever_started_us_ignores(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
            launch = make_shell("exec cat /proc/self/status")
            tree = await open_kept(supervisor, launch, tmp_path / "run", nursery)
            await tree.printed(b"SigCgt:")
            (ignored,) = (line for line in tree.text().splitlines() if line.startswith(b"SigIgn"))
            mask = int(ignored.split()[1], 16)
            assert {number for number in signal.valid_signals() if mask >> number - 1 & 1} == set()
            await tree.child.kill_until_empty(GUARD)
            await tree.child.reap()
    finally:
        signal.signal(signal.SIGUSR2, before)


async def test_a_tree_that_prints_nothing_leaves_no_log(tmp_path: Path) -> None:
    """A folder and a file for each would be the dearest part of a tiny task."""
    place = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        tree = await open_kept(supervisor, make_shell("exit 3"), place, nursery)
        with trio.fail_after(GUARD):
            await tree.child.exited()
        assert await tree.child.kill_until_empty(GUARD) == ()
        assert (await tree.child.reap()).code == 3
        assert tree.child.state.eof
        assert not (place / "log").exists()
        assert (tree.text(), open_reader(place / "log").size()) == (b"", 0)


async def test_nothing_of_us_is_inherited(stage: RealStage) -> None:
    async with stage.run(make_shell("ls /proc/self/fd; env; trap; echo up")) as played:
        await played.ended.wait()
        lines = played.printed.split()
        # 3 is the folder that `ls` reads.
        assert lines[:4] == [b"0", b"1", b"2", b"3"]
        assert not lines[4].isdigit()
        assert sum(b"=" in line for line in lines) <= 4  # PATH, the token, what the shell adds


# -- an agent that goes and comes ---------------------------------------------------------------


@attrs.define
class Kept:
    """A tree, its log, and the pump in between."""

    child: SupervisedTree
    log: SupervisedLog

    async def printed(self, text: bytes) -> None:
        with trio.fail_after(GUARD):
            while text not in self.text():
                await self.log.wait_beyond(self.log.size)

    def text(self) -> bytes:
        return self.log.reader().read(0, 1 << 20).data


async def open_kept(
    supervisor: SupervisorClient,
    launch: Launch,
    folder: Path,
    nursery: trio.Nursery,
    **changes: object,
) -> Kept:
    child = await supervisor.spawn(kept(launch, folder, **changes))
    log = SupervisedLog(folder / "log")
    nursery.start_soon(pump, child, log)
    return Kept(child, log)


async def ended(place: Path) -> TreeState:
    """How the tree of that place ended, once it has."""
    await until(lambda: read_exit_record(str(place / "task")))
    state = read_exit_record(str(place / "task"))
    assert state is not None
    return state


async def pump(child: SupervisedTree, log: SupervisedLog) -> None:
    try:
        await child.output.pump(log)
    except trio.ClosedResourceError:
        return


TICKING = """
i=0; trap 'echo bye; exit 9' TERM
while [ ! -e "$1/go" ]; do i=$((i+1)); echo line $i; sleep 0.005; done
echo last $i; exit 5
"""


def ticking(folder: Path) -> Launch:
    return make_launch("/bin/sh", "-c", TICKING, "sh", str(folder))


async def test_an_agent_that_comes_back_takes_up_the_tree_where_it_is(tmp_path: Path) -> None:
    """Twice: once while it runs, once after it ended with nobody there."""
    place = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        first = await open_kept(supervisor, ticking(tmp_path), place, nursery)
        await first.printed(b"line 3\n")
        pid = first.child.pid
        assert await first.child.detach()
    assert lives(pid)
    assert has_record(str(place / "task"))
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        assert supervisor.facts["records"] == [str(place / "task")]
        second = await open_kept(supervisor, ticking(tmp_path), place, nursery, attach=True)
        assert second.child.pid == pid
        assert second.child.started is not None
        (tmp_path / "go").touch()
        with trio.fail_after(GUARD):
            await second.child.exited()
        await second.printed(b"last ")
        assert (await second.child.reap()).code == 5
    check_lines(second.text())
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        third = await open_kept(supervisor, ticking(tmp_path), place, nursery, attach=True)
        await third.child.exited()
        assert await third.child.kill_until_empty(1) == ()
        assert (await third.child.reap()).code == 5
        assert await third.child.signal_tree(KILL) == ()
        await third.printed(b"last ")
    assert third.text() == second.text()


def check_lines(text: bytes) -> None:
    """Every line is there once, in order."""
    lines = [line.split() for line in text.splitlines()]
    numbers = [int(words[1]) for words in lines if words[0] == b"line"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert lines[-1] == [b"last", b"%d" % len(numbers)]


async def test_a_tree_that_ends_while_nobody_is_there_leaves_word(tmp_path: Path) -> None:
    place = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        first = await open_kept(supervisor, ticking(tmp_path), place, nursery)
        await first.printed(b"line 1\n")
        await first.child.detach()
    (tmp_path / "go").touch()
    state = await ended(place)
    await until(lambda: not (place / "task.sock").exists())
    assert (state.raw, state.empty, state.eof, state.unattended) == (5 << 8, True, True, "")
    check_lines(open_reader(place / "log").read(0, 1 << 20).data)


async def test_without_an_agent_for_too_long_the_tree_is_stopped(tmp_path: Path) -> None:
    """Politely: TERM, the grace, KILL; what it says then is in its log."""
    place = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        first = await open_kept(
            supervisor, ticking(tmp_path), place, nursery, agent_timeout=0.05, grace=float(GUARD)
        )
        await first.printed(b"line 1\n")
        await first.child.detach()
    state = await ended(place)
    assert state.raw == 9 << 8
    assert "no agent connected" in state.unattended
    assert open_reader(place / "log").read(0, 1 << 20).data.endswith(b"bye\n")


async def test_a_tree_without_record_ends_with_its_agent(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor:
        child = await supervisor.spawn(make_program("leave_orphans.py", "daemon", "stay"))
        pid = child.pid
    await until(lambda: not lives(pid) and not (tmp_path / SOCKET).exists())


async def test_the_supervisor_may_be_killed(tmp_path: Path) -> None:
    """Its trees and their agent notice nothing; what comes next starts with another one."""
    place = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        first = await open_kept(supervisor, ticking(tmp_path), place, nursery)
        await first.printed(b"line 1\n")
        os.kill(int(str(supervisor.facts["pid"])), signal.SIGKILL)
        await first.printed(b"line 20\n")
        second = await open_kept(supervisor, make_shell("exit 4"), tmp_path / "other", nursery)
        with trio.fail_after(GUARD):
            await second.child.exited()
        assert (await second.child.reap()).code == 4
        (tmp_path / "go").touch()
        with trio.fail_after(GUARD):
            await first.child.exited()
        await first.printed(b"last ")
        assert await first.child.kill_until_empty(1) == ()
        assert (await first.child.reap()).code == 5
    check_lines(first.text())


@pytest.mark.parametrize("words", ["stay", "setsid stay", "daemon stay"])
async def test_what_a_killed_parent_had_is_ended(tmp_path: Path, words: str) -> None:
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        place = tmp_path / "run"
        launch = make_program("leave_orphans.py", *words.split())
        tree = await open_kept(supervisor, launch, place, nursery)
        await tree.printed(b"up\n")
        member = int(tree.text().split()[1])
        os.kill(tree.child.state.parent, signal.SIGKILL)
        with trio.fail_after(GUARD):
            await tree.child.exited()
            assert await tree.child.kill_until_empty(GUARD) == ()
        status = await tree.child.reap()
        assert (status.code, status.signal) == (None, None)
        assert "was killed" in tree.child.external_stop_reason
        assert not lives(tree.child.pid)
        assert not lives(member)


async def test_a_parent_killed_before_it_could_start_anything_costs_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent is killed each time a start is sent; the last try is left alone, or none is."""
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        first = await open_kept(supervisor, make_shell("exit 3"), tmp_path / "first", nursery)
        await first.child.exited()
        await first.child.reap()
        idle = first.child.state.parent
        # From here on the supervisor knows that it is idle, and assigns the next tree to it.
        await until(partial(is_idle, idle))
        send = supervisor._send
        kills = [idle]

        async def kill_then_send(frame: bytes, descriptors: Sequence[int]) -> None:
            if kills:
                os.kill(kills.pop(), signal.SIGSTOP)  # it takes the tree, and does nothing
                nursery.start_soon(kill_soon)
            await send(frame, descriptors)

        async def kill_soon() -> None:
            await until(lambda: (tmp_path / "second" / "task.sock").exists())
            os.kill(idle, signal.SIGKILL)

        monkeypatch.setattr(supervisor, "_send", kill_then_send)
        second = await open_kept(supervisor, make_shell("exit 4"), tmp_path / "second", nursery)
        await second.child.exited()
        assert second.child.state.parent != idle
        assert (await second.child.reap()).code == 4


async def test_what_the_supervisor_itself_cannot_do_is_said(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor:
        launch = kept(make_shell("true"), tmp_path / "run")
        (tmp_path / "run").rmdir()  # as on a disk that takes no socket for the record
        with pytest.raises(SpawnError, match='cannot start "/bin/sh": No such file or directory'):
            await supervisor.spawn(launch)


async def test_the_supervisor_bears_the_death_of_any_parent(tmp_path: Path) -> None:
    """Of busy ones and idle ones: it is there for what they leave, and for the next."""
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        for number in range(30):
            place = tmp_path / f"run{number}"
            tree = await open_kept(supervisor, make_shell("exec sleep 1000"), place, nursery)
            parent = tree.child.state.parent
            if number % 2:  # it is idle then
                assert await tree.child.kill_until_empty(GUARD) == ()
                await tree.child.reap()
            os.kill(parent, signal.SIGKILL)
            if not number % 2:
                await tree.child.exited()
                assert await tree.child.kill_until_empty(GUARD) == ()
        assert lives(int(str(supervisor.facts["pid"])))
    assert "internal error" not in read_log(tmp_path)


def read_log(store: Path) -> str:
    return Path(supervisor_path(str(store), "log")).read_text()


DYING = """
import os, signal, socket, sys
sys.path.insert(0, sys.argv[1])
from trio_afrender.supervisor.task_supervisor import HostCapabilities
from trio_afrender.supervisor.daemon import SupervisorDaemon
from trio_afrender.supervisor.process_pool import PoolProcess

silent, _other = socket.socketpair()  # in the place of the listening socket: nobody comes
supervisor = SupervisorDaemon(silent, 0, HostCapabilities())
ours, theirs = socket.socketpair()
if (pid := os.fork()) == 0:
    theirs.close()
    signal.alarm(60)  # not for ever where the test broke
    signal.pause()
theirs.close()
supervisor._add(PoolProcess(pid, ours))
supervisor._wait()  # sees that its line is closed
os.kill(os.getpid(), signal.SIGCHLD)
supervisor._wait()  # and that there is nothing to reap yet
supervisor._reap()
os.kill(pid, signal.SIGKILL)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
supervisor._reap()
print(supervisor._pool, supervisor._has_orphans)
"""


def test_a_parent_whose_line_closes_before_it_can_be_reaped_is_no_surprise() -> None:
    """The kernel closes what a process has open before it lets it be reaped."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", DYING, str(root)],
        check=False, capture_output=True, text=True, timeout=GUARD,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("{} True\n", 0), done.stderr


KILLED = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
from trio_afrender.message_framing import encode
from trio_afrender.supervisor.task_supervisor import HostCapabilities
from trio_afrender.supervisor.daemon import SupervisorDaemon
from trio_afrender.supervisor.process_pool import PoolProcess

silent, _other = socket.socketpair()  # in the place of the listening socket: nobody comes
supervisor = SupervisorDaemon(silent, 0, HostCapabilities())
for number in (-1, -2):
    ours, theirs = socket.socketpair()
    theirs.close()
    supervisor._add(PoolProcess(number, ours))
    supervisor._idle.append(supervisor._pool[number])
worker = supervisor._assign(encode({}), [])
print(worker.pid > 0, len(supervisor._idle), len(supervisor._pool_by_fd))
worker.close()
os.waitpid(worker.pid, 0)
"""


def test_a_tree_is_not_given_to_a_parent_that_was_killed_a_moment_ago() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", KILLED, str(root)],
        check=False, capture_output=True, text=True, timeout=GUARD,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("True 0 1\n", 0), done.stderr


GREETING = """
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
greetings = []

def agent():
    with connect(sys.argv[2]) as sock:
        sock.settimeout(60)
        frames = FrameReader()
        while not greetings:
            greetings.extend(frames.feed(sock.recv(65536)))

thread = threading.Thread(target=agent, daemon=True)
thread.start()
while not supervisor._closing_agents:  # until the agent is gone again
    supervisor._run_once()
thread.join()
print(len(greetings[0]["records"]))
"""


def test_an_agent_hears_of_all_trees_however_many_there_are(tmp_path: Path) -> None:
    """More than a socket holds at once."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", GREETING, str(root), str(tmp_path / "sock")],
        check=False, capture_output=True, text=True, timeout=2 * GUARD,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("20000\n", 0), done.stderr


async def test_dismissed_trees_are_gone_when_that_is_said(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        place = tmp_path / "run"
        tree = await open_kept(
            supervisor, make_program("leave_orphans.py", "daemon", "stay"), place, nursery
        )
        await tree.printed(b"up\n")
        member = int(tree.text().split()[1])
        await tree.child.detach()
        assert await trio.to_thread.run_sync(stop_trees, place, float(GUARD))
        assert not lives(tree.child.pid)
        assert not lives(member)
        assert await trio.to_thread.run_sync(stop_trees, place, 0.0), "nothing is there any more"


async def test_term_to_a_parent_stops_its_tree_politely(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        place = tmp_path / "run"
        tree = await open_kept(supervisor, ticking(tmp_path), place, nursery, grace=float(GUARD))
        await tree.printed(b"line 1\n")
        os.kill(tree.child.state.parent, signal.SIGTERM)
        with trio.fail_after(GUARD):
            await tree.child.exited()
        await tree.printed(b"bye\n")
        assert "TERM" in tree.child.external_stop_reason
        assert (await tree.child.reap()).code == 9


async def test_the_newest_agent_counts(tmp_path: Path) -> None:
    place = tmp_path / "run"
    async with (
        open_supervisor(tmp_path) as supervisor,
        open_supervisor(tmp_path) as other,
        trio.open_nursery() as nursery,
    ):
        first = await open_kept(supervisor, ticking(tmp_path), place, nursery)
        await first.printed(b"line 1\n")
        second = await open_kept(other, ticking(tmp_path), place, nursery, attach=True)
        assert second.child.pid == first.child.pid
        with trio.fail_after(GUARD):
            await first.child.exited()  # its line was closed: it knows no more
        assert first.child.lost
        assert await second.child.kill_until_empty(GUARD) == ()
        await second.child.reap()


async def test_an_agent_cancelled_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor:
        for pauses in range(12):
            launch = kept(make_shell("exec sleep 1000"), tmp_path)
            async with trio.open_nursery() as nursery:

                async def start(launch: Launch = launch) -> None:
                    child = await supervisor.spawn(launch)
                    with trio.CancelScope(shield=True):
                        await child.kill_until_empty(GUARD)
                        await child.reap()

                nursery.start_soon(start)
                for _ in range(pauses):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
    await until(lambda: not (tmp_path / SOCKET).exists())
    tokens = {pid for pid in scan() if read_token(pid) == launch.environment["AF_TASK_TOKEN"]}
    assert tokens == set()


# -- who may talk to it -------------------------------------------------------------------------


async def test_sockets_are_for_their_owner_alone(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        tree = await open_kept(supervisor, ticking(tmp_path), tmp_path / "run", nursery)
        for path in (tmp_path / SOCKET, tmp_path / "run" / "task.sock"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await tree.child.kill_until_empty(GUARD)
        await tree.child.reap()


async def test_nonsense_harms_nobody_else(tmp_path: Path) -> None:
    async with open_supervisor(tmp_path) as supervisor, trio.open_nursery() as nursery:
        for nonsense in (b"\xff" * 8, b"\0\0\0\2{}", encode({"op": "start"}), b"\0\0\0\3[1]", b""):
            sock = connect(str(tmp_path / SOCKET))
            sock.setblocking(True)
            sock.sendall(nonsense)
            sock.close()
        tree = await open_kept(supervisor, make_shell("exit 3"), tmp_path / "run", nursery)
        with trio.fail_after(GUARD):
            await tree.child.exited()
        assert (await tree.child.reap()).code == 3


def test_a_socket_that_goes_just_when_it_is_to_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent before, at the same record, takes it away when it ends."""
    path, unlink = tmp_path / "task.sock", Path.unlink

    def come_too_late(path: Path) -> None:
        unlink(path)
        unlink(path)

    listen(str(path)).close()  # leaves its name behind
    monkeypatch.setattr(Path, "unlink", come_too_late)
    with listen(str(path)), connect(str(path)):
        pass


async def test_a_long_path_is_no_problem(tmp_path: Path) -> None:
    store = tmp_path / ("d" * 120)
    store.mkdir()
    async with open_supervisor(store) as supervisor, trio.open_nursery() as nursery:
        tree = await open_kept(supervisor, make_shell("exit 3"), store / "run", nursery)
        with trio.fail_after(GUARD):
            await tree.child.exited()
        await tree.child.reap()


def test_the_supervisor_needs_the_standard_library_alone() -> None:
    root = Path(__file__).parents[2]
    script = f"import sys; sys.path[:0] = [{str(root)!r}]; import trio_afrender.supervisor.daemon; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], check=True, capture_output=True, text=True
    )
    ours = {name for name in done.stdout.split() if name.startswith("trio_afrender.")}
    assert {name.split(".")[1] for name in ours} == {"message_framing", "supervisor", "tasklog"}
