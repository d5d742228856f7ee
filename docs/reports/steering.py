"""Go through all commands for farms with one farm, and write what it looked like after each step.

    python docs/reports/steering.py af://HOST:PORT RENDER OUT.json
    python docs/reports/steering.py --table OUT.json ...

The farm has one render of that name with the usual capacity, and no jobs of users. It is on this
machine. At the end the render has left it. `--table` prints the outcomes beside each other.

Each step is a command of `trio_afrender`. Its outcome is the exit code and what the farm answers
afterwards, within `FACTS_TIMEOUT` seconds. The commands of tasks wait for files that the script makes,
so no step depends on the speed of a machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from trio_afrender.afserver.client import Dialer
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.transport.address import parse_native

FACTS_TIMEOUT = 15.0
JOB, USER = "steering", "ann"


class Script:
    """The steps so far with one farm."""

    def __init__(self, server: str, render: str, folder: Path) -> None:
        self.server, self.render, self.folder = server, render, folder
        dialer = Dialer(parse_native(server), timeout=10)
        self.farm = RemoteFarm(dialer=dialer, user_name=USER, host_name="steering")
        self.steps: list[dict[str, object]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command without a terminal."""
        return subprocess.Popen(
            [sys.executable, "-m", "trio_afrender", *words, "--server", self.server],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "AF_USERNAME": USER, "NO_COLOR": "1"},
        )

    def do(self, *words: str, show: str = "", want: str = "", text: str = "") -> str:
        """Run a command. `show` names facts, `want` are their expected values, a pattern.

        `text` is a pattern that its output should have.
        """
        command = self.start(*words)
        out, err = command.communicate(timeout=60)
        self.note(words, command.returncode, out + err, show=show, want=want, text=text)
        return out

    def note(
        self,
        words: Sequence[str],
        code: int,
        printed: str,
        *,
        show: str = "",
        want: str = "",
        text: str = "",
    ) -> None:
        """Note the outcome of a command."""
        facts = self.wait(show, want) if show else ""
        found = re.search(text, printed, re.MULTILINE) if text else None
        outcome = [f"exit {code}" if code else "", facts]
        outcome.append("" if not text else f"`{found[0].strip()}`" if found else "another text")
        step = {
            "step": " ".join(words).replace(str(self.folder), "DIR").replace(self.render, "RENDER"),
            "outcome": ", ".join(filter(None, outcome)).replace("\n", " ") or "done",
            "expected": bool(not want or re.fullmatch(want, facts)) and bool(found or not text),
            "printed": printed[-4000:],
        }
        self.steps.append(step)
        mark = " " if step["expected"] else "?"
        sys.stdout.write(f"{mark} {step['step']} -> {step['outcome']}\n")
        sys.stdout.flush()

    def wait(self, show: str, want: str = "") -> str:
        """The facts, as soon as they are as expected; else as they are when time is up."""
        until = time.monotonic() + FACTS_TIMEOUT
        while True:
            facts = trio.run(self.facts, show)
            if not want or re.fullmatch(want, facts) or time.monotonic() > until:
                return facts
            time.sleep(0.3)

    async def facts(self, show: str) -> str:
        """What the farm answers now: words such as ``tasks`` or ``render.priority``."""
        return ", ".join([await self.fact(*word.partition(".")[::2]) for word in show.split()])

    async def fact(self, kind: str, key: str) -> str:
        jobs = [job for job in await self.farm.jobs(full=True) if job.name == JOB]
        if kind in ("tasks", "starts"):
            if not jobs:
                return "no job"
            blocks: dict[int, list[str]] = {}
            for task in await self.farm.tasks(jobs[0]):
                shown = "+".join(task.states) if kind == "tasks" else str(task.starts)
                blocks.setdefault(task.block, []).append(shown)
            return " / ".join(" ".join(words) for words in blocks.values())
        nodes = {
            "render": [each for each in await self.farm.renders() if each.name == self.render],
            "user": [each for each in await self.farm.users() if each.name == USER],
            "pool": [*(await self.farm.pools()).values()],
            "job": jobs,
            "block": jobs[0].blocks if jobs else [],
        }[kind]
        if not nodes:
            return f"no {kind}"
        if not key:
            return " ".join(getattr(nodes[0], "states", [nodes[0].name]))
        return json.dumps(nodes[0].fields.get(key))

    def gate(self, frame: int, code: int | None) -> None:
        """Let a frame end with an exit code; None: let it wait."""
        path = self.folder / f"go-{frame}"
        if code is None:
            path.unlink(missing_ok=True)
        else:
            path.with_suffix(".new").write_text(str(code))
            path.with_suffix(".new").rename(path)

    def submit(self, name: str) -> None:
        """Write the job, and submit it."""
        command = (
            f"echo frame @#@ begins; while ! test -e {self.folder}/go-@#@; do sleep 0.1; done;"
            f" echo frame @#@ ends; exit $(cat {self.folder}/go-@#@)"
        )
        block = {"service": "generic", "parser": "generic", "flags": 1, "command": command}
        blocks = [
            {**block, "name": "a", "frame_first": 1, "frame_last": 4, "errors_retries": 0},
            {**block, "name": "b", "frame_first": 11, "frame_last": 12, "depend_mask": "a"},
        ]
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({"job": {"name": name, "user_name": USER, "blocks": blocks}}))
        self.do("submit", str(path), show="tasks", want="RUN RDY RDY RDY / WDP WDP")


