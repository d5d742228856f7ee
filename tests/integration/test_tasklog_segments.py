"""Log folders: readers get exact contents and numbers while the log is written and afterwards."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.process import open_descriptors

from trio_afrender.tasklog import gaps
from trio_afrender.tasklog.gaps import MissingRanges
from trio_afrender.tasklog.interfaces import Chunk, LogReader, Missing
from trio_afrender.tasklog.segments import (
    DROPPED,
    LOST,
    MissingRange,
    _without_dropped,
    list_folder,
    note_path,
    open_reader,
    segment_path,
)
from trio_afrender.tasklog.writer import SegmentWriter, open_writer


def make_writer(
    folder: Path, *, quota: int = 1000, segment: int = 10, held: int = 20
) -> SegmentWriter:
    return open_writer(folder, quota=quota, segment=segment, held=held)


def read_all(reader: LogReader, limit: int = 7) -> list[Chunk]:
    """Read all chunks in order; neighbouring ones are joined."""
    found: list[Chunk] = []
    at = 0
    while at < reader.size():
        chunk = reader.read(at, limit)
        assert chunk.offset >= at
        assert len(chunk.data) <= limit
        if not chunk.data:
            assert chunk.offset == reader.size()
            break
        if found and found[-1].end == chunk.offset:
            chunk = Chunk(found[-1].offset, found.pop().data + chunk.data)
        found.append(chunk)
        at = found[-1].end
    return found


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """Make the kernel refuse bytes beyond offset `free` of any file, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@contextmanager
def pipe_with(data: bytes) -> Iterator[int]:
    """Return the reading end of a non-blocking pipe that holds `data` and still has a writer."""
    out, into = os.pipe2(os.O_NONBLOCK)
    try:
        assert os.write(into, data) == len(data) if data else True
        yield out
    finally:
        os.close(out)
        os.close(into)


