"""The displayed log of a run whose parser replaces parts of the output, on disk and in memory."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.written_log import WrittenLog, open_written_log

from trio_afrender.tasklog.displayed_log import DisplayedLog
from trio_afrender.tasklog.head_tail import missing_marker, read_window
from trio_afrender.tasklog.interfaces import Chunk, LogReader
from trio_afrender.tasklog.memory_log import MemoryLog
from trio_afrender.tasklog.writer import LiveReader


@attrs.frozen
class Part:
    start: int
    end: int
    text: str


def read_all(reader: LogReader, limit: int = 7) -> bytes:
    found = bytearray()
    while chunk := reader.read(len(found), limit).data:
        found += chunk
    assert len(found) == reader.size()
    return bytes(found)


@pytest.fixture(params=["disk", "memory"])
async def log_and_view(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    async with AsyncExitStack() as stack:
        log: MemoryLog | WrittenLog = MemoryLog()
        folder = None
        if request.param == "disk":
            log = await stack.enter_async_context(open_written_log(tmp_path / "log"))
            folder = tmp_path / "view"
        yield log, DisplayedLog(log, folder)


async def test_without_replacements_it_is_the_consumed_log(
    log_and_view: tuple[MemoryLog | WrittenLog, DisplayedLog], tmp_path: Path
) -> None:
    log, view = log_and_view
    assert (view.size, view.folder is None) == (0, log.folder is None)
    await log.append(b"one\ntwo\nthr")
    assert view.reader().read(0, 100) == Chunk(0, b"")
    await view.apply(8, ())
    assert (view.size, read_all(view.reader())) == (8, b"one\ntwo\n")
    assert view.reader().read(4, 2) == Chunk(4, b"tw")
    assert view.reader().read(8, 100) == Chunk(8, b"")
    await view.apply(3, ())
    assert view.size == 8
    await view.apply(log.size)
    assert (await read_window(view, 100)).text == "one\ntwo\nthr"
    assert not (tmp_path / "view").exists()


async def test_from_the_first_replacement_on_it_has_its_own_text(
    log_and_view: tuple[MemoryLog | WrittenLog, DisplayedLog],
) -> None:
    log, view = log_and_view
    reader = view.reader()
    await log.append(b"keep 1\nnoise noise\nkeep 2\nprogress\nkeep 3\n")
    await view.apply(7, ())
    await view.apply(35, [Part(26, 35, "50%\n"), Part(7, 19, "")])
    assert read_all(reader) == b"keep 1\nkeep 2\n50%\n"
    await view.apply(log.size, ())
    assert read_all(reader) == read_all(view.reader()) == b"keep 1\nkeep 2\n50%\nkeep 3\n"
    assert view.size == reader.size() == 25
    assert (await read_window(view, 100)).text == "keep 1\nkeep 2\n50%\nkeep 3\n"
    assert reader.missing(25).bytes == 0


async def test_text_that_is_displayed_does_not_change(
    log_and_view: tuple[MemoryLog | WrittenLog, DisplayedLog],
) -> None:
    log, view = log_and_view
    await log.append(b"abcdefghij")
    await view.apply(6, ())
    await view.apply(8, [Part(0, 3, "gone already"), Part(4, 8, "GH")])
    assert read_all(view.reader()) == b"abcdefGH"
    await view.apply(8, [Part(4, 8, "again, by a replay")])
    await view.apply(2, ())
    assert read_all(view.reader()) == b"abcdefGH"
    await view.apply(10, [Part(9, 10, "ä\udcff\ud800")])
    assert read_all(view.reader()) == b"abcdefGHi\xc3\xa4??"


async def test_a_parser_may_add_text_at_the_end(
    log_and_view: tuple[MemoryLog | WrittenLog, DisplayedLog],
) -> None:
    log, view = log_and_view
    await log.append(b"all\n")
    await view.apply(4, ())
    await view.apply(4, [Part(4, 4, "summary\n")])
    await view.apply(9, [Part(7, 9, "of nothing")])
    assert read_all(view.reader()) == b"all\nsummary\nof nothing"


async def test_waiting_tasks_wake(
    log_and_view: tuple[MemoryLog | WrittenLog, DisplayedLog],
) -> None:
    log, view = log_and_view
    sizes: list[int] = []

    async def follow() -> None:
        at = 0
        while not view.ended:
            at = await view.wait_beyond(at)
            sizes.append(at)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await log.append(b"x" * 100)
            await view.apply(50, ())
            await trio.testing.wait_all_tasks_blocked(0.01)
            await view.apply(100, [Part(60, 90, "!")])
            await trio.testing.wait_all_tasks_blocked(0.01)
            view.end()
    assert sizes == [50, 71, 71]


async def test_a_gap_in_the_log_is_marked_in_the_copy(tmp_path: Path) -> None:
    async with open_written_log(tmp_path / "log", quota=400, segment=100) as log:
        view = DisplayedLog(log, tmp_path / "view")
        for number in range(100):
            await log.append(b"%09d\n" % number)
        # Most of the hundred lines were dropped before the parser read them.
        await view.apply(55, [Part(50, 55, "!")])
        await view.apply(1000, ())
        text = read_all(view.reader(), 1000).decode()
        head = "".join(f"{number:09d}\n" for number in range(5))
        middle = "".join(f"{number:09d}\n" for number in range(5, 10))[5:]
        tail = "".join(f"{number:09d}\n" for number in range(70, 100))
        assert text == f"{head}!{middle}\n{missing_marker(600, 60)}{tail}"
        # Bytes dropped from the part that the view copied are not missing from the view.
        missing = view.reader().missing(view.size)
        assert (missing.bytes, missing.lines) == (0, 0)


async def test_bytes_dropped_before_the_switch_are_missing_from_the_view(tmp_path: Path) -> None:
    async with open_written_log(tmp_path / "log", quota=400, segment=100) as log:
        view = DisplayedLog(log, tmp_path / "view")
        for number in range(30):
            await log.append(b"%09d\n" % number)
        await view.apply(150, ())
        await view.apply(300, [Part(200, 300, "the end\n")])
        for number in range(30, 100):
            await log.append(b"%09d\n" % number)
        assert view.size == 208
        reader = view.reader()
        assert reader.read(150, 100) == Chunk(200, b"the end\n")
        window = await read_window(view, 100)
        head = "".join(f"{number:09d}\n" for number in range(5))
        assert window.text == f"{head}{missing_marker(150, 15)}the end\n"
        assert (window.left_out_bytes, window.left_out_lines) == (150, 15)


async def test_a_view_that_cannot_be_stored_is_held_in_memory(tmp_path: Path) -> None:
    log = MemoryLog()
    await log.append(b"a" * 1000)
    view = DisplayedLog(log, tmp_path / "missing" / "view")
    await view.apply(1000, [Part(0, 10, "b\n")])
    assert view.size == 992
    assert (await read_window(view, 2000)).text == "b\n" + "a" * 990


async def test_a_log_that_cannot_be_read_for_a_moment_loses_no_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a part displayed twice that was displayed before the failure."""
    read, failing = LiveReader.read, [False, True]

    def fail_second(reader: LiveReader, offset: int, limit: int) -> Chunk:
        if failing and failing.pop(0):
            raise OSError(errno.EMFILE, "Too many open files")
        return read(reader, offset, limit)

    async with open_written_log(tmp_path / "log") as log:
        await log.append(b"one\ntwo\nthree\n")
        view = DisplayedLog(log, tmp_path / "view")
        monkeypatch.setattr(LiveReader, "read", fail_second)
        await view.apply(14, [Part(0, 0, "begin\n"), Part(4, 4, "+"), Part(8, 14, "THREE\n")])
        assert not failing
        assert read_all(view.reader()) == b"begin\none\n+two\nTHREE\n"


