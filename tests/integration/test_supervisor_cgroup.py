"""Control groups of trees, where this machine lets us make some (root, or one that was delegated)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import attrs
import pytest
import trio
from support.process import lives, make_shell
from support.process_contract import GUARD

from trio_afrender.process.interfaces import Persistence
from trio_afrender.process.supervisor_client import can_supervise, open_supervisor
from trio_afrender.supervisor.cgroup import (
    Cgroup,
    find_base,
    make_cgroup,
    move_self_to_subcgroup,
    remove_stale,
)

pytestmark = pytest.mark.skipif(
    not (can_supervise() and find_base()), reason="no control groups may be made here"
)
SLEEP = (sys.executable, "-I", "-S", "-c", "import time; print('up', flush=True); time.sleep(1000)")


@pytest.fixture
def group() -> Iterator[Cgroup]:
    base = find_base()
    made = make_cgroup(str(base), f"test-{uuid4().hex}")
    assert made is not None
    yield made
    assert made.remove()


@pytest.fixture
def sleeper(group: Cgroup) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(SLEEP, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        group.add((process.pid,))
        yield process
        process.kill()


def test_it_is_killed_as_a_whole(group: Cgroup, sleeper: subprocess.Popen[str]) -> None:
    if not (Path(group.folder) / "cgroup.kill").exists():
        pytest.skip("this kernel has no cgroup.kill")
    assert group.kill()
    assert sleeper.wait() == -9


def test_it_is_frozen_and_thaws_as_a_whole(group: Cgroup, sleeper: subprocess.Popen[str]) -> None:
    assert group.freeze(on=True)
    wait_until(group, "frozen 1")
    assert lives(sleeper.pid)
    assert group.freeze(on=False)
    wait_until(group, "frozen 0")
    sleeper.terminate()
    assert sleeper.wait() == -15


def test_what_a_killed_parent_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])  # noqa: S607
    gone.wait()
    kept = {f"{os.getpid()}-1", "of-somebody-else", f"{gone.pid}-2"}
    for name in (*kept, f"{gone.pid}-1"):
        (tmp_path / name).mkdir()
    (tmp_path / f"{gone.pid}-2" / "used").mkdir()  # as one with a member, it cannot be removed
    remove_stale(str(tmp_path))
    assert {folder.name for folder in tmp_path.iterdir()} == kept
    remove_stale("")


async def test_the_next_cgroup_is_ready_and_goes_with_its_parent(tmp_path: Path) -> None:
    """Each tree has one of its own; in the end none is left."""
    base, met = find_base(), []
    assert base is not None
    async with open_supervisor(tmp_path) as supervisor:
        for number in range(3):
            place = tmp_path / f"run{number}"
            place.mkdir()
            persistence = Persistence(
                record=str(place / "task"),
                log=str(place / "log"),
                quota=1 << 30,
                agent_timeout=300,
                grace=0,
            )
            launch = attrs.evolve(make_shell("read x"), persistence=persistence)
            child = await supervisor.spawn(launch)
            met.append(child.state.cgroup)
            assert await child.kill_until_empty(GUARD) == ()
            await child.reap()
    assert len(set(met)) == 3
    parent = child.state.parent
    with trio.fail_after(GUARD):
        while list(base.glob(f"{parent}-*")):  # noqa: ASYNC110 - another process removes them
            await trio.sleep(0.01)


def wait_until(group: Cgroup, words: str) -> None:
    """Wait for the kernel, which freezes in its own time."""
    until = time.monotonic() + 20
    while words not in (Path(group.folder) / "cgroup.events").read_text():
        assert time.monotonic() < until, words
        time.sleep(0.001)


def test_groups_that_a_member_made_below_go_too(group: Cgroup) -> None:
    (Path(group.folder) / "of-a-member" / "deeper").mkdir(parents=True)
    assert group.remove()


def test_a_group_that_cannot_be_made_is_none(tmp_path: Path) -> None:
    assert make_cgroup("", "x") is None
    assert make_cgroup(str(tmp_path / "nowhere"), "x") is None


def test_figures_that_the_kernel_does_not_tell_are_zero(tmp_path: Path) -> None:
    assert Cgroup(str(tmp_path)).peak() == 0
    assert Cgroup(str(tmp_path)).oom_kills() == 0
    (tmp_path / "memory.peak").write_text("4096\n")
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert (Cgroup(str(tmp_path)).peak(), Cgroup(str(tmp_path)).oom_kills()) == (4096, 2)
    assert not Cgroup(str(tmp_path / "none")).kill()
    assert not Cgroup(str(tmp_path / "none")).freeze(on=True)


def test_only_who_was_given_a_group_withdraws(group: Cgroup) -> None:
    """Into a sub-group, so that the given one may hand controllers to others."""
    script = "import sys; from trio_afrender.supervisor.cgroup import *; print(move_self_to_subcgroup(), open('/proc/self/cgroup').read())"

    def ask() -> str:
        command = f'echo 0 > {group.folder}/cgroup.procs && exec {sys.executable} -c "{script}"'
        done = subprocess.run(
            ["/bin/sh", "-c", command], check=True, capture_output=True, text=True
        )
        return done.stdout

    assert ask().startswith("False")
    try:
        os.setxattr(group.folder, "user.delegate", b"1")
    except OSError:
        pytest.skip("this kernel has no attributes of control groups")
    told = ask()
    assert told.startswith("True")
    assert f"{Path(group.folder).name}/supervisor\n" in told
    assert move_self_to_subcgroup() is False, "this process was given none"
