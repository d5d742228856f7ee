"""Files that a user names: what they are stays, and what goes wrong leaves nothing behind."""

from __future__ import annotations

import errno
import os
import pty
import resource
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from trio_afrender import user_files
from trio_afrender.user_files import describe_unwritable, expand_home, write_user_file


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_homes_of_users_are_found_where_they_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    assert expand_home("~/r.json") == Path("/home/jane/r.json")
    assert expand_home(Path("~no_such_user/r.json")) == Path("~no_such_user/r.json")
    assert expand_home("a~b") == Path("a~b")


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    before = os.umask(0o027)
    try:
        write_user_file(path, b"new")
    finally:
        os.umask(before)
    assert (path.read_bytes(), mode_of(path)) == (b"new", 0o640)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660, 0o755])
def test_a_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b"an older and longer text")
    path.chmod(mode)
    write_user_file(path, b"new")
    assert (path.read_bytes(), mode_of(path)) == (b"new", mode)
    assert names(tmp_path) == ["r.json"]


@pytest.mark.parametrize("there", [True, False])
def test_links_are_followed(tmp_path: Path, there: bool) -> None:
    target, middle, link = tmp_path / "far" / "target", tmp_path / "middle", tmp_path / "link"
    target.parent.mkdir()
    if there:
        target.write_bytes(b"old")
    middle.symlink_to("far/target")
    link.symlink_to(middle)
    write_user_file(link, b"new")
    assert link.is_symlink()
    assert middle.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_file_with_two_names_keeps_both(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"an older and longer text")
    second.hardlink_to(first)
    write_user_file(first, b"new")
    assert second.read_bytes() == b"new"
    assert first.samefile(second)


def test_a_file_is_written_in_a_folder_where_none_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b"an older and longer text")
    inode = path.stat().st_ino

    def access(name: str | Path, mode: int) -> bool:
        return Path(name) != tmp_path

    monkeypatch.setattr(os, "access", access)  # root may write everywhere
    write_user_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_ino == inode


def test_an_owner_that_cannot_be_kept_keeps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b"an older and longer text")
    inode = path.stat().st_ino
    monkeypatch.setattr(user_files, "_keep_owner_and_mode", lambda handle, found: False)
    write_user_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_ino == inode
    assert names(tmp_path) == ["r.json"]


def test_a_fifo_is_written_through(tmp_path: Path) -> None:
    fifo, read = tmp_path / "fifo", list[bytes]()
    os.mkfifo(fifo)
    data = bytes(range(256)) * 2000  # more than a pipe holds
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    write_user_file(fifo, data)
    reader.join()
    assert read == [data]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_fifo_is_written_with_a_thousand_open_files(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    try:
        with ExitStack() as stack:
            while stack.enter_context((tmp_path / "file").open("wb")).fileno() < 1100:
                pass
            test_a_fifo_is_written_through(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_fifo_without_a_reader_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_files, "READER_TIME", 0.01)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(OSError, match="nothing reads from it"):
        write_user_file(fifo, b"x")
    handle = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="its reader reads no more"):
        write_user_file(fifo, bytes(1 << 20))
    os.close(handle)


def test_a_terminal_is_written_through() -> None:
    ours, theirs = pty.openpty()
    name = os.ttyname(theirs)
    write_user_file(Path(name), b"a line")
    assert os.read(ours, 100) == b"a line"
    os.close(ours)
    os.close(theirs)


def test_devices_stay_devices(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/full")
    write_user_file(Path(os.devnull), b"x")
    for path in (Path("/dev/full"), link):
        with pytest.raises(OSError, match="No space left") as caught:
            write_user_file(path, b"x")
        assert caught.value.errno == errno.ENOSPC
    for name in (os.devnull, "/dev/full"):
        assert stat.S_ISCHR(Path(name).stat().st_mode)
    assert names(tmp_path) == ["link"]


WRITE = """
import sys; from pathlib import Path; from trio_afrender.user_files import write_user_file
print("before", flush=True); write_user_file(Path(sys.argv[1]), b"report\\n"); print("after")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_stdout_gets_it_in_order(tmp_path: Path, name: str, kind: str) -> None:
    words = [sys.executable, "-c", WRITE, name]
    if kind == "pipe":
        shown = subprocess.run(words, capture_output=True, check=True).stdout
    else:
        path = tmp_path / "out"
        with path.open("wb") as file:
            subprocess.run(words, stdout=file, check=True)
        shown = path.read_bytes()
    assert shown == b"before\nreport\nafter\n"


@pytest.mark.parametrize("older", [b"old", None])
def test_a_full_disk_leaves_the_older_file_and_no_other(
    tmp_path: Path, older: bytes | None
) -> None:
    path = tmp_path / "r.json"
    if older is not None:
        path.write_bytes(older)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_user_file(path, bytes(101))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([older] if older else [])


def test_names_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("r" * 250 + ".json")
    write_user_file(path, b"1")
    write_user_file(path, b"2")
    assert path.read_bytes() == b"2"


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    texts = [bytes([48 + number]) * 300_000 for number in range(4)]
    threads = [threading.Thread(target=write_user_file, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in texts
    assert names(tmp_path) == ["r.json"]


def test_what_cannot_be_written_shows_before(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere" / "x")
    assert describe_unwritable(tmp_path) == "this is a folder, give a file name"
    assert "nowhere is missing or not writable" in describe_unwritable(dangling)
    assert "symbolic links" in describe_unwritable(loop)
    assert "Not a directory" in describe_unwritable(Path("/dev/null/x"))
    assert describe_unwritable(tmp_path / "new") == ""
    assert describe_unwritable(Path("/dev/full")) == ""
    with pytest.raises(IsADirectoryError):
        write_user_file(tmp_path, b"x")
