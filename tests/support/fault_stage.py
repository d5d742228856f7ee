"""A farm and the program of an agent in which one chosen call fails, again and again another one."""

from __future__ import annotations

import errno
import json
import mmap
import os
import shlex
import signal
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import psutil
import trio

from support.agent_program import write_token
from support.cli import make_environment, make_gate, open_gate, pass_gate
from support.fault_seam import HEADER, NO_NICE, SITES_FILE, STATE_FILE, THREAD
from support.fault_sites import Site
from support.png import make_png
from support.polling import until
from support.process import find_marked
from trio_afrender.farm.farm import Farm, open_farm
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.jobs.views import TaskView
from trio_afrender.protocol.messages import BlockFlags
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_server import BoundAddress, serve_websocket

__all__ = ("AGENT", "SCENARIOS", "SUPERVISOR", "Case", "FaultStage", "open_stage")

AGENT, SUPERVISOR = 1, 2
KINDS = {AGENT: "agent", SUPERVISOR: "supervisor"}
ZOMBIE_TIME = 30.0
"""Seconds in which an agent that was killed has to be replaced by one whose start may fail."""
SETTINGS = FarmSettings(errors_retries=0, pause=0.05, pause_limit=0.5, zombie_time=ZOMBIE_TIME)
BUDGET = 60.0
"""Seconds for a scenario; the waits of an agent for a host that has nothing left are part of it."""
GROWTH = 64 * 1024 * 1024
"""Bytes that the agent may have grown by."""
BAD_WORDS = ("Traceback", "internal error")
_COUNTS = struct.Struct("<HH")
_MARK = "FAULT_STAGE_MARK"
_CONFIG = {
    "cgru_config": {
        "trio_afrender": {
            "max_tasks": 8,
            "capacity": 8000,
            "log_quota": 1 << 20,
            "check_images": "warn",
            "timing": {"grace": 0.5, "drain": 0.2, "heartbeat": 0.2, "zombie": ZOMBIE_TIME},
        }
    }
}


@attrs.frozen
class Case:
    """The call number `turn` of a site, in one of the kinds of processes, fails with an errno."""

    site: Site
    number: int
    """Of the site in the list of all."""
    kind: int
    error: int
    turn: int
    scenario: str

    def __str__(self) -> str:
        name = "no thread" if self.error == THREAD else errno.errorcode[self.error]
        return f"{self.scenario}: {KINDS[self.kind]} {self.site} {name} (call {self.turn})"


