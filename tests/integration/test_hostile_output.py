"""Output that is not lines of text: each byte of it is kept, and other tasks are not affected."""

from __future__ import annotations

import sys
from pathlib import Path

from support.loopback_farm import Gated, block, open_loopback_farm, reasons, stored

from trio_afrender.protocol.messages import TaskKey

EVERY_BYTE = bytes(range(1, 256)) * 40
LONG = 16_000_000
"""Bytes of a line: 16 windows, hundreds of pieces, and more than a websocket message."""


def write_bytes(path: Path, data: bytes) -> str:
    """A command that prints exactly these bytes."""
    path.write_bytes(data)
    return f"cat {path}"


async def test_binary_output_is_stored_byte_for_byte(tmp_path: Path) -> None:
    """Also characters that are cut, between two writes and at the very end."""
    cut = b"caf\xc3" + b"\xa9\r\n" + b"\xff\xfe\x80 PROGRESS: 40%\n" + b"\xe2\x82"
    commands = [
        write_bytes(tmp_path / "every", EVERY_BYTE),
        write_bytes(tmp_path / "cut", cut),
        f"head -c 4 {tmp_path}/cut; tail -c +5 {tmp_path}/cut; exit 3",
        "echo beside",
    ]
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent()
        done = await loopback.run(block(*commands, parser="generic"))
        assert [task.state for task in done.tasks] == ["done", "done", "error", "done"]
        every, whole, pieces, beside = (stored(tmp_path / "farm", task) for task in done.tasks)
        assert every == EVERY_BYTE
        assert whole == pieces == cut
        assert beside == b"beside\n"
        assert [task.percent for task in done.tasks] == [100, 100, 40, 100]
        await loopback.check_alive()


async def test_zero_bytes_are_shown_as_symbols(tmp_path: Path) -> None:
    """Zero bytes are the only ones that change: texts of the protocol cannot contain them."""
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent()
        done = await loopback.run(block(write_bytes(tmp_path / "zeros", b"a\0b\0\n")))
        assert stored(tmp_path / "farm", done.tasks[0]) == "a\u2400b\u2400\n".encode()


async def test_a_line_of_16_mb_is_cut_to_head_and_tail(tmp_path: Path) -> None:
    """Without any line end. The parser finds the text at its very end."""
    program = (
        "import sys; write = sys.stdout.buffer.write; write(b'first');"
        f"[write(b'x' * 1_000_000) for _ in range({LONG // 1_000_000})];"
        "write(b'PROGRESS: 77%')"
    )
    window = 1024 * 1024
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent(window=window)
        done = await loopback.run(
            block(f"{sys.executable} -c {program!r}; exit 3", "echo beside", parser="generic")
        )
        long, beside = done.tasks
        assert (long.state, long.exit_code, beside.state) == ("error", 3, "done")
        assert long.percent == 77
        text = stored(tmp_path / "farm", long).decode()
        assert text.startswith("firstxxx")
        assert text.endswith("xxxPROGRESS: 77%")
        head, mark, tail = text.split("---")
        left_out = LONG + len("firstPROGRESS: 77%") - (len(head) - 1) - len(tail.lstrip("\n"))
        assert mark == f" trio_afrender: {left_out} bytes, 0 lines of output left out here "
        assert window - 100 < len(head) + len(tail) <= window + 2
        await loopback.check_alive()


async def test_a_listener_receives_a_long_line_while_it_grows(tmp_path: Path) -> None:
    """Live output does not wait for a line end, which may never come."""
    gate = Gated.make(tmp_path)
    async with open_loopback_farm(tmp_path) as loopback:
        command = gate.command(before="printf 'no end \\377'", after="printf '!'")
        job = loopback.submit(block(command, "echo beside", parser="none"))
        async with loopback.farm.listen(TaskKey(job, 0, 0)) as received:
            await loopback.agent()
            assert await received.receive() == "no end \udcff"
            await gate.is_up()
            assert await loopback.farm.ask_output(TaskKey(job, 0, 0)) == "no end \udcff"
            await gate.release()
            assert [text async for text in received] == ["!"]
        done = await loopback.farm.wait(job)
        assert stored(tmp_path / "farm", done.tasks[0]) == b"no end \xff!"
        assert done.tasks[1].state == "done"


async def test_output_without_end_is_bounded_and_the_newest_is_kept(tmp_path: Path) -> None:
    """More than the quota of a log: the middle is dropped, and the task keeps running."""
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent(log_quota=4 * 1024 * 1024, window=64 * 1024, keep_runs=True)
        done = await loopback.run(block("seq 1 2000000", "echo beside", parser="generic"))
        assert [task.state for task in done.tasks] == ["done", "done"]
        lines = stored(tmp_path / "farm", done.tasks[0]).decode().splitlines()
        assert (lines[0], lines[-1]) == ("1", "2000000")
        [mark] = [line for line in lines if not line.isdecimal()]
        assert f" {2_000_000 - len(lines) + 1} lines of output left out here " in mark
        [log] = (tmp_path / "store").rglob(f"{done.id}.0.0*/log")
        assert sum(path.stat().st_size for path in log.iterdir()) <= 4 * 1024 * 1024
        assert reasons(done.tasks[0]).count("\n") < 5
        await loopback.check_alive()
