"""A gateway under many agents: its CPU time and memory by the number of agents.

Three processes: the gateway (the command, with TLS), agents (websockets that send what idle agents
send: one task each, resources every 5 s, a heartbeat every 6 s), and a server (the fake of
`trio_afrender.testing`, or with ``--server`` a real one), with one exchange per second and agent.
``python tests/benchmarks/gateway.py [--agents 10,100,300,1000] [--seconds 20] [--netns] [--server
af://..]``. ``--netns`` (root, `ip` of iproute2) runs the server in a network namespace with its own
address. With ``--half-open 1500`` (and ``--agents 200``) another address opens so many sockets that
say nothing, again and again, and the time in which all agents register at once is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import secrets
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import psutil
import trio
import trustme

from trio_afrender.config import Token
from trio_afrender.errors import LinkLost
from trio_afrender.protocol.messages import (
    Ack,
    Events,
    HostResources,
    Register,
    Registered,
    TaskExec,
    TaskStatus,
    TaskUpdate,
    Update,
)
from trio_afrender.testing import open_native_server
from trio_afrender.transport.interfaces import Link
from trio_afrender.transport.tls import make_client_context
from trio_afrender.transport.websocket_client import open_websocket_link

IDLE_INTERVAL, RESOURCES_INTERVAL = 6.0, 5.0
WARM_UP = 8.0
"""Seconds from the last agent's registration to the measurement."""
HERE = Path(__file__).resolve()
ADDRESS, OUTSIDE = "10.213.77.2", "10.213.77.1"


# -- the server ----------------------------------------------------------------------------------


async def serve(host: str, agents: int) -> None:
    """Run the fake server and print its port; each agent gets one task, which never ends."""
    listeners = await trio.open_tcp_listeners(0, host=host, backlog=1024)
    async with open_native_server(listeners=listeners) as server:
        for number in range(agents):
            server.add_task(TaskExec(run="", job=2, block=0, task=number, user_name="ann"))
        # The fake stores all messages for tests: here that would fill the memory.
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        while True:
            await trio.sleep(1)
            del server.received[:]
            for render in server.book.renders.values():
                render.max_tasks = 1


# -- the agents ----------------------------------------------------------------------------------


@attrs.define(eq=False)
class Swarm:
    """Idle agents, each on its own link."""

    url: str
    token: Token
    ca_file: Path
    began: float = 0.0
    registered: int = 0
    registered_after: float = 0.0
    """Seconds from the start to the last registration."""
    tasks: int = 0
    lost: int = 0
    """Agents whose link has failed."""

    async def run(self, count: int, pause: float = 0.004) -> None:
        context = make_client_context(self.ca_file)
        self.began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(self._agent, f"n{number:04}", number / count, context)
                await trio.sleep(pause)

    async def _agent(self, name: str, phase: float, context: ssl.SSLContext) -> None:
        register = Register(
            name=name,
            user_name="ann",
            host_name=name,
            time_launch=int(time.time()),
            resources=HostResources(hw_info="a host of a benchmark"),
        )
        link = partial(open_websocket_link, self.url, token=self.token, ssl_context=context)
        try:
            async with link() as open_link:
                answer = await open_link.register(register)
                if isinstance(answer, Registered):
                    self.registered += 1
                    self.registered_after = trio.current_time() - self.began
                    await IdleAgent(open_link, self).run(phase)
            raise LinkLost(f"{answer}")  # noqa: TRY301 - counted like other ends
        except Exception as error:  # noqa: BLE001 - counted and printed
            self.lost += 1
            if self.lost <= 5:
                sys.stderr.write(f"{name}: {next(flatten(error))!r}\n")


