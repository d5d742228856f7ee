"""Sleep and wake on this machine: packets on its loopback, a real command that does not sleep."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio
from support.farm import FakeLink
from support.loopback_farm import NO_RETRIES, open_loopback_farm

from trio_afrender import Config
from trio_afrender.errors import EditRefused
from trio_afrender.farm import FarmSettings, open_farm
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.render_edits import operate_render
from trio_afrender.protocol.messages import Deregister, NetIF, Registered

ADMIN = Actor(user_name="root", admin=True)
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
NETIFS = tuple(NetIF(name=f"eth{i}", mac=mac) for i, mac in enumerate(MACS))


async def sleep_render(link: FakeLink) -> None:
    """The side of a render that is ordered to sleep: it leaves."""
    await link.send_to_farm(Deregister(reason="asleep"))
    await link.closed.wait()


async def test_a_packet_arrives_for_each_network_interface() -> None:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as receiver:
        await receiver.bind(("127.255.255.255", 0))
        port = receiver.getsockname()[1]
        settings = FarmSettings(wake_address="127.255.255.255", wake_port=port)
        async with trio.open_nursery() as nursery, open_farm(None, settings=settings) as farm:
            link = FakeLink()
            nursery.start_soon(farm.serve_link, link)
            assert isinstance(await link.register(netifs=NETIFS), Registered)
            render = farm.state.renders["a"]
            operate_render(farm.state, render, {"type": "wol_sleep"}, ADMIN, trio.current_time())
            farm.dispatch()
            await sleep_render(link)
            operate_render(farm.state, render, {"type": "wol_wake"}, ADMIN, trio.current_time())
            farm.dispatch()
            assert render.states.words == " OFF WSL WWK"
            with trio.fail_after(10):
                received = [await receiver.recv(1000) for _ in MACS]
    expected = [b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16 for mac in MACS]
    assert received == expected


async def test_packets_that_cannot_be_sent_end_the_wake() -> None:
    settings = FarmSettings(wake_address="not an address")
    async with trio.open_nursery() as nursery, open_farm(None, settings=settings) as farm:
        link = FakeLink()
        nursery.start_soon(farm.serve_link, link)
        await link.register(netifs=NETIFS)
        render = farm.state.renders["a"]
        operate_render(farm.state, render, {"type": "wol_sleep"}, ADMIN, trio.current_time())
        farm.dispatch()
        await sleep_render(link)
        operate_render(farm.state, render, {"type": "wol_wake"}, ADMIN, trio.current_time())
        farm.dispatch()
        assert render.states.words == " OFF WSL"
        assert "Not woken: packets cannot be sent: " in render.node_log.lines[-1]
        with pytest.raises(EditRefused, match="it is asleep"):
            operate_render(farm.state, render, {"type": "wol_sleep"}, ADMIN, trio.current_time())


async def test_an_agent_whose_command_to_sleep_fails_gets_tasks_again(tmp_path: Path) -> None:
    """The whole way: instruction, service, command, report."""
    note = tmp_path / "arguments"
    sleep = tmp_path / "wolsleep"
    sleep.write_text(f'#!/bin/sh\necho "$@" >{note}\nexit 5\n')
    sleep.chmod(0o755)
    settings = attrs.evolve(NO_RETRIES, sleep_limit=1e9)
    async with open_loopback_farm(tmp_path / "farm", settings=settings) as loopback:
        variables = {**Config(name="n").variables, "af_render_cmd_wolsleep": str(sleep)}
        await loopback.agent(instructions=("sleep",), variables=variables)
        await loopback.registered()
        state = loopback.farm.state
        render = state.renders["render-1"]
        # Not every machine of tests has an interface with a MAC address.
        render.register = attrs.evolve(render.register, netifs=NETIFS)
        operate_render(state, render, {"type": "wol_sleep"}, ADMIN, trio.current_time())
        loopback.farm.dispatch()
        assert render.states.words == " ONL WFL"
        seen = 0
        while render.states.words != " ONL":
            seen = await loopback.farm.changed(seen)
        assert f"Not asleep: ended with 5: {sleep}" in "\n".join(render.node_log.lines)
        assert note.read_text().split()[-2:] == ["020000000001", "020000000002"]
        await loopback.check_alive()
