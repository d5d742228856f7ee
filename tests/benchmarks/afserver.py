"""Afanasy's protocol: time to encode and decode messages, and of an exchange beside a bare one.

CPU time is measured, so other load on the machine matters little. The server is one thread with
blocking sockets, in another process. ``python tests/benchmarks/afserver.py``: a few seconds.
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
    "update, empty": IDLE,
    "update, one task": attrs.evolve(IDLE, taskups=(UP,)),
    "update, host resources": attrs.evolve(IDLE, resources=HostResources(hw_info="EPYC")),
    "update, 1000 tasks": attrs.evolve(IDLE, taskups=(UP,) * 1000),
    "update, 1 MiB of output": attrs.evolve(
        IDLE, taskups=(attrs.evolve(UP, status=TaskStatus.FinishedSuccess, data=bytes(2**20)),)
    ),
    "events, one task": RenderEvents(id=1, tasks=(EXEC,)),
}


def measure(call: Callable[[], object]) -> float:
    """Return the CPU time of a call in microseconds, the best of seven rounds."""
    best = float("inf")
    for _ in range(7):
        count, started_at = 0, time.process_time()
        while time.process_time() - started_at < 0.05:
            call()
            count += 1
        best = min(best, (time.process_time() - started_at) / count)
    return best * 1e6


def serve(pipe: Connection) -> None:
    """Answer every request with an id, one connection after another."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        pipe.send(listener.getsockname()[1])
        answer = encode(RenderId(id=1))
        while True:
            connection, _ = listener.accept()
            with connection:
                if not connection.recv(4096):
                    return
                connection.sendall(answer)
                with suppress(ConnectionResetError):  # the client closes with a reset
                    connection.recv(1)


async def ask_bare(port: int) -> None:
    """Make an exchange with the minimum of calls in trio."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(encode(IDLE))
        await stream.receive_some(4096)


async def measure_exchange(ask: Callable[[], Awaitable[object]]) -> float:
    """Return the client's CPU time of an exchange in milliseconds, the median of five rounds."""
    rounds = []
    for _ in range(5):
        started_at = time.process_time()
        for _ in range(EXCHANGES // 5):
            await ask()
        rounds.append((time.process_time() - started_at) / (EXCHANGES // 5) * 1e3)
    return statistics.median(rounds)


async def compare(port: int) -> tuple[float, float]:
    dialer, request = Dialer(parse_native(f"af://127.0.0.1:{port}")), encode(IDLE)
    ours = await measure_exchange(lambda: dialer.ask(request))
    bare = await measure_exchange(lambda: ask_bare(port))
    return ours, bare


def main() -> None:
    write = sys.stdout.write
    write("| message | bytes | encode | decode |\n| --- | --- | --- | --- |\n")
    for name, message in MESSAGES.items():
        data = encode(message)
        encode_time = measure(partial(encode, message))
        decode_time = measure(partial(decode, data))
        write(f"| {name} | {len(data)} | {encode_time:.0f} us | {decode_time:.0f} us |\n")
    own_end, server_end = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(server_end,))
    server.start()
    port = own_end.recv()
    ours, bare = trio.run(compare, port)
    socket.create_connection(("127.0.0.1", port)).close()
    server.join()
    write(f"\nan exchange: {ours:.2f} ms of CPU, a bare one {bare:.2f} ms: {ours / bare:.2f} x\n")


if __name__ == "__main__":
    main()
