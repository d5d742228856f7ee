"""Whole programs: a job of pictures under Wine, and an agent under Wine with servers on Linux.

The agents are killed as Task Manager does it, and the servers restarted; no task may be lost.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio

from trio_afrender import __version__
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.testing import NativeServer, NativeState, NativeTask, open_native_server
from windows.wine_python import ROOT, WinePython

__all__ = ("run_acceptance",)

LIMIT = 120
"""Seconds for one check; none of them needs half of it."""
COMMAND = str(ROOT / ".venv" / "bin" / "trio_afrender")
WAIT = "ping -n 3 127.0.0.1 >nul & echo PROGRESS: 50% & echo task @#@"
"""A task of two seconds."""


class Failed(Exception):
    """A check did not come out as it should."""


def run_acceptance(python: WinePython, say: Callable[[str], None]) -> int:
    """Run the checks; return how many failed."""
    failed = 0
    for check in (
        install_wheel,
        render_pictures,
        close_dialogs,
        work_for_a_farm,
        work_for_an_afserver,
    ):
        title = (check.__doc__ or "").partition("\n")[0]
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(dir=python.drive, prefix="check-") as folder:
            try:
                check(python, Path(folder))
            except Failed as error:
                failed += 1
                say(f"FAILED {title}: {error}")
            else:
                say(f"passed {title} ({time.monotonic() - begun:.0f} s)")
    return failed


def render_pictures(python: WinePython, folder: Path) -> None:
    """`run` renders with OpenImageIO: progress, thumbnails, report"""
    program = r"C:\src\tests\windows\render_image.py"
    block = {
        "name": "pictures",
        "service": "generic",
        "parser": "generic",
        "working_directory": windows_path(folder),
        "command": rf"C:\py\python.exe {program} picture.@####@.exr @#@",
        "files": ["picture.@####@.exr"],
        "frame_first": 1,
        "frame_last": 3,
    }
    write_json(folder / "job.json", {"name": "pictures", "blocks": [block]})
    place = windows_path(folder)
    words = ("run", rf"{place}\job.json", "--store", place, "--report", rf"{place}\report.json")
    with agent(python, *words, log=folder / "log") as running:
        expect(running.wait(LIMIT) == 0, "exit code 0", read(folder / "log"))
    report = json.loads(read(folder / "report.json"))
    tasks = report["tasks"]
    expect(report["state"] == "done" and len(tasks) == 3, "three tasks that are done", report)
    expect(all(task["percent"] == 100 for task in tasks), "progress", tasks)
    names = [file for task in tasks for file in task["files"]]
    expect(len(names) == 3, "three thumbnails", names)
    expect("100 %" in read(folder / "log") or "[3/3]" in read(folder / "log"), "progress", names)


def install_wheel(python: WinePython, folder: Path) -> None:
    """`trio_afrender.exe` of the wheel starts, and refuses by name what is Unix's own"""
    words = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
    ]
    made = subprocess.run([*words, str(ROOT)], capture_output=True, text=True, check=False)
    expect(made.returncode == 0, "a wheel", made.stderr)
    place = windows_path(folder)
    wheel = rf"{place}\{next(folder.glob('*.whl')).name}"
    # Beside Wine's Python, whose packages it needs; the copy of the source comes first there.
    into = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check", "--target", place)
    code, printed = output(python, r"C:\py\python.exe", "-m", "pip", "install", *into, wheel)
    expect(code == 0, "that pip installs it", printed)
    program = rf"{place}\bin\trio_afrender.exe"
    code, printed = output(python, program, "--version")
    expect(code == 0 and __version__ in printed, "its version", (code, printed))
    code, printed = output(python, program, "unit")
    expect(code == 2 and "Windows" in printed, "that `unit` is refused", (code, printed))
    leaving = ("--server", "af://127.0.0.1:9", "--trio_afrender.drain", "leave")
    code, printed = output(python, program, "agent", *leaving)
    expect(code == 2 and "not possible on Windows" in printed, "a refusal", (code, printed))


