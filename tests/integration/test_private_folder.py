"""Folders for one process alone, and files that are written whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from trio_afrender.errors import StoreError, StoreInUse
from trio_afrender.private_folder import lock_folder, make_private, write_whole


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
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Not a directory; choose another folder"):
        make_private(tmp_path / "file" / "below")


def test_a_lock_is_held_once_and_names_its_process(tmp_path: Path) -> None:
    with lock_folder(tmp_path, "in use"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(StoreInUse, match="in use"), lock_folder(tmp_path, "in use"):
            pass
    with lock_folder(tmp_path, "in use"):
        pass


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
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(tmp_path / "file", "text")
    assert not (tmp_path / "other").exists()
