"""The removal of what a task has left, whatever that is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_afrender.agent.state_dir import open_state_dir
from trio_afrender.supervisor.run_folders import remove_folders

DEPTH = 1050
"""Deeper than Python's recursion."""


def make_deep(folder: Path) -> None:
    """Nest folders; some have a file, and a second folder beside the next one."""
    folder.mkdir(parents=True)
    handle = os.open(folder, os.O_RDONLY)
    for level in range(DEPTH):
        os.mkdir("deeper", dir_fd=handle)
        if level % 100 == 0:
            os.mkdir("beside", dir_fd=handle)
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
        inner = os.open("deeper", os.O_RDONLY | os.O_DIRECTORY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)


def test_a_folder_that_is_nested_deep_is_removed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").touch()
    make_deep(tmp_path / "run" / "work")
    (tmp_path / "run" / "work" / "link").symlink_to(victim)
    (tmp_path / "next").mkdir()
    remove_folders([str(tmp_path / "run"), str(tmp_path / "next")])
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]
    assert (victim / "kept").exists()


def test_such_a_folder_does_not_keep_an_agent_from_its_start(tmp_path: Path) -> None:
    with open_state_dir(tmp_path, "n1") as store:
        make_deep(store.runs / "1.0.0_r" / "work")
        (store.task_folders / "1.0.0_r" / "work").mkdir(parents=True)
        store.remove_runs(())
        assert list(store.runs.iterdir()) == list(store.task_folders.iterdir()) == []


@pytest.fixture
def as_owner() -> Iterator[None]:
    """Run a test as a user that modes restrict, which root is not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o555, 0o300, 0o000])
def test_folders_that_a_task_has_closed_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, mode: int
) -> None:
    """As Go's cache of modules, whose folders are read-only."""
    monkeypatch.chdir(tmp_path)  # the folders above may be closed to that user
    tmp_path.chmod(0o777)
    victim = tmp_path / "victim"
    victim.mkdir()
    victim.chmod(0o755)
    request.getfixturevalue("as_owner")
    cache = Path("run/work/cache")
    for folder in (cache / "a" / "b", cache / "c", Path("run/files")):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    (cache / "link").symlink_to("../../../victim")
    for folder in (cache / "a" / "b", cache / "a", cache / "c", cache, Path("run")):
        folder.chmod(mode)
    remove_folders(["run"])
    assert [path.name for path in Path().iterdir()] == ["victim"]
    assert Path("victim").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("number", [0, 1])
def test_what_cannot_be_removed_stays(tmp_path: Path, number: int) -> None:
    """It ends, and costs nothing else its removal."""
    remove_folders([str(tmp_path / "absent"), "/proc/self"][: number + 1])
    (tmp_path / "file").touch()
    remove_folders([str(tmp_path / "file"), str(tmp_path / "a")])
    assert (tmp_path / "file").exists()
