"""What one token may take of a gateway, in virtual time: attacks that others must not notice."""

from __future__ import annotations

import logging
import math
from contextlib import AsyncExitStack

import attrs
import pytest
import trio
from support.gateway import GatewayHarness, open_gateway_harness
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.config import Token
from trio_afrender.errors import LinkLost, LinkRefused
from trio_afrender.gateway.agent_session import BYTE_BURST, BYTE_RATE
from trio_afrender.gateway.gateway import CHECK_INTERVAL
from trio_afrender.gateway.identity_store import MemoryIdentityStore
from trio_afrender.protocol.messages import (
    Ack,
    HostResources,
    LogEntry,
    Refused,
    Register,
    Registered,
    TaskExec,
    Update,
)
from trio_afrender.transport.interfaces import Link
from trio_afrender.transport.tokens import TokenTable, make_token


def add_token(harness: GatewayHarness, pattern: str, expires: float = math.inf) -> Token:
    token = make_token()
    harness.config.tokens.add(pattern, token, expires)
    return token


async def drain(link: Link) -> None:
    while True:
        await link.receive()


async def ask(link: Link, seq: int) -> float:
    """Send an update that the server has to answer; return the seconds until it is acknowledged."""
    before = trio.current_time()
    await link.send(Update(seq=seq, resources=HostResources(cpu_user=1)))
    while getattr(await link.receive(), "seq", 0) < seq:
        pass
    return trio.current_time() - before


# -- sessions ------------------------------------------------------------------------------------


async def test_one_token_leaves_sessions_to_others(autojump_clock: MockClock) -> None:
    async with open_gateway_harness(agent=False, max_agents=6) as harness:
        crowd = add_token(harness, "crowd-*")
        async with AsyncExitStack() as stack:
            for number in range(3):
                link = await stack.enter_async_context(harness.connect(crowd)())
                assert isinstance(await link.register(Register(name=f"crowd-{number}")), Registered)
            with pytest.raises(LinkLost, match="full or starting"):
                await stack.enter_async_context(harness.connect(crowd)())
            other = await stack.enter_async_context(harness.connect()())
            assert isinstance(await other.register(Register(name="n1")), Registered)
        assert harness.counters["sessions_rejected"] == 1
        await wait_all_tasks_blocked()
        async with harness.connect(crowd)() as link:
            assert isinstance(await link.register(Register(name="crowd-9")), Registered)


async def test_only_a_few_websockets_wait_for_one_name(autojump_clock: MockClock) -> None:
    async with open_gateway_harness(agent=False) as harness:
        harness.delay = 5.0
        answers = list[str]()

        async def register() -> None:
            async with harness.connect()() as link:
                try:
                    answer = await link.register(Register(name="n1"))
                    answers.append(type(answer).__name__)
                except LinkLost as error:
                    answers.append(str(error))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(register)
            await trio.sleep(1)
            assert len(answers) == 6
            assert all("4 other connections wait for this name" in each for each in answers)
        assert answers.count("Registered") >= 1
        assert harness.counters["refused"] >= 6


@pytest.mark.parametrize("runs", [4097, 1])
async def test_a_register_that_is_too_large_is_refused(
    runs: int, autojump_clock: MockClock
) -> None:
    tasks = tuple(TaskExec(run=f"r{n}", job=1, block=0, task=n) for n in range(runs))
    name = "x" * 10 if runs > 1 else "x" * 2**20
    async with open_gateway_harness(agent=False) as harness:
        async with harness.connect()() as link:
            answer = await link.register(Register(name="n1", host_name=name, running=tasks))
        assert isinstance(answer, Refused)
        assert (answer.reason, harness.server.received) == ("too-large", [])
        assert "at most 4096 runs and 1048576 bytes" in answer.text


# -- bytes ---------------------------------------------------------------------------------------


async def test_an_agent_that_sends_too_many_bytes_is_read_slowly_and_loses_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness(agent=False) as harness:
        async with harness.connect()() as link:
            await link.register(Register(name="n1"))
            text, count = "x" * (4 * 2**20), 12
            before = trio.current_time()
            async with trio.open_nursery() as nursery:

                async def send() -> None:
                    for seq in range(1, count + 1):
                        await link.send(Update(seq=seq, log=(LogEntry(run="r", n=seq, text=text),)))

                nursery.start_soon(send)
                acked = 0
                while acked < count:
                    message = await link.receive()
                    acked = message.seq if isinstance(message, Ack) else acked
            # The last one is acknowledged before its own pause.
            needed = ((count - 1) * len(text) - BYTE_BURST) / BYTE_RATE
            assert needed == pytest.approx(6)
            assert needed <= trio.current_time() - before <= needed + 5
        # The eighth too, by its bytes besides the text.
        assert harness.counters["held_up_bytes"] == 5
        assert harness.counters["held_up"] == 0


# -- turns at the server -------------------------------------------------------------------------


async def test_a_crowd_of_one_token_delays_no_exchange_of_another(
    autojump_clock: MockClock,
) -> None:
    """Forty agents ask on and on; an exchange takes 0.2 s, and eight are made at once."""
    async with open_gateway_harness(agent=False, rate=1000) as harness:
        crowd, single = add_token(harness, "crowd-*"), add_token(harness, "single")
        harness.delay = 0.2

        async def ask_again(number: int) -> None:
            async with harness.connect(crowd)() as link:
                await link.register(Register(name=f"crowd-{number}"))
                for seq in range(1, 1000):
                    await ask(link, seq)

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(ask_again, number)
            await trio.sleep(30)
            async with harness.connect(single)() as link:
                await link.register(Register(name="single"))
                waits = [await ask(link, seq) for seq in range(1, 10)]
            # A slot becomes free within 0.2 s, and an update waits for two heartbeats at most. In the
            # order of arrival it would take more than two seconds.
            assert max(waits) <= 3 * 0.4 + 0.01, waits
            nursery.cancel_scope.cancel()
        assert harness.most_at_once == 8
        assert harness.counters["exchanges_waited"] > 100


