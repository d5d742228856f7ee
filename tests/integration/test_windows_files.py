"""Files on Windows: shared opens, patient replaces, locks, access lists, long paths."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from trio_afrender import windows_files
from trio_afrender.cli.logging_setup import open_daemon_log
from trio_afrender.cli.main import main
from trio_afrender.config.settings import LogSettings
from trio_afrender.errors import StoreError, StoreInUse
from trio_afrender.private_folder import is_locked, lock_folder, make_private
from trio_afrender.safe_files import (
    open_regular,
    read_regular,
    remove_file,
    replace_file,
    write_whole,
)
from trio_afrender.supervisor.run_folders import make_folders, remove_folders
from trio_afrender.tasklog.segments import open_reader
from trio_afrender.tasklog.writer import open_writer
from trio_afrender.transport.tokens import read_token_file
from trio_afrender.user_files import write_user_file
from trio_afrender.windows_files import explain_owner, long_path, remove_tree

pytestmark = pytest.mark.skipif(
    sys.platform != "win32", reason="sharing of files is Windows' own: make windows-test"
)


def test_what_we_have_open_can_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, "old")
    handle = open_regular(path, os.O_RDONLY)
    remove_file(path)
    assert os.read(handle, 10) == b"old"
    os.close(handle)
    assert not path.exists()


def test_a_file_that_a_scanner_has_open_is_waited_for(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "old")
    write_whole(tmp_path / "b", "new")
    # Python's own open does not let others delete the file.
    scanner = (tmp_path / "a").open("rb")
    with pytest.raises(PermissionError):
        (tmp_path / "b").replace(tmp_path / "a")
    threading.Timer(0.3, scanner.close).start()
    replace_file(tmp_path / "b", tmp_path / "a")
    assert read_regular(tmp_path / "a", 10) == b"new"


def test_line_ends_are_kept(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"1\n2\r\n3\x1a4")
    assert read_regular(tmp_path / "a", 100) == b"1\n2\r\n3\x1a4"


def test_bytes_of_files_that_a_user_names_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "sheet.jpg"
    for data in (b"1\n2\r\n3\x1a4", b"\n" * 3):  # made, then replaced
        write_user_file(path, data)
        assert path.read_bytes() == data


def test_the_null_device_takes_what_a_user_has_written() -> None:
    write_user_file(Path("NUL"), b"text")


def test_a_token_and_a_log_file_are_written(tmp_path: Path) -> None:
    assert main(["token", "r1", "--out", str(tmp_path / "token")]) == 0
    assert read_token_file(tmp_path / "token").secret
    assert (tmp_path / "token").read_bytes().count(b"\r") == 0
    with open_daemon_log("agent", LogSettings(file=tmp_path / "log"), logging.INFO):
        logging.getLogger("trio_afrender").info("text")
    (line,) = (tmp_path / "log").read_bytes().splitlines()
    assert line.endswith(b"text")


@pytest.mark.parametrize("length", [200, 300])
def test_long_paths(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("x" * min(length, 200))
    if length > 200:
        Path(f"\\\\?\\{path}").mkdir()
        path /= "y" * (length - 200)
    write_whole(path, "text")
    assert read_regular(path, 10) == b"text"
    remove_file(path)


SHARE = Path(r"\\server\share")
"""Wine's Python has it, `tests/windows/wine_python.py`; it is a folder of drive C."""


@pytest.fixture
def share() -> Iterator[Path]:
    if not SHARE.is_dir():
        pytest.skip(f"there is no {SHARE} here")
    folder = SHARE / uuid4().hex
    folder.mkdir()
    yield folder
    remove_tree(folder)
    assert not folder.exists()


def test_a_store_on_a_share(share: Path) -> None:
    store = share / "store"
    make_private(store)
    with lock_folder(store, "in use"):
        assert is_locked(store)
        with pytest.raises(StoreInUse, match="in use"), lock_folder(store, "in use"):
            pass
        for text in ("old", "new"):
            write_whole(store / "a", text)
        assert read_regular(store / "a", 10) == b"new"
        writer = open_writer(store / "log", quota=3000, segment=1000, held=1000)
        for letter in b"abcdef":
            writer.append(bytes([letter]) * 1000)
        writer.close()
        assert open_reader(store / "log").size() == 6000
    long = store / ("x" * 200) / ("y" * 100)
    make_folders([long_path(long)])
    write_whole(long / "a", "text")
    assert read_regular(long / "a", 10) == b"text"


