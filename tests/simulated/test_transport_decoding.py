"""What decoding may cost: values in a frame, and processor time of a token."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.testing.memory_server import open_scripted_server
from trio_afrender.transport.decoding_budget import BURST, RATE, DecodingBudget
from trio_afrender.transport.value_limit import MAX_VALUES, check_value_count

JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize("value", ["1", "[]", "{}", '""', '"["'])
def test_a_frame_of_many_values_is_refused(value: str) -> None:
    frame = '{"type":"update","x":[' + ",".join([value] * MAX_VALUES) + "]}"
    with pytest.raises(ProtocolError, match=f"at most {MAX_VALUES} are allowed"):
        check_value_count(frame)


@pytest.mark.parametrize("text", ["[" * 300_000, ",{" * 200_000, '\\",' * 200_000, "\\\\" * 10])
def test_texts_may_contain_anything(text: str) -> None:
    check_value_count(json.dumps({"type": "update", "text": text, "more": [1, 2]}))


@given(JSON)
def test_what_is_no_bomb_is_never_refused(value: object) -> None:
    check_value_count(json.dumps(value))


@pytest.mark.parametrize("piece", ['"', '\\"', '"\\"', '"[', "\\", '[","'])
def test_malformed_frames_are_counted_in_linear_time(piece: str) -> None:
    """Each a text that never ends, in the worst case for a search that starts again and again."""
    frame = '[{"' + piece * 300_000 + "," * MAX_VALUES
    began = time.process_time()
    with suppress(ProtocolError):
        check_value_count(frame)
    assert time.process_time() - began < 5


async def test_a_bomb_closes_its_connection(autojump_clock: MockClock) -> None:
    async with open_scripted_server() as server, server.connect() as link:
        server_link = (await server.accept()).link
        connection = link._connection  # type: ignore[attr-defined]  # as a hostile client sends
        await connection.send('{"type":"update","x":[' + "{}," * MAX_VALUES + "1]}")
        with pytest.raises(ProtocolError, match="values, at most"):
            await server_link.receive()
        with pytest.raises(LinkLost, match="1007"):
            await link.receive()


class CpuClock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_a_token_that_decodes_for_long_waits_before_the_next_message(
    autojump_clock: MockClock,
) -> None:
    clock, waits = CpuClock(), list[float]()
    budget = DecodingBudget(lambda: waits.append(trio.current_time()), clock)

    def decode(frame: str) -> str:
        clock.seconds += 0.5
        return frame

    async def decode_all(name: str) -> None:
        for _ in range(5):
            assert await budget.decode(decode, name) == name

    async with trio.open_nursery() as nursery:
        for name in "abcd":
            nursery.start_soon(decode_all, name)
    # The first three fit: two in the budget, one takes it below zero. One each time it is zero again.
    needed = (20 * 0.5 - BURST - 0.5) / RATE
    assert trio.current_time() == pytest.approx(needed, abs=0.1)
    assert len(waits) == 17


async def test_quick_messages_never_wait(autojump_clock: MockClock) -> None:
    clock = CpuClock()
    budget = DecodingBudget(lambda: pytest.fail("waited"), clock)

    def decode(frame: str) -> str:
        clock.seconds += 0.001
        return frame

    for _ in range(10_000):
        await budget.decode(decode, "x")
        await trio.sleep(0.005)


async def test_a_message_that_cannot_be_decoded_counts(autojump_clock: MockClock) -> None:
    clock = CpuClock()
    budget = DecodingBudget(cpu_clock=clock)

    def fail(_frame: str) -> None:
        clock.seconds += 2 * BURST
        raise ProtocolError("no")

    with pytest.raises(ProtocolError):
        await budget.decode(fail, "x")
    with pytest.raises(ProtocolError):
        await budget.decode(fail, "x")
    assert trio.current_time() == pytest.approx(BURST / RATE)