def test_segments_are_named_by_their_start(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.append(b"0123456789abcdefghij")
    writer.append(b"klm")
    writer.close()
    assert list_folder(tmp_path).starts == (0, 10, 20)
    assert segment_path(tmp_path, 20).read_bytes() == b"klm"
    for reader in (writer.reader(), open_reader(tmp_path)):
        assert reader.size() == 23
        assert read_all(reader) == [Chunk(0, b"0123456789abcdefghijklm")]
        assert reader.read(8, 100) == Chunk(8, b"89")
        assert reader.read(23, 100) == Chunk(23, b"")
        assert reader.read(50, 100) == Chunk(50, b"")
        assert reader.missing(23) == Missing(0, 0)


def test_a_folder_that_does_not_exist_is_an_empty_log(tmp_path: Path) -> None:
    reader = open_reader(tmp_path / "none")
    assert (reader.size(), reader.read(0, 10), reader.missing(10)) == (0, Chunk(0, b""), Missing())


def test_files_with_other_names_are_ignored(tmp_path: Path) -> None:
    large = "9" * 20
    for name in ("note.txt", "x.log", "1-2.dropped", "1-2-x.lost", "README", f"{large}.log",
                 f"0-{large}-1.lost", "\u0663.log"):  # fmt: skip
        (tmp_path / name).write_text("?")
    assert open_reader(tmp_path).size() == 0


def test_the_quota_keeps_the_first_and_the_newest_segments(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, quota=40)
    data = b"".join(b"line %03d\n" % number for number in range(20))
    for at in range(0, len(data), 6):
        writer.append(data[at : at + 6])
        assert sum(path.stat().st_size for path in tmp_path.glob("*.log")) <= 40
    for reader in (writer.reader(), open_reader(tmp_path)):
        head, tail = read_all(reader)
        assert head == Chunk(0, data[:10])
        assert tail == Chunk(150, data[150:])
        assert reader.size() == len(data)
        assert reader.read(50, 5) == Chunk(150, data[150:155])
        lines = data[10:150].count(b"\n")
        assert reader.missing(len(data)) == Missing(140, lines)
        assert reader.missing(10) == Missing(0, 0)
    # The writer knows the lines before any offset; the folder only those of the whole range.
    assert writer.reader().missing(50) == Missing(40, data[10:50].count(b"\n"))
    assert len(list(tmp_path.glob("*.dropped"))) == 1
    assert writer.state.lost == 0
    assert {each.kind for each in list_folder(tmp_path).ranges} == {DROPPED}


@given(
    parts=st.lists(st.binary(max_size=40), max_size=12),
    segment=st.integers(1, 30),
    quota=st.integers(8, 100),
)
def test_stored_bytes_and_missing_numbers_are_exact_for_all_sizes(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], segment: int, quota: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer = make_writer(folder, quota=quota, segment=segment)
    data = b""
    for part in parts:
        with pipe_with(part) as pipe:
            assert writer.fill_from(pipe) == (len(part) or None)
        data += part
    writer.close()
    for reader in (writer.reader(), open_reader(folder)):
        assert reader.size() == len(data)
        chunks = read_all(reader)
        assert all(data[chunk.offset : chunk.end] == chunk.data for chunk in chunks)
        stored = sum(len(chunk.data) for chunk in chunks)
        lines = sum(chunk.data.count(b"\n") for chunk in chunks)
        assert reader.missing(len(data)) == Missing(len(data) - stored, data.count(b"\n") - lines)
        assert stored <= quota
        # The end of the output is always there.
        assert not data or chunks[-1].end == len(data)


def test_a_later_writer_continues_at_the_end_of_the_log(tmp_path: Path) -> None:
    first = make_writer(tmp_path, quota=40)
    first.append(b"x" * 65)
    first.close_fd()  # as if killed: no `close`
    second = make_writer(tmp_path, quota=40)
    assert second.state.size == 65
    second.append(b"y" * 10)
    second.close()
    assert segment_path(tmp_path, 60).read_bytes() == b"xxxxxyyyyy"
    assert [(c.offset, len(c.data)) for c in read_all(open_reader(tmp_path))] == [(0, 10), (50, 25)]
    assert second.reader().missing(75) == open_reader(tmp_path).missing(75) == Missing(40, 0)


def test_a_writer_killed_while_dropping_counts_nothing_twice(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.append(b"a\n" * 25)
    writer.close_fd()
    # The first dropped segment has become its note, with its bytes; the next one is noted but exists.
    note_path(tmp_path, MissingRange(10, 30, 10, DROPPED)).write_bytes(b"a\n" * 5)
    segment_path(tmp_path, 10).unlink()
    reader = open_reader(tmp_path)
    assert [(c.offset, len(c.data)) for c in read_all(reader)] == [(0, 10), (30, 20)]
    assert reader.missing(50) == Missing(20, 10)
    again = make_writer(tmp_path)
    assert again.state.starts == (0, 30, 40)
    assert not segment_path(tmp_path, 20).exists()
    assert note_path(tmp_path, MissingRange(10, 30, 10, DROPPED)).stat().st_size == 0


def test_a_segment_that_vanishes_is_skipped(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.append(b"0123456789abcdefghijklmno")
    segment_path(tmp_path, 10).unlink()
    for reader in (writer.reader(), open_reader(tmp_path)):
        assert reader.read(12, 3) == Chunk(20, b"klm")
    segment_path(tmp_path, 20).unlink()
    assert writer.reader().read(12, 3) == Chunk(25, b"")
    # A segment that does not exist any more can be dropped too.
    missing = MissingRanges(tmp_path)
    missing.drop(10, 20)
    assert missing.ranges == (MissingRange(10, 20, 0, DROPPED),)


def _remove(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    os.truncate(path, 2)


def _put_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _put_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved"))


def _put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _put_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


EXCHANGES = [_remove, _cut, _put_fifo, _put_link, _put_folder, _put_device]


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("way", ["append", "splice", "open"])
def test_a_segment_that_the_task_exchanges_becomes_a_stated_gap(
    tmp_path: Path, exchange: Callable[[Path], None], way: str
) -> None:
    """Nothing waits, nothing is written elsewhere, no zeros stand in the place of what is gone."""
    writer = make_writer(tmp_path, quota=1000, segment=100)
    writer.append(b"before\n")
    if way == "open":
        # A segment stays open after many bytes at once; the next ones go to a file without a name.
        writer._fd = os.open(segment_path(tmp_path, 0), os.O_WRONLY)
    exchange(segment_path(tmp_path, 0))
    if way == "splice":
        with pipe_with(b"after\n") as pipe:
            writer.fill_from(pipe)
    else:
        writer.append(b"after\n")
    writer.append(b"more\n")
    writer.close()
    # A file that was moved while it is open takes bytes until it is closed.
    lost = 13 if way == "open" and exchange is _put_link else 7
    for reader in (writer.reader(), open_reader(tmp_path)):
        assert reader.size() == 18
        assert reader.missing(18) == Missing(lost, 0)
        assert reader.read(lost, 100) == Chunk(lost, b"before\nafter\nmore\n"[lost:])
    if exchange is _put_link:
        assert (tmp_path / "moved").read_bytes() == b"before\nafter\n"[:lost]
    later = open_writer(tmp_path, quota=1000, segment=100, held=20)
    later.append(b"later\n")
    later.close()
    assert open_reader(tmp_path).read(18, 100) == Chunk(18, b"later\n")


@pytest.mark.parametrize("exchange", EXCHANGES[:1] + EXCHANGES[2:])
def test_a_reader_skips_a_segment_that_is_no_file(
    tmp_path: Path, exchange: Callable[[Path], None]
) -> None:
    writer = make_writer(tmp_path)
    writer.append(b"0123456789abcdefghij")
    exchange(segment_path(tmp_path, 0))
    assert open_reader(tmp_path).read(0, 100) == Chunk(10, b"abcdefghij")
    exchange(segment_path(tmp_path, 10))
    assert open_reader(tmp_path).read(0, 100).data == b""


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_exchanged_segment_can_be_dropped(
    tmp_path: Path, exchange: Callable[[Path], None]
) -> None:
    writer = make_writer(tmp_path, quota=40)
    writer.append(b"0123456789" * 4)
    exchange(segment_path(tmp_path, 10))
    writer.append(b"abcdefghij" * 3)
    writer.close()
    assert writer.state.lost == 0
    assert open_reader(tmp_path).read(60, 100) == Chunk(60, b"abcdefghij")
    later = make_writer(tmp_path, quota=40)
    later.append(b"klmnopqrst" * 3)
    later.close()
    assert later.state.lost == 0
    assert open_reader(tmp_path).read(90, 100) == Chunk(90, b"klmnopqrst")


def test_a_folder_in_the_place_of_a_dropped_segment_does_no_harm(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, quota=40)
    writer.append(b"0123456789" * 6)
    writer.close()
    [dropped] = list_folder(tmp_path).ranges
    segment_path(tmp_path, dropped.start).mkdir()
    later = make_writer(tmp_path, quota=40)
    later.append(b"later\n")
    later.close()
    assert open_reader(tmp_path).read(60, 100) == Chunk(60, b"later\n")


def test_a_note_that_the_task_removes_does_not_end_the_quota(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, quota=40)
    writer.append(b"0123456789" * 6)
    [note] = tmp_path.glob("*.dropped")
    note.unlink()
    for _ in range(10):
        writer.append(b"abcdefghij")
    writer.close()
    assert len(list(tmp_path.glob("*.log"))) == 4
    assert open_reader(tmp_path).read(130, 100) == Chunk(130, b"abcdefghij")
    assert writer.state.lost == 0


def test_a_note_of_a_loss_that_the_task_removes_is_made_again(tmp_path: Path) -> None:
    ranges = MissingRanges(tmp_path)
    ranges.lose(0, b"lost\n")
    [note] = tmp_path.glob("*.lost")
    note.unlink()
    ranges.lose(5, b"lost\n")
    assert list_folder(tmp_path).ranges == (MissingRange(0, 10, 2, LOST),)


def test_a_segment_that_the_disk_cannot_read_can_be_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing more would be stored: each next segment needs its room."""

    def fail(path: Path) -> int:
        raise OSError(errno.EIO, "Input/output error", str(path))

    writer = make_writer(tmp_path, quota=40)
    writer.append(b"0123456789" * 4)
    monkeypatch.setattr(gaps, "count_lines", fail)
    writer.append(b"abcdefghij" * 3)
    writer.close()
    assert writer.state.lost == 0
    assert len(list(tmp_path.glob("*.log"))) == 4
    assert open_reader(tmp_path).read(60, 100) == Chunk(60, b"abcdefghij")


def test_what_lies_where_a_segment_will_be_made_is_replaced(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.append(b"0123456789")
    (tmp_path / "target").write_bytes(b"untouched")
    segment_path(tmp_path, 10).symlink_to(tmp_path / "target")
    os.mkfifo(segment_path(tmp_path, 20))
    writer.append(b"abcdefghijklmno")
    writer.close()
    assert (tmp_path / "target").read_bytes() == b"untouched"
    assert read_all(open_reader(tmp_path)) == [Chunk(0, b"0123456789abcdefghijklmno")]


def test_a_note_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """The task can guess the name of a note, and its link could name any file of the agent's user."""
    (tmp_path / "target").write_bytes(b"untouched")
    (tmp_path / "00000000000000000000-10-0.dropped").symlink_to(tmp_path / "target")
    writer = make_writer(tmp_path)
    writer.append(b"0123456789")
    writer.close()
    assert (tmp_path / "target").read_bytes() == b"untouched"


@pytest.mark.parametrize("way", ["append", "fill_from"])
def test_a_full_disk_loses_the_middle_and_recovers(tmp_path: Path, way: str) -> None:
    writer = make_writer(tmp_path, segment=100, quota=1000, held=20)
    data = b"".join(b"%04d\n" % number for number in range(40))

    def write(start: int, stop: int) -> None:
        if way == "append":
            writer.append(data[start:stop])
            return
        with pipe_with(data[start:stop]) as pipe:
            assert writer.fill_from(pipe) == stop - start
            assert writer.fill_from(pipe) is None

    write(0, 50)
    with full_disk(60):
        write(50, 75)  # 10 of these fit
        assert writer.state.lost == 15
        assert (writer.state.held, writer.state.size) == (data[60:75], 75)
        assert read_all(writer.reader()) == [Chunk(0, data[:75])]
        # Readers of the folder do not see bytes that are held in memory.
        assert open_reader(tmp_path).size() == 60
    with full_disk(0):
        write(75, 110)
        assert writer.state.lost == 50
        assert read_all(writer.reader()) == [Chunk(0, data[:60]), Chunk(90, data[90:110])]
        assert writer.reader().missing(110) == Missing(30, 6)
        assert open_reader(tmp_path).size() == 90
        assert open_reader(tmp_path).read(60, 10) == Chunk(90, b"")
    write(110, 130)
    assert writer.state.lost == 30
    writer.close()
    for reader in (writer.reader(), open_reader(tmp_path)):
        assert read_all(reader) == [Chunk(0, data[:60]), Chunk(90, data[90:130])]
        assert reader.missing(130) == Missing(30, 6)
        assert reader.size() == 130
    assert {each.kind for each in list_folder(tmp_path).ranges} == {LOST}


def test_bytes_refused_for_a_moment_are_stored_without_a_gap(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, segment=100, held=50)
    writer.append(b"before ")
    with full_disk(0):
        writer.append(b"during ")
        writer.append(b"still ")
        assert read_all(writer.reader()) == [Chunk(0, b"before during still ")]
    writer.append(b"after")
    assert read_all(open_reader(tmp_path)) == [Chunk(0, b"before during still after")]
    assert list_folder(tmp_path).starts == (0,)
    assert writer.state.lost == 0


def test_a_disk_that_stays_full_leaves_a_note_of_the_end(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, segment=100, held=10)
    writer.append(b"stored\n")
    with full_disk(0):
        writer.append(b"lost 1\nlost 2\nlost 3\n")
        writer.append(b"lost 4\n")
        writer.close()
    reader = open_reader(tmp_path)
    assert reader.size() == 35
    assert {each.kind for each in list_folder(tmp_path).ranges} == {LOST}
    assert reader.missing(35) == Missing(28, 4)
    assert read_all(reader) == [Chunk(0, b"stored\n")]
    # The writer still has the end of it in memory.
    assert read_all(writer.reader()) == [Chunk(0, b"stored\n"), Chunk(25, b" 3\nlost 4\n")]
    assert writer.state.lost == 28


def test_a_folder_that_cannot_be_written_loses_bytes_without_an_error(tmp_path: Path) -> None:
    writer = make_writer(tmp_path / "gone" / "log", held=4)
    with pipe_with(b"all of it") as pipe:
        assert writer.fill_from(pipe) == 9
    writer.close()
    assert (writer.state.size, writer.state.lost) == (9, 9)
    assert read_all(writer.reader()) == [Chunk(5, b"f it")]
    assert writer.reader().missing(9) == Missing(5, 0)


def test_the_folder_is_made_for_the_first_bytes(tmp_path: Path) -> None:
    writer = make_writer(tmp_path / "log")
    assert not (tmp_path / "log").exists()
    writer.append(b"x")
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700
    assert segment_path(tmp_path / "log", 0).stat().st_mode & 0o777 == 0o600


def test_a_pipe_is_emptied_and_its_end_is_reported(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, segment=1 << 20, quota=8 << 20)
    out, into = os.pipe2(os.O_NONBLOCK)
    assert writer.fill_from(out) is None
    os.write(into, b"x" * 50_000)
    os.close(into)
    assert writer.fill_from(out) == 50_000
    assert writer.fill_from(out) == 0
    os.close(out)
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.fill_from(out)
    assert open_reader(tmp_path).size() == 50_000


def test_a_source_that_cannot_be_spliced_is_read(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, segment=100)
    source = tmp_path / "file"
    source.write_bytes(b"not a pipe")
    fd = os.open(source, os.O_RDONLY)
    assert writer.fill_from(fd) == 10
    assert writer.fill_from(fd) == 0
    os.close(fd)
    assert read_all(open_reader(tmp_path)) == [Chunk(0, b"not a pipe")]


def test_a_closed_segment_needs_no_descriptor(tmp_path: Path) -> None:
    before = open_descriptors()
    writer = make_writer(tmp_path)
    for _ in range(3):
        writer.append(b"four")
        writer.close_fd()
        assert open_descriptors() <= before
    assert read_all(open_reader(tmp_path)) == [Chunk(0, b"fourfourfour")]


def test_the_missing_ranges_need_bounded_memory(tmp_path: Path) -> None:
    missing = MissingRanges(tmp_path)
    for start in range(0, 20_000, 10):
        segment_path(tmp_path, start).write_bytes(b"123\n" * 2 + b"\n\n")
        missing.drop(start, start + 10)
    assert len(missing.ranges) <= 512
    assert sum(each.lines for each in missing.ranges) == 8000
    assert list_folder(tmp_path).ranges == (MissingRange(0, 20_000, 8000, DROPPED),)


WRITER = """
import sys
from pathlib import Path
from trio_afrender.tasklog.writer import open_writer
writer = open_writer(Path(sys.argv[1]), quota=40_000, segment=10_000, held=10)
for number in range(40_000):
    writer.append(b"%08d\\n" % number)
writer.close()
"""


def test_a_reader_in_another_process_sees_only_the_truth(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "log")]
    reader = open_reader(tmp_path / "log")
    with subprocess.Popen(command) as process:
        at, seen = 0, 0
        while at < 360_000:
            size = reader.size()
            assert size >= seen
            seen = size
            chunk = reader.read(at, 4096)
            assert chunk.offset >= at
            first = -chunk.offset % 9
            for at_line in range(first, len(chunk.data) - 8, 9):
                assert chunk.data[at_line : at_line + 9] == b"%08d\n" % (
                    (chunk.offset + at_line) // 9
                )
            if chunk.offset > at:
                # Only dropped ranges are jumped over: whole segments after the first.
                assert chunk.offset % 10_000 == 0
                assert at >= 10_000
            at = chunk.end
            assert at > seen or process.poll() in (None, 0)
    assert process.returncode == 0
    assert reader.missing(360_000).bytes == 320_000
    head = reader.read(0, 10_000)
    assert (reader.size(), len(head.data)) == (360_000, 10_000)


def test_the_reader_can_be_imported_without_trio() -> None:
    code = (
        "import sys, trio_afrender.tasklog.segments, trio_afrender.tasklog.line_splitter\n"
        "assert 'trio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


NUMBERS = st.integers(0, 30)


@given(st.lists(NUMBERS), st.lists(st.tuples(NUMBERS, NUMBERS, st.sampled_from([DROPPED, LOST]))))
def test_segments_in_dropped_ranges_are_left_out(
    starts: list[int], notes: list[tuple[int, int, str]]
) -> None:
    """Whatever ranges the task has made names of: they may overlap, or end before they begin."""
    ranges = sorted(
        (MissingRange(start, end, 0, kind) for start, end, kind in notes),
        key=lambda each: each.start,
    )
    dropped = [each for each in ranges if each.kind == DROPPED]
    kept = [at for at in sorted(starts) if not any(one.start <= at < one.end for one in dropped)]
    assert list(_without_dropped(sorted(starts), ranges)) == kept


def test_as_many_notes_as_a_task_likes_are_read_in_one_pass() -> None:
    count = 200_000
    ranges = [MissingRange(2 * at, 2 * at + 1, 0, DROPPED) for at in range(count)]
    assert list(_without_dropped(range(2 * count), ranges)) == list(range(1, 2 * count, 2))
