"""Servers that are away, go, come back, forget, or speak nonsense: running tasks never notice."""

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
from support.loopback_farm import Gated, Stage, block, open_agent, open_stage, stored

from trio_afrender.agent.agent import AgentHandle
from trio_afrender.errors import LinkLost
from trio_afrender.farm.farm import open_farm
from trio_afrender.protocol.json_codec import MAX_FRAME
from trio_afrender.protocol.messages import FromRender, FromServer, Update
from trio_afrender.transport.websocket_server import WebSocketServerLink

HUGE = 100_000_000
Say = Callable[[WebSocketServerLink], Awaitable[None]]


async def cut_off(stage: Stage, agent: AgentHandle) -> None:
    """Shut the server, and wait until the agent knows."""
    await stage.server.shut()
    while agent.state == "online":  # noqa: ASYNC110 - the agent announces it to nobody
        await trio.sleep(0.01)


async def test_a_server_that_goes_in_mid_task_finds_the_outcome_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One task ends while nobody is there, the other one after that; each ran once."""
    first, second = Gated.make(tmp_path, "1"), Gated.make(tmp_path, "2")
    async with open_stage(tmp_path) as stage:
        agent = await stage.agent()
        job = stage.submit(
            block(
                first.command(before="echo PROGRESS: 10%", after="echo alone; exit 3"),
                second.command(after="echo together"),
                parser="generic",
            )
        )
        await first.is_up()
        await second.is_up()
        runs = [task.run for task in stage.farm.view(job).tasks]
        await cut_off(stage, agent)
        await first.let_go()
        while len(agent.running) > 1:  # noqa: ASYNC110 - as above
            await trio.sleep(0.01)
        assert [task.state for task in stage.farm.view(job).tasks] == ["running", "running"]
        assert stage.farm.renders[0].state == "reconnecting"
        await stage.server.open()
        alone = await stage.until(job, "error")
        assert alone.exit_code == 3
        await second.let_go()
        done = await stage.farm.wait(job)
        assert [task.state for task in done.tasks] == ["error", "done"]
        assert [task.run for task in done.tasks] == runs
        assert [task.attempts for task in done.tasks] == [1, 1]
        outputs = [stored(tmp_path / "farm", task) for task in done.tasks]
        assert outputs == [b"PROGRESS: 10%\nalone\n", b"together\n"]
        await stage.check_alive()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said[0].startswith(f"no link to the server: {stage.server.url}: connection closed")
    assert len(said) <= 2, "the other one: no server listens there; each is said once"


async def test_a_server_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_stage(tmp_path) as stage:
        await stage.server.shut()
        agent = await stage.agent()
        job = stage.submit(block("echo at last"))
        while "no link" not in caplog.text:  # noqa: ASYNC110 - as above
            await trio.sleep(0.01)
        assert agent.state == "connecting"
        await stage.server.open()
        [task] = (await stage.farm.wait(job)).tasks
        assert (task.state, task.output) == ("done", "at last\n")
    [line] = [line for line in caplog.messages if "no link" in line]
    assert line == (
        f"no link to the server: {stage.server.url}: no server listens there "
        "(connection refused); trying again"
    )


async def test_a_server_that_comes_back_without_its_memory_ends_what_it_does_not_know(
    tmp_path: Path,
) -> None:
    """The runs end without a word: whoever serves there now may have given them to others."""
    gate = Gated.make(tmp_path)
    async with open_stage(tmp_path) as stage:
        agent = await stage.agent()
        job = stage.submit(block(gate.command(before="(setsid sleep 1000 &)")))
        await gate.is_up()
        await cut_off(stage, agent)
        while len(stage.strays()) < 2:  # noqa: ASYNC110 - the escaped one comes when it likes
            await trio.sleep(0.01)
        async with open_farm(tmp_path / "another") as fresh:
            await stage.server.open(fresh.serve_link)
            while agent.running:  # noqa: ASYNC110 - as above
                await trio.sleep(0.01)
            assert stage.strays() == []
            assert fresh.jobs == ()
            assert [render.state for render in fresh.renders] == ["online"]
            await stage.server.shut()
        stage.farm.stop_job(job, "it has run elsewhere")
        await stage.server.open()
        [task] = (await stage.farm.wait(job)).tasks
        assert task.state == "killed"
        await stage.registered()
        await stage.check_alive()


async def test_an_outcome_that_dies_with_the_server_is_sent_again(tmp_path: Path) -> None:
    """Handed over is not stored: only a close frees the agent of it."""
    died = trio.Event()

    async def serve(link: WebSocketServerLink) -> None:
        async def receive_or_die() -> FromRender:
            message = await link.receive()
            if isinstance(message, Update) and any(t.status.terminal for t in message.tasks):
                died.set()
                raise LinkLost("killed with an outcome in its hands")
            return message

        dying = PoliteLink(link)
        dying.receive = receive_or_die
        await stage.farm.serve_link(dying)

    async with open_stage(tmp_path) as stage:
        await stage.server.shut()
        await stage.server.open(serve)
        await stage.agent()
        job = stage.submit(block("echo once >> ran; echo told; cat ran; exit 3"))
        await died.wait()
        await stage.server.shut()
        assert stage.farm.view(job).tasks[0].state == "running"
        await stage.server.open()
        [task] = (await stage.farm.wait(job)).tasks
        assert (task.exit_code, task.attempts, task.output) == (3, 1, "told\nonce\n")
        await stage.check_alive()


class PoliteLink:
    """A link on which the farm says nothing while somebody else has the word."""

    def __init__(self, link: WebSocketServerLink) -> None:
        self.peer = link.peer
        self.can_register = link.can_register
        self.receive = link.receive
        self.aclose = link.aclose
        self.word = trio.Lock()
        self._link = link

    async def send(self, message: FromServer) -> None:
        async with self.word:
            await self._link.send(message)


@asynccontextmanager
async def speaking(stage: Stage, say: Say) -> AsyncIterator[trio.Event]:
    """Have the farm's server say something of its own in mid-session, once, at the event given."""
    now, said = trio.Event(), trio.Event()

    async def interrupt(link: WebSocketServerLink, word: trio.Lock) -> None:
        await now.wait()
        async with word:
            if not said.is_set():
                said.set()
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await say(link)

    async def serve(link: WebSocketServerLink) -> None:
        polite = PoliteLink(link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupt, link, polite.word)
            await stage.farm.serve_link(polite)
            nursery.cancel_scope.cancel()

    await stage.server.shut()
    await stage.server.open(serve)
    yield now
    assert said.is_set()


