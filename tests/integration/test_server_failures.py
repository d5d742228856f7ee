"""Servers that are unreachable, restart, lose their state or send malformed data: tasks run on."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from support.cli import open_command
from support.loopback_farm import Gated, LoopbackFarm, block, open_agent, open_loopback_farm, stored
from support.polling import until

from trio_afrender.agent.agent import AgentHandle
from trio_afrender.errors import LinkLost
from trio_afrender.farm.farm import open_farm
from trio_afrender.protocol.json_codec import MAX_FRAME
from trio_afrender.protocol.messages import FromRender, FromServer, Update
from trio_afrender.transport.websocket_server import WebSocketServerLink

HUGE = 100_000_000
"""Bytes of a message."""
Send = Callable[[WebSocketServerLink], Awaitable[None]]


async def disconnect(loopback: LoopbackFarm, agent: AgentHandle) -> None:
    """Close the server, and wait until the agent has noticed."""
    await loopback.server.close()
    await until(lambda: agent.state != "online")


async def test_a_server_that_was_unreachable_gets_the_outcomes_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One task ends while the server is closed, the other one later. Each runs once."""
    first, second = Gated.make(tmp_path, "1"), Gated.make(tmp_path, "2")
    async with open_loopback_farm(tmp_path) as loopback:
        agent = await loopback.agent()
        job = loopback.submit(
            block(
                first.command(before="echo PROGRESS: 10%", after="echo alone; exit 3"),
                second.command(after="echo together"),
                parser="generic",
            )
        )
        await first.is_up()
        await second.is_up()
        runs = [task.run for task in loopback.farm.view(job).tasks]
        await disconnect(loopback, agent)
        await first.release()
        await until(lambda: len(agent.running) <= 1)
        assert [task.state for task in loopback.farm.view(job).tasks] == ["running", "running"]
        assert loopback.farm.renders[0].state == "reconnecting"
        await loopback.server.open()
        alone = await loopback.until(job, "error")
        assert alone.exit_code == 3
        await second.release()
        done = await loopback.farm.wait(job)
        assert [task.state for task in done.tasks] == ["error", "done"]
        assert [task.run for task in done.tasks] == runs
        assert [task.attempts for task in done.tasks] == [1, 1]
        outputs = [stored(tmp_path / "farm", task) for task in done.tasks]
        assert outputs == [b"PROGRESS: 10%\nalone\n", b"together\n"]
        await loopback.check_alive()
    warnings = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert warnings[0].startswith(
        f"no link to the server: {loopback.server.url}: connection closed"
    )
    assert len(warnings) <= 2, "the second: no server listens there; each is logged once"


