"""Plugins that raise, hang or kill their process, under a whole agent: only their own task sees it."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
from support.cli import run_command
from support.loopback_farm import SHORT_TIMING, Gated, block, open_loopback_farm, reasons, stored
from support.plugins import PLUGINS

QUICK = attrs.evolve(SHORT_TIMING, plugin=2.0)
"""For plugins that hang. A correct one is waited for as long: on a busy machine it took a second."""
SLOW = attrs.evolve(SHORT_TIMING, plugin=30.0)
"""For plugins that must not fail by the time limit: taking memory needs time as well."""
SMALL = 256 * 1024 * 1024
"""Bytes that each plugin host may have."""


@pytest.mark.parametrize(
    ("parser", "fatal", "sentences"),
    [
        ("bad_raise", "RAISE", ["ValueError: no such thing", "bad_raise.py"]),
        ("bad_loop", "LOOP", ["(generic / bad_loop) are disabled", "does not come back"]),
        ("bad_regex", "x" * 64, ["(generic / bad_regex) are disabled", "does not come back"]),
        ("bad_os_exit", "EXIT", ["(generic / bad_os_exit) are disabled", "died (exit code 3)"]),
        ("bad_segfault", "CRASH", ["(generic / bad_segfault) are disabled", "Segmentation fault"]),
        ("bad_sleep", "WAIT", ["(generic / bad_sleep) are disabled", "does not come back"]),
        ("bad_fork", "FORK", ["(generic / bad_fork) are disabled", "exit code 4"]),
        ("bad_socket", "WRITE", ["(generic / bad_socket) are disabled", "nonsense"]),
        ("bad_sys_exit", "EXIT", ["SystemExit", "bad_sys_exit.py"]),
        ("bad_flood", "FLOOD", ["Printed by plugin code"]),
        ("bad_import", "x", ["a_module_that_is_nowhere"]),
        ("bad_gorge", "GORGE", ["MemoryError", "bad_gorge.py", "the setting plugin_memory"]),
        ("bad_gorge", "GROW", ["bad_gorge", "the setting plugin_memory"]),
    ],
)
async def test_a_parser_that_misbehaves_costs_only_itself(
    tmp_path: Path, parser: str, fatal: str, sentences: list[str]
) -> None:
    """Its task is done, with all of its output; the parser beside it keeps counting."""
    gate = Gated.make(tmp_path)
    timing = QUICK if "does not come back" in sentences else SLOW
    async with open_loopback_farm(tmp_path) as loopback:
        agent = await loopback.agent(plugins=(PLUGINS,), timing=timing, plugin_memory=SMALL)
        beside = loopback.submit(
            block(gate.command(before="echo FRAME", after="echo FRAME FRAME"), parser="counts")
        )
        await gate.is_up()
        bad = await loopback.run(block(f"echo {fatal}; echo the rest", parser=parser))
        [task] = bad.tasks
        assert (task.state, task.exit_code) == ("done", 0)
        assert stored(tmp_path / "farm", task) == f"{fatal}\nthe rest\n".encode()
        for sentence in sentences:
            assert sentence in task.log
        await gate.release()
        [counted] = (await loopback.farm.wait(beside)).tasks
        assert (counted.state, counted.frame, counted.attempts) == ("done", 3, 1)
        assert agent.state == "online"
        again = await loopback.run(block("echo FRAME", parser="counts"))
        assert (again.tasks[0].state, again.tasks[0].frame) == ("done", 1)


async def test_a_parser_that_hangs_does_not_keep_a_task_from_being_stopped(
    tmp_path: Path,
) -> None:
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent(plugins=(PLUGINS,), timing=QUICK)
        job = loopback.submit(block("echo LOOP; exec sleep 1000", parser="bad_loop"))
        running = await loopback.until(job, "running")
        loopback.farm.stop_task(running.key, "enough of it")
        [task] = (await loopback.farm.wait(job)).tasks
        assert task.state == "killed"
        assert "enough of it" in reasons(task)
        await loopback.check_alive()


BROKEN = {
    "sleeps": """
import time
from services import service

class sleeps(service.service):
    def getCommand(self):
        time.sleep(1000)