def look(script: Script) -> None:
    """Look at a running job."""
    do, render = script.do, script.render
    do("renders", text=rf"^{render} +\d+ +RUN ")
    do("renders", render, "--json", text=f'"task": 0|{"capacity_used"}": 1000')
    do("jobs", text=rf"{JOB} +{USER} +RDY RUN +99")
    do("jobs", JOB, "--json", text='"depend_mask"')
    do("tasks", JOB, text="6 tasks: 0 done, 1 running, 0 with errors")
    do("tasks", f"{JOB}.a.0-1", "--state", "RUN", "--json", text='"states": \\[\\s*"RUN"')
    do("jobs", "--why", JOB, text='it waits for block "a" \\(0 of 4 tasks done\\)')
    do("jobs", "--why", JOB, "--json", text="a task needs 1000 of capacity, 100 of 1100 are free")
    do("output", f"{JOB}.a.0", text="^frame 1 begins$")
    do("output", f"{JOB}.a.1", text="was not started yet")
    do("why", f"{JOB}.a.1", text="RDY")
    follower = script.start("output", f"{JOB}.a.0", "--follow")
    time.sleep(4)
    script.gate(1, 0)
    out, err = follower.communicate(timeout=60)
    words = ("output", f"{JOB}.a.0", "--follow")
    text = "\\Aframe 1 begins\nframe 1 ends\n\\Z"
    script.note(words, follower.returncode, out + err, text=text)
    script.wait("tasks", "DON RUN RDY RDY / WDP WDP")
    do("output", f"{JOB}.a.0", text=text)
    do("why", f"{JOB}.a.0", text="DON")
    do("log", "task", f"{JOB}.a.0", text="Finished ?[Ss]uccess")
    do("log", "job", JOB, text="(?i)job")
    do("log", "render", render, text="(?i)registered")
    do("log", "render", render, "--tasks", text="Finished task: .*frame 1")
    do("log", "user", USER, text="(?i)job|user")


