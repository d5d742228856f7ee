"""Packets that wake a render, received on the loopback of this machine."""

from __future__ import annotations

import pytest
import trio
from support.farm import FakeLink

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
