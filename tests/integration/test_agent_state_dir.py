"""The state directory: private, locked, and never another user's."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trio_afrender.agent.state_dir import open_state_dir
from trio_afrender.cli.main import main
from trio_afrender.errors import StoreError, StoreInUse


def test_the_directory_is_private_and_locked(tmp_path: Path) -> None:
    with open_state_dir(tmp_path / "af", "n1") as store:
        assert store.path == tmp_path / "af" / "trio_afrender" / "n1"
        assert store.path.stat().st_mode & 0o777 == 0o700
        assert store.runs.is_dir()
        with (
            pytest.raises(StoreInUse, match="another agent of that name runs here"),
            open_state_dir(tmp_path / "af", "n1"),
        ):
            raise AssertionError("two agents share a store")
        with open_state_dir(tmp_path / "af", "n2") as other:
            assert other.path != store.path
    with open_state_dir(tmp_path / "af", "n1"):
        assert True, "the lock ends with its owner"


def test_only_the_named_run_folders_of_an_earlier_agent_stay(tmp_path: Path) -> None:
    with open_state_dir(tmp_path, "n1") as store:
        (store.runs / "2.0.0_r1" / "log").mkdir(parents=True)
        (store.runs / "2.0.1_r2" / "log").mkdir(parents=True)
        (store.path / "kept").write_text("not a run")
    with open_state_dir(tmp_path, "n1") as store:
        store.remove_runs({"2.0.1_r2"})
        assert [each.name for each in store.runs.iterdir()] == ["2.0.1_r2"]
        assert (store.path / "kept").exists()


def test_the_identity_is_created_once_for_each_directory(tmp_path: Path) -> None:
    with open_state_dir(tmp_path, "n1") as store, open_state_dir(tmp_path, "n2") as other:
        assert store.identity() == store.identity() != other.identity()
        first = store.identity()
        (other.path / "identity").write_text("torn")
        assert len(other.identity()) == len(first)
    with open_state_dir(tmp_path, "n1") as store:
        assert store.identity() == first


def test_an_identity_is_kept_when_there_is_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> Callable[..., bytes]:
        def read(*_: object) -> bytes:
            raise OSError(number, os.strerror(number))

        return read

    with open_state_dir(tmp_path, "n1") as store:
        assert store.read_server_identity() == ""
        store.save_server_identity("render 7")
        monkeypatch.setattr("trio_afrender.agent.state_dir.read_regular", fail(errno.EMFILE))
        with pytest.raises(OSError, match="Too many open files"):
            store.read_server_identity()
        monkeypatch.setattr("trio_afrender.agent.state_dir.read_regular", fail(errno.EACCES))
        assert store.read_server_identity() == ""
        monkeypatch.undo()
        assert store.read_server_identity() == "render 7"


def test_the_token_of_a_run_is_the_same_for_a_later_agent(tmp_path: Path) -> None:
    with open_state_dir(tmp_path, "n1") as store, open_state_dir(tmp_path, "n2") as other:
        make, make_other = store.make_run_token(), other.make_run_token()
        tokens = {make("r1"), make("r2"), make("\udcff"), make_other("r1")}
        assert len(tokens) == 4
        assert make("r1").startswith(f"{store.identity()}-")
        key = store.path / "token_key"
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.read_text().strip() not in make("r1")
    with open_state_dir(tmp_path, "n1") as store:
        assert store.make_run_token()("r1") == make("r1")


def test_a_killed_agent_is_detected(tmp_path: Path) -> None:
    with open_state_dir(tmp_path, "n1") as store:
        assert not store.crashed
    with open_state_dir(tmp_path, "n1") as store:
        assert not store.crashed
        mark = [each for each in store.path.iterdir() if each.name == "unclean"]
    assert not mark[0].exists()
    mark[0].touch()
    with open_state_dir(tmp_path, "n1") as store:
        assert store.crashed


def test_a_mode_that_lets_others_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "trio_afrender" / "n1"
    path.mkdir(parents=True)
    path.chmod(0o755)
    with open_state_dir(tmp_path, "n1"):
        assert path.stat().st_mode & 0o777 == 0o700


def test_a_mode_that_lets_others_write_is_refused(tmp_path: Path) -> None:
    """They may have put links into it already, so closing it does not help."""
    path = tmp_path / "trio_afrender" / "n1"
    path.mkdir(parents=True)
    path.chmod(0o777)
    with (
        pytest.raises(StoreError, match="can be written by others"),
        open_state_dir(tmp_path, "n1"),
    ):
        raise AssertionError("a folder that others can write was used")


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "trio_afrender").mkdir()
    (tmp_path / "trio_afrender" / "n1").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(StoreError, match="is a link or a file"),
        open_state_dir(tmp_path, "n1"),
    ):
        raise AssertionError("a link was followed")


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "af").write_text("not a folder")
    with pytest.raises(StoreError, match="af"), open_state_dir(tmp_path / "af", "n1"):
        raise AssertionError("a file was taken for a folder")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trio_afrender" / "n1"
    path.mkdir(parents=True)
    os.chown(path, 12345, 12345)
    with pytest.raises(StoreError, match="belongs to user 12345"), open_state_dir(tmp_path, "n1"):
        raise AssertionError("another user's folder was used")


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "a b", "-\x00"])
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be a folder"), open_state_dir(tmp_path, name):
        raise AssertionError("an invalid name was used")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, 1),
        (errno.EROFS, 1),
        (errno.EIO, 1),
        (errno.EACCES, 2),
        (errno.ENAMETOOLONG, 2),
    ],
)
def test_the_exit_code_of_a_disk_error_tells_whether_to_retry(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    code: int,
) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    words = ["agent", "--server", "ws://127.0.0.1:9", "--store", str(tmp_path), "--name", "n1"]
    assert main(words) == code
    assert f"{os.strerror(number)}; choose another --store" in capsys.readouterr().err


def test_a_full_disk_does_not_keep_the_directory_from_being_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that is restarted on a full disk takes over what the earlier one left."""
    with open_state_dir(tmp_path, "r1"):
        pass

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "ftruncate", refuse)
    with open_state_dir(tmp_path, "r1"), pytest.raises(StoreInUse):
        with open_state_dir(tmp_path, "r1"):
            pass
