"""A task that takes the place of its task supervisor or of the supervisor, and agents that it deceives.

The task runs as the agent's user, so it may write to every folder of the store.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import sys
from pathlib import Path

import attrs
import pytest
import trio
from support.polling import until
from support.process import lives, make_launch
from support.process_contract import GUARD

from trio_afrender.message_framing import encode
from trio_afrender.process.interfaces import Launch, Persistence
from trio_afrender.process.supervised_tree import read_exit_record
from trio_afrender.process.supervisor_client import (
    SupervisorClient,
    find_task_supervisors,
    has_record,
    open_supervisor,
)
from trio_afrender.supervisor.peer_credentials import check_peer, is_inside_task
from trio_afrender.supervisor.protocol import TreeState
from trio_afrender.supervisor.unix_sockets import connect, supervisor_path

FORGED = TreeState(parent=1, pid=1, raw=0, empty=True, eof=True)
"""The state that a task pretends: it has ended with success."""

# The process that listens has left its session, has no parent of the task's, and no variable.
LISTENER = """
import ctypes, os, signal, socket, sys
path, name, message, up = sys.argv[1:]
def rename(name):
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
if os.fork() == 0:
    os.setsid()
    rename("af:supervisor")  # the parent of what listens
    if os.fork() == 0:
        rename(name)
        signal.alarm(1000)  # in case that the test does not kill it
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(16)
        os.close(os.open(up, os.O_CREAT | os.O_WRONLY))
        peers = []
        while True:
            peer, _ = listener.accept()
            peers.append(peer)
            peer.sendall(bytes.fromhex(message))
    os.waitpid(-1, 0)
import time
time.sleep(1000)
"""


def with_record(launch: Launch, folder: Path, *, attach: bool = False) -> Launch:
    persistence = Persistence(
        record=str(folder / "task"),
        log=str(folder / "log"),
        quota=1 << 30,
        agent_timeout=300.0,
        grace=0.0,
        attach=attach,
    )
    environment = {**launch.environment, "AF_TASK_TOKEN": f"test-{hash(folder):x}"}
    return attrs.evolve(launch, environment=environment, persistence=persistence)


def make_listener(path: str, message: dict[str, object], up: Path, name: str) -> Launch:
    words = (path, name, encode(message).hex(), str(up))
    return make_launch("/usr/bin/env", "-i", sys.executable, "-I", "-S", "-c", LISTENER, *words)


@pytest.mark.parametrize("name", ["af:1.0.0", "af:supervisor", "python"])
async def test_a_fake_listener_at_the_socket_of_a_run_is_refused(tmp_path: Path, name: str) -> None:
    folder, up = tmp_path / "run", tmp_path / "up"
    fake = make_listener(str(folder / "task.sock"), {"state": FORGED.to_json()}, up, name)
    async with open_supervisor(tmp_path) as supervisor:
        tree = await supervisor.spawn(with_record(fake, folder))
        await until(up.exists)
        assert await tree.detach()
        with pytest.raises(PermissionError, match="a task's"):
            connect(str(folder / "task.sock"))
        assert find_task_supervisors(folder) == ()
        assert not has_record(str(folder / "task"))
    assert lives(tree.pid)
    async with open_supervisor(tmp_path) as supervisor:
        # What the task pretends is not what the run gets: it is started again.
        again = with_record(make_launch("/bin/sh", "-c", "exit 3"), folder, attach=True)
        second = await supervisor.spawn(again)
        await second.exited()
        assert await second.kill_until_empty(GUARD) == ()
        assert (await second.reap()).code == 3
        # Without a variable and a socket the first tree is known to its task supervisor alone, which
        # stops it after the agent timeout; here it is ended with it.
        os.kill(tree.state.parent, signal.SIGKILL)
        await until(lambda: not lives(tree.pid))


async def test_a_fake_supervisor_is_refused(tmp_path: Path) -> None:
    up, path = tmp_path / "up", supervisor_path(str(tmp_path), "sock")
    hello: dict[str, object] = {"keeper": 2, "pid": 1, "folders": True, "records": []}
    async with open_supervisor(tmp_path) as supervisor:
        fake = make_listener(path, hello, up, "af:supervisor")
        tree = await supervisor.spawn(with_record(fake, tmp_path / "run"))
        await until(up.exists)
        with pytest.raises(PermissionError, match="a task's"):
            connect(path)
        assert await tree.kill_until_empty(GUARD) == ()
        await tree.reap()


async def test_a_task_cannot_connect_as_an_agent(tmp_path: Path) -> None:
    """Neither to its own task supervisor, whose token it has, nor to a neighbour's, nor the supervisor."""
    script = """
import os, socket, sys, time
token = os.environ["AF_TASK_TOKEN"]
for path in sys.argv[1:]:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    try:
        peer.sendall(bytes.fromhex(os.environ["MESSAGE"]))
        answer = peer.recv(100)
    except OSError:
        answer = b""
    print(len(answer), flush=True)
"""
    neighbour, own = tmp_path / "neighbour", tmp_path / "own"
    async with open_supervisor(tmp_path) as supervisor:
        sleeping = make_launch("/bin/sleep", "1000")
        other = await supervisor.spawn(with_record(sleeping, neighbour))
        paths = [str(folder / "task.sock") for folder in (neighbour, own)]
        paths.append(supervisor_path(str(tmp_path), "sock"))
        launch = make_launch(sys.executable, "-I", "-S", "-c", script, *paths)
        launch = with_record(launch, own)
        for victim in (neighbour, own):
            attach = {"op": "attach", "token": f"test-{hash(victim):x}"}
            message = encode(attach) + encode({"op": "kill"}) + encode({"op": "state"})
            environment = {**launch.environment, "MESSAGE": message.hex()}
            tree = await supervisor.spawn(attrs.evolve(launch, environment=environment))
            with trio.fail_after(GUARD):
                await tree.exited()
            assert not tree.lost
            assert (await tree.reap()).code == 0
            # Or the first task supervisor might remove the socket of the second one.
            await until(lambda: not (own / "task.sock").exists())
            assert (own / "log").exists()
        printed = b"".join(each.read_bytes() for each in sorted((own / "log").glob("*.log")))
        assert printed == b"0\n" * 6
        assert lives(other.pid)
        assert not other.lost
        assert await other.kill_until_empty(GUARD) == ()
        await other.reap()


