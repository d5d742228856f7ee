"""Decisions of a gateway without I/O: commands to repeat, rate of reading, addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.errors import ConfigError
from trio_afrender.gateway.counters import GatewayCounters, collect_gateway
from trio_afrender.gateway.pending_commands import PendingCommands, undelivered
from trio_afrender.gateway.rate_limit import TokenBucket
from trio_afrender.metrics.families import format_families
from trio_afrender.protocol.messages import Events, Register, Registered, RunRef, TaskExec
from trio_afrender.transport.listen_address import ListenAddress, parse_address, parse_listen


def task(number: int) -> TaskExec:
    return TaskExec(run=f"r{number}", job=2, block=0, task=number)


def ref(number: int) -> RunRef:
    return RunRef.of(task(number))


RUNS = ("r1", "r2")
BEFORE = Register(name="n1", host_name="h", time_launch=7, running=(task(1),))


@pytest.mark.parametrize(
    ("now", "missing"),
    [
        (Register(name="n1", host_name="h", time_launch=7), (task(1), task(2))),
        (Register(name="n1", host_name="h", time_launch=7, running=(task(1),)), (task(2),)),
        (Register(name="n1", host_name="h", time_launch=7, undelivered=(task(2),)), (task(1),)),
        (Register(name="n1", host_name="h", time_launch=8), ()),
        (Register(name="n1", host_name="g", time_launch=7), ()),
    ],
)
def test_undelivered_tasks_are_those_of_the_same_process(
    now: Register, missing: tuple[TaskExec, ...]
) -> None:
    assert undelivered(BEFORE, now, (task(1), task(2))) == missing


def test_without_a_launch_time_no_agent_is_the_same_process() -> None:
    untimed = Register(name="n1", host_name="h")
    assert undelivered(untimed, untimed, (task(1),)) == ()
    assert undelivered(None, BEFORE, (task(1),)) == ()


@pytest.mark.parametrize("connected", [True, False])
def test_stops_and_listeners_are_repeated_in_any_case(connected: bool) -> None:
    pending = PendingCommands()
    events = Events(stops=(ref(1),), listens_add=(ref(1), ref(2)))
    pending.note(events, RUNS, connected=connected)
    pending.note(Events(listens_rem=(ref(2),)), RUNS, connected=connected)
    repeated = pending.repeat(RUNS, ())
    assert repeated == Events(stops=(ref(1),), listens_add=(ref(1),), listens_rem=(ref(2),))
    assert pending.repeat(RUNS, ()) == repeated


def test_questions_and_instructions_are_repeated_only_if_no_agent_was_connected() -> None:
    pending = PendingCommands()
    events = Events(outputs=(ref(1),), instruction="launch", command="date")
    pending.note(events, RUNS, connected=True)
    assert pending.repeat(RUNS, ()) is None
    pending.note(events, RUNS, connected=False)
    assert pending.repeat(RUNS, ()) == events
    assert pending.repeat(RUNS, ()) is None


def test_no_command_for_a_run_that_is_over_or_taken_away_is_repeated() -> None:
    pending = PendingCommands()
    pending.note(Events(stops=(ref(1), ref(2))), RUNS, connected=False)
    pending.note(Events(closes=(ref(1),)), ("r2",), connected=False)
    assert pending.repeat(("r1",), (task(1),)) == Events(tasks=(task(1),))
    assert pending.repeat((), (task(2),)) is None
    assert pending.repeat(("r2",), ()) == Events(stops=(ref(2),))


def test_an_answer_has_the_settings_in_force_and_the_listed_runs() -> None:
    pending = PendingCommands()
    pending.note(Events(heartbeat_sec=3, zombie_time=40), RUNS, connected=False)
    answer = Registered(id=4, zombie_time=20, resume=("r1", "r2"), stop=("r3", "r4"))
    assert pending.complete_answer(answer, {"r1", "r3"}) == Registered(
        id=4, heartbeat_sec=3, zombie_time=20, resume=("r1",), stop=("r3",)
    )


@given(st.lists(st.floats(0, 10), min_size=1, max_size=100), st.floats(1, 100))
def test_the_rate_limits_messages_beyond_the_burst(pauses: list[float], rate: float) -> None:
    """An agent that waits as returned gets `rate` beyond the burst, never less."""
    bucket, now, waited = TokenBucket(rate, 10), 0.0, False
    times = []
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        waited = waited or wait > 0
        now += wait
        times.append(now)
    for first in range(len(times)):
        for last in range(first, len(times)):
            passed = last - first + 1
            assert passed <= 10 + rate * (times[last] - times[first]) + 1.001
    if len(pauses) <= 10:
        assert not waited


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("wss://0.0.0.0:7443", ListenAddress(host="0.0.0.0", port=7443, tls=True)),  # noqa: S104
        ("wss://[::]:7443/", ListenAddress(host="::", port=7443, tls=True)),
        ("ws://127.0.0.1:0", ListenAddress(host="127.0.0.1", port=0)),
        ("ws://localhost:80", ListenAddress(host="localhost", port=80)),
    ],
)
def test_valid_listen_addresses(url: str, address: ListenAddress) -> None:
    assert parse_listen(url) == address


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("wss://farm.example", "expected wss://HOST:PORT"),
        ("https://farm.example:7443", "expected wss://HOST:PORT"),
        ("wss://:7443", "expected wss://HOST:PORT"),
        ("wss://farm.example:7443/agents", "expected wss://HOST:PORT"),
        ("wss://me@farm.example:7443", "expected wss://HOST:PORT"),
        ("wss://farm.example:77777", "Port out of range"),
        ("ws://0.0.0.0:7080", "tokens would be readable"),
    ],
)
def test_invalid_listen_addresses(url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_listen(url)


def test_plain_connections_from_other_hosts_need_the_option() -> None:
    assert parse_listen("ws://0.0.0.0:7080", allow_plain=True).port == 7080


@pytest.mark.parametrize("text", ["9108", "localhost", "localhost:x", "a@b:1", "h:1/metrics"])
def test_an_address_has_a_host_and_a_port(text: str) -> None:
    with pytest.raises(ConfigError, match="--metrics"):
        parse_address("--metrics", text)
    assert parse_address("--metrics", "[::1]:9108") == ListenAddress(host="::1", port=9108)


def test_counters_have_the_text_format_of_prometheus() -> None:
    counters = GatewayCounters()
    counters.agents, counters.exchanges, counters.exchange_seconds = 3, 12_345_678, 0.25
    lines = format_families(collect_gateway(counters)).splitlines()
    assert "# TYPE trio_afrender_gateway_agents gauge" in lines
    assert "trio_afrender_gateway_agents 3" in lines
    assert "# TYPE trio_afrender_gateway_exchanges_total counter" in lines
    assert "trio_afrender_gateway_exchanges_total 12345678" in lines
    assert "trio_afrender_gateway_exchange_seconds_total 0.25" in lines
    names = [line.split()[0] for line in lines if not line.startswith("#")]
    assert len(names) == len(set(names)) == len(lines) / 3
