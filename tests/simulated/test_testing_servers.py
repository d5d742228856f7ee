"""The servers of the test harness, as documented."""

from __future__ import annotations

import re
import textwrap
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from trio_afrender.agent.agent import run_agent
from trio_afrender.config import Config
from trio_afrender.errors import LinkLost, LinkRefused, ProtocolError
from trio_afrender.protocol.messages import (
    Ack,
    Deregister,
    Events,
    Register,
    Registered,
    TaskExec,
    TaskStatus,
    Update,
)
from trio_afrender.testing import (
    MemoryHost,
    memory_server,
    open_memory_server,
    open_scripted_server,
)
from trio_afrender.testing.memory_server import MemoryListener
from trio_afrender.transport.interfaces import Connect, ServerLink
from trio_afrender.transport.tokens import TokenTable, make_token

ME = Register(name="n1")


async def test_the_example_in_the_documentation_runs(autojump_clock: trio.abc.Clock) -> None:
    text = memory_server.__doc__ or ""
    found = re.search(r"::\n\n((?:    .*\n|\n)+)", text)
    assert found is not None
    names: dict[str, Any] = {
        "trio": trio, "partial": partial, "run_agent": run_agent, "Config": Config,
        "MemoryHost": MemoryHost, "open_scripted_server": open_scripted_server, "Events": Events,
        "TaskExec": TaskExec, "Registered": Registered, "Update": Update, "TaskStatus": TaskStatus,
    }  # fmt: skip
    exec(textwrap.dedent(found[1]), names)  # noqa: S102 - the project's own documentation
    await names["test_an_outcome_survives_a_cut_link"](autojump_clock)


async def accept_all(link: ServerLink) -> None:
    while True:
        match await link.receive():
            case Register():
                await link.send(Registered(id=1))
            case Update(seq=seq):
                await link.send(Ack(seq=seq))


def test_an_outage_is_the_same_in_each_run() -> None:
    async def scenario() -> list[tuple[float, str]]:
        story: list[tuple[float, str]] = []
        async with open_memory_server(accept_all) as server:
            for step in range(8):
                if step == 2:
                    server.refuse()
                if step == 6:
                    server.refuse(False)
                try:
                    async with server.connect() as link:
                        await link.register(ME)
                        story.append((trio.current_time(), "talked"))
                        server.cut()
                        await link.receive()
                except LinkLost as error:
                    story.append((trio.current_time(), str(error)))
                await trio.sleep(30)
        return story

    stories = [
        trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0)) for _ in range(20)
    ]
    assert all(story == stories[0] for story in stories)
    assert [text for _, text in stories[0]].count("talked") == 4
    assert sum("connection refused" in text for _, text in stories[0]) == 4
    assert stories[0][-1][0] == 210


async def test_a_cut_loses_data_in_transit(autojump_clock: trio.abc.Clock) -> None:
    async with open_scripted_server() as server, server.connect() as link:
        server_end = await server.accept()
        await link.send(Update(seq=1))
        server.cut()
        with pytest.raises(LinkLost):
            await server_end.receive()


async def test_silence_is_noticed_after_the_keepalive(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with open_scripted_server() as server, server.connect() as link:
        server_end = await server.accept()
        server.fall_silent()
        await link.send(Update(seq=1))  # is lost, without an error
        with pytest.raises(LinkLost, match="no sign of life"):
            await server_end.receive()
        assert trio.current_time() == pytest.approx(16, abs=0.1)
        async with server.connect() as again:  # new links work
            server_end = await server.accept()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server_end.welcome)
                await again.register(ME)


async def test_given_tokens_and_none(autojump_clock: trio.abc.Clock) -> None:
    token = make_token()
    async with open_memory_server(accept_all, tokens=TokenTable.single(token, "n*")) as server:
        async with server.connect_with(token)() as link:
            await link.register(ME)
        async with server.connect() as link:
            await link.register(ME)
        with pytest.raises(LinkRefused):
            async with server.connect_with(None)():
                raise AssertionError("connected")


async def test_a_script_can_send_malformed_text_cut_and_close(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with open_scripted_server() as server:
        async with server.connect() as link:
            server_end = await server.accept()
            await server_end.send_text("[")
            with pytest.raises(ProtocolError):
                await link.receive()
        async with server.connect() as link:
            server_end = await server.accept()
            await server_end.cut()
            with pytest.raises(LinkLost, match="1006"):
                await link.receive()
        async with server.connect() as link:
            server_end = await server.accept()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server_end.aclose)
                with pytest.raises(LinkLost, match="1000"):
                    await link.receive()


async def test_a_script_can_withhold_acknowledgements(autojump_clock: trio.abc.Clock) -> None:
    async with open_scripted_server() as server, server.connect() as link:
        server_end = await server.accept()
        server_end.acking = False
        await link.send(Update(seq=1))
        await link.deregister("done")
        assert await server_end.expect(Update) == Update(seq=1)
        assert await server_end.expect(Deregister) == Deregister(reason="done")
        with trio.move_on_after(1) as pause:
            await link.receive()
        assert pause.cancelled_caught


async def test_leaving_the_server_ends_its_links(autojump_clock: trio.abc.Clock) -> None:
    async def receive_until_closed(connect: Connect) -> None:
        async with connect() as link:
            with pytest.raises(LinkLost, match="1001 GOING_AWAY"):
                await link.receive()

    async with trio.open_nursery() as nursery:
        async with open_scripted_server() as server:
            nursery.start_soon(receive_until_closed, server.connect)
            await server.accept()


async def test_a_listener_in_memory_closes(autojump_clock: trio.abc.Clock) -> None:
    listener = MemoryListener()
    await listener.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