async def say_text(text: str, link: WebSocketServerLink) -> None:
    await link.connection.send(text)


async def say_bytes(data: bytes, link: WebSocketServerLink) -> None:
    await link.connection._stream.send_all(data)


async def say_nothing(link: WebSocketServerLink) -> None:
    """As a server does that is killed."""
    await trio.aclose_forcefully(link.connection._stream)


async def say_half(link: WebSocketServerLink) -> None:
    """A frame of 127 bytes, of which three come."""
    await say_bytes(b"\x81\x7d" + b'{"t', link)
    await say_nothing(link)


async def say_100_mb(link: WebSocketServerLink) -> None:
    """The head of a text frame of that length, then all of it."""
    await say_bytes(b"\x81\x7f" + HUGE.to_bytes(8, "big"), link)
    for _ in range(HUGE // 1_000_000):
        await say_bytes(b" " * 1_000_000, link)


@pytest.mark.parametrize(
    ("say", "sentence"),
    [
        (partial(say_text, "what?"), "frame is not JSON: Expecting value"),
        (partial(say_text, '{"type": "ack", "seq": "3"}'), "ack.seq: expected int"),
        (
            partial(say_text, '{"type": "events", "tasks": [{"run": "r", "job": 1, "block": 0}]}'),
            "events.tasks[0].task: missing",
        ),
        (partial(say_text, '{"type": "registered", "id": 7}'), 'the server sent "registered" twice'),
        (partial(say_bytes, b"\x82\x01x"), "a binary frame"),
        (partial(say_bytes, b"\xff\xff\xff\xff"), "connection closed"),
        (say_nothing, "connection closed (1006"),
        (say_half, "connection closed (1006"),
    ],
)  # fmt: skip
async def test_a_server_that_speaks_nonsense_costs_the_link_alone(
    tmp_path: Path,
    say: Say,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gated.make(tmp_path)
    async with open_stage(tmp_path) as stage, speaking(stage, say) as now:
        agent = await stage.agent()
        job = stage.submit(block(gate.command()))
        await gate.is_up()
        runs = [view.run for view in agent.running]
        now.set()
        while "no link to the server" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await trio.sleep(0.01)
        await stage.registered()
        assert [view.run for view in agent.running] == runs
        await gate.let_go()
        [task] = (await stage.farm.wait(job)).tasks
        assert (task.state, task.attempts, task.output) == ("done", 1, "finished\n")
        await stage.check_alive()
    [line] = [line for line in caplog.messages if line.startswith("no link to the server")]
    assert sentence in line
    assert line.endswith("; trying again")


async def test_a_frame_of_100_mb_costs_no_memory_and_no_task(tmp_path: Path) -> None:
    gate = Gated.make(tmp_path)
    async with open_stage(tmp_path) as stage, speaking(stage, say_100_mb) as now:
        async with open_agent(tmp_path, stage.server) as agent:
            job = stage.submit(block(gate.command()))
            await gate.is_up()
            before = peak_memory(agent.process.pid)
            now.set()
            await agent.says(f"a frame of more than {MAX_FRAME} bytes; trying again")
            await stage.registered()
            await gate.let_go()
            [task] = (await stage.farm.wait(job)).tasks
            assert (task.state, task.attempts, task.output) == ("done", 1, "finished\n")
            assert peak_memory(agent.process.pid) - before < 3 * MAX_FRAME
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.wait() == 0


def peak_memory(pid: int) -> int:
    """The most bytes that a process ever had in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


async def test_who_is_no_farm_is_left_for_good(tmp_path: Path) -> None:
    async with answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as url:
        async with open_command("--server", url, "--store", "store", home=tmp_path) as agent:
            assert await agent.wait() == 3
    sentence = f"refused by the server: forbidden ({url}: access denied (HTTP 403))"
    assert agent.err == f"trio_afrender: {sentence}\n"


async def test_who_speaks_something_else_is_tried_again(tmp_path: Path) -> None:
    async with answering(b"220 ESMTP\r\n\r\n") as url:
        async with open_command("--server", url, "--store", "store", home=tmp_path) as agent:
            sentence = "no websocket server answers there"
            await agent.says(f"no link to the server: {url}: {sentence}; trying again\n")
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.wait() == 0


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that says the same to everybody and hangs up."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        start = partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
        listeners = await nursery.start(start)
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()
