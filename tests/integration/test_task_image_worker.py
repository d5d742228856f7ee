"""The image worker: it starts on demand, ends when idle, and is all that a bad image can crash."""

from __future__ import annotations

import fcntl
import math
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import psutil
import pytest
import trio
import trio.testing
from support.polling import until

from trio_afrender.task import image_worker
from trio_afrender.task.image_worker import ImageProblem, ProcessImageWorker, open_image_workers

GUARD = 60.0


@asynccontextmanager
async def open_worker(idle: float = 60.0) -> AsyncIterator[ProcessImageWorker]:
    """Open an image worker; check at the end that no process is left."""
    with trio.fail_after(GUARD):
        async with open_image_workers(nice=1, idle=idle) as workers:
            yield workers.own
            pid = workers.own.pid
    assert workers.own.pid is None
    assert pid is None or not psutil.pid_exists(pid)


async def start_stopped(worker: ProcessImageWorker, image: Path) -> int:
    """Start the process of the worker and stop it by SIGSTOP; return its pid."""
    await worker.inspect(str(image), 30)
    pid = worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    # Until it is stopped, it can still take a request out of the pipe.
    await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return pid


def unread(pid: int) -> int:
    """Return how many bytes are in the pipe that is the input of a process."""
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


async def test_thumbnails_and_inspections(image: Path, tmp_path: Path) -> None:
    async with open_worker() as worker:
        pids = [worker.pid]
        await worker.thumbnail(str(image), str(tmp_path / "t.jpg"), 16, 30)
        pids.append(pid := worker.pid)
        assert pids == [None, pid]  # no process before the first request
        assert pid is not None
        assert psutil.Process(pid).nice() == psutil.Process().nice() + 1
        spec = oiio.ImageBuf(str(tmp_path / "t.jpg")).spec()
        assert (spec.width, spec.height) == (32, 16)
        seen = await worker.inspect(str(image), 30)
        assert seen is not None
        assert (seen["values"], seen["bad"], seen["black"]) == (6144, 0, False)
        assert worker.pid == pid
        with pytest.raises(ImageProblem, match="there is no file /nowhere") as caught:
            await worker.inspect("/nowhere/a.exr", 30)
        assert caught.value.image_is_faulty
        with pytest.raises(ImageProblem, match="cannot write to /nowhere"):
            await worker.thumbnail(str(image), "/nowhere/t.jpg", 16, 30)
        assert worker.pid == pid


@pytest.fixture
def odd(image: Path) -> Path:
    """A copy of the image under a name that is not UTF-8."""
    made = Path(os.fsdecode(os.fsencode(image.parent) + b"/\xff\xfe.exr"))
    made.write_bytes(image.read_bytes())
    return made


async def test_a_name_that_is_not_utf8(odd: Path) -> None:
    async with open_worker() as worker:
        assert await worker.inspect(str(odd), 30) is not None


async def test_the_worker_ends_when_idle_and_starts_again(image: Path) -> None:
    async with open_worker(idle=0.05) as worker:
        await worker.inspect(str(image), 30)
        await until(lambda: worker.pid is None)
        await worker.inspect(str(image), 30)


async def test_an_image_that_ends_the_worker(image: Path) -> None:
    async with open_worker() as worker:
        pid = await start_stopped(worker, image)

        async def crash() -> None:
            # If it were killed before the request is in the pipe, another one would get it.
            await until(lambda: unread(pid) > 0)
            os.kill(pid, signal.SIGSEGV)
            os.kill(pid, signal.SIGCONT)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash)
            with pytest.raises(ImageProblem, match=r"ended the thumbnailer \(signal SIGSEGV\)"):
                await worker.inspect(str(image), 30)
        assert await worker.inspect(str(image), 30) is not None
        assert worker.pid != pid


