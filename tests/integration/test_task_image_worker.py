"""The worker that reads images: it comes when wanted, goes when idle, and is all that a bad image costs."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import psutil
import pytest
import trio
import trio.testing

from trio_afrender.task.image_worker import ImageProblem, ProcessImageWorker, open_image_worker

GUARD = 60.0


@asynccontextmanager
async def painter_of(idle: float = 60.0) -> AsyncIterator[ProcessImageWorker]:
    """A painter; checks that no process is left."""
    with trio.fail_after(GUARD):
        async with open_image_worker(nice=1, idle=idle) as painter:
            yield painter
            pid = painter.pid
    assert painter.pid is None
    assert pid is None or not psutil.pid_exists(pid)


async def until(there: Callable[[], bool]) -> None:
    """Wait for what nobody announces to us."""
    while not there():  # noqa: ASYNC110 - as the line above says
        await trio.sleep(0.01)


def unread(pid: int) -> int:
    """How many bytes wait in the pipe that a process has for its input."""
    with Path(f"/proc/{pid}/fd/0").open("rb", buffering=0) as pipe:
        (waiting,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return int(waiting)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "it's \n a.exr"
    spec = oiio.ImageSpec(64, 32, 3, "half")
    buffer = oiio.ImageBuf(spec)
    buffer.set_pixels(oiio.ROI(), np.full((32, 64, 3), 0.5, np.float32))
    assert buffer.write(str(path))
    return path


async def test_thumbnails_and_looks(image: Path, tmp_path: Path) -> None:
    async with painter_of() as painter:
        pids = [painter.pid]
        await painter.thumbnail(str(image), str(tmp_path / "t.jpg"), 16, 30)
        pids.append(pid := painter.pid)
        assert pids == [None, pid]  # none before anybody wants one
        assert pid is not None
        assert psutil.Process(pid).nice() == psutil.Process().nice() + 1
        spec = oiio.ImageBuf(str(tmp_path / "t.jpg")).spec()
        assert (spec.width, spec.height) == (32, 16)
        seen = await painter.inspect(str(image), 30)
        assert seen is not None
        assert (seen["values"], seen["bad"], seen["black"]) == (6144, 0, False)
        assert painter.pid == pid
        with pytest.raises(ImageProblem, match="there is no file /nowhere") as caught:
            await painter.inspect("/nowhere/a.exr", 30)
        assert caught.value.image_is_faulty
        with pytest.raises(ImageProblem, match="cannot write to /nowhere"):
            await painter.thumbnail(str(image), "/nowhere/t.jpg", 16, 30)
        assert painter.pid == pid


@pytest.fixture
def odd(image: Path) -> Path:
    """A copy of it under a name that is no UTF-8."""
    made = Path(os.fsdecode(os.fsencode(image.parent) + b"/\xff\xfe.exr"))
    made.write_bytes(image.read_bytes())
    return made


async def test_a_name_that_is_no_text(odd: Path) -> None:
    async with painter_of() as painter:
        assert await painter.inspect(str(odd), 30) is not None


async def test_it_ends_when_idle_and_comes_again(image: Path) -> None:
    async with painter_of(idle=0.05) as painter:
        await painter.inspect(str(image), 30)
        await until(lambda: painter.pid is None)
        await painter.inspect(str(image), 30)


async def test_an_image_that_ends_the_worker(image: Path) -> None:
    async with painter_of() as painter:
        await painter.inspect(str(image), 30)
        pid = painter.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        # Before it has stopped, it may still take the request out of the pipe.
        await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)

        async def crash() -> None:
            # Killed before the request is there, the painter would just start another one.
            await until(lambda: unread(pid) > 0)
            os.kill(pid, signal.SIGSEGV)
            os.kill(pid, signal.SIGCONT)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash)
            with pytest.raises(ImageProblem, match=r"ended the thumbnailer \(signal SIGSEGV\)"):
                await painter.inspect(str(image), 30)
        assert await painter.inspect(str(image), 30) is not None
        assert painter.pid != pid


async def test_an_image_that_takes_too_long(image: Path) -> None:
    async with painter_of() as painter:
        await painter.inspect(str(image), 30)
        pid = painter.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ImageProblem, match=r"was not read within 0\.2 s"):
            await painter.inspect(str(image), 0.2)
        assert not psutil.pid_exists(pid)
        assert await painter.inspect(str(image), 30) is not None


async def test_a_stop_ends_what_is_under_way(image: Path) -> None:
    async with painter_of() as painter:
        await painter.inspect(str(image), 30)
        pid = painter.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with trio.move_on_after(0.1):
            await painter.inspect(str(image), 30)
        assert not psutil.pid_exists(pid)
        assert await painter.inspect(str(image), 30) is not None


async def test_a_turn_is_not_waited_for_without_end(image: Path) -> None:
    async with painter_of() as painter:
        await painter.inspect(str(image), 30)
        pid = painter.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(painter.inspect, str(image), 30)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(
                ImageProblem, match=r"the thumbnailer was busy for 0\.1 s"
            ) as caught:
                await painter.inspect(str(image), 0.1)
            assert not caught.value.image_is_faulty
            os.kill(pid, signal.SIGCONT)


async def test_calls_wait_for_one_another(image: Path) -> None:
    async with painter_of() as painter, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(painter.inspect, str(image), 30)


async def test_a_worker_that_cannot_start(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with painter_of() as painter:
        monkeypatch.setattr("sys.executable", "/nowhere/python")
        with pytest.raises(ImageProblem, match="the thumbnailer cannot be started"):
            await painter.inspect(str(image), 30)
        monkeypatch.undo()
        assert await painter.inspect(str(image), 30) is not None


def test_the_agent_loads_none_of_it() -> None:
    code = (
        "import sys; import trio_afrender.agent.agent_dependencies, trio_afrender.cli.main, trio_afrender.task.execution\n"
        "import trio_afrender.farm.farm\n"
        "print([name for name in ('OpenImageIO', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_a_killed_agent_leaves_no_worker(image: Path) -> None:
    """The worker's input ends with the agent."""
    code = (
        "import sys, trio\n"
        "from trio_afrender.task.image_worker import open_image_worker\n"
        "async def main():\n"
        "    async with open_image_worker() as painter:\n"
        "        await painter.inspect(sys.argv[1], 30)\n"
        "        print(painter.pid, flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    with trio.fail_after(GUARD):
        async with trio.open_nursery() as nursery:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-c", code, str(image)], stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            worker = psutil.Process(int(await process.stdout.receive_some()))
            process.kill()
            await process.wait()
            await process.stdout.aclose()
            await until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
            nursery.cancel_scope.cancel()