# -- revoked tokens ------------------------------------------------------------------------------


async def test_the_session_of_a_removed_token_ends(autojump_clock: MockClock) -> None:
    async with open_gateway_harness(agent=False) as harness:
        revoked, kept = add_token(harness, "r*"), add_token(harness, "k*")
        async with harness.connect(revoked)() as link, harness.connect(kept)() as other:
            await link.register(Register(name="r1"))
            await other.register(Register(name="k1"))
            table = TokenTable()
            table.add("k*", kept)
            harness.config.tokens.replace(table)
            before = trio.current_time()
            with pytest.raises(LinkLost, match=r"1013 .*token was removed or has expired"):
                await drain(link)
            assert trio.current_time() - before <= CHECK_INTERVAL + 0.1
            await ask(other, 1)
        with pytest.raises(LinkRefused, match="unauthorized"):
            async with harness.connect(revoked)():
                pass
        assert harness.counters["sessions_revoked"] == 1


async def test_a_session_ends_when_its_token_expires(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = TokenTable(clock=trio.current_time)
    async with open_gateway_harness(agent=False, tokens=tokens) as harness:
        token = add_token(harness, "n*", expires=trio.current_time() + 100)
        async with harness.connect(token)() as link:
            before = trio.current_time()
            await link.register(Register(name="n1"))
            with pytest.raises(LinkLost, match="removed or has expired"):
                await drain(link)
            assert 100 <= trio.current_time() - before <= 106
        with pytest.raises(LinkRefused, match="unauthorized"):
            async with harness.connect(token)():
                pass
        assert "rejected, HTTP 401: an expired token" in caplog.text


async def test_a_token_that_lost_a_name_ends_the_session_of_that_name(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness(agent=False) as harness:
        token = add_token(harness, "*")
        async with harness.connect(token)() as link:
            await link.register(Register(name="n1"))
            table = TokenTable()
            table.add("m*", token)
            harness.config.tokens.replace(table)
            with pytest.raises(LinkLost, match="removed or has expired"):
                await drain(link)


# -- the log and stored names --------------------------------------------------------------------


async def test_lines_of_sessions_are_summed_up(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_gateway_harness(agent=False) as harness:
        for _ in range(200):
            async with harness.connect()() as link:
                await link.register(Register(name="n1"))
        for _ in range(200):
            async with harness.connect()() as link:
                await link.register(Register(name='n"1'))
        await trio.sleep(130)
    lines = [record.getMessage() for record in caplog.records]

    assert len(lines) < 40, lines
    assert "registered agents: 195 more from n1 within 60 s" in lines
    assert "refused registers: 195 more from memory within 60 s" in lines


async def test_names_of_a_pattern_are_not_stored_without_end(autojump_clock: MockClock) -> None:
    identities = MemoryIdentityStore(limit=10)
    async with open_gateway_harness(agent=False) as harness:
        harness.identities = identities
        await harness.kill()
        await harness.start()
        async with harness.connect()() as link:
            await link.register(Register(name="in-use"))
            for number in range(30):
                async with harness.connect()() as other:
                    await other.register(Register(name=f"n{number}"))
                    await other.deregister("done")
                await trio.sleep(2)
            assert "in-use" in identities.texts
            assert "n29" in identities.texts
            assert len(identities.texts) <= 11


async def test_messages_of_unknown_types_are_summed_up(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_gateway_harness(agent=False) as harness:
        async with harness.connect()() as link:
            await link.register(Register(name="n1"))
            for number in range(15):
                await link._connection.send(f'{{"type":"moon-{number}"}}')  # type: ignore[attr-defined]  # as a newer agent may send
            await ask(link, 1)
    assert sum("unknown type" in record.getMessage() for record in caplog.records) == 5


def test_the_share_of_a_token_is_half_of_the_agents() -> None:
    from trio_afrender.gateway import GatewayConfig
    from trio_afrender.transport.address import NativeAddress
    from trio_afrender.transport.listen_address import ListenAddress

    config = GatewayConfig(
        listen=ListenAddress(host="localhost", port=0),
        server=NativeAddress(host="farm", port=51000),
        tokens=TokenTable(),
    )
    assert config.share_of_token == 5000
    assert attrs.evolve(config, max_agents=1).share_of_token == 1
    assert attrs.evolve(config, max_agents_per_token=7).share_of_token == 7


async def test_a_store_that_hangs_collects_no_connections(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> str:
        await trio.sleep_forever()
        raise AssertionError

    async with open_gateway_harness(agent=False) as harness:
        monkeypatch.setattr(MemoryIdentityStore, "read", hang)
        limit = harness.config.timing.connect
        for _ in range(3):
            async with harness.connect()() as link:
                begin = trio.current_time()
                with pytest.raises(LinkLost, match=r"1013 .*the stored id cannot be read now"):
                    await link.register(Register(name="n1"))
                assert trio.current_time() - begin <= limit + 1
        monkeypatch.undo()
        await harness.add_agent()
        await harness.server.online("n1")