async def test_an_image_that_takes_too_long(image: Path) -> None:
    async with open_worker() as worker:
        pid = await start_stopped(worker, image)
        with pytest.raises(ImageProblem, match=r"was not read within 0\.2 s"):
            await worker.inspect(str(image), 0.2)
        assert not psutil.pid_exists(pid)
        assert await worker.inspect(str(image), 30) is not None


async def test_an_image_without_a_limit_does_not_hold_the_worker_for_ever(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_worker() as worker:
        await start_stopped(worker, image)
        monkeypatch.setattr(image_worker, "MAX_TIME", 0.2)
        with trio.fail_after(30), pytest.raises(ImageProblem, match=r"not read within 0\.2 s"):
            await worker.inspect(str(image), math.inf)


async def test_a_worker_that_is_stopped_is_continued(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_worker, "WATCH_INTERVAL", 0.1)
    async with open_worker() as worker:
        pid = await start_stopped(worker, image)
        assert await worker.inspect(str(image), 30) is not None
        assert worker.pid == pid


async def test_a_cancelled_request_ends_the_worker(image: Path) -> None:
    async with open_worker() as worker:
        pid = await start_stopped(worker, image)
        with trio.move_on_after(0.1):
            await worker.inspect(str(image), 30)
        assert not psutil.pid_exists(pid)
        assert await worker.inspect(str(image), 30) is not None


async def test_the_wait_for_a_busy_worker_has_a_limit(image: Path) -> None:
    async with open_worker() as worker:
        pid = await start_stopped(worker, image)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.inspect, str(image), 30)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(
                ImageProblem, match=r"the thumbnailer was busy for 0\.1 s"
            ) as caught:
                await worker.inspect(str(image), 0.1)
            assert not caught.value.image_is_faulty
            os.kill(pid, signal.SIGCONT)


async def test_requests_wait_for_one_another(image: Path) -> None:
    async with open_worker() as worker, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(worker.inspect, str(image), 30)


async def test_a_worker_that_cannot_start(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_worker() as worker:
        monkeypatch.setattr("sys.executable", "/nowhere/python")
        with pytest.raises(ImageProblem, match="the thumbnailer cannot be started"):
            await worker.inspect(str(image), 30)
        monkeypatch.undo()
        assert await worker.inspect(str(image), 30) is not None


async def test_a_worker_for_which_no_thread_is_left(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images of a task that has rendered them are not checked then, and the task is done."""

    async def refuse(*_: object, **__: object) -> trio.Process:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("can't start new thread")

    async with open_worker() as worker:
        monkeypatch.setattr(trio.lowlevel, "open_process", refuse)
        with pytest.raises(ImageProblem, match="can't start new thread"):
            await worker.inspect(str(image), 30)
        monkeypatch.undo()
        assert await worker.inspect(str(image), 30) is not None


def test_the_agent_loads_no_image_library() -> None:
    code = (
        "import sys; import trio_afrender.agent.agent_dependencies, trio_afrender.cli.main, trio_afrender.task.run\n"
        "import trio_afrender.farm.farm\n"
        "print([name for name in ('OpenImageIO', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_a_killed_agent_leaves_no_worker(image: Path) -> None:
    """The worker ends at the end of its input, and that ends with the agent."""
    code = (
        "import sys, trio\n"
        "from trio_afrender.task.image_worker import open_image_workers\n"
        "async def main():\n"
        "    async with open_image_workers() as workers:\n"
        "        await workers.own.inspect(sys.argv[1], 30)\n"
        "        print(workers.own.pid, flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    with trio.fail_after(GUARD):
        async with trio.open_nursery() as nursery:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-c", code, str(image)], stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            process_of_worker = psutil.Process(int(await process.stdout.receive_some()))
            process.kill()
            await process.wait()
            await process.stdout.aclose()
            await until(
                lambda: (
                    not process_of_worker.is_running()
                    or process_of_worker.status() == psutil.STATUS_ZOMBIE
                )
            )
            nursery.cancel_scope.cancel()