def flatten(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from flatten(inner)
    else:
        yield error


@attrs.define(eq=False)
class IdleAgent:
    """One registered agent."""

    link: Link
    swarm: Swarm
    seq: int = 0

    async def run(self, phase: float) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            nursery.start_soon(self._send_regularly, IDLE_INTERVAL, phase, None)
            await self._send_regularly(
                RESOURCES_INTERVAL, phase, HostResources(cpu_user=7, hw_info="a host")
            )

    async def _send(self, **fields: Any) -> None:  # noqa: ANN401 - fields of Update
        self.seq += 1
        await self.link.send(Update(seq=self.seq, **fields))

    async def _send_regularly(
        self, interval: float, phase: float, resources: HostResources | None
    ) -> None:
        await trio.sleep(interval * phase)
        while True:
            await self._send(resources=resources)
            await trio.sleep(interval)

    async def _read(self) -> None:
        while True:
            message = await self.link.receive()
            if isinstance(message, Ack):
                continue
            assert isinstance(message, Events)
            for task in message.tasks:
                self.swarm.tasks += 1
                started = TaskUpdate(
                    run=task.run, **task.key._asdict(), status=TaskStatus.Percent, percent=1
                )
                await self._send(tasks=(started,))


# -- the measurement -----------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Measured:
    agents: int
    tasks: int
    lost: int
    cpu: float
    """Percent of a core, of user and system time."""
    resident: float
    """MiB."""
    exchanges: float
    """Per second."""
    exchange_time: float
    """Mean duration of an exchange in milliseconds, with its wait for a free slot."""
    time_wait: int
    """Ports that exchanges left in TIME_WAIT."""


@asynccontextmanager
async def open_gateway(server: str, folder: Path) -> AsyncIterator[tuple[trio.Process, str, str]]:
    """Run a gateway; yield it, its URL and the address of its metrics."""
    command: list[object] = [sys.executable, "-m", "trio_afrender"]
    command += ["gateway", "--listen", "wss://127.0.0.1:0"]
    command += ["--cert", folder / "cert.pem", "--tokens", folder / "tokens", "--server", server]
    command += ["--store", folder / "store", "--metrics", "127.0.0.1:0"]
    async with (
        trio.open_nursery() as nursery,
        open_process(command, stderr=subprocess.PIPE) as gateway,
    ):
        url, metrics = await read_addresses(gateway)
        nursery.start_soon(drain, gateway)  # a full pipe would block its log
        yield gateway, url, metrics


def make_swarm_command(count: int, url: str, folder: Path, *options: str) -> list[object]:
    command: list[object] = [sys.executable, HERE, "--role", "agents", "--agents", str(count)]
    return [*command, *options, url, folder / "token", folder / "ca.pem"]


async def measure_registrations(count: int, half_open: int, server: str, folder: Path) -> None:
    """Print how long agents take to register at once, without and with half-open sockets."""
    write_secrets(folder)
    for sockets in (0, half_open, 0, half_open):
        async with (
            open_gateway(server, folder) as (gateway, url, metrics),
            trio.open_nursery() as nursery,
        ):
            held: set[trio.SocketStream] = set()
            for _ in range(sockets):
                nursery.start_soon(hold_half_open, int(url.rpartition(":")[2]), held)
            while len(held) < min(sockets, 64):  # noqa: ASYNC110 - what a gateway leaves of one address
                await trio.sleep(0.1)
            command = make_swarm_command(count, url, folder, "--at-once")
            cpu = read_cpu(gateway.pid)
            async with open_process(command, stdout=subprocess.PIPE) as swarm:
                lines = read_lines(swarm)
                await anext(lines)
                cpu = read_cpu(gateway.pid) - cpu
                displaced = (await read_counters(metrics)).get("handshakes_displaced_total", 0)
                swarm.terminate()
                final = [json.loads(line) async for line in lines][-1]
            nursery.cancel_scope.cancel()
        write(
            f"| {count} | {sockets} | {final['registered_after']:.2f} s "
            f"| {cpu:.2f} s | {cpu / count * 1000:.1f} ms | {displaced:.0f} "
            f"| {final['lost']} |"
        )


def read_cpu(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    return float(sum(psutil.Process(pid).cpu_times()[:2]))


async def hold_half_open(port: int, held: set[trio.SocketStream]) -> None:
    """Hold a socket that says nothing; open another one when the gateway has closed it."""
    while True:
        connection = trio.socket.socket()
        await connection.bind(("127.0.0.2", 0))
        async with trio.SocketStream(connection) as stream:
            with suppress(OSError, trio.BrokenResourceError):
                await connection.connect(("127.0.0.1", port))
                held.add(stream)
                await stream.receive_some()
        held.discard(stream)
        await trio.sleep(5)


async def measure(count: int, seconds: float, server: str, folder: Path) -> Measured:
    write_secrets(folder)
    async with open_gateway(server, folder) as (gateway, url, metrics):
        command = make_swarm_command(count, url, folder)
        async with open_process(command, stdout=subprocess.PIPE) as swarm:
            lines = read_lines(swarm)
            await anext(lines)  # all are registered and have their tasks
            await trio.sleep(WARM_UP)
            port = int(server.rpartition(":")[2])
            found = await watch(gateway.pid, metrics, port, seconds)
            swarm.terminate()
            final = [json.loads(line) async for line in lines][-1]
    return Measured(agents=count, tasks=final["tasks"], lost=final["lost"], **found)


async def watch(pid: int, metrics: str, port: int, seconds: float) -> dict[str, Any]:
    before, started_at = await read_counters(metrics), time.perf_counter()
    cpu = read_cpu(pid)
    await trio.sleep(seconds)
    cpu, elapsed = read_cpu(pid) - cpu, time.perf_counter() - started_at
    after = await read_counters(metrics)
    exchanges = after["exchanges_total"] - before["exchanges_total"]
    duration = after["exchange_seconds_total"] - before["exchange_seconds_total"]
    return {
        "cpu": cpu / elapsed * 100,
        "resident": psutil.Process(pid).memory_info().rss / 2**20,
        "exchanges": exchanges / elapsed,
        "exchange_time": duration / exchanges * 1e3,
        "time_wait": count_waiting(port),
    }


def count_waiting(port: int) -> int:
    """Return the number of ports that exchanges with the server left in TIME_WAIT."""
    return sum(
        each.status == psutil.CONN_TIME_WAIT and tuple(each.raddr)[1:] == (port,)
        for each in psutil.net_connections("tcp")
    )


async def read_counters(metrics: str) -> dict[str, float]:
    host, _, port = metrics.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = b"".join([part async for part in stream]).decode()
    found = re.findall(r"^trio_afrender_gateway_(\w+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def write_secrets(folder: Path) -> None:
    token = secrets.token_urlsafe(32)
    for name, text in (("token", token), ("tokens", f"* {token}\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        folder / "cert.pem"
    )


@asynccontextmanager
async def open_process(command: Sequence[object], **streams: int) -> AsyncIterator[trio.Process]:
    words = [str(word) for word in command]
    start = partial(trio.lowlevel.open_process, words, stdin=subprocess.DEVNULL)
    process: trio.Process = await start(**streams)
    try:
        yield process
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


async def read_addresses(gateway: trio.Process) -> tuple[str, str]:
    assert gateway.stderr is not None
    text = ""
    while True:
        url = re.search(r"agents connect to (\S+),", text)
        metrics = re.search(r"http://(\S+)/metrics", text)
        if url and metrics:
            return url[1], metrics[1]
        data = await gateway.stderr.receive_some()
        if not data:
            raise RuntimeError(f"the gateway ended: {text}")
        text += data.decode()


async def drain(gateway: trio.Process) -> None:
    assert gateway.stderr is not None
    async for _ in gateway.stderr:
        pass


async def read_lines(process: trio.Process) -> AsyncIterator[str]:
    assert process.stdout is not None
    rest = ""
    async for data in process.stdout:
        *lines, rest = (rest + data.decode()).split("\n")
        for line in lines:
            yield line


@contextmanager
def open_namespace(enabled: bool) -> Iterator[tuple[list[str], str]]:
    """Yield the prefix of a command that runs it in a new network namespace, and its address."""
    if not enabled:
        yield [], "127.0.0.1"
        return
    name = f"afbench{os.getpid()}"
    near, far = f"afn{os.getpid()}"[:15], f"aff{os.getpid()}"[:15]

    def ip(words: str) -> None:
        subprocess.run(["/usr/bin/env", "ip", *words.split()], check=True)

    ip(f"netns add {name}")
    try:
        ip(f"link add {near} type veth peer name {far} netns {name}")
        ip(f"addr add {OUTSIDE}/30 dev {near}")
        ip(f"link set {near} up")
        for words in (f"addr add {ADDRESS}/30 dev {far}", f"link set {far} up", "link set lo up"):
            ip(f"-n {name} {words}")
        yield ["ip", "netns", "exec", name], ADDRESS
    finally:
        ip(f"netns delete {name}")  # and with it both ends of the link


async def measure_all(options: argparse.Namespace) -> None:
    columns = ["CPU, % of a core", "resident", "exchanges/s", "mean time", "TIME_WAIT", "tasks"]
    if options.half_open:
        columns = ["half-open sockets", "all registered within", "the gateway's processor time"]
        columns += ["of each agent", "displaced"]
    columns = ["agents", *columns, "lost"]
    write(f"| {' | '.join(columns)} |")
    write(f"|{' --- |' * len(columns)}")
    for count in options.agents:
        with tempfile.TemporaryDirectory() as name, open_namespace(options.netns) as (words, host):
            if options.server:
                found = await measure(count, options.seconds, options.server, Path(name))
            else:
                command = [
                    *words,
                    sys.executable,
                    HERE,
                    "--role",
                    "server",
                    "--agents",
                    str(count),
                    host,
                ]
                async with open_process(command, stdout=subprocess.PIPE) as server:
                    port = await anext(read_lines(server))
                    url = f"af://{host}:{port}"
                    if options.half_open:
                        await measure_registrations(count, options.half_open, url, Path(name))
                        continue
                    found = await measure(count, options.seconds, url, Path(name))
        write(
            f"| {found.agents} | {found.cpu:.0f} | {found.resident:.0f} MiB | {found.exchanges:.0f} "
            f"| {found.exchange_time:.1f} ms | {found.time_wait} | {found.tasks} | {found.lost} |"
        )


def write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def run_agents(count: int, swarm: Swarm, at_once: bool) -> None:
    """Print a line when all agents have their tasks, or `at_once` when all are registered, and at
    SIGTERM the counts as JSON."""
    with trio.open_signal_receiver(15) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(swarm.run, count, 0 if at_once else 0.004)
            with trio.move_on_after(30 + count / 50):
                while (swarm.registered if at_once else swarm.tasks) < count:  # noqa: ASYNC110 - a benchmark
                    await trio.sleep(0.1)
            write("ready")
            await anext(signals)
            nursery.cancel_scope.cancel()
    counts = {"tasks": swarm.tasks, "lost": swarm.lost}
    write(json.dumps({**counts, "registered_after": swarm.registered_after}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", choices=("server", "agents"))
    parser.add_argument(
        "--agents",
        type=lambda text: [int(n) for n in text.split(",")],
        default=[10, 100, 300, 1000],
    )
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--netns", action="store_true")
    parser.add_argument("--server", default="")
    parser.add_argument("--half-open", type=int, default=0)
    parser.add_argument("--at-once", action="store_true")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    match options.role:
        case "server":
            trio.run(serve, options.words[0], options.agents[0])
        case "agents":
            url, token_file, ca_file = options.words
            swarm = Swarm(url, Token(Path(token_file).read_text()), Path(ca_file))
            trio.run(run_agents, options.agents[0], swarm, options.at_once)
        case _:
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for --half-open
            write(
                f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}\n"
            )
            trio.run(measure_all, options)


if __name__ == "__main__":
    main()
