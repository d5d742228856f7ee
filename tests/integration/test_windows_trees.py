"""Trees as job objects, on Windows: the contract of `ProcessTree`, and trees that try to get away."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
from support.process_contract import CHECKS, GUARD, KILL, TreeStarter
from support.windows_trees import WindowsTrees, open_windows_trees

from trio_afrender.cmd_words import join_for_cmd
from trio_afrender.errors import SpawnError
from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.process.windows.win32 import Win32, calls

pytestmark = pytest.mark.skipif(
    sys.platform != "win32", reason="job objects are Windows' own: make windows-test"
)


@pytest.fixture
async def trees(tmp_path: Path) -> AsyncIterator[WindowsTrees]:
    async with open_windows_trees(tmp_path) as opened:
        yield opened
        assert not opened.holder.trees


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(
    check: Callable[[TreeStarter], Awaitable[None]], trees: WindowsTrees
) -> None:
    await check(trees)


async def test_a_member_cannot_leave_its_job(trees: WindowsTrees) -> None:
    async with trees.run(trees.make_shape("escapes")) as started:
        assert started.printed.startswith(b"refused 5")
        await started.tree.exited()
        assert await started.tree.members() == started.members
        assert await started.tree.kill_until_empty(GUARD) == ()


async def test_a_crowd_and_a_chain_are_killed(trees: WindowsTrees) -> None:
    async with trees.run(trees.make_shape("crowd", "20")) as started:
        pids = await started.tree.members()
        assert (len(pids), pids[0]) == (21, started.tree.pid)
        assert set(await started.tree.signal_tree(KILL)) == set(pids)
        assert await started.tree.kill_until_empty(GUARD) == ()
    async with trees.run(trees.make_shape("chain", "8")) as started:
        await started.tree.exited()
        assert len(await started.tree.members()) == 1
        assert await started.tree.kill_until_empty(GUARD) == ()


async def test_a_flood_is_stopped_and_nothing_is_lost(trees: WindowsTrees) -> None:
    launch = trees.make_shape("flood")
    async with trees.run(launch, until=b"needs\n") as started:
        await started.log.wait_beyond(4 << 20)
        assert await started.tree.kill_until_empty(GUARD) == ()
        await started.ended.wait()
        assert started.log.lost == 0


async def test_a_tree_is_suspended_and_resumed(trees: WindowsTrees) -> None:
    async with trees.run(trees.make_shape("flood"), until=b"needs\n") as started:
        assert await started.tree.signal_tree(TreeSignal.SUSPEND) == (started.tree.pid,)
        size = -1
        while size != started.log.size:  # what the pipe still holds
            size = started.log.size
            with trio.move_on_after(0.3):
                await started.log.wait_beyond(size)
        await started.tree.signal_tree(TreeSignal.RESUME)
        await started.log.wait_beyond(size)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("no-such-program.exe",), 'there is no program "no-such-program.exe"'),
        (("cmd.exe", "/c", "x" * 9000), "characters, Windows takes 8191"),
        (("cmd.exe", "/c", "echo 1\necho 2"), "several lines"),
        (("a.bat", 'say "x"'), "cannot be passed safely"),
    ],
)
async def test_what_cannot_be_started(
    argv: tuple[str, ...], text: str, trees: WindowsTrees
) -> None:
    with pytest.raises(SpawnError, match=text):
        await trees.spawn(trees.make_launch(*argv))


async def test_a_missing_folder_is_named(trees: WindowsTrees) -> None:
    launch = trees.make_launch(sys.executable, "-c", "1", cwd=r"C:\no\such\folder")
    with pytest.raises(SpawnError, match=r"working folder .* does not exist"):
        await trees.spawn(launch)


async def test_a_long_working_folder_is_refused(trees: WindowsTrees) -> None:
    launch = trees.make_launch(sys.executable, "-c", "1", cwd="C:\\" + "x" * 256)
    with pytest.raises(SpawnError, match="has 259 characters, Windows takes 258"):
        await trees.spawn(launch)


async def test_a_limit_of_processes(trees: WindowsTrees) -> None:
    script = "import subprocess, sys\ntry: subprocess.Popen([sys.executable, '-c', '1'])\nexcept OSError as e: print('refused')\nelse: print('started')"
    launch = trees.make_launch(sys.executable, "-I", "-S", "-c", script, processes=1)
    async with trees.run(launch, until=b"\n") as started:
        await started.tree.exited()
        # Wine does not enforce it.
        assert started.printed.split() in ([b"refused"], [b"started"])


async def test_output_in_the_code_page_of_the_console_is_stored_as_utf8(
    trees: WindowsTrees, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert calls().output_code_page > 0
    monkeypatch.setattr(Win32, "output_code_page", 1252)
    script = r"import os; os.write(1, b'caf\xe9 \x80\r\ncaf\xc3\xa9\r\n')"
    launch = trees.make_launch(sys.executable, "-I", "-S", "-c", script)
    async with trees.run(launch, until="café €\r\ncafé\r\n".encode()) as started:
        await started.ended.wait()


SHELL = [
    ("echo one two", b"one two"),
    (r'"C:\windows\system32\cmd.exe" /c echo "a b"', b'"a b"'),
    (r'""C:\windows\system32\cmd.exe" /c echo "a b""', b'"a b"'),
    ("set AF_CASE", b"AF_CASE=task"),
    ("exit 7", b""),
]


@pytest.mark.parametrize(("command", "printed"), SHELL)
async def test_commands_of_the_shell(command: str, printed: bytes, trees: WindowsTrees) -> None:
    launch = trees.make_launch("cmd.exe", "/c", command)
    launch.environment["af_case"] = "agent"  # type: ignore[index]  # a dict here
    launch.environment["AF_CASE"] = "task"  # type: ignore[index]  # as above
    async with trees.run(launch, until=printed) as started:
        await started.tree.exited()
        await started.ended.wait()
        assert started.printed.strip() == printed
        assert (await started.tree.reap()).code == (7 if command == "exit 7" else 0)


@pytest.mark.parametrize("suffix", ["bat", "cmd"])
@pytest.mark.parametrize("shell", [False, True])
async def test_batch_files(suffix: str, shell: bool, trees: WindowsTrees, tmp_path: Path) -> None:
    file = tmp_path / f"a b&c.{suffix}"
    file.write_text("@echo got %1 and %2\n@exit /b 3\n")
    argv = (str(file), "x & y", "z")
    if shell:
        argv = ("cmd.exe", "/c", join_for_cmd(argv))
    async with trees.run(trees.make_launch(*argv), until=b"z") as started:
        await started.ended.wait()
        assert started.printed.replace(b'"', b"").strip() == b"got x & y and z"
        assert (await started.tree.reap()).code == 3
