"""Folders for one process alone, and files that are written whole."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from trio_afrender.errors import StoreError, StoreInUse
from trio_afrender.private_folder import find_unsafe, is_locked, lock_folder, make_private
from trio_afrender.safe_files import open_regular, read_regular, write_whole


def test_a_private_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_errors_advise_what_to_choose(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(
        StoreError, match="is a link or a file; remove it or choose another --store"
    ):
        make_private(tmp_path / "link", instead="another --store")
    above = re.escape(f"is a link; name the folder {tmp_path} that it leads to, or choose another")
    with pytest.raises(StoreError, match=above):
        make_private(tmp_path / "link" / "below")
    (tmp_path / "file").touch()
    with pytest.raises(
        StoreError, match="file: is not a folder; remove it or choose another folder"
    ):
        make_private(tmp_path / "file" / "below")


def test_missing_folders_above_are_closed_for_writing(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


@pytest.mark.parametrize("mode", [0o777, 0o772, 0o770])
def test_a_folder_in_which_others_can_write_is_refused_wherever_it_is(
    tmp_path: Path, mode: int
) -> None:
    """They could put links into it, or exchange what is below it."""
    folder = tmp_path / "open" / "ours"
    make_private(folder)
    os.chown(tmp_path / "open", -1, 12345) if os.getuid() == 0 else None
    (tmp_path / "open").chmod(mode)
    problem = (
        f"can be written by others \\(mode {mode:o}\\); chmod go-w it or choose another folder"
    )
    if os.getuid() != 0 and mode == 0o770:
        pytest.skip("only root can give a folder to a foreign group")
    with pytest.raises(StoreError, match=problem):
        make_private(folder)
    with pytest.raises(StoreError, match=problem):
        make_private(tmp_path / "open")
    unsafe = find_unsafe(folder / "missing" / "below")
    assert unsafe is not None
    assert unsafe[0] == tmp_path / "open"


def test_a_sticky_folder_is_safe_above_but_never_ours(tmp_path: Path) -> None:
    """As ``/var/tmp``: others can write there, but not rename what is ours."""
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    make_private(tmp_path / "sticky" / "ours")
    assert find_unsafe(tmp_path / "sticky" / "ours") is None
    with pytest.raises(StoreError, match="can be written by others"):
        make_private(tmp_path / "sticky")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777])
def test_a_folder_that_another_user_made_first_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    squatted = tmp_path / "sticky" / "afanasy"
    squatted.mkdir()
    squatted.chmod(mode)
    os.chown(squatted, 12345, 12345)
    with pytest.raises(StoreError, match="afanasy: belongs to user 12345; choose another folder"):
        make_private(squatted / "trio_afrender" / "r1")
    assert os.listdir(squatted) == []  # noqa: PTH208 - names


def test_a_group_of_this_user_alone_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As distributions with a umask of 002 and a group for each user make folders."""
    folder = tmp_path / "project"
    folder.mkdir()
    folder.chmod(0o775)
    user, group = os.geteuid(), folder.stat().st_gid
    members: list[str] = []
    # What the system's user database answers, which a test cannot change.
    monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_name="ann", pw_gid=group))
    monkeypatch.setattr("grp.getgrgid", lambda _: SimpleNamespace(gr_name="ann", gr_mem=members))
    make_private(folder / "store")
    members.append("bob")
    with pytest.raises(StoreError, match="can be written by others"):
        make_private(folder / "store")
    assert folder.stat().st_uid == user


def test_a_lock_is_held_once_and_names_its_process(tmp_path: Path) -> None:
    with lock_folder(tmp_path, "in use"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(StoreInUse, match="in use"), lock_folder(tmp_path, "in use"):
            pass
    with lock_folder(tmp_path, "in use"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="fcntl")
def test_who_looks_whether_it_is_locked_keeps_no_process_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    with lock_folder(tmp_path, "in use"):
        pass
    looks = os.open(tmp_path / "lock", os.O_RDWR)  # as `is_locked` does
    fcntl.flock(looks, fcntl.LOCK_SH)
    monkeypatch.setattr("time.sleep", lambda _: fcntl.flock(looks, fcntl.LOCK_UN))
    with lock_folder(tmp_path, "in use"):
        pass
    os.close(looks)


@pytest.mark.skipif(sys.platform == "win32", reason="fcntl")
@pytest.mark.parametrize(("number", "temporary"), [(errno.ENOLCK, False), (errno.ENOMEM, True)])
def test_a_folder_that_cannot_be_locked_is_not_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, temporary: bool
) -> None:
    # As on a share without locks: no other process has it, and to stop one does not help.
    def refuse(_handle: int, _flags: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError, match=os.strerror(number)) as caught:
        with lock_folder(tmp_path, "in use"):
            pass
    assert not isinstance(caught.value, StoreInUse)
    assert caught.value.temporary is temporary
    assert not is_locked(tmp_path)


def test_a_lock_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(StoreError), lock_folder(tmp_path, "in use"):
        pass
    assert not (tmp_path / "other").exists()


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "ä")
    write_whole(str(path), b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208 - names


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, "old")

    def fail(_handle: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208 - names


def test_an_unfinished_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file.part").symlink_to(tmp_path / "other")
    write_whole(tmp_path / "file", "text")
    assert not (tmp_path / "other").exists()
    assert (tmp_path / "file").read_text() == "text"
    assert not (tmp_path / "file").is_symlink()


def test_a_fifo_in_place_of_an_unfinished_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file.part")
    os.mkfifo(tmp_path / "file")
    write_whole(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


def _make_fifo(path: Path) -> None:
    os.mkfifo(path)


def _make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _make_link(path: Path) -> None:
    (path.parent / "target").write_text("text")
    path.symlink_to(path.parent / "target")


def _make_folder(path: Path) -> None:
    path.mkdir()


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def _make_large(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, 10**12)


@pytest.mark.parametrize(
    "make", [_make_fifo, _make_device, _make_link, _make_folder, _make_socket, _make_large]
)
def test_only_regular_files_of_a_bounded_size_are_read(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "file")
    with pytest.raises(OSError, match=r"file|No such device|symbolic|directory"):
        read_regular(tmp_path / "file", 1000)
    if make is not _make_large:
        with pytest.raises(OSError, match=r"file|No such device|symbolic|directory"):
            open_regular(tmp_path / "file", os.O_WRONLY)


def test_a_file_up_to_the_limit_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    assert read_regular(tmp_path / "file", 1000) == b"x" * 1000
    with pytest.raises(OSError, match="larger than 999 bytes"):
        read_regular(tmp_path / "file", 999)