""",
    "unfinished": "from services import service\nclass unfinished(",
    "missing_module": "import moth_sdk\n",
}


@pytest.mark.parametrize(
    ("service", "sentence"),
    [
        ("bad_init_raise", "LookupError"),
        ("bad_init_loop", "does not come back"),
        ("bad_init_exit", "exit code 5"),
        ("bad_command", "getCommand() returned NoneType, not a str"),
        ("incomplete", "lacks"),
        ("sleeps", "does not come back"),
        ("unfinished", "SyntaxError"),
        ("missing_module", "No module named 'moth_sdk'"),
    ],
)
async def test_a_service_that_cannot_be_made_is_a_failed_start(
    tmp_path: Path, service: str, sentence: str
) -> None:
    folder = tmp_path / "plugins" / "services"
    folder.mkdir(parents=True)
    for name, text in BROKEN.items():
        (folder / f"{name}.py").write_text(text)
    async with open_loopback_farm(tmp_path) as loopback:
        timing = QUICK if sentence == "does not come back" else SLOW
        await loopback.agent(plugins=(PLUGINS, folder.parent), timing=timing)
        done = await loopback.run(
            block("echo never", service=service), block("echo beside", name="beside")
        )
        failed, beside = done.tasks
        assert (failed.state, failed.status, failed.output) == ("error", 23, "")
        assert sentence in failed.log
        assert service in reasons(failed)
        assert beside.state == "done"
        await loopback.check_alive()


async def test_odd_answers_of_a_service_are_logged_and_its_task_continues(tmp_path: Path) -> None:
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent(plugins=(PLUGINS,), timing=SLOW)
        [task] = (await loopback.run(block("echo one", service="bad_answers"))).tasks
        assert (task.state, task.output) == ("done", "one\n1\n2\n")
        for sentence in (
            "service.grace is 'soon', not seconds",
            "service.skipTask() returned int, not a bool",
            "service.getFiles() returned dict, not a list",
            "service.checkExitStatus() returned str, not a bool",
            "service.doPostLimitSec() returned str, not seconds",
            "OSError: disk",
        ):
            assert sentence in task.log
        await loopback.check_alive()


async def test_attributes_of_wrong_types_are_logged_and_the_right_ones_count(
    tmp_path: Path,
) -> None:
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent(plugins=(PLUGINS,), timing=SLOW)
        [task] = (await loopback.run(block("echo x", parser="bad_types"))).tasks
        assert (task.state, task.percent, task.activity) == ("error", 12, "busy")
        for sentence in (
            "parser.frame is str, not an int: the last value is kept",
            "parser.warning is int, not a bool: the last value is kept",
            "parser.resources is list, not a str: the last value is kept",
            "parser.result is int, not a str",
            "parser.getFilesOnTheFly() returned str, not a list",
        ):
            assert sentence in task.log
        await loopback.check_alive()


async def test_files_that_are_not_there_and_numbers_that_are_none(tmp_path: Path) -> None:
    """A pattern that is none stays as it is; the file that is missing is named."""
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent(plugins=(PLUGINS,), timing=SLOW)
        bad = {
            "name": "b", "service": "generic", "command": "echo @# @ @x@ @#@", "flags": 129,
            "files": [str(tmp_path / "out.@####@.exr")], "frame_first": 7, "frame_last": 7,
        }  # fmt: skip
        [task] = (await loopback.run(bad)).tasks
        assert task.output == "@# @ @x@ 7\n"
        assert (task.state, task.status) == ("error", 13)
        assert f"File does not exist:\n{tmp_path}/out.0007.exr" in task.log
        await loopback.check_alive()


async def test_pairs_of_the_map_that_cannot_be_used_are_in_each_tasks_log(
    tmp_path: Path,
) -> None:
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent(paths_map=(("/mnt/P/", "/ps/"), ("", "/x/"), ("/y/", "")))
        [task] = (await loopback.run(block("echo /ps/a /x/b /y/c"))).tasks
        assert (task.state, task.output) == ("done", "/mnt/P/a /x/b /y/c\n")
        assert "pair 2 of the paths map is not used: a side of it is empty" in task.log
        assert "pair 3 of the paths map is not used" in task.log


async def test_a_job_of_bad_tasks_does_not_affect_the_task_beside_it(tmp_path: Path) -> None:
    """Each of its tasks ends its own plugin host; the task beside keeps its host."""
    gate = Gated.make(tmp_path)
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent(plugins=(PLUGINS,), timing=SLOW)
        first = await loopback.run(block("echo EXIT", parser="bad_os_exit"))
        assert "are disabled" in first.tasks[0].log
        beside = loopback.submit(
            block(gate.command(before="echo FRAME", after="echo FRAME FRAME"), parser="counts")
        )
        await gate.is_up()
        again = await loopback.run(block(*["echo EXIT"] * 6, parser="bad_os_exit"))
        for task in again.tasks:
            assert (task.state, task.exit_code) == ("done", 0)
            assert "are disabled" in task.log
        await gate.release()
        [counted] = (await loopback.farm.wait(beside)).tasks
        assert (counted.state, counted.frame) == ("done", 3)
        assert "plugin host" not in counted.log


RAISING = """
from parsers import parser


class broken(parser.parser):
    def do(self, args):
        raise ValueError("what is this?\\x1b[2J")
"""


@pytest.mark.parametrize(
    ("text", "raised"),
    [
        (RAISING, "ValueError: what is this?\\x1b[2J"),
        ("raise ImportError('not for this version')", "ImportError: not for this version"),
    ],
)
async def test_the_console_has_one_line_on_what_a_parser_raised(
    tmp_path: Path, text: str, raised: str
) -> None:
    """The task is done, so its log would not be read."""
    folder = tmp_path / "plugins" / "parsers"
    folder.mkdir(parents=True)
    (folder / "broken.py").write_text(text)
    job = {"job": {"name": "j", "blocks": [block("echo one", parser="broken")]}}
    (tmp_path / "job.json").write_text(json.dumps(job))
    words = ("run", "job.json", "--plugins", "plugins", "--report", "-")
    code, out, err = await run_command(*words, home=tmp_path)
    assert code == 0
    # Others are about a busy machine, whose measurements take more than a second.
    [warning] = [line for line in err.splitlines() if "WARNING" in line and " task 2.0.0" in line]
    assert warning.endswith(f"task 2.0.0: a plugin (generic / broken) raised {raised}")
    assert "Traceback" not in err
    [task] = json.loads(out)["tasks"]
    assert (task["state"], task["output"]) == ("done", "one\n")
    assert "Traceback" in task["log"]
