"""Limits of processes and files, which the kernel holds for a task: set for the leader, then set back."""

from __future__ import annotations

import errno
import os
import resource
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_afrender.supervisor import spawn
from trio_afrender.supervisor.cgroup import Cgroup
from trio_afrender.supervisor.protocol import LaunchSpec
from trio_afrender.supervisor.spawn import RESERVED_PROCESSES, StartError, start_process

SHOW = "ulimit -Su; ulimit -Hu; ulimit -Sn; ulimit -Hn"
KINDS = (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE)


@pytest.fixture(autouse=True)
def _same_folder_and_limits() -> Iterator[None]:
    folder, limits = Path.cwd(), [resource.getrlimit(kind) for kind in KINDS]
    yield
    os.chdir(folder)
    for kind, limit in zip(KINDS, limits, strict=True):
        resource.setrlimit(kind, limit)


def run(
    script: str, *, counted: bool = False, processes: int = 0, files: int = 0, nice: int = 0
) -> list[str]:
    """Return the words that a leader prints."""
    reading, writing = os.pipe()
    spec = LaunchSpec(
        argv=("/bin/bash", "-c", script),
        cwd="/",
        environment={"PATH": os.defpath},
        nice=nice,
        processes=processes,
        files=files,
    )
    before = [resource.getrlimit(kind) for kind in KINDS]
    pid = start_process(spec, (writing,), counted=counted)
    os.close(writing)
    assert [resource.getrlimit(kind) for kind in KINDS] == before
    with os.fdopen(reading) as output:
        words = output.read().split()
    os.waitpid(pid, 0)
    return words


def shown(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def test_without_limits_a_task_has_those_of_the_agent() -> None:
    assert run(SHOW) == [shown(value) for kind in KINDS for value in resource.getrlimit(kind)]


def test_a_task_cannot_raise_its_limits() -> None:
    """The hard limit is lowered a moment after the start, so the script waits for that."""
    # No longer than this process lives.
    wait = "while [ $(ulimit -Hn) != 200 ] && kill -0 $PPID; do :; done; "
    assert run(wait + SHOW, processes=1000, files=200) == ["1000", "1000", "200", "200"]
    if os.getuid():
        raised = run(wait + "ulimit -n 201 2>/dev/null || echo refused", files=200)
        assert raised == ["refused"]


def test_limits_never_raise_what_the_agent_has() -> None:
    for kind, soft in zip(KINDS, (500, 300), strict=True):
        resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))
    words = run(SHOW, processes=1_000_000, files=1_000_000)
    assert words[0] == str(500 - RESERVED_PROCESSES), "the rest is for the agent"
    assert words[2] == "300"


def test_where_a_cgroup_counts_the_processes_of_the_user_are_not_limited() -> None:
    assert run("ulimit -Su", counted=True, processes=1000) == [
        shown(resource.getrlimit(KINDS[0])[0])
    ]


def test_a_task_with_too_many_files_is_refused_them() -> None:
    program = """
opened = []
try:
    while True:
        opened.append(open("/dev/null"))
except OSError as error:
    print(error.errno, opened[-1].fileno())
"""
    assert run(f"{sys.executable} -c '{program}'", files=32) == [str(errno.EMFILE), "31"]


def test_a_thread_that_cannot_be_started_is_a_failed_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error of the task supervisor, which would end it."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    spawn._can_raise_priority.cache_clear()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(StartError) as caught:
        run("true", nice=7)
    assert (caught.value.number, caught.value.step) == (errno.EAGAIN, "program")


@pytest.mark.parametrize("privileged", [True, False])
def test_a_leader_has_its_priority_and_its_parent_keeps_its_own(
    privileged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread where a lowered priority cannot be raised again, without one where it can."""
    own = os.nice(0)
    spawn._can_raise_priority.cache_clear()
    if privileged and not spawn._can_raise_priority():
        pytest.skip("this user may not raise a priority")
    monkeypatch.setattr(spawn, "_can_raise_priority", lambda: privileged)
    # Not their number: a thread that an earlier test has left may end meanwhile.
    threads = set(threading.enumerate())
    for nice in (7, 0, 30):
        assert run("nice; (nice)", nice=nice) == [str(min(own + nice, 19))] * 2
        assert os.nice(0) == own
    assert privileged == threads.issuperset(threading.enumerate())


def test_a_user_may_not_raise_a_priority_unless_the_kernel_lets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_which: int, _who: int, _priority: int) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    spawn._can_raise_priority.cache_clear()
    monkeypatch.setattr(os, "setpriority", refuse)
    try:
        assert not spawn._can_raise_priority()
    finally:
        spawn._can_raise_priority.cache_clear()


def test_a_cgroup_limits_processes_and_counts_what_it_refused(tmp_path: Path) -> None:
    cgroup = Cgroup(str(tmp_path))
    assert not cgroup.limit_processes(5), "no controller: the file does not exist"
    assert cgroup.refused_forks() == 0
    (tmp_path / "pids.max").write_text("max\n")
    (tmp_path / "pids.events").write_text("max 7\n")
    assert cgroup.limit_processes(5)
    assert (tmp_path / "pids.max").read_text().startswith("5")
    assert cgroup.refused_forks() == 7


def test_a_thread_that_has_ended_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one could not be started: a call of the one before would wait for ever."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(spawn, "_can_raise_priority", lambda: False)
    monkeypatch.setattr(spawn._NiceThread, "_current", None)
    assert run("echo one", nice=1) == ["one"]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StartError):
            run("echo two", nice=2)
    assert run("echo three", nice=1) == ["three"]