def set_parameters(script: Script) -> None:
    """Set one parameter of each type, of each kind of node."""
    do, render = script.do, script.render
    show = "render.priority render.annotation render.user_name"
    words = ("priority=77", "annotation=rack 7", "user_name=bob")
    do("set", "render", render, *words, show=show, want='77, "rack 7", "bob"')
    do("set", "render", render, "hidden=true", show="render.hidden", want="true")
    do("set", "render", render, "priority=78", show="render.hidden", want="true")
    do("set", "render", render, "hidden=false", show="render.hidden", want="null|false")
    show, words = "render.capacity_host render.max_tasks_host", ("capacity_host=2200",)
    do("set", "render", render, *words, "max_tasks_host=3", show=show, want="2200, 3")
    words = ("capacity_host=-1", "max_tasks_host=-1")
    script.wait("tasks", "DON RUN RUN RDY / WDP WDP")
    do("set", "render", render, *words, show="render", want="ONL RUN")
    show, words = "render.services_disabled", ("services_disabled=generic",)
    do("set", "render", render, *words, show=show, want='\\["generic"\\]')
    do("set", "render", render, "services_disabled=", show=show, want="null|\\[\\]")
    show, words = "job.priority job.annotation", ("priority=50", "annotation=for dailies")
    do("set", "job", JOB, *words, show=show, want='50, "for dailies"')
    show, words = "job.max_running_tasks job.time_life", ("max_running_tasks=1", "time_life=86400")
    do("set", "job", JOB, *words, show=show, want="1, 86400")
    show, words = "job.folders job.depend_mask", ("folders.output=/srv/out", "depend_mask=none.*")
    do("set", "job", JOB, *words, show=show, want='{"output": "/srv/out"}, "none.*"')
    show, words = "block.capacity block.errors_retries", ("capacity=900", "errors_retries=0")
    do("set", "block", f"{JOB}.a", *words, show=show, want="900, 0")
    show, words = "block.environment job.priority", ("environment.OCIO=/srv/ocio",)
    do("set", "block", f"{JOB}.a", *words, show=show, want='{"OCIO": "/srv/ocio"}, 50')
    do("set", "block", f"{JOB}.a", "capacity=1000", show="block.capacity", want="1000")
    show = "user.priority user.max_running_tasks user.errors_retries"
    words = ("priority=70", "max_running_tasks=5", "errors_retries=1")
    do("set", "user", USER, *words, show=show, want="70, 5, 1")
    do("set", "pool", "/", "annotation=all", show="pool.annotation", want='"all"')
    show = "tasks"
    do("set", "task", f"{JOB}.a.3", "suspended=true", show=show, want=".* SUS / .*")
    do("set", "task", f"{JOB}.a.3", "suspended=false", show=show, want=".* RDY / .*")
    do("set", "task", f"{JOB}.a.3", "next=true", show=show, want=".*RDY\\+TRY / .*")
    do("set", "task", f"{JOB}.a.3", "next=false", show=show, want=".* RDY / .*")


def refuse(script: Script) -> None:
    """What is wrong is printed, and nothing is done."""
    do, render = script.do, script.render
    do("set", "render", render, "prio=5", show="render.priority", text='did you mean "priority"')
    do("set", "job", JOB, "priority=high", show="job.priority", text="from 0 to 255")
    do("set", "job", JOB, "user_name=eve", show="job.user_name", text="refused: .*eve")
    do("pause", "sterring", show="job", text=f'did you mean "{JOB}"')
    do("stop", JOB, show="job", text="--yes")
    do("delete", "render", render, show="render", text="it is online")
    do("delete", "user", USER, "--yes", show="user", text="1 job")
    do("wake", render, show="render", text="it is not asleep")


