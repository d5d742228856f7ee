"""A task of another user that attacks its agent and its neighbours.

Its argument is a JSON file with what it attacks: ``read`` (files and folders), ``connect`` (sockets),
``signal`` and ``trace`` (pids), ``write`` (folders), ``replace`` (files). It prints a line for each attack
that succeeds, and then ``attacks done``.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

PTRACE_ATTACH = 16
libc = ctypes.CDLL(None, use_errno=True)
targets = json.loads(Path(sys.argv[1]).read_text())


def read(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    (os.listdir if os.path.isdir(path) else lambda _: os.read(handle, 1))(path)  # noqa: PTH112


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)


def send_signals(pid: int) -> None:
    for number in (signal.SIGCONT, signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
        os.kill(pid, number)


def trace(pid: int) -> None:
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.kill(pid, signal.SIGCONT)


def look_into(pid: int) -> None:
    for name in ("mem", "environ", "fd"):
        path = f"/proc/{pid}/{name}"
        if os.path.isdir(path):  # noqa: PTH112
            os.listdir(path)  # noqa: PTH208
        else:
            os.open(path, os.O_RDONLY)


def write(folder: str) -> None:
    os.open(f"{folder}/planted", os.O_WRONLY | os.O_CREAT, 0o666)


def replace(path: str) -> None:
    Path(f"{path}.new").symlink_to("/etc/passwd")
    Path(f"{path}.new").replace(path)


def become(uid: int) -> None:
    os.setresuid(uid, uid, uid)


ATTACKS: dict[str, Callable[..., None]] = {
    "read": read,
    "connect": connect,
    "signal": send_signals,
    "trace": trace,
    "look_into": look_into,
    "write": write,
    "replace": replace,
    "become": become,
}
for name, attack in ATTACKS.items():
    for target in targets[name]:
        try:
            attack(target)
        except OSError:
            continue
        sys.stdout.write(f"succeeded: {name} {target}\n")
        sys.stdout.flush()
sys.stdout.write("attacks done\n")