@attrs.define(eq=False)
class FaultStage:
    """Made by `open_stage`. `process` is the agent."""

    folder: Path
    farm: Farm
    url: str
    mark: str
    state: mmap.mmap
    process: trio.Process = attrs.field(init=False)
    _turn: int = 0
    _log_start: int = 0
    """Where the log of the agent that was started last begins."""
    _log_read: dict[str, int] = attrs.field(factory=dict)
    """Bytes of each log that `_new_log` has returned."""

    # -- the seam -------------------------------------------------------------------------------

    def arm(self, case: Case | None) -> None:
        """Choose the call that fails; None: none."""
        values = (case.number, case.error, case.turn, 0, 0, case.kind) if case else (-1,) + (0,) * 5
        HEADER.pack_into(self.state, 0, *values)

    @property
    def failed(self) -> int:
        """The process in which the call has failed; 0: it was not made so often."""
        return int(HEADER.unpack_from(self.state)[4])

    def take_counts(self) -> dict[tuple[int, int], int]:
        """Return how often each site was reached in each kind of process since the last call."""
        size = HEADER.size
        pairs = list(_COUNTS.iter_unpack(self.state[size:]))
        self.state[size:] = bytes(len(self.state) - size)
        return {
            (number, kind): count
            for number, counts in enumerate(pairs)
            for kind, count in zip((AGENT, SUPERVISOR), counts, strict=True)
            if count
        }

    # -- the agent ------------------------------------------------------------------------------

    async def start_agent(self, *, keeps_priority: bool = False) -> None:
        """Start the program; the caller waits for it. `keeps_priority`: root may not raise it either."""
        words = ("--server", self.url, "--token-file", "token", "--name", "render-1")
        more = ("--store", "store", "--config", "config.json")
        seam = str(Path(__file__).with_name("fault_seam.py"))
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self.process = await trio.lowlevel.open_process(
                [sys.executable, seam, str(self.folder), *words, *more],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=make_environment(self.folder, **{NO_NICE: "1"} if keeps_priority else {}),
                cwd=self.folder,
            )

    async def kill_agent(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def end_agent(self) -> None:
        """End it by two SIGTERM: running tasks are given back."""
        self.process.send_signal(signal.SIGTERM)
        with trio.move_on_after(0.3):
            await self.process.wait()
        self.process.send_signal(signal.SIGTERM)
        code = await self.process.wait()
        assert code == 0, f"the agent ended with {code}"

    async def wait_online(self) -> None:
        """Wait until the agent that was started last has registered.

        One that ends with a sentence, because it could not start, is started again.
        """
        while b"registered as render" not in self.log.read_bytes()[self._log_start :]:
            await trio.sleep(0.01)
            if (code := self.process.returncode) is not None:
                assert code in (1, 2, 3), f"the agent ended with {code}"
                assert self.failed, f"the agent ended with {code} without a fault"
                await self.start_agent()

    @property
    def log(self) -> Path:
        return self.folder / "agent.log"

    def gates(self) -> tuple[Path, Path]:
        self._turn += 1
        up = make_gate(self.folder / f"up{self._turn}")
        return up, make_gate(self.folder / f"hold{self._turn}")

    def submit(self, *commands: str, **fields: object) -> int:
        tasks = [{"name": f"t{i}", "command": command} for i, command in enumerate(commands)]
        block: dict[str, Any] = {"name": "b", "parser": "generic", "environment": {}, **fields}
        block["environment"] = {_MARK: self.mark, **block["environment"]}
        if tasks:
            block["tasks"] = tasks
        return self.farm.submit(parse_job({"job": {"name": "j", "blocks": [block]}}))

    # -- checks ---------------------------------------------------------------------------------

    async def run(self, case: Case | None, scenario: str) -> list[str]:
        """Run a scenario in which a call fails; return what is wrong then."""
        problems: list[str] = []
        before = self._memory()
        self._new_log()
        began = time.monotonic()
        self.arm(case)
        try:
            with trio.fail_after(BUDGET):
                await SCENARIOS[scenario](self)
        except trio.TooSlowError:
            problems.append(f"not over after {BUDGET:g} s: {self._states()}")
        except AssertionError as error:
            problems.append(str(error))
        self.arm(None)
        log = self._new_log()
        problems += [f'logged "{word}"' for word in BAD_WORDS if word in log]
        if not problems:
            problems += await self._check_after(before)
        if problems:
            problems.append(f"after {time.monotonic() - began:.1f} s; log: {log[-3000:]}")
        return problems

    async def _check_after(self, before: int) -> list[str]:
        problems = []
        try:
            with trio.fail_after(BUDGET):
                (task,) = (await self.farm.wait(self.submit("echo after"))).tasks
                if (task.state, task.output) != ("done", "after\n"):
                    problems.append(f"the next task: {task.state}, {task.output!r}")
        except trio.TooSlowError:
            problems.append("takes no task any more")
        if left := await trio.to_thread.run_sync(find_marked, _MARK, self.mark):
            problems.append(f"left: {left}")
        if self.process.returncode is not None:
            problems.append(f"the agent has ended with {self.process.returncode}")
        if (now := self._memory()) > before + GROWTH > GROWTH:
            problems.append(f"the agent has grown by {now - before} bytes")
        return problems

    def _memory(self) -> int:
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except (psutil.Error, AttributeError):
            return 0

    def _states(self) -> str:
        tasks = [task for job in self.farm.jobs for task in self.farm.view(job).tasks]
        return "; ".join(
            f"{task.name} {task.state} {[step.text for step in task.why][-6:]}"
            for task in tasks
            if task.state != "done"
        )

    def _new_log(self) -> str:
        """Return what agent and supervisor have logged since the last call."""
        new = ""
        for path in (self.log, *self.folder.glob("store/trio_afrender/*/keeper-*.log")):
            data = path.read_bytes()
            read = self._log_read.get(name := f"{path} {path.stat().st_ino}", 0)
            # That of the supervisor is emptied when another one starts.
            new += data[read if len(data) >= read else 0 :].decode(errors="replace")
            self._log_read[name] = len(data)
        return new


def check(tasks: list[TaskView], *states: str) -> None:
    """Check the end of tasks, each of which may have been given back before."""
    for task, state in zip(tasks, states, strict=True):
        why = [step.text for step in task.why]
        assert task.state == state, f"{task.name} is {task.state}, not {state}: {why}"
        lost = [step.text for step in task.why if step.event == "lost"]
        assert not lost, f"the render was silent: {why}"


def check_output(task: TaskView, expected: str) -> None:
    """The output is whole, or has a mark of what is missing."""
    # A start is repeated in the same run if its task supervisor was lost before it could answer.
    gap = "left out here" in task.output or "lost" in task.output
    assert gap or task.output.endswith(expected), f"{task.name} printed {task.output!r}"


def find_helpers(folder: Path) -> list[str]:
    """Return the processes that have the folder among their arguments, as supervisors have."""
    found = []
    for process in psutil.process_iter(["cmdline", "name", "status"]):
        words = " ".join(process.info["cmdline"] or ())
        if f"{folder}/" in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(f"{process.info['name']} {process.pid}")
    return found


# -- scenarios --------------------------------------------------------------------------------------


async def run_tasks(stage: FaultStage) -> None:
    commands = (
        "echo first; printf x > ../files/f.txt",
        "echo second; sleep 0.02; echo third",
        "true",
    )
    job = await stage.farm.wait(stage.submit(*commands))
    check(list(job.tasks), "done", "done", "done")
    for task, output in zip(job.tasks, ("first\n", "second\nthird\n", ""), strict=True):
        check_output(task, output)


async def stop_task(stage: FaultStage) -> None:
    up, _ = stage.gates()
    job = stage.submit(f"trap '' TERM; setsid sleep 1000 & echo up > {up}; exec sleep 1000")
    await pass_gate(up)
    stage.farm.stop_job(job)
    check(list((await stage.farm.wait(job)).tasks), "killed")


async def suspend_task(stage: FaultStage) -> None:
    up, hold = stage.gates()
    job = stage.submit(f"echo up > {up}; read x < {hold}; echo $x")
    await pass_gate(up)
    (task,) = stage.farm.view(job).tasks
    stage.farm.suspend_task(task.key)
    await trio.sleep(0.3)
    stage.farm.resume_task(task.key)
    await open_gate(hold)
    tasks = list((await stage.farm.wait(job)).tasks)
    check(tasks, "done")
    check_output(tasks[0], "go\n")


async def drain_agent(stage: FaultStage) -> None:
    """A task is given back by an agent that ends, and is done by the next one."""
    again = stage.folder / f"again{len(stage.farm.jobs)}"
    up, _ = stage.gates()
    job = stage.submit(f"test -e {again} && exit; touch {again}; echo up > {up}; sleep 1000")
    await pass_gate(up)
    await stage.end_agent()
    await stage.start_agent()
    await stage.wait_online()
    check(list((await stage.farm.wait(job)).tasks), "done")


async def restart_agent(stage: FaultStage) -> None:
    """An agent is killed, and the next one takes its task over."""
    up, hold = stage.gates()
    job = stage.submit(f"echo one; echo up > {up}; read x < {hold}; echo two")
    await pass_gate(up)
    await stage.kill_agent()
    await stage.start_agent()
    await stage.wait_online()
    await open_gate(hold)
    tasks = list((await stage.farm.wait(job)).tasks)
    check(tasks, "done")
    check_output(tasks[0], "one\ntwo\n")


async def start_agent(stage: FaultStage) -> None:
    """All helpers start, too."""
    await stage.end_agent()
    await stage.start_agent()
    await stage.wait_online()
    await run_tasks(stage)


async def start_in_threads(stage: FaultStage) -> None:
    """Where no process may raise a priority, leaders are started in a thread that has theirs."""
    await stage.end_agent()
    await stage.start_agent(keeps_priority=True)
    await stage.wait_online()
    await run_tasks(stage)
    await start_agent(stage)


async def run_large(stage: FaultStage) -> None:
    """More output than the log keeps, and a large environment."""
    large = {f"V{number}": "x" * 100_000 for number in range(8)}
    program = "for _ in range(6000): print('y' * 999)"
    command = shlex.join((sys.executable, "-ISc", program))
    (task,) = (await stage.farm.wait(stage.submit(command, environment=large))).tasks
    check([task], "done")
    assert "left out here" in task.output, "no mark of a gap"


async def show_frame(stage: FaultStage) -> None:
    """A frame whose file is checked, and of which a thumbnail is made."""
    folder = stage.folder / f"frames{len(stage.farm.jobs)}"
    folder.mkdir()
    (folder / "made.png").write_bytes(make_png())
    frames = {"frame_first": 1, "frame_last": 1, "files": [f"{folder}/a.@####@.png"]}
    flags = int(BlockFlags.NUMERIC | BlockFlags.CHECKRENDEREDFILES)
    command = f"cp {folder}/made.png {folder}/a.0001.png"
    job = await stage.farm.wait(stage.submit(flags=flags, command=command, **frames))
    check(list(job.tasks), "done")


async def stop_inherited(stage: FaultStage) -> None:
    """A job is deleted while no agent runs: the next one ends the task that it finds."""
    up, _ = stage.gates()
    job = stage.submit(f"echo up > {up}; sleep 1000")
    await pass_gate(up)
    await stage.kill_agent()
    stage.farm.stop_job(job)
    await stage.start_agent()
    await stage.wait_online()
    check(list((await stage.farm.wait(job)).tasks), "killed")


async def exchange_files(stage: FaultStage) -> None:
    """A task puts other things in the places of files of its run."""
    up, hold = stage.gates()
    script = (
        f"echo one; echo up > {up}; read x < {hold}; cd ..; mkfifo task.end; mkdir -p log;"
        " mkfifo log/lost; echo two"
    )
    job = stage.submit(script)
    await pass_gate(up)
    await open_gate(hold)
    check(list((await stage.farm.wait(job)).tasks), "done")


async def print_to_lost_log(stage: FaultStage) -> None:
    """A task removes its log while it prints."""
    script = "echo one; while ! test -e ../log/0*; do :; done; rm -r ../log; echo two; sleep 0.1; echo three"
    (task,) = (await stage.farm.wait(stage.submit(script))).tasks
    check([task], "done")


async def kill_helpers(stage: FaultStage) -> None:
    """The supervisor and a task supervisor are killed: the task is given back and done."""
    again = stage.folder / f"again{len(stage.farm.jobs)}"
    up, _ = stage.gates()
    job = stage.submit(
        f"test -e {again} && exit; touch {again}; setsid sleep 1000 & echo $PPID > {up}; sleep 1000"
    )
    pid = int(await pass_gate(up))
    parent = psutil.Process(pid).ppid()
    for helper in (parent, pid):
        os.kill(helper, signal.SIGKILL)
    check(list((await stage.farm.wait(job)).tasks), "done")


SCENARIOS: dict[str, Callable[[FaultStage], Awaitable[None]]] = {
    "run": run_tasks,
    "frame": show_frame,
    "stop": stop_task,
    "suspend": suspend_task,
    "large": run_large,
    "exchange": exchange_files,
    "lost log": print_to_lost_log,
    "kill": kill_helpers,
    "drain": drain_agent,
    "stop inherited": stop_inherited,
    "restart": restart_agent,
    "start": start_agent,
    "threads": start_in_threads,
}
"""The cheapest first: a site is tested in the first one that reaches it."""


@asynccontextmanager
async def open_stage(folder: Path, sites: list[Site]) -> AsyncIterator[FaultStage]:
    """Start a farm, and an agent whose calls can fail."""
    numbers: dict[str, list[list[int]]] = {}
    for number, site in enumerate(sites):
        numbers.setdefault(site.module, []).append([*site.place, number])
    (folder / SITES_FILE).write_text(json.dumps(numbers))
    (folder / STATE_FILE).write_bytes(bytes(HEADER.size + _COUNTS.size * len(sites)))
    (folder / "config.json").write_text(json.dumps(_CONFIG))
    token = make_token()
    write_token(folder / "token", token.secret)
    with (folder / STATE_FILE).open("r+b") as file:
        state = mmap.mmap(file.fileno(), 0)
    async with open_farm(None, settings=SETTINGS) as farm, trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[BoundAddress]) -> None:
            tokens = TokenTable.single(token, "render-*")
            await serve_websocket(farm.serve_link, tokens=tokens, task_status=task_status)

        bound: BoundAddress = await nursery.start(serve)
        stage = FaultStage(folder, farm, bound.url, f"{folder}", state)
        stage.arm(None)
        await stage.start_agent()
        await stage.wait_online()
        try:
            yield stage
        finally:
            with trio.CancelScope(shield=True):
                stage.arm(None)
                stage.process.terminate()
                with trio.move_on_after(10):
                    await stage.process.wait()
                await stage.kill_agent()
        await until(lambda: not find_helpers(folder))
        nursery.cancel_scope.cancel()
