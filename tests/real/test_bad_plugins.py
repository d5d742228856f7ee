"""Plugins that raise, hang or kill their process, under a whole agent: only their own task knows."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
from bad_stage import HASTY, Gated, block, open_stage, stored, told
from cli_stage import run_command
from plugins_stage import PLUGINS

QUICK = attrs.evolve(HASTY, plugin=0.5)
"""Half a second for a call: long for an honest one, also on a busy machine."""


@pytest.mark.parametrize(
    ("parser", "fatal", "sentences"),
    [
        ("bad_raise", "RAISE", ["ValueError: no such thing", "bad_raise.py"]),
        ("bad_loop", "LOOP", ["(generic / bad_loop) are dropped", "does not come back"]),
        ("bad_regex", "x" * 64, ["(generic / bad_regex) are dropped", "interpreter lock"]),
        ("bad_os_exit", "EXIT", ["(generic / bad_os_exit) are dropped", "died (exit code 3)"]),
        ("bad_segfault", "CRASH", ["(generic / bad_segfault) are dropped", "Segmentation fault"]),
    ],
)
async def test_a_parser_that_misbehaves_costs_only_itself(
    tmp_path: Path, parser: str, fatal: str, sentences: list[str]
) -> None:
    """Its task is done, with all of its output; the parser beside it goes on counting."""
    gate = Gated.make(tmp_path)
    async with open_stage(tmp_path) as stage:
        agent = await stage.agent(plugins=(PLUGINS,), timing=QUICK)
        beside = stage.submit(
            block(gate.command(before="echo FRAME", after="echo FRAME FRAME"), parser="counts")
        )
        await gate.is_up()
        bad = await stage.run(block(f"echo {fatal}; echo the rest", parser=parser))
        [task] = bad.tasks
        assert (task.state, task.exit_code) == ("done", 0)
        assert stored(tmp_path / "farm", task) == f"{fatal}\nthe rest\n".encode()
        for sentence in sentences:
            assert sentence in task.log
        await gate.let_go()
        [counted] = (await stage.farm.wait(beside)).tasks
        assert (counted.state, counted.frame, counted.attempts) == ("done", 3, 1)
        assert agent.state == "online"
        again = await stage.run(block("echo FRAME", parser="counts"))
        assert (again.tasks[0].state, again.tasks[0].frame) == ("done", 1)


async def test_a_parser_that_hangs_does_not_keep_a_task_from_being_stopped(
    tmp_path: Path,
) -> None:
    async with open_stage(tmp_path) as stage:
        await stage.agent(plugins=(PLUGINS,), timing=QUICK)
        job = stage.submit(block("echo LOOP; exec sleep 1000", parser="bad_loop"))
        running = await stage.until(job, "running")
        stage.farm.stop_task(running.key, "enough of it")
        [task] = (await stage.farm.wait(job)).tasks
        assert task.state == "killed"
        assert "enough of it" in told(task)
        await stage.check_alive()


@pytest.mark.parametrize(
    ("service", "sentence"),
    [
        ("bad_init_raise", "LookupError"),
        ("bad_init_loop", "does not come back"),
        ("bad_init_exit", "exit code 5"),
    ],
)
async def test_a_service_that_cannot_be_made_is_a_failed_start(
    tmp_path: Path, service: str, sentence: str
) -> None:
    async with open_stage(tmp_path) as stage:
        await stage.agent(plugins=(PLUGINS,), timing=QUICK)
        done = await stage.run(
            block("echo never", service=service), block("echo beside", name="beside")
        )
        failed, beside = done.tasks
        assert (failed.state, failed.status, failed.output) == ("error", 23, "")
        assert sentence in failed.log
        assert service in told(failed)
        assert beside.state == "done"
        await stage.check_alive()


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
async def test_whoever_watches_is_told_in_a_line_what_a_parser_raised(
    tmp_path: Path, text: str, raised: str
) -> None:
    """The task is done, so nobody would look into its log."""
    folder = tmp_path / "plugins" / "parsers"
    folder.mkdir(parents=True)
    (folder / "broken.py").write_text(text)
    job = {"job": {"name": "j", "blocks": [block("echo one", parser="broken")]}}
    (tmp_path / "job.json").write_text(json.dumps(job))
    words = ("run", "job.json", "--plugins", "plugins", "--report", "-")
    code, out, err = await run_command(*words, home=tmp_path)
    assert code == 0
    [warning] = [line for line in err.splitlines() if "WARNING" in line]
    assert warning.endswith(f"task 2.0.0: a plugin (generic / broken) raised {raised}")
    assert "Traceback" not in err
    [task] = json.loads(out)["tasks"]
    assert (task["state"], task["output"]) == ("done", "one\n")
    assert "Traceback" in task["log"]
