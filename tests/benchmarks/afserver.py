"""The native protocol: what a message costs, and an exchange beside a bare one of the same run.

CPU time is counted, so that other work on the machine matters little. The server is one thread of
blocking sockets in a process of its own. ``python tests/benchmarks/afserver.py``: a few seconds.
"""

from __future__ import annotations

import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection

import attrs
import trio

from trio_afrender.afserver import Dialer
from trio_afrender.protocol.afanasy import (
    Message,
    RenderEvents,
    RenderId,
    RenderUpdate,
    TaskUp,
    decode,
    encode,
)
from trio_afrender.protocol.messages import HostResources, TaskExec, TaskStatus
from trio_afrender.transport.address import parse_native

IDLE = RenderUpdate(id=1)
EXCHANGES = 1000
UP = TaskUp(client_id=1, job=2, block=0, task=7, status=TaskStatus.Percent, percent=40)
EXEC = TaskExec(
    run="",
    job=2,
    block=0,
    task=7,
    name="frame 1-7 / 2",
    command_task="render -s 1 -e 7",
    environment={"PROJECT": "demo", "OCIO": "/proj/config.ocio"},
    files_block=("out/img.@####@.exr",),
    data_integers={"render_capacity_total": 1100, "render_tasks_maximum": 4},
)
MESSAGES: dict[str, Message] = {
    "update, nothing to say": IDLE,
    "update, one task": attrs.evolve(IDLE, taskups=(UP,)),
    "update, host's figures": attrs.evolve(IDLE, resources=HostResources(hw_info="EPYC")),
    "update, 1000 tasks": attrs.evolve(IDLE, taskups=(UP,) * 1000),
    "update, 1 MiB of output": attrs.evolve(
        IDLE, taskups=(attrs.evolve(UP, status=TaskStatus.FinishedSuccess, data=bytes(2**20)),)
    ),
    "events, one task": RenderEvents(id=1, tasks=(EXEC,)),
}


def measure(call: Callable[[], object]) -> float:
    """CPU microseconds of a call: the best of some rounds."""
    best = float("inf")
    for _ in range(7):
        count, began = 0, time.process_time()
        while time.process_time() - began < 0.05:
            call()
            count += 1
        best = min(best, (time.process_time() - began) / count)
    return best * 1e6


def serve(pipe: Connection) -> None:
    """Answer every request with an id; one connection after the other."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        pipe.send(listener.getsockname()[1])
        answer = encode(RenderId(id=1))
        while True:
            connection, _ = listener.accept()
            with connection:
                if not connection.recv(4096):
                    return
                connection.sendall(answer)
                with suppress(ConnectionResetError):  # that is how we close
                    connection.recv(1)


async def ask_bare(port: int) -> None:
    """The least that can be done in trio."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(encode(IDLE))
        await stream.receive_some(4096)


async def cost(ask: Callable[[], Awaitable[object]]) -> float:
    """CPU milliseconds of an exchange on our side, the median of some rounds."""
    rounds = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(EXCHANGES // 5):
            await ask()
        rounds.append((time.process_time() - began) / (EXCHANGES // 5) * 1e3)
    return statistics.median(rounds)


async def compare(port: int) -> tuple[float, float]:
    dialer, request = Dialer(parse_native(f"af://127.0.0.1:{port}")), encode(IDLE)
    ours = await cost(lambda: dialer.ask(request))
    bare = await cost(lambda: ask_bare(port))
    return ours, bare


def main() -> None:
    write = sys.stdout.write
    write("| message | bytes | encode | decode |\n| --- | --- | --- | --- |\n")
    for name, message in MESSAGES.items():
        data = encode(message)
        there = measure(partial(encode, message))
        back = measure(partial(decode, data))
        write(f"| {name} | {len(data)} | {there:.0f} us | {back:.0f} us |\n")
    ours_end, its_end = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(its_end,))
    server.start()
    port = ours_end.recv()
    ours, bare = trio.run(compare, port)
    socket.create_connection(("127.0.0.1", port)).close()
    server.join()
    write(f"\nan exchange: {ours:.2f} ms of CPU, a bare one {bare:.2f} ms: {ours / bare:.2f} x\n")


if __name__ == "__main__":
    main()
