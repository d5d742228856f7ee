"""Afanasy's own protocol over real sockets: names, IPv4 and IPv6, linger, and the program."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import trio
from support.agent_on_afserver import until_done
from support.cli import Command, make_gate, open_command, open_gate, pass_gate, run_command

from trio_afrender.afserver import Dialer
from trio_afrender.protocol.afanasy import (
    Message,
    RenderEvents,
    RenderRegister,
    RenderUpdate,
    encode,
)
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.testing import NativeServer, NativeState, open_native_server
from trio_afrender.transport.address import parse_native

IDLE = encode(RenderUpdate(id=1))


HEARTBEAT = 0.1
"""Seconds between two requests of the agent, and between two cycles of the server."""


@pytest.fixture(autouse=True)
def quick_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_afrender.testing.fake_afserver.server.SERVER_CYCLE", HEARTBEAT)


@asynccontextmanager
async def open_server(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[NativeServer]:
    listeners = await trio.open_tcp_listeners(port, host=host)
    async with open_native_server(listeners=listeners) as server:
        yield server


@asynccontextmanager
async def open_agent(home: Path, server: NativeServer, *words: str) -> AsyncIterator[Command]:
    url = f"af://localhost:{server.port}"
    heartbeat = ("--trio_afrender.timing.heartbeat", str(HEARTBEAT))
    words = ("--server", url, "--name", "render-1", "--store", "store", *heartbeat, *words)
    async with open_command(*words, home=home) as command:
        yield command


def make_task(number: int, command: str) -> TaskExec:
    return TaskExec(run="", job=2, block=0, task=number, name=f"t{number}", command_task=command)


@pytest.mark.parametrize(
    ("bound", "named"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("::1", "[::1]")]
)
async def test_addresses_and_names_of_both_families(bound: str, named: str) -> None:
    async with open_server(bound) as server:
        dialer = Dialer(parse_native(f"af://{named}:{server.port}"))
        for _ in range(3):
            answer = await dialer.ask(IDLE)
            assert isinstance(answer, RenderEvents)
            assert answer.id == -1
        assert server.complaints == []


async def test_exchanges_leave_no_port_in_time_wait() -> None:
    """An ordinary close would leave each port in TIME_WAIT for a minute."""

    def find_waiting(port: int) -> set[int]:
        # Not by the port alone: a client of another test may have it at another address.
        return {
            each.laddr.port
            for each in psutil.net_connections("tcp4")
            if each.laddr and each.raddr == ("127.0.0.1", port) and each.status == "TIME_WAIT"
        }

    async with open_server() as server:
        before = find_waiting(server.port)
        dialer = Dialer(parse_native(f"af://127.0.0.1:{server.port}"))
        for _ in range(50):
            await dialer.ask(IDLE)
        assert find_waiting(server.port) <= before
        assert server.complaints == []


async def test_a_connection_is_reset_only_after_the_whole_answer() -> None:
    """Before that it is closed in the ordinary way, because the server may not have read it all."""
    endings: list[bytes] = []
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    answer = encode(RenderEvents(id=-1))

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer[: len(answer) if endings else 20])
            linger = b"reset"
            try:
                if await stream.receive_some() == b"":
                    linger = b"closed"
            except trio.BrokenResourceError:
                pass
            endings.append(linger)
            ended.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        for number in range(2):
            ended = trio.Event()
            dialer = Dialer(parse_native(f"af://127.0.0.1:{port}"))
            async with trio.open_nursery() as asking:
                asking.start_soon(_ask_and_ignore, dialer)
                if number == 0:
                    await trio.testing.wait_all_tasks_blocked(0.05)
                    asking.cancel_scope.cancel()
            await ended.wait()
        nursery.cancel_scope.cancel()
    assert endings == [b"closed", b"reset"]


async def _ask_and_ignore(dialer: Dialer) -> None:
    await dialer.ask(IDLE)


async def test_a_name_is_not_resolved_for_every_exchange(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    ordinary = trio.open_tcp_stream

    async def note(host: str, port: int) -> trio.SocketStream:
        asked.append(host)
        return await ordinary(host, port)

    async with open_server() as server:
        dialer = Dialer(parse_native(f"af://localhost:{server.port}"), open_stream=note)
        await dialer.ask(IDLE)
        await dialer.ask(IDLE)
        assert asked == ["localhost", "127.0.0.1"]


# -- the program ---------------------------------------------------------------------------------


def has_figures(received: tuple[float, Message]) -> bool:
    """Whether it has the measured figures of the host."""
    match received:
        case _, RenderRegister(resources=figures) | RenderUpdate(resources=figures):
            return figures is not None and figures.mem_total_mb > 0
    return False


async def test_the_program_runs_tasks_and_deregisters(tmp_path: Path) -> None:
    async with open_server() as server:
        good = server.add_task(make_task(1, "printf 'one\\377'; echo two >&2"))
        bad = server.add_task(make_task(2, "exit 3"))
        async with open_agent(tmp_path, server) as command:
            await until_done(server, good)
            await server.until(lambda: bad.state is NativeState.ERROR)
            assert good.output == b"one\xfftwo\n"
            # A register waits 2 s for the host's figures: on a busy machine they come later.
            await server.until(lambda: any(map(has_figures, server.received)))
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
        # Not before: the end of its process may be seen before the last lines are read.
        assert "registered as render 1: New render registered." in command.err
        render = server.render("render-1")
        assert render is not None
        assert not render.online
        assert server.complaints == []


async def test_a_restarted_program_continues_its_tasks(tmp_path: Path) -> None:
    """A supervisor holds them, and the server sees no difference."""
    up, gate = make_gate(tmp_path / "up"), make_gate(tmp_path / "gate")
    async with open_server() as server:
        task = server.add_task(make_task(1, f"echo before; echo up > {up}; cat {gate}"))
        async with open_agent(tmp_path, server) as killed:
            await pass_gate(up)
            await server.until(lambda: 3 in task.statuses)
            killed.process.kill()
            await killed.wait()
            async with open_agent(tmp_path, server) as command:
                await command.says("continuing as render 1")
                await open_gate(gate)
                await until_done(server, task)
                assert (task.sessions, task.errors) == (1, 0)
                assert task.output == b"before\ngo\n"
                command.process.terminate()
                await command.wait()


async def test_a_restarted_program_continues_under_its_id(tmp_path: Path) -> None:
    """Without a supervisor the tasks of the killed program are ended and given back."""
    async with open_server() as server:
        task = server.add_task(make_task(1, "exec sleep 1000"))
        async with open_agent(tmp_path, server, "--no-supervisor") as killed:
            await server.until(lambda: 3 in task.statuses)
            killed.process.kill()
            await killed.wait()
            server.book.tasks[task.key].exec = make_task(1, "echo again")
            async with open_agent(tmp_path, server, "--no-supervisor") as command:
                await until_done(server, task)
                await command.says("continuing as render 1")  # a thread of the agent writes it
                assert 15 in task.statuses
                assert (task.errors, task.output) == (0, b"again\n")
                command.process.terminate()
                await command.wait()


async def test_a_restarted_server_gets_the_task_back(tmp_path: Path) -> None:
    gate = make_gate(tmp_path / "gate")
    async with open_server() as server:
        task = server.add_task(make_task(1, f"cat {gate}"))
        async with open_agent(tmp_path, server, "-v") as command:
            await server.until(lambda: 3 in task.statuses)
            server.down = True
            await command.says("no link to the server")
            server.restart()
            server.down = False
            await server.until(lambda: task.sessions == 2)
            await open_gate(gate)
            await until_done(server, task)
            assert task.output == b"go\n"
            command.process.terminate()
            await command.wait()


async def test_another_protocol_version_is_named(tmp_path: Path) -> None:
    async with open_server() as server:
        server.version = 80
        words = ("--server", f"af://127.0.0.1:{server.port}", "--store", tmp_path / "s")
        code, _, err = await run_command(*words, home=tmp_path)
        assert code == 3
        assert "speaks version 80 of the protocol, this render 81" in err