def test_long_paths_of_drives_and_shares() -> None:
    rest = "x" * 300
    assert long_path(rf"C:\a\..\{rest}") == rf"\\?\C:\{rest}"
    assert long_path(rf"\\server\share\{rest}") == rf"\\?\UNC\server\share\{rest}"
    assert long_path("C:/a", exact=True) == r"\\?\C:\a"


def test_a_run_folder_is_removed_whatever_a_task_left_there(tmp_path: Path) -> None:
    """Names that Windows' own calls change, read-only files, a deep nest, a file that is open for a moment."""
    run, other = tmp_path / "run", tmp_path / "other"
    other.mkdir()
    (other / "kept").write_text("x")
    run.mkdir()
    for name in ("a ", "b.", "NUL", "con.exr", "c" * 200):
        Path(long_path(run, exact=True) + "\\" + name).write_text("x")
    (run / "read-only").write_text("x")
    (run / "read-only").chmod(stat.S_IREAD)
    deep = long_path(run, exact=True)
    for _ in range(150):
        deep += "\\d"
        Path(deep).mkdir()
    subprocess.run(
        [os.environ["COMSPEC"], "/c", "mklink", "/j", str(run / "link"), str(other)], check=False
    )
    scanner = (run / "scanned").open("w")
    threading.Timer(0.3, scanner.close).start()
    remove_folders([str(run)])
    assert not run.exists()
    assert (other / "kept").exists()


def test_what_stays_open_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_files, "WAIT", 0.2)
    run = tmp_path / "run"
    (run / "work").mkdir(parents=True)
    (run / "a").write_text("x")
    with (run / "work" / "open").open("w"):
        remove_folders([str(run)])
        assert [path.name for path in run.iterdir()] == ["work"]
    remove_folders([str(run)])
    assert not run.exists()


def test_a_link_is_refused(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "text")
    try:
        (tmp_path / "link").symlink_to(tmp_path / "a")
    except OSError:
        pytest.skip("this user may not make links")
    if not (tmp_path / "link").is_symlink():
        pytest.skip("Wine shows a link as the file that it leads to")
    with pytest.raises(OSError, match="is a link"):
        open_regular(tmp_path / "link", os.O_RDONLY)


def test_a_lock_holds_against_other_processes(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    code = (
        "import sys; from pathlib import Path; from trio_afrender.private_folder import is_locked;"
        "sys.exit(7 if is_locked(Path(sys.argv[1])) else 0)"
    )
    with lock_folder(tmp_path, "in use"):
        assert (
            subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 7
        )
        with pytest.raises(StoreInUse, match="in use"), lock_folder(tmp_path, "in use"):
            pass
        # The pid can be read while the lock is held.
        assert read_regular(tmp_path / "lock", 100).strip() == str(os.getpid()).encode()
    assert not is_locked(tmp_path)


def test_a_private_folder_is_made_and_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_private(folder)
    make_private(folder)
    (folder / "file").write_text("x")
    assert explain_owner(folder) == ""
    with pytest.raises(StoreError, match="is a link or a file"):
        make_private(folder / "file")


def test_a_segment_that_is_read_can_be_dropped(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "log", quota=3000, segment=1000, held=1000)
    writer.append(b"a" * 1000)
    writer.append(b"b" * 1000)
    segment = next(path for path in (tmp_path / "log").iterdir() if "750" in path.name)
    handle = open_regular(segment, os.O_RDONLY)
    for letter in b"cdef":
        writer.append(bytes([letter]) * 1000)
    writer.close()
    assert os.read(handle, 10)[:1] in (b"b", b"")
    os.close(handle)
    reader = open_reader(tmp_path / "log")
    assert reader.size() == 6000
    assert reader.read(0, 10).data == b"a" * 10
    assert reader.missing(6000).bytes > 0