async def test_an_agent_waits_for_a_server_that_has_not_started(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.server.close()
        agent = await loopback.agent()
        job = loopback.submit(block("echo at last"))
        await until(lambda: "no link" in caplog.text)
        assert agent.state == "connecting"
        await loopback.server.open()
        [task] = (await loopback.farm.wait(job)).tasks
        assert (task.state, task.output) == ("done", "at last\n")
    [line] = [line for line in caplog.messages if "no link" in line]
    assert line == (
        f"no link to the server: {loopback.server.url}: no server listens there "
        "(connection refused); trying again"
    )


async def test_a_server_without_its_old_state_ends_runs_that_it_does_not_know(
    tmp_path: Path,
) -> None:
    """The runs end without a report: the server may have given their tasks to other renders."""
    gate = Gated.make(tmp_path)
    async with open_loopback_farm(tmp_path) as loopback:
        agent = await loopback.agent()
        job = loopback.submit(block(gate.command(before="(setsid sleep 1000 &)")))
        await gate.is_up()
        await disconnect(loopback, agent)
        await until(lambda: len(loopback.task_processes()) == 2)  # one starts detached, at any time
        async with open_farm(tmp_path / "another") as fresh:
            await loopback.server.open(fresh.serve_link)
            await until(lambda: not agent.running)
            assert loopback.task_processes() == []
            assert fresh.jobs == ()
            assert [render.state for render in fresh.renders] == ["online"]
            await loopback.server.close()
        loopback.farm.stop_job(job, "it has run elsewhere")
        await loopback.server.open()
        [task] = (await loopback.farm.wait(job)).tasks
        assert task.state == "killed"
        await loopback.registered()
        await loopback.check_alive()


async def test_an_outcome_that_a_server_lost_is_sent_again(tmp_path: Path) -> None:
    """Received is not stored: the agent keeps the outcome until the server closes it."""
    died = trio.Event()

    async def serve(link: WebSocketServerLink) -> None:
        async def receive_or_die() -> FromRender:
            message = await link.receive()
            if isinstance(message, Update) and any(t.status.terminal for t in message.tasks):
                died.set()
                raise LinkLost("killed with an outcome in memory")
            return message

        dying = LockedLink(link)
        dying.receive = receive_or_die
        await loopback.farm.serve_link(dying)

    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.server.close()
        await loopback.server.open(serve)
        await loopback.agent()
        job = loopback.submit(block("echo once >> ran; echo sent; cat ran; exit 3"))
        await died.wait()
        await loopback.server.close()
        assert loopback.farm.view(job).tasks[0].state == "running"
        await loopback.server.open()
        [task] = (await loopback.farm.wait(job)).tasks
        assert (task.exit_code, task.attempts, task.output) == (3, 1, "sent\nonce\n")
        await loopback.check_alive()


class LockedLink:
    """A link on which the farm sends nothing while the test holds `sending`."""

    def __init__(self, link: WebSocketServerLink) -> None:
        self.peer = link.peer
        self.can_register = link.can_register
        self.receive = link.receive
        self.aclose = link.aclose
        self.sending = trio.Lock()
        self._link = link

    async def send(self, message: FromServer) -> None:
        async with self.sending:
            await self._link.send(message)


@asynccontextmanager
async def interrupting(loopback: LoopbackFarm, send: Send) -> AsyncIterator[trio.Event]:
    """Have the farm's server call `send` once in the session, when the yielded event is set."""
    now, sent = trio.Event(), trio.Event()

    async def interrupt(link: WebSocketServerLink, sending: trio.Lock) -> None:
        await now.wait()
        async with sending:
            if not sent.is_set():
                sent.set()
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await send(link)

    async def serve(link: WebSocketServerLink) -> None:
        locked = LockedLink(link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupt, link, locked.sending)
            await loopback.farm.serve_link(locked)
            nursery.cancel_scope.cancel()

    await loopback.server.close()
    await loopback.server.open(serve)
    yield now
    assert sent.is_set()


async def send_text(text: str, link: WebSocketServerLink) -> None:
    await link.connection.send(text)


async def send_bytes(data: bytes, link: WebSocketServerLink) -> None:
    await link.connection._stream.send_all(data)


async def drop_connection(link: WebSocketServerLink) -> None:
    """Close the connection like a server that is killed."""
    await trio.aclose_forcefully(link.connection._stream)


async def send_half_a_frame(link: WebSocketServerLink) -> None:
    """Send three bytes of a frame of 127 bytes."""
    await send_bytes(b"\x81\x7d" + b'{"t', link)
    await drop_connection(link)


async def send_100_mb(link: WebSocketServerLink) -> None:
    """Send the head of a text frame of that length, then all of it."""
    await send_bytes(b"\x81\x7f" + HUGE.to_bytes(8, "big"), link)
    for _ in range(HUGE // 1_000_000):
        await send_bytes(b" " * 1_000_000, link)


@pytest.mark.parametrize(
    ("send", "sentence"),
    [
        (partial(send_text, "what?"), "frame is not JSON: Expecting value"),
        (partial(send_text, '{"type": "ack", "seq": "3"}'), "ack.seq: expected int"),
        (
            partial(send_text, '{"type": "events", "tasks": [{"run": "r", "job": 1, "block": 0}]}'),
            "events.tasks[0].task: missing",
        ),
        (partial(send_text, '{"type": "registered", "id": 7}'), 'the server sent "registered" twice'),
        (partial(send_bytes, b"\x82\x01x"), "a binary frame"),
        (partial(send_bytes, b"\xff\xff\xff\xff"), "connection closed"),
        (drop_connection, "connection closed (1006"),
        (send_half_a_frame, "connection closed (1006"),
    ],
)  # fmt: skip
async def test_malformed_data_of_a_server_costs_the_link_alone(
    tmp_path: Path,
    send: Send,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gated.make(tmp_path)
    async with open_loopback_farm(tmp_path) as loopback, interrupting(loopback, send) as now:
        agent = await loopback.agent()
        job = loopback.submit(block(gate.command()))
        await gate.is_up()
        runs = [view.run for view in agent.running]
        now.set()
        await until(lambda: "no link to the server" in caplog.text)
        await loopback.registered()
        assert [view.run for view in agent.running] == runs
        await gate.release()
        [task] = (await loopback.farm.wait(job)).tasks
        assert (task.state, task.attempts, task.output) == ("done", 1, "finished\n")
        await loopback.check_alive()
    [line] = [line for line in caplog.messages if line.startswith("no link to the server")]
    assert sentence in line
    assert line.endswith("; trying again")


async def test_a_frame_of_100_mb_costs_no_memory_and_no_task(tmp_path: Path) -> None:
    gate = Gated.make(tmp_path)
    async with open_loopback_farm(tmp_path) as loopback, interrupting(loopback, send_100_mb) as now:
        async with open_agent(tmp_path, loopback.server) as agent:
            job = loopback.submit(block(gate.command()))
            await gate.is_up()
            before = peak_memory(agent.process.pid)
            now.set()
            await agent.says(f"a frame of more than {MAX_FRAME} bytes; trying again")
            await loopback.registered()
            await gate.release()
            [task] = (await loopback.farm.wait(job)).tasks
            assert (task.state, task.attempts, task.output) == ("done", 1, "finished\n")
            assert peak_memory(agent.process.pid) - before < 3 * MAX_FRAME
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.wait() == 0


def peak_memory(pid: int) -> int:
    """The peak resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


async def test_an_http_server_that_denies_access_ends_the_agent(tmp_path: Path) -> None:
    async with answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as url:
        async with open_command("--server", url, "--store", "store", home=tmp_path) as agent:
            assert await agent.wait() == 3
    sentence = f"refused by the server: forbidden ({url}: access denied (HTTP 403))"
    assert agent.err == f"trio_afrender: {sentence}\n"


async def test_a_server_of_another_protocol_is_tried_again(tmp_path: Path) -> None:
    async with answering(b"220 ESMTP\r\n\r\n") as url:
        async with open_command("--server", url, "--store", "store", home=tmp_path) as agent:
            sentence = "no websocket server answers there"
            await agent.says(f"no link to the server: {url}: {sentence}; trying again\n")
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.wait() == 0


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Run a server that sends each client the same answer and closes the connection."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        start = partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
        listeners = await nursery.start(start)
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()