def steer(script: Script) -> None:
    """Steer renders, jobs and tasks."""
    do, render, gate = script.do, script.render, script.gate
    gate(2, 0)
    gate(3, 0)
    script.wait("tasks", "DON DON DON RUN / WDP WDP")
    do("nimby", render, show="render", want="ONL NbY RUN")
    do("NIMBY", render, show="render", want="ONL NBY RUN")
    do("jobs", "--why", JOB, text='it waits for block "a" \\(3 of 4 tasks done\\)')
    do("free", render, show="render", want="ONL RUN")
    do("pause", "render", render, show="render", want="ONL RUN PAU")
    do("start", "render", render, show="render", want="ONL RUN")
    do("pause", JOB, show="job tasks", want="RUN OFF, DON DON DON RUN / WDP WDP")
    do("start", JOB, show="job", want="RDY RUN|RUN")
    do("stop", JOB, "--yes", show="job tasks", want=".*OFF, DON DON DON RDY / WDP WDP")
    do("jobs", "--why", JOB, text="the job is paused")
    do("start", JOB, show="tasks", want="DON DON DON RUN / WDP WDP")
    do("pause", "user", USER, show="user.paused", want="true")
    do("start", "user", USER, show="user.paused", want="null|false")
    do("pause", "pool", "/", show="pool", want=".*PAU")
    do("start", "pool", "/", show="pool", want="|RUN")
    do("restart", f"{JOB}.a.0", show="tasks", text="--yes")
    do("NIMBY", render, show="render", want="ONL NBY RUN")
    do("restart", f"{JOB}.a.0", "--yes", show="tasks", want="RDY DON DON RUN / WDP WDP")
    do("jobs", "--why", JOB, text="max_running_tasks is 1")
    do("set", "job", JOB, "max_running_tasks=-1", show="job.max_running_tasks", want="null")
    do("jobs", "--why", JOB, text="it takes no jobs \\(NIMBY\\)")
    do("eject", render, "--keep-mine", "--yes", show="tasks", want="RDY DON DON RUN / WDP WDP")
    do("eject", render, "--yes", show="tasks render", want="RDY DON DON RDY / WDP WDP, ONL NBY")
    do("skip", f"{JOB}.a.3", show="tasks", want="RDY DON DON DON\\+SKP / WDP WDP")
    do("restart", f"{JOB}.a", "--skipped", show="tasks", want="RDY DON DON RDY / WDP WDP")
    do("set", "task", f"{JOB}.a.3", "done=true", show="tasks", want="RDY DON DON DON / WDP WDP")
    gate(1, 3)
    do("free", render, show="tasks", want="ERR DON DON DON / WDP WDP")
    do("jobs", JOB, text=f"{JOB} +{USER} +(\\S+ )*ERR")
    do("why", f"{JOB}.a.0", text="ERR")
    do("jobs", "--why", JOB, text='it waits for block "a"')
    do("log", "task", f"{JOB}.a.0", text="Finished ?[Ee]rror|FinishedError")
    gate(1, 0)
    gate(11, 0)
    do("retry", JOB, show="tasks", want="DON DON DON DON / DON RUN")
    words, want = ("--running", "--yes"), "DON DON DON DON / DON RUN, 3 1 1 2 / 1 2"
    do("restart", JOB, *words, show="tasks starts", want=want)
    do("skip", f"{JOB}.b.1", show="job tasks", want="DON.*, DON DON DON DON / DON DON\\+SKP")
    do("output", f"{JOB}.b.0", text="^frame 11 ends$")
    do("output", f"{JOB}.a.0", "--run", "1", text="^frame 1 ends$")
    do("log", "render", render, text=f'{USER}@.*: +"nimby" set to false')
    do("log", "job", JOB, text=f"{USER}@.* pause")
    do("log", "user", USER, text=f'{USER}@.*"priority" set to 70')
    do("log", "pool", "/", text=f'{USER}@.*"annotation" set to "?all')
    do("restart", JOB, "--pause", "--yes", show="job", want="RDY OFF")
    do("tasks", JOB, text="6 tasks: 0 done, 0 running, 0 with errors")


def leave(script: Script) -> None:
    """Sleep and wake, delete, exit."""
    do, render = script.do, script.render
    do("delete", JOB, "--yes", show="job", want="no job")
    do("sleep", render, show="render")
    time.sleep(5)
    do("renders", "--json", show="render", text='"name"')
    do("wake", render, show="render")
    do("exit", render, "--yes", show="render", want="OFF.*")
    do("delete", "render", render, "--yes", show="render", want="no render")
    do("delete", "user", USER, "--yes", show="user", want="no user")


def go_through(server: str, render: str, out: Path) -> None:
    """Go through all steps."""
    with tempfile.TemporaryDirectory(prefix="steering-") as folder:
        script = Script(server, render, Path(folder))
        script.wait("render", "ONL")
        parts: Sequence[Callable[[Script], None]] = (look, set_parameters, refuse, steer, leave)
        script.submit(JOB)
        for part in parts:
            part(script)
    out.write_text(json.dumps(script.steps, indent=1) + "\n")


def print_table(paths: Sequence[Path]) -> None:
    """Print the outcomes beside each other: of the first farm, and where others differ."""
    runs = [json.loads(path.read_text()) for path in paths]
    for first, *others in zip(*runs, strict=True):
        step = first["step"].replace(JOB, "J").replace("RENDER", "R")
        cells = [_cell(first)]
        cells += ["same" if _cell(each) == cells[0] else _cell(each) for each in others]
        sys.stdout.write(f"| `{step}` | {' | '.join(cells)} |\n")


def _cell(step: dict[str, str]) -> str:
    return " ".join(step["outcome"].split()).replace(JOB, "J").replace("|", "\\|")


if __name__ == "__main__":
    if sys.argv[1] == "--table":
        print_table([Path(name) for name in sys.argv[2:]])
    else:
        go_through(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