async def test_a_forged_end_of_a_tree_that_lives_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with open_supervisor(tmp_path) as supervisor:
        sleeping = make_launch("/bin/sleep", "1000")
        tree = await supervisor.spawn(with_record(sleeping, folder))
        assert await tree.detach()
        (folder / "task.sock").unlink()
        (folder / "task.end").write_text(json.dumps(FORGED.to_json()))
        assert await attach(supervisor, folder) == 3
        assert not lives(tree.pid)


@pytest.mark.parametrize(
    "change",
    [
        {"raw": "0"},
        {"raw": None},
        {"raw": 70_000},
        {"raw": -1},
        {"raw": True},
        {"empty": False},
        {"empty": 1},
        {"eof": "yes"},
        {"pid": 0.5},
        {"size": -1},
        {"started": float("nan")},
        {"started": 1e300},
        {"ended": [1]},
        {"unattended": 3},
        {"cgroup": None},
    ],
)
def test_a_forged_end_with_impossible_values_is_none(
    tmp_path: Path, change: dict[str, object]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "task.end").write_text(json.dumps(FORGED.to_json() | change))
    assert read_exit_record(str(folder / "task")) is None
    (folder / "task.end").write_text(json.dumps(FORGED.to_json() | {"ended": 7, "later": 1}))
    assert read_exit_record(str(folder / "task")) == dataclasses.replace(FORGED, ended=7)


async def attach(supervisor: SupervisorClient, folder: Path) -> int | None:
    launch = with_record(make_launch("/bin/sh", "-c", "exit 3"), folder, attach=True)
    tree = await supervisor.spawn(launch)
    await tree.exited()
    assert await tree.kill_until_empty(GUARD) == ()
    return (await tree.reap()).code


async def test_which_processes_are_inside_a_task(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        check_peer(ours)  # made by this process
    async with open_supervisor(tmp_path) as supervisor:
        tree = await supervisor.spawn(
            with_record(make_launch("/bin/sleep", "1000"), tmp_path / "r")
        )
        assert is_inside_task(tree.pid)
        assert not is_inside_task(tree.state.parent)
        assert not is_inside_task(int(str(supervisor.facts["pid"])))
        assert not is_inside_task(1)
        assert await tree.kill_until_empty(GUARD) == ()
        await tree.reap()
    assert is_inside_task(tree.pid), "it has ended: nothing is proven"
