"""Where the farms that are open on this machine are noted."""

from __future__ import annotations

import errno
import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from trio_afrender.cli import farm_record
from trio_afrender.cli.farm_record import (
    FarmRecord,
    farms_folder,
    find_open_farms,
    open_record,
)
from trio_afrender.cli.find_farm import find_remote_farm
from trio_afrender.errors import ConfigError, LinkLost, StoreError, StoreInUse


def record(port: int = 51000) -> FarmRecord:
    return FarmRecord(host="127.0.0.1", port=port, token="secret", pid=1)  # noqa: S106 - a test


def test_an_open_farm_is_found_and_a_closed_one_is_not(tmp_path: Path) -> None:
    root = farms_folder(tmp_path)
    assert find_open_farms(tmp_path) == []
    with open_record(root / "51000", record()) as path:
        if sys.platform != "win32":  # has no modes
            assert (path.stat().st_mode & 0o777, root.stat().st_mode & 0o777) == (0o600, 0o700)
        assert find_open_farms(tmp_path) == [record()]
        with open_record(root / "51001", record(51001)):
            assert find_open_farms(tmp_path) == [record(), record(51001)]
    assert find_open_farms(tmp_path) == []
    assert "secret" not in repr(record())


def test_the_record_of_a_farm_that_was_killed_does_not_count(tmp_path: Path) -> None:
    folder = farms_folder(tmp_path) / "51000"
    with open_record(folder, record()) as path:
        text = path.read_text()
    path.write_text(text)  # as if it had not been removed; nothing holds the lock
    assert find_open_farms(tmp_path) == []
    with open_record(folder, record()):
        assert find_open_farms(tmp_path) == [record()]


def test_a_port_has_one_farm(tmp_path: Path) -> None:
    folder = farms_folder(tmp_path) / "51000"
    with open_record(folder, record()), pytest.raises(StoreInUse, match="is open already"):
        with open_record(folder, record()):
            pass


def test_a_record_that_cannot_be_written_is_an_error_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The farm then opens without it: other commands need its address."""

    def write_none(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(farm_record, "write_whole", write_none)
    folder = farms_folder(tmp_path) / "51000"
    with pytest.raises(StoreError, match="51000: No space left on device"):
        with open_record(folder, record()):
            pass


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", json.dumps({"host": 1, "port": "x", "token": None, "pid": 1}), "x" * 99_999],
)  # fmt: skip
def test_a_record_that_cannot_be_read_does_not_count(tmp_path: Path, text: str) -> None:
    folder = farms_folder(tmp_path) / "51000"
    with open_record(folder, record()) as path:
        path.write_text(text)
        assert find_open_farms(tmp_path) == []


def test_a_folder_that_others_can_write_does_not_count(tmp_path: Path) -> None:
    root = farms_folder(tmp_path)
    with open_record(root / "51000", record()):
        root.chmod(0o777)
        assert find_open_farms(tmp_path) == []
        root.chmod(0o700)
    tmp_path.chmod(0o777)
    with pytest.raises(StoreError, match="choose another af_store_folder"):
        with open_record(root / "51000", record()):
            pass


def options(tmp_path: Path, *, server: str | None = None, **more: str) -> Namespace:
    overrides = {"af_store_folder": str(tmp_path), **more}
    return Namespace(server=server, config=[], overrides=overrides)


@pytest.fixture(autouse=True)
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CGRU_LOCATION", "CGRU_CUSTOM_CONFIG", "AF_SERVERNAME", "CGRU_AF_SERVERNAME"):
        monkeypatch.delenv(name, raising=False)


def test_the_server_of_a_command(tmp_path: Path) -> None:
    """The option, else the farm that is open here, else the settings."""
    with pytest.raises(LinkLost, match="no farm is open on this machine, and no server is set"):
        find_remote_farm(options(tmp_path))
    named = find_remote_farm(options(tmp_path, af_servername="farm1"))
    assert (named.url, named.token) == ("af://farm1:51000", "")
    root = farms_folder(tmp_path)
    with open_record(root / "51000", record()):
        here = find_remote_farm(options(tmp_path, af_servername="farm1"))
        assert (here.url, here.token) == ("af://127.0.0.1:51000", "secret")
        assert "secret" not in repr(here)
        other = find_remote_farm(options(tmp_path, server="farm2:7"))
        assert (other.url, other.token) == ("af://farm2:7", "")
        same = find_remote_farm(options(tmp_path, server="af://127.0.0.1:51000"))
        assert same.token == "secret"  # noqa: S105 - a test
        with open_record(root / "51001", record(51001)):
            with pytest.raises(ConfigError, match=r"2 farms are open here: give --server af://"):
                find_remote_farm(options(tmp_path))


def test_a_websocket_is_no_server_of_a_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this command is for a farm with Afanasy's JSON"):
        find_remote_farm(options(tmp_path, server="ws://127.0.0.1:1"))
