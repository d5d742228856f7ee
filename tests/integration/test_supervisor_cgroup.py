"""Cgroups of trees, where this user may make some (root, or below a delegated cgroup)."""

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
from support.polling import until
from support.process import lives, make_shell
from support.process_contract import GUARD

from trio_afrender.process.interfaces import Persistence
from trio_afrender.process.supervisor_client import open_supervisor
from trio_afrender.supervisor.cgroup import (
    Cgroup,
    find_base,
    make_cgroup,
    move_self_to_subcgroup,
    remove_stale,
)

pytestmark = pytest.mark.skipif(not find_base(), reason="no cgroups may be made here")
SLEEP = (sys.executable, "-I", "-S", "-c", "import time; print('up', flush=True); time.sleep(1000)")


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    base = find_base()
    made = make_cgroup(str(base), f"test-{uuid4().hex}")
    assert made is not None
    yield made
    assert made.remove()


@pytest.fixture
def sleeper(cgroup: Cgroup) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(SLEEP, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        cgroup.add((process.pid,))
        yield process
        process.kill()


def test_members_are_killed(cgroup: Cgroup, sleeper: subprocess.Popen[str]) -> None:
    if not (Path(cgroup.folder) / "cgroup.kill").exists():
        pytest.skip("this kernel has no cgroup.kill")
    assert cgroup.kill()
    assert sleeper.wait() == -9


def test_members_are_frozen_and_thawed(cgroup: Cgroup, sleeper: subprocess.Popen[str]) -> None:
    assert cgroup.freeze()
    wait_until(cgroup, "frozen 1")
    assert lives(sleeper.pid)
    cgroup.thaw()
    wait_until(cgroup, "frozen 0")
    sleeper.terminate()
    assert sleeper.wait() == -15


def test_cgroups_of_killed_task_supervisors_are_removed_and_no_others(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])  # noqa: S607
    gone.wait()
    remaining = {f"{os.getpid()}-1", "of-another-program", f"{gone.pid}-2"}
    for name in (*remaining, f"{gone.pid}-1"):
        (tmp_path / name).mkdir()
    (tmp_path / f"{gone.pid}-2" / "used").mkdir()  # like one with a member, it cannot be removed
    remove_stale(str(tmp_path))
    assert {folder.name for folder in tmp_path.iterdir()} == remaining
    remove_stale("")


async def test_each_tree_has_a_cgroup_and_none_is_left(tmp_path: Path) -> None:
    """Also not the one that was prepared for the next tree."""
    base, cgroups = find_base(), []
    assert base is not None
    async with open_supervisor(tmp_path) as supervisor:
        for number in range(3):
            folder = tmp_path / f"run{number}"
            folder.mkdir()
            persistence = Persistence(
                record=str(folder / "task"),
                log=str(folder / "log"),
                quota=1 << 30,
                agent_timeout=300,
                grace=0,
            )
            launch = attrs.evolve(make_shell("read x"), persistence=persistence)
            tree = await supervisor.spawn(launch)
            cgroups.append(tree.state.cgroup)
            assert await tree.kill_until_empty(GUARD) == ()
            await tree.reap()
    assert len(set(cgroups)) == 3
    task_supervisor = tree.state.parent
    await until(lambda: not list(base.glob(f"{task_supervisor}-*")))


def wait_until(cgroup: Cgroup, words: str) -> None:
    """Wait for an event of the cgroup: the kernel freezes asynchronously."""
    until = time.monotonic() + 20
    while words not in (Path(cgroup.folder) / "cgroup.events").read_text():
        assert time.monotonic() < until, words
        time.sleep(0.001)


def test_cgroups_made_by_a_member_are_removed_too(cgroup: Cgroup) -> None:
    (Path(cgroup.folder) / "of-a-member" / "deeper").mkdir(parents=True)
    assert cgroup.remove()


def test_a_refused_cgroup_is_none(tmp_path: Path) -> None:
    assert make_cgroup("", "x") is None
    assert make_cgroup(str(tmp_path / "nowhere"), "x") is None


def test_unknown_figures_are_zero(tmp_path: Path) -> None:
    assert Cgroup(str(tmp_path)).peak() == 0
    assert Cgroup(str(tmp_path)).oom_kills() == 0
    (tmp_path / "memory.peak").write_text("4096\n")
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert (Cgroup(str(tmp_path)).peak(), Cgroup(str(tmp_path)).oom_kills()) == (4096, 2)
    assert not Cgroup(str(tmp_path / "none")).kill()
    assert not Cgroup(str(tmp_path / "none")).freeze()


def test_only_a_delegated_cgroup_gets_a_subcgroup(cgroup: Cgroup) -> None:
    """Root could make one anywhere, so the mark of the service manager decides."""
    script = "import sys; from trio_afrender.supervisor.cgroup import *; print(move_self_to_subcgroup(), open('/proc/self/cgroup').read())"

    def run() -> str:
        command = f'echo 0 > {cgroup.folder}/cgroup.procs && exec {sys.executable} -c "{script}"'
        done = subprocess.run(
            ["/bin/sh", "-c", command], check=True, capture_output=True, text=True
        )
        return done.stdout

    assert run().startswith("False")
    try:
        os.setxattr(cgroup.folder, "user.delegate", b"1")
    except OSError:
        pytest.skip("this kernel has no extended attributes of cgroups")
    printed = run()
    assert printed.startswith("True")
    assert f"{Path(cgroup.folder).name}/supervisor\n" in printed
    assert move_self_to_subcgroup() is False, "none was delegated to this process"
