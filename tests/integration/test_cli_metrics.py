"""``--metrics``: what an agent and a farm serve for Prometheus."""

from __future__ import annotations

import re
import signal
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import trio
from support.agent_program import open_agent, open_server, submit
from support.cli import Command, open_command, run_command
from support.metrics import check_conventions, read_figures, scrape

from trio_afrender.metrics.metrics_port import MAX_REQUESTS
from trio_afrender.transport.tokens import make_token

PATIENT = """
import math, sys
from trio_afrender.cli.main import main
from trio_afrender.metrics import metrics_port

metrics_port._REQUEST_TIMEOUT = math.inf
del sys.argv[1:4]  # the interpreter, -m and its module
sys.exit(main())
"""
"""A command line that never closes an idle connection to its figures."""


async def find_address(command: Command) -> str:
    while not (found := re.search(r"metrics are at http://(\S+)/metrics", command.err)):
        await command.output()
    return found[1]


async def test_an_agent_serves_what_it_has_done(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (farm, url):
        wrapper = (sys.executable, "-c", PATIENT)
        async with open_agent(
            tmp_path, url, "--metrics", "127.0.0.1:0", wrapper=wrapper
        ) as command:
            address = await find_address(command)
            job = submit(farm, "true", "exit 3")
            await farm.wait(job)
            await command.says("FinishedError")
            async with AsyncExitStack() as stack:
                for _ in range(MAX_REQUESTS + 1):  # idle connections, which block nothing
                    await stack.enter_async_context(await open_idle(address))
                text = await scrape(address)
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
    check_conventions(text)
    figures = {
        (name, *sorted(value for key, value in labels if key != "render")): value
        for (name, labels), value in read_figures(text).items()
    }
    renders = {dict(labels).get("render") for _, labels in read_figures(text)}
    assert renders >= {"render-1"}
    agent = "trio_afrender_agent_"
    assert figures[f"{agent}up",] == 1
    assert figures[f"{agent}accepting",] == 1
    assert figures[f"{agent}runs_running",] == 0
    assert figures[f"{agent}registrations_total",] == 1
    assert figures[f"{agent}runs_ended_total", "FinishedSuccess"] == 1
    assert figures[f"{agent}runs_ended_total", "FinishedError"] >= 1
    ended = figures[f"{agent}runs_accepted_total",]
    assert figures[f"{agent}start_seconds_count",] == ended
    assert figures[f"{agent}run_seconds_count",] == ended
    assert 0 < figures[f"{agent}start_seconds_sum",] < 60
    assert figures[f"{agent}outbox_outcomes",] <= 1
    assert figures[f"{agent}helper_failures_total", "supervisor"] == 0
    assert figures[f"{agent}helper_failures_total", "plugin_host"] == 0
    assert figures[f"{agent}host_cpus",] >= 1
    assert figures[f"{agent}metrics_displaced_total",] >= 1
    assert figures["process_resident_memory_bytes",] > 2**20


async def open_idle(address: str) -> trio.SocketStream:
    host, _, port = address.rpartition(":")
    return await trio.open_tcp_stream(host, int(port))


async def test_a_farm_serves_its_jobs_and_its_agents(tmp_path: Path) -> None:
    words = ("farm", "--agents", "2", "--json", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
    async with open_command(*words, "--store", tmp_path / "farm", home=tmp_path) as command:
        address = await find_address(command)
        await command.says("the farm is open")
        text = await scrape(address)
        command.process.send_signal(signal.SIGTERM)
        assert await command.wait() == 0
    check_conventions(text)
    figures = read_figures(text)
    assert figures["trio_afrender_farm_jobs", frozenset({("state", "running")})] == 0
    assert figures["trio_afrender_farm_tasks", frozenset({("state", "ready")})] == 0
    up = [value for (name, _), value in figures.items() if name == "trio_afrender_agent_up"]
    assert len(up) == 2


async def test_a_gateway_serves_its_counters(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"* {make_token().secret}\n")
    tokens.chmod(0o600)
    words = ("--listen", "ws://127.0.0.1:0", "--server", "af://127.0.0.1:1", "--tokens", tokens)
    async with open_command(
        "gateway", *words, "--store", "store", "--metrics", "127.0.0.1:0", home=tmp_path
    ) as command:
        address = await find_address(command)
        await command.says("agents connect to")
        text = await scrape(address)
        command.process.send_signal(signal.SIGTERM)
        assert await command.wait() == 0
    check_conventions(text)
    figures = read_figures(text)
    assert figures["trio_afrender_gateway_agents", frozenset()] == 0
    assert figures["process_resident_memory_bytes", frozenset()] > 2**20


async def test_a_port_in_use_is_an_error_before_anything_is_registered(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("agent", "--server", "af://127.0.0.1:1", "--store", "store", "--metrics", address)
        code, out, err = await run_command(*words, home=tmp_path)
    assert (code, out) == (2, "")
    assert f"--metrics: cannot listen on {address}: Address already in use" in err
    assert "internal error" not in err


async def test_an_address_without_a_port_is_an_error(tmp_path: Path) -> None:
    words = ("agent", "--server", "af://127.0.0.1:1", "--metrics", "localhost")
    code, _, err = await run_command(*words, home=tmp_path)
    assert code == 2
    assert '--metrics "localhost": expected HOST:PORT, for example 127.0.0.1:9108' in err