def close_dialogs(python: WinePython, folder: Path) -> None:
    """of three dialogs two are listed: those are closed and named by the report, the third stays"""
    program = r"C:\py\python.exe C:\src\tests\programs\windows_shape.py box-for 8"
    titles = ("Bad Window", "Worse Window", "Bad Window 2")
    blocks = [
        {"name": f"b{number}", "service": "generic", "tasks": [{"command": f'{program} "{title}"'}]}
        for number, title in enumerate(titles)
    ]
    write_json(folder / "job.json", {"name": "dialogs", "blocks": blocks})
    write_json(
        folder / "config.json", {"cgru_config": {"af_render_windowsmustdie": list(titles[:2])}}
    )
    place = windows_path(folder)
    words = ("run", rf"{place}\job.json", "--store", place, "--report", rf"{place}\report.json")
    with agent(python, *words, "--config", rf"{place}\config.json", log=folder / "log") as running:
        expect(running.wait(LIMIT) == 0, "exit code 0", read(folder / "log"))
    tasks = json.loads(read(folder / "report.json"))["tasks"]
    ends = [task["output"].split("\r\n")[1] for task in tasks]
    expected = [f"closed {titles[0]}", f"closed {titles[1]}", f"kept {titles[2]}"]
    expect(ends == expected, "two that are closed", ends)
    for task, title in zip(tasks[:2], titles, strict=False):
        text = f'closed the window "{title}"'
        reasons = [reason["text"] for reason in task["why"]]
        expect(text in reasons and text in task["log"], "the reason", task)
    expect("window" not in tasks[2]["log"], "none for the third", tasks[2])


def output(python: WinePython, program: str, *words: str) -> tuple[int, str]:
    """Run a program; return its exit code and what it prints."""
    process = python.start_program(program, *words)
    try:
        printed, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failed(f"not within {LIMIT} s: {program} {' '.join(words)}") from None
    return process.returncode, printed.decode("utf-8", "replace")


def work_for_a_farm(python: WinePython, folder: Path) -> None:
    """an agent under Wine works for a farm on Linux by websocket; both are killed and restarted"""
    block = {"name": "b", "service": "generic", "parser": "generic", "command": WAIT}
    write_json(
        folder / "job.json",
        {"name": "mixed", "blocks": [{**block, "frame_first": 1, "frame_last": 5}]},
    )
    port, json_port = free_port(), free_port()
    address = ("--listen", f"127.0.0.1:{port}", "--json", f"127.0.0.1:{json_port}")
    store = ("--agents", "0", *address, "--store", str(folder / "farm"))
    server = f"af://127.0.0.1:{json_port}"
    place = windows_path(folder)
    words: tuple[str, ...] = (
        "agent",
        "--server",
        f"ws://127.0.0.1:{port}",
        "--token-file",
        rf"{place}\token",
    )
    words = (*words, "--name", "wine", "--store", rf"{place}\store")
    with farm(folder, str(folder / "job.json"), *store) as token:
        shutil.copy(token, folder / "token")
        with agent(python, *words, log=folder / "agent-1") as first:
            until("a task is done", lambda: job(server)["done"] >= 1, folder / "agent-1")
            until("a task runs", lambda: job(server)["running"] >= 1, folder / "agent-1")
            until("the task has started", lambda: bool(find_tasks(folder)), folder / "agent-1")
            first.kill()
            until("its tree has ended", lambda: not find_tasks(folder), folder / "agent-1")
        with agent(python, *words, log=folder / "agent-2"):
            until("it continues", lambda: job(server)["done"] >= 3, folder / "agent-2")
    with agent(python, *words, log=folder / "agent-3"), farm(folder, *store) as token:
        shutil.copy(token, folder / "token")
        until("all are done", lambda: job(server)["done"] == 5, folder / "agent-3")
        expect(job(server)["error"] == 0, "no error", job(server))


def work_for_an_afserver(python: WinePython, folder: Path) -> None:
    """an agent under Wine works for the double of an afserver; both are restarted, the agent is killed"""
    trio.run(partial(_work_natively, python, folder))


