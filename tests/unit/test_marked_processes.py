"""Processes that are found by the marker in their environment, wherever they are."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from trio_afrender.process.windows.marked_processes import MARKER, MarkedProcesses


@contextmanager
def running(marker: str) -> Iterator[int]:
    words = [sys.executable, "-I", "-S", "-c", "print(1, flush=True); input()"]
    environment = {**os.environ, MARKER: marker}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_processes_are_found_until_they_end() -> None:
    # Also another run of this test may have such processes.
    marked, ours, other = MarkedProcesses(), uuid.uuid4().hex, uuid.uuid4().hex
    with running(f"{ours}-a") as first, running(f"{ours}-b") as second, running(other):
        for _ in range(2):
            assert {process.pid for process in marked.find(f"{ours}-")} == {first, second}
        assert {process.pid for process in marked.find(f"{ours}-b")} == {second}
    assert marked.find(f"{ours}-") == ()


def test_a_process_without_a_marker_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    marked, read = MarkedProcesses(), list[int]()
    environ = psutil.Process.environ

    def count(process: psutil.Process) -> dict[str, str]:
        read.append(process.pid)
        return environ(process)

    monkeypatch.setattr(psutil.Process, "environ", count)
    for _ in range(2):
        marked.find("0123-")
    assert read.count(os.getpid()) == 1
