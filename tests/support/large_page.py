"""The page of a large farm as a program: simulated renders, a job of many frames that move.

    python tests/support/large_page.py [--renders 1000] [--frames 10000]

Prints the address of the page. Each render reports its load every 5 s, and each running frame ends
after some seconds. Loads and times are random, by a fixed seed.
"""

from __future__ import annotations

import argparse
import random
import sys
from functools import partial
from pathlib import Path

import attrs
import trio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.farm import FakeLink, frames, make_update, one_job, with_fields
from trio_afrender.cli.collector_pauses import short_pauses
from trio_afrender.farm.farm import FarmSettings, open_farm
from trio_afrender.farm.json_interface import make_in_process_farm, open_requests
from trio_afrender.protocol.messages import (
    CustomMeter,
    Events,
    HostResources,
    Registered,
    TaskExec,
    TaskStatus,
)
from trio_afrender.web.serve_page import OpenPage, serve_page
from trio_afrender.web.settings import PageSettings

RESOURCES_INTERVAL = 5.0
_METER = CustomMeter(label="/srv 80%", value=80, width=120, height=40, tooltip="the disk of /srv")


@attrs.define(eq=False)
class SimulatedRender:
    """A render that reports random loads, and whose tasks end after random times."""

    name: str
    link: FakeLink
    nursery: trio.Nursery
    dice: random.Random
    seconds: float
    """The mean time of a task."""

    def load(self) -> HostResources:
        used = self.dice.randrange(60, 100)
        return HostResources(
            cpu_num=64,
            cpu_mhz=3200,
            cpu_user=used,
            cpu_idle=100 - used,
            cpu_loadavg=(used, used, used),
            mem_total_mb=262_144,
            mem_free_mb=self.dice.randrange(50_000, 200_000),
            hdd_total_gb=900,
            hdd_free_gb=300,
            hdd_busy=self.dice.randrange(30),
            net_recv_kbsec=self.dice.randrange(40_000),
            net_send_kbsec=self.dice.randrange(9_000),
            gpu_mem_total_mb=24_000,
            gpu_mem_used_mb=self.dice.randrange(2_000, 20_000),
            gpu_gpu_util=self.dice.randrange(100),
            custom=(with_fields(_METER, {"value": self.dice.randrange(100)}),),
        )

    async def run(self, started: trio.Event) -> None:
        answer = await self.link.register(
            self.name, user_name="ann", host_name=self.name, engine="simulated", os="linux",
            capacity=1100, max_tasks=1, resources=self.load(),
        )  # fmt: skip
        assert isinstance(answer, Registered), answer
        self.nursery.start_soon(self._report)
        started.set()
        while True:
            for exec_ in (await self.link.expect(Events)).tasks:
                self.nursery.start_soon(self._render, exec_)

    async def _report(self) -> None:
        await trio.sleep(self.dice.random() * RESOURCES_INTERVAL)
        while True:
            await self.link.update(resources=self.load())
            await trio.sleep(RESOURCES_INTERVAL)

    async def _render(self, exec_: TaskExec) -> None:
        steps = 10
        pause = self.seconds / steps * self.dice.uniform(0.5, 1.5)
        for step in range(steps):
            await trio.sleep(pause)
            percent = 100 * step // steps
            await self.link.update(make_update(exec_, TaskStatus.Percent, percent=percent))
        await self.link.update(make_update(exec_))


async def main(options: argparse.Namespace) -> None:
    dice = random.Random(7)  # noqa: S311 - no secret
    async with (
        open_farm(None, settings=FarmSettings()) as farm,
        open_requests(farm) as requests,
        trio.open_nursery() as nursery,
    ):
        for number in range(options.renders):
            link = FakeLink(f"192.0.2.1:{number + 1}")
            nursery.start_soon(farm.serve_link, link)
            name = f"render-{number + 1:04}"
            render = SimulatedRender(name, link, nursery, dice, options.seconds)
            started = trio.Event()
            nursery.start_soon(render.run, started)
            await started.wait()
        farm.submit(one_job(frames(1, options.frames), name="a large job", user_name="ann"))
        for number in range(options.jobs):
            block = frames(1, 100, depend_mask="")
            farm.submit(one_job(block, name=f"shot {number:03}", user_name=f"user{number % 7}"))
        own = make_in_process_farm(
            farm, requests, place="a large farm", user_name="ann", host_name="ws1"
        )
        settings = PageSettings(port=0, own_farm=True)
        page: OpenPage = await nursery.start(partial(serve_page, own, settings))
        sys.stdout.write(f"the page of a large farm is {page.url}/\n")
        sys.stdout.flush()
        while True:
            asked = trio.current_time() + 0.1
            await trio.sleep_until(asked)
            late = trio.current_time() - asked
            if late > options.late:
                sys.stdout.write(f"the loop was late by {late * 1000:.0f} ms\n")
                sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--renders", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--late", type=float, default=0.02)
    with short_pauses():  # as the commands do it
        trio.run(main, parser.parse_args())