async def _work_natively(python: WinePython, folder: Path) -> None:
    port = free_port()
    place = windows_path(folder)
    words: tuple[str, ...] = ("agent", "--server", f"af://127.0.0.1:{port}", "--name", "wine")
    words = (*words, "--store", rf"{place}\store")
    command = WAIT.replace("@#@", "1")
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    async with open_native_server(listeners=listeners) as server:
        tasks = [server.add_task(_make_task(number, command)) for number in range(3)]
        with agent(python, *words, log=folder / "agent-1"):
            await _done(server, folder / "agent-1", tasks)
            server.restart()
            tasks = [server.add_task(_make_task(number, command)) for number in range(3, 8)]
            await _done(server, folder / "agent-1", tasks[:1])
            # In a thread: the server has to answer meanwhile.
            await trio.to_thread.run_sync(partial(kill_agent, python, folder))
            killed = [task for task in tasks if task.state is NativeState.RUNNING]
        with agent(python, *words, log=folder / "agent-2"):
            await _done(server, folder / "agent-2", tasks)
        expect(any(task.sessions > 1 for task in killed), "a task that ran again", tasks)
        expect(all(task.errors == 0 for task in tasks), "no error of a task", tasks)
        outputs = [task.output.split() for task in tasks]
        expect(all(each[-2:] == [b"task", b"1"] for each in outputs), "whole outputs", outputs)
        expect(server.complaints == [], "no complaint of the server", server.complaints)


def kill_agent(python: WinePython, folder: Path) -> None:
    """End the agent by TerminateProcess, as Task Manager does, while a program of a task runs."""
    log = folder / "agent-1"
    until("a task runs", lambda: bool(find_tasks(folder)), log)
    pid = int((folder / "store" / "trio_afrender" / "wine" / "lock").read_text())
    ended = python.start("-c", f"import os; os.kill({pid}, 9)").wait(LIMIT)
    expect(ended == 0, "that the agent can be killed", ended)
    until("its trees have ended", lambda: not find_tasks(folder), log)


async def _done(server: NativeServer, log: Path, tasks: Sequence[NativeTask]) -> None:
    try:
        await server.until(
            lambda: all(task.state is NativeState.DONE for task in tasks), within=LIMIT
        )
    except AssertionError:
        raise Failed(f"the tasks are not done: {read(log)[-2000:]}") from None


def _make_task(number: int, command: str) -> TaskExec:
    return TaskExec(
        run="",
        job=2,
        block=0,
        task=number,
        name=f"t{number}",
        service="generic",
        parser="generic",
        command_task=command,
    )


# -- tools ---------------------------------------------------------------------------------------


@contextmanager
def agent(python: WinePython, *words: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command of the project under Wine, with its output in a file; kill it at the end."""
    with log.open("wb") as file:
        # `cat` between them, because Wine's Python cannot print to a file of Linux.
        process = python.start("-m", "trio_afrender", *words)
        copy = subprocess.Popen(["/bin/cat"], stdin=process.stdout, stdout=file)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
            with suppress(subprocess.TimeoutExpired):
                copy.wait(2)
            copy.kill()
            copy.wait()


@contextmanager
def farm(folder: Path, *words: str) -> Iterator[str]:
    """Keep a farm open on Linux; yield the path of the token for its agents."""
    log = folder / "farm.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [COMMAND, "farm", *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "CGRU_AF_STORE_FOLDER": str(folder / "store")},
        )
    try:
        until("the farm is open", lambda: "the farm is open" in read(log), log)
        line = next(line for line in read(log).splitlines() if "--token-file" in line)
        yield line.split("--token-file ")[1].split()[0]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def job(server: str) -> dict[str, Any]:
    """Return the facts about the only job."""
    words = [COMMAND, "jobs", "--server", server, "--json"]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(result.stdout)[0]
    except (ValueError, IndexError):
        return {"done": -1, "running": -1, "error": -1}
    return found


def find_tasks(folder: Path) -> list[int]:
    """Return the pids of Linux of the tasks' programs, which run in a folder of the agent's store."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if entry.name.isdigit() and b"ping" in (entry / "cmdline").read_bytes():
                found += [int(entry.name)] * (str(folder) in str((entry / "cwd").readlink()))
    return found


def until(what: str, holds: Callable[[], bool], log: Path) -> None:
    """Wait until something holds. Raises `Failed` with the end of a log."""
    end = time.monotonic() + LIMIT
    while not holds():
        if time.monotonic() > end:
            raise Failed(f"not within {LIMIT} s: {what}: {read(log)[-2000:]}")
        time.sleep(0.2)


def expect(holds: bool, what: str, facts: object) -> None:
    if not holds:
        raise Failed(f"expected {what}: {facts}")


def read(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.exists() else ""


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def windows_path(path: Path) -> str:
    """Return the path of a folder on drive C."""
    return f"C:\\{path.name}"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit("run `make windows-test`")