texts = st.text("ab\n", max_size=8)


@given(
    data=st.binary(max_size=60),
    edges=st.lists(st.integers(0, 60), max_size=10),
    steps=st.lists(st.integers(0, 60), max_size=6),
    text=texts,
)
def test_any_order_of_steps_shows_the_same(
    data: bytes, edges: list[int], steps: list[int], text: str
) -> None:
    """Replacements arrive with the call that consumed the replaced text, however calls are split."""
    places = sorted({min(edge, len(data)) for edge in edges})
    parts = [Part(a, b, text) for a, b in zip(places[::2], places[1::2], strict=False)]
    expected, at = b"", 0
    for part in parts:
        expected += data[at : part.start] + part.text.encode()
        at = part.end
    expected += data[at:]

    async def scenario() -> bytes:
        log = MemoryLog()
        await log.append(data)
        view = DisplayedLog(log, None)
        done, shown = 0, b""
        for step in [*sorted(steps), len(data)]:
            inside = [part for part in parts if done < part.end <= step]
            # A step does not end inside of a replaced part: batches are consumed whole.
            if any(part.start < step < part.end for part in parts):
                continue
            await view.apply(step, inside)
            done = max(done, step)
            now = read_all(view.reader())
            assert now.startswith(shown)
            shown = now
        return shown

    run: Callable[..., bytes] = trio.run
    assert run(scenario) == expected
