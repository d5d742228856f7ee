"""The page over a farm of 1000 renders and a job of 10,000 frames: bytes and lateness.

The farm and its page share a process, as with ``farm --web``; the viewers are in another one. A moment
in which the loop does nothing else is a batch of its steps: its processor time is how late it makes the
farm, whatever else the machine does. ``python tests/benchmarks/page.py [--renders 1000] [--tasks 10000]
[--viewers 200] [--seconds 20]``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.farm import frames, one_job
from support.large_farm import LoopMeter, add_renders, make_load

from trio_afrender.cli.collector_pauses import short_pauses
from trio_afrender.farm import Farm, open_farm, renders, updates
from trio_afrender.farm.json_interface import make_in_process_farm, open_requests
from trio_afrender.protocol.messages import (
    TaskStatus,
    TaskUpdate,
    Update,
)
from trio_afrender.web.serve_page import OpenPage, serve_page
from trio_afrender.web.settings import PageSettings

_REST = "jobs,renders,loads,log"
_MOST_LATE = 20.0
"""Milliseconds of processor time that the page may keep the loop, without the collector."""
_MOST_BYTES = 10_000
"""Bytes a second and viewer at rest."""
_SETTLE = 6.0
"""Seconds until the viewers have their snapshots and all loads were asked for once."""


async def send_loads(farm: Farm) -> None:
    """Have each render send its load every 5 seconds, as agents do."""
    known = list(farm.state.renders.values())
    while True:
        for number, render in enumerate(known):
            session = render.session
            if session is not None:
                update, now = Update(seq=1, resources=make_load(number)), trio.current_time()
                renders.seen(farm.state, render, session, now, busy=True)
                updates.apply_update(farm.state, render, session, update, now)
            if number % 50 == 49:
                await trio.sleep(5 * 50 / len(known))


async def end_tasks(farm: Farm, rate: float) -> None:
    """Have so many tasks a second end, and farm out others."""
    done = 0
    while True:
        for render in list(farm.state.renders.values()):
            if not render.running or render.session is None:
                continue
            run = next(iter(render.running.values()))
            update = TaskUpdate(run=run.id, **run.key._asdict(), status=TaskStatus.FinishedSuccess)
            now = trio.current_time()
            updates.apply_update(
                farm.state, render, render.session, Update(seq=1, tasks=(update,)), now
            )
            farm.dispatch()
            done += 1
            await trio.sleep(1 / rate)


async def open_viewers(port: int, count: int, seconds: float, topics: str) -> dict[str, Any]:
    """Have another process watch; return what each viewer has got, in bytes."""
    words = ["--client", str(port), "--viewers", str(count), "--seconds", str(seconds)]
    done = await trio.run_process(
        [sys.executable, __file__, *words, "--topics", topics], capture_stdout=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def watch_page(options: argparse.Namespace) -> None:
    """The viewers: print the bytes of the first seconds and of the rest."""
    first: list[int] = []
    rest: list[int] = []
    shown: list[float] = []

    async def view() -> None:
        async with await trio.open_tcp_stream("127.0.0.1", options.client) as stream:
            begin = time.perf_counter()
            head = f"GET /api/events?topics={options.topics} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            await stream.send_all(head.encode())
            sizes = [0, 0]
            for number, period in enumerate((_SETTLE, options.seconds)):
                with trio.move_on_after(period):
                    while data := await stream.receive_some():
                        sizes[number] += len(data)
                        last = options.topics.rpartition(",")[2].encode()
                        if (
                            not number
                            and b'"topic":"' + last in data
                            and len(shown) < len(first) + 1
                        ):
                            shown.append(time.perf_counter() - begin)
            first.append(sizes[0])
            rest.append(sizes[1])

    async with trio.open_nursery() as nursery:
        for _ in range(options.viewers):
            nursery.start_soon(view)
    found = {
        "first": max(first),
        "rate": max(rest) / options.seconds,
        "shown": max(shown, default=0.0),
    }
    sys.stdout.write(json.dumps(found))


async def measure(options: argparse.Namespace) -> None:
    """Print the figures. Raises AssertionError for those that are too large."""
    longest: list[float] = []

    def report(meter: LoopMeter) -> str:
        longest.append(max(meter.batches))
        return meter.take()

    async with AsyncExitStack() as stack:
        farm = await stack.enter_async_context(open_farm(None))
        requests = await stack.enter_async_context(open_requests(farm))
        add_renders(farm.state, options.renders, trio.current_time())
        farm.submit(one_job(frames(1, options.tasks), name="large", user_name="ann"))
        farm.dispatch()
        own = make_in_process_farm(
            farm, requests, place="af://own", user_name="ann", host_name="ws1"
        )
        async with trio.open_nursery() as nursery:
            await trio.lowlevel.checkpoint()
            meter = stack.enter_context(LoopMeter().measure())
            page: OpenPage = await nursery.start(serve_page, own, PageSettings(port=0))
            port = int(page.url.rpartition(":")[2])
            nursery.start_soon(send_loads, farm)
            while page.watch.monitor is None:
                await page.watch.round.wait()
            await trio.sleep(_SETTLE)
            sys.stdout.write(f"\nfrom its start, without viewers: {report(meter)}\n")
            found = await open_viewers(port, options.viewers, options.seconds, _REST)
            sys.stdout.write(
                f"{options.viewers} viewers at rest: {found['rate'] / 1000:.2f} kB/s each;"
                f" {found['first'] / 1000:.0f} kB at first; {report(meter)}\n"
            )
            at_rest = found["rate"]
            topics = f"{_REST},blocks.2,tasks.2"
            found = await open_viewers(port, 1, 1, topics)
            sys.stdout.write(
                f"one viewer opens {options.tasks:,} frames: {found['first'] / 1000:.0f} kB,"
                f" all of it after {found['shown']:.2f} s; {report(meter)}\n"
            )
            nursery.start_soon(end_tasks, farm, 20.0)
            found = await open_viewers(port, options.viewers, options.seconds, topics)
            sys.stdout.write(
                f"{options.viewers} viewers of these frames, 20 of which end each second:"
                f" {found['rate'] / 1000:.2f} kB/s each; {report(meter)}\n"
            )
            nursery.cancel_scope.cancel()
    assert max(longest) <= _MOST_LATE, longest
    assert at_rest <= _MOST_BYTES, at_rest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renders", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--topics", default=_REST, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with short_pauses():  # as the command does it
        trio.run(watch_page if options.client else measure, options)


if __name__ == "__main__":
    main()
