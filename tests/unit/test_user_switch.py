"""Becoming another user, with the kernel's calls replaced; and the message about it."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from trio_afrender import user_switch
from trio_afrender.message_framing import FrameError, FrameReader, encode
from trio_afrender.supervisor.protocol import LaunchSpec
from trio_afrender.user_switch import (
    CAPABILITIES,
    UserIds,
    become_user,
    find_missing_capabilities,
    keep_from_programs,
)

IDS = UserIds(1001, 1002, (5, 1002))


class FakeKernel:
    """Records the calls of a process, and shows the ids that it has set."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.uids = self.gids = (0, 0, 0)
        self.groups: tuple[int, ...] = (0,)
        self.capset_result = 0
        self.keyctl_result = 1

    def setgroups(self, groups: tuple[int, ...]) -> None:
        self.calls.append(("setgroups", groups))
        self.groups = groups

    def setresgid(self, *gids: int) -> None:
        self.calls.append(("setresgid", *gids))
        self.gids = gids[0], gids[1], gids[2]

    def setresuid(self, *uids: int) -> None:
        self.calls.append(("setresuid", *uids))
        self.uids = uids[0], uids[1], uids[2]

    def prctl(self, *words: int) -> int:
        self.calls.append(("prctl", *words))
        return 0

    def syscall(self, *words: object) -> int:
        self.calls.append(("syscall", *words))
        return self.keyctl_result

    def capset(self, header: object, sets: list[int]) -> int:
        self.calls.append(("capset", sum(sets)))
        return self.capset_result


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    fake = FakeKernel()
    for name in ("setgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, getattr(fake, name))
    monkeypatch.setattr(os, "getresuid", lambda: fake.uids)
    monkeypatch.setattr(os, "getresgid", lambda: fake.gids)
    monkeypatch.setattr(os, "getgroups", lambda: list(fake.groups))
    monkeypatch.setattr(user_switch, "_libc", fake)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="x86_64"))
    return fake


def test_groups_go_first_and_capabilities_last(kernel: FakeKernel) -> None:
    become_user(IDS)
    assert kernel.calls == [
        ("syscall", 250, 1, None),
        ("setgroups", (5, 1002)),
        ("setresgid", 1002, 1002, 1002),
        ("setresuid", 1001, 1001, 1001),
        ("prctl", 47, 4, 0, 0, 0),
        ("capset", 0),
    ]


def _refuse(*_words: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def _ignore(*_words: object) -> None:
    return


@pytest.mark.parametrize("name", ["setgroups", "setresgid", "setresuid"])
@pytest.mark.parametrize("call", [_refuse, _ignore])
def test_a_step_that_has_no_effect_is_an_error(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, name: str, call: Callable[..., None]
) -> None:
    monkeypatch.setattr(os, name, call)
    with pytest.raises(PermissionError):
        become_user(IDS)


def test_capabilities_that_stay_are_an_error(kernel: FakeKernel) -> None:
    kernel.capset_result = -1
    with pytest.raises(OSError, match=r"."):
        become_user(IDS)


@pytest.mark.parametrize(
    ("number", "refused"),
    [(errno.ENOSYS, False), (errno.EPERM, False), (errno.EDQUOT, True), (errno.ENOMEM, True)],
)
def test_only_a_kernel_without_keys_leaves_the_keyring(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, number: int, refused: bool
) -> None:
    kernel.keyctl_result = -1
    monkeypatch.setattr(ctypes, "get_errno", lambda: number)
    if not refused:
        become_user(IDS)
        return
    with pytest.raises(OSError, match=r".") as caught:
        become_user(IDS)
    assert caught.value.errno == number
    assert kernel.calls == [("syscall", 250, 1, None)]


def test_an_unknown_machine_keeps_its_keyring(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="vax"))
    become_user(IDS)
    assert kernel.calls[0][0] == "setgroups"


def test_a_system_without_such_calls_refuses(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_switch, "_libc", None)
    with pytest.raises(OSError, match="not implemented"):
        become_user(IDS)


def test_programs_do_not_get_the_capabilities(kernel: FakeKernel) -> None:
    keep_from_programs()
    assert kernel.calls == [("prctl", 47, 3, bit, 0, 0) for bit in CAPABILITIES.values()]


@pytest.mark.parametrize(
    ("mask", "missing"),
    [
        ("000001ffffffffff", ()),
        ("00000000000800eb", ()),
        ("00000000000000eb", ("CAP_SYS_PTRACE",)),
        ("000001fffffffffe", ("CAP_CHOWN",)),
        ("0000000000000000", tuple(CAPABILITIES)),
    ],
)
def test_missing_capabilities_are_named(tmp_path: Path, mask: str, missing: object) -> None:
    status = f"CapPrm:\t0\nCapEff:\t{mask}\nCapAmb:\t0\n".encode()
    (tmp_path / "status").write_bytes(b"Name:\t\xff\n" + status)  # a process may have any name
    assert find_missing_capabilities(tmp_path / "status") == missing


def test_a_kernel_without_capabilities_lacks_all(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tx\n")
    assert find_missing_capabilities(tmp_path / "status") == tuple(CAPABILITIES)


def _send(spec: LaunchSpec) -> LaunchSpec:
    (message,) = FrameReader().feed(encode(spec.to_json()))
    return LaunchSpec.from_json(message)


def test_the_user_of_a_launch_arrives_as_it_was_sent() -> None:
    spec = LaunchSpec(argv=("/bin/true",), cwd="/", environment={}, user=IDS, umask=0o22)
    assert _send(spec) == spec
    plain = LaunchSpec(argv=("/bin/true",), cwd="/", environment={})
    assert _send(plain) == plain


@pytest.mark.parametrize(
    "user", [{}, 1001, [1001], {"uid": "1001", "gid": 1, "groups": []}, {"uid": 1, "gid": 1}]
)
def test_an_invalid_user_of_a_launch_starts_nothing(user: object) -> None:
    """In particular not as the supervisor's user."""
    message = {**LaunchSpec(argv=("x",), cwd="/", environment={}).to_json(), "user": user}
    with pytest.raises(FrameError, match="invalid user"):
        LaunchSpec.from_json(message)
