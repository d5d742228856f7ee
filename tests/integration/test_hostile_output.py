"""Output that no reader of lines likes: every byte of it is kept, and nothing else suffers."""

from __future__ import annotations

import sys
from pathlib import Path

from support.loopback_farm import Gated, block, open_stage, stored, told

from trio_afrender.protocol.messages import TaskKey

EVERY_BYTE = bytes(range(1, 256)) * 40
LONG = 16_000_000
"""Bytes of a line: sixteen windows, hundreds of pieces, and more than a frame."""


def write_bytes(path: Path, data: bytes) -> str:
    """A command that prints exactly these bytes."""
    path.write_bytes(data)
    return f"cat {path}"


async def test_binary_output_is_stored_byte_for_byte(tmp_path: Path) -> None:
    """Torn characters too: between two writes, and at the very end."""
    torn = b"caf\xc3" + b"\xa9\r\n" + b"\xff\xfe\x80 PROGRESS: 40%\n" + b"\xe2\x82"
    commands = [
        write_bytes(tmp_path / "every", EVERY_BYTE),
        write_bytes(tmp_path / "torn", torn),
        f"head -c 4 {tmp_path}/torn; tail -c +5 {tmp_path}/torn; exit 3",
        "echo beside",
    ]
    async with open_stage(tmp_path) as stage:
        await stage.agent()
        done = await stage.run(block(*commands, parser="generic"))
        assert [task.state for task in done.tasks] == ["done", "done", "error", "done"]
        every, whole, pieces, beside = (stored(tmp_path / "farm", task) for task in done.tasks)
        assert every == EVERY_BYTE
        assert whole == pieces == torn
        assert beside == b"beside\n"
        assert [task.percent for task in done.tasks] == [100, 100, 40, 100]
        await stage.check_alive()


async def test_zeros_show_as_what_they_are(tmp_path: Path) -> None:
    """A zero byte is the one that changes: texts of the protocol have none."""
    async with open_stage(tmp_path) as stage:
        await stage.agent()
        done = await stage.run(block(write_bytes(tmp_path / "zeros", b"a\0b\0\n")))
        assert stored(tmp_path / "farm", done.tasks[0]) == "a\u2400b\u2400\n".encode()


async def test_a_line_of_16_mb_is_cut_to_head_and_tail(tmp_path: Path) -> None:
    """Without a line end at all. The parser finds what stands at its very end all the same."""
    program = (
        "import sys; write = sys.stdout.buffer.write; write(b'first');"
        f"[write(b'x' * 1_000_000) for _ in range({LONG // 1_000_000})];"
        "write(b'PROGRESS: 77%')"
    )
    window = 1024 * 1024
    async with open_stage(tmp_path) as stage:
        await stage.agent(window=window)
        done = await stage.run(
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
        await stage.check_alive()


async def test_who_listens_hears_a_long_line_while_it_grows(tmp_path: Path) -> None:
    """Nothing waits for a line end that may never come."""
    gate = Gated.make(tmp_path)
    async with open_stage(tmp_path) as stage:
        command = gate.command(before="printf 'no end \\377'", after="printf '!'")
        job = stage.submit(block(command, "echo beside", parser="none"))
        async with stage.farm.listen(TaskKey(job, 0, 0)) as heard:
            await stage.agent()
            assert await heard.receive() == "no end \udcff"
            await gate.is_up()
            assert await stage.farm.ask_output(TaskKey(job, 0, 0)) == "no end \udcff"
            await gate.let_go()
            assert [text async for text in heard] == ["!"]
        done = await stage.farm.wait(job)
        assert stored(tmp_path / "farm", done.tasks[0]) == b"no end \xff!"
        assert done.tasks[1].state == "done"


async def test_output_without_end_is_bounded_and_the_newest_is_kept(tmp_path: Path) -> None:
    """More than the quota of a log: the middle goes, and the task goes on."""
    async with open_stage(tmp_path) as stage:
        await stage.agent(log_quota=4 * 1024 * 1024, window=64 * 1024, keep_runs=True)
        done = await stage.run(block("seq 1 2000000", "echo beside", parser="generic"))
        assert [task.state for task in done.tasks] == ["done", "done"]
        lines = stored(tmp_path / "farm", done.tasks[0]).decode().splitlines()
        assert (lines[0], lines[-1]) == ("1", "2000000")
        [mark] = [line for line in lines if not line.isdecimal()]
        assert f" {2_000_000 - len(lines) + 1} lines of output left out here " in mark
        [log] = (tmp_path / "store").rglob(f"{done.id}.0.0*/log")
        assert sum(path.stat().st_size for path in log.iterdir()) <= 4 * 1024 * 1024
        assert told(done.tasks[0]).count("\n") < 5
        await stage.check_alive()
