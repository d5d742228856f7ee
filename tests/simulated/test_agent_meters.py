"""Meters are sent to the farm with the host's figures, at the server's period."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio
from trio.testing import MockClock

from trio_afrender import Config, run_agent
from trio_afrender.farm.farm import open_farm
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.protocol.messages import CustomMeter, HostResources
from trio_afrender.testing import MemoryHost, open_memory_server, virtual_wall


@attrs.define(eq=False)
class ScriptedMeters:
    """Meters whose calls take `seconds`."""

    seconds: float = 0.0
    times: list[float] = attrs.field(factory=list)
    shown: tuple[CustomMeter, ...] = ()

    def latest(self) -> tuple[CustomMeter, ...]:
        return self.shown

    async def run(self, period: Callable[[], float]) -> None:
        while True:
            self.times.append(trio.current_time())
            await trio.sleep(self.seconds)
            meter = CustomMeter(value=len(self.times), graphb=3, bgcolorg=5, label="m\nn")
            self.shown = (meter,)
            await trio.sleep(period())


async def collect_figures(
    meters: ScriptedMeters, seconds: float, period: int = 0
) -> list[HostResources]:
    """Return the host's figures at the farm after each of so many seconds."""
    seen: list[HostResources] = []
    card = CustomMeter(label="card 0")
    host = MemoryHost(meters=meters, resources=lambda: HostResources(cpu_num=4, custom=(card,)))
    async with (
        open_farm(None, wall=virtual_wall) as farm,
        open_memory_server(farm.serve_link) as server,
        trio.open_nursery() as nursery,
    ):
        if period:
            farm.change_settings(FarmSettings(resources_update_period=period))
        config = Config(name="r1")
        await nursery.start(
            lambda **status: run_agent(
                config, connect=server.connect_as("r1"), outside=host.open(), **status
            )
        )
        for _ in range(round(seconds)):
            await trio.sleep(1)
            seen += [render.resources for render in farm.renders if render.resources is not None]
        nursery.cancel_scope.cancel()
    return seen


async def test_meters_are_sent_beside_the_hosts_figures(autojump_clock: MockClock) -> None:
    meters = ScriptedMeters()
    seen = await collect_figures(meters, 21)
    last = seen[-1]
    assert last.cpu_num == 4
    assert [each.label for each in last.custom] == ["card 0", "m\nn"]
    assert last.custom[1] == CustomMeter(
        value=last.custom[1].value, graphb=3, bgcolorg=5, label="m\nn"
    )
    assert last.custom[1].value >= 4
    gaps = {round(b - a) for a, b in zip(meters.times, meters.times[1:], strict=False)}
    assert gaps == {5}


async def test_meters_run_at_the_servers_period(autojump_clock: MockClock) -> None:
    meters = ScriptedMeters()
    await collect_figures(meters, 60, period=20)
    assert meters.times[-1] - meters.times[-2] == 20


async def test_the_hosts_figures_do_not_wait_for_a_slow_meter(autojump_clock: MockClock) -> None:
    meters = ScriptedMeters(seconds=1000)
    seen = await collect_figures(meters, 30)
    assert {len(resources.custom) for resources in seen} == {1}  # The host's figures arrived.
    assert len(meters.times) == 1
