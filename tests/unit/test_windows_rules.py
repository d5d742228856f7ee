"""Rules of Windows for names, paths, environments, command lines and shared files, tested everywhere."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from trio_afrender.errors import SpawnError
from trio_afrender.process.windows.command_line import make_command_line
from trio_afrender.process.windows.job_tree import BREAK_ENDED, KILLED, make_exit_status
from trio_afrender.process.windows.job_trees import priority_class
from trio_afrender.process.windows.win32 import make_environment_block
from trio_afrender.windows_files import (
    SYSTEM_OWNERS,
    WAIT,
    close_to_others,
    explain_owner,
    find_reserved_name,
    long_path,
    retry_shared,
)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NUL", "device"),
        ("con.exr", "device"),
        ("Com1.log.jpg", "device"),
        ("lpt\u00b2", "device"),
        ("aux .png", "device"),
        ("a.", "space or a dot"),
        ("a ", "space or a dot"),
        ("a:b", "does not allow"),
        ("a\nb", "does not allow"),
        ("a?", "does not allow"),
        ("a.exr", ""),
        ("console.exr", ""),
        ("com10", ""),
        (" a b", ""),
    ],
)
def test_names_that_windows_does_not_take(name: str, reason: str) -> None:
    found = find_reserved_name(name)
    assert reason in found
    assert bool(found) == bool(reason)


def test_a_short_path_stays_as_it_is() -> None:
    assert long_path(Path("a/b")) == str(Path("a/b"))
    assert long_path("\\\\?\\C:\\" + "x" * 300) == "\\\\?\\C:\\" + "x" * 300


@attrs.define
class Calls:
    """The calls about access lists."""

    owners: str
    set: list[tuple[Path, str]] = attrs.field(factory=list)

    def user(self) -> str:
        return "S-1-5-21-1"

    def owner(self, path: Path) -> str:
        return self.owners

    def set_access_list(self, path: Path, text: str) -> None:
        self.set.append((path, text))


@pytest.mark.parametrize("owner", ["S-1-5-21-1", *SYSTEM_OWNERS])
def test_a_folder_of_this_user_or_the_system_is_ours(owner: str) -> None:
    assert explain_owner(Path("x"), Calls(owner)) == ""


def test_a_folder_of_another_user_is_refused() -> None:
    assert explain_owner(Path("x"), Calls("S-1-5-21-2")) == "belongs to user S-1-5-21-2;"


def test_a_private_folder_inherits_nothing_and_passes_its_rights_on() -> None:
    calls = Calls("S-1-5-21-1")
    close_to_others(Path("x"), calls)
    ((_, text),) = calls.set
    assert text.startswith("D:P")
    assert text.count("(A;OICI;FA;;;") == 3
    assert "S-1-1-0" not in text


class Refused(OSError):
    winerror = 32


def test_a_refusal_is_tried_again_for_some_time() -> None:
    times = [0.0]
    failing = [3]

    def act() -> None:
        if failing[0]:
            failing[0] -= 1
            raise Refused

    def sleep(seconds: float) -> None:
        times[0] += seconds

    retry_shared(act, clock=lambda: times[0], sleep=sleep)
    failing[0] = 10**6
    with pytest.raises(Refused):
        retry_shared(act, clock=lambda: times[0], sleep=sleep)
    assert WAIT <= times[0] < WAIT + 1


def test_another_error_is_not_tried_again() -> None:
    def act() -> None:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        retry_shared(act, sleep=lambda _: pytest.fail("it waits"))


def test_the_last_name_of_one_case_counts_in_an_environment() -> None:
    block = make_environment_block({"PATH": "agent", "B": "2", "a": "1", "Path": "task"})
    assert block == "a=1\0B=2\0Path=task\0\0"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("cmd.exe", "/c", "render a & b"), "cmd.exe /c render a & b"),
        (("cmd.exe", "/c", '"C:\\a b\\x.exe" "y"'), 'cmd.exe /s /c ""C:\\a b\\x.exe" "y""'),
        (("cmd.exe", "/c", '""C:\\a b\\x.exe" "y""'), 'cmd.exe /c ""C:\\a b\\x.exe" "y""'),
        (("C:\\Windows\\cmd.EXE", "/d", "/C", "x"), "C:\\Windows\\cmd.EXE /d /C x"),
        (("bash.exe", "-c", 'echo "a"'), 'bash.exe -c "echo \\"a\\""'),
        (("x.exe", "a b", ""), 'x.exe "a b" ""'),
    ],
)
def test_command_lines(argv: tuple[str, ...], line: str) -> None:
    assert make_command_line(argv) == line


def test_a_batch_file_runs_in_a_shell() -> None:
    assert make_command_line(("r.bat", "a b")).endswith('/d /e:on /v:off /s /c ""r.bat" "a b""')
    for unsafe in ("%PATH%", 'a" & calc & "', "a\nb"):
        with pytest.raises(SpawnError, match="cannot be passed safely"):
            make_command_line(("r.cmd", unsafe))


@pytest.mark.parametrize(
    ("nice", "priority"),
    [(19, 0x40), (11, 0x40), (10, 0x4000), (0, 0x20), (-10, 0x8000), (-11, 0x80)],
)
def test_niceness_is_a_priority_class(nice: int, priority: int) -> None:
    assert priority_class(nice) == priority


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (0xC0000005, "exit code 3221225477"),
        (KILLED, "signal 9"),
        (BREAK_ENDED, "signal 15"),
    ],
)
def test_exit_codes(code: int, text: str) -> None:
    assert str(make_exit_status(code)) == text
