"""A studio's folder of plugins written for CGRU, in the plugin host and from the command line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import trio
from support.cli import run_command
from support.plugins import GUARD, make_spec
from support.written_log import open_written_log

from trio_afrender.config import PluginSettings
from trio_afrender.plugins.host.host_pool import open_plugin_host

STUDIO = Path(__file__).parents[1] / "data" / "studio"
SETTINGS = PluginSettings(
    paths_map=(("/mnt/shows/", "/shows/"),),
    variables={"lumen_quality": 3, "nested": {"list": [1, [2]]}},
)
LOG = b"frame 1\npass 2/2\nmemory: 2 KB\nwrote one.exr\npreview look.exr\nframe 2\npass 1/2\n"
# The service appends its options: the last command, echo, prints them.
TASK = (
    r"printf 'frame 1\npass 2/2\nmemory: 2 KB\nwrote one.exr\n'; echo x > one.exr; echo asked for:"
)


async def test_plugins_of_a_studio_run_in_the_plugin_host(tmp_path: Path) -> None:
    for name in ("one.exr", "look.exr"):
        (tmp_path / name).touch()
    spec = make_spec(
        "lumen_log", "lumen", wdir=str(tmp_path), store_dir=str(tmp_path), frames_num=2, environment={}
    )  # fmt: skip
    with trio.fail_after(GUARD):
        async with (
            open_plugin_host(SETTINGS, folders=[STUDIO]) as runner,
            open_written_log(tmp_path / "log") as log,
            runner.open_task(spec, log) as task,
        ):
            assert task.facts.command.endswith(" -q 3")
            assert task.facts.environment["LUMEN_SCENE"] == "/mnt/shows/scenes/moth.lum"
            await log.append(LOG)
            state = await task.parse(log.size)
            assert (state.percent, state.resources) == (75, "mem:2048")
            on_the_fly = await task.on_the_fly(state.files_onthefly)
            assert [command.split(" > ")[0] for command in on_the_fly] == [
                "echo thumbnail of look.exr"
            ]
            await task.parse(log.size, mode="768:0")
            end = await task.run_end_checks(3, check_files=False, post=True)
            assert end.exit_ok
            assert [command.split(" > ")[0] for command in end.post] == [
                "echo thumbnail of one.exr"
            ]
            assert end.log == "Service: Lumen had warnings."
            assert task.problems() == ()


async def test_the_next_task_uses_a_changed_helper(tmp_path: Path) -> None:
    studio = tmp_path / "studio"
    shutil.copytree(STUDIO, studio, ignore=shutil.ignore_patterns("__pycache__"))
    helper = studio / "services" / "lumen_flags.py"
    spec = make_spec("lumen_log", "lumen")
    with trio.fail_after(GUARD):
        async with open_plugin_host(SETTINGS, folders=[studio]) as runner:
            async with open_written_log(tmp_path / "1") as log, runner.open_task(spec, log) as task:
                assert " --user user " in task.facts.command
            before = helper.stat().st_mtime_ns
            helper.write_text(helper.read_text().replace('"--user"', '"--artist"'))
            os.utime(helper, ns=(before + 1, before + 1))
            async with open_written_log(tmp_path / "2") as log, runner.open_task(spec, log) as task:
                assert " --artist user " in task.facts.command


async def test_a_job_runs_with_plugins_of_a_studio(tmp_path: Path) -> None:
    """From the config file to the report: VARS, mapping, parser, thumbnails, log."""
    block = {
        "name": "beauty", "service": "lumen", "parser": "lumen_log", "working_directory": str(tmp_path),
        "tasks": [{"name": "still", "command": TASK}],
    }  # fmt: skip
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"job": {"name": "moth", "user_name": "Ann Lee", "blocks": [block]}}))
    config = tmp_path / ".cgru" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"cgru_config": {"lumen_quality": 5}}))
    report = tmp_path / "report.json"
    code, _, err = await run_command(
        "run", job, "--plugins", STUDIO, "--report", report, home=tmp_path
    )
    assert code == 0, err
    [task] = json.loads(report.read_text())["tasks"]
    assert task["state"] == "done"
    assert task["resources"].split()[0] == "mem:2048"  # followed by measured values
    assert "asked for: --user Ann_Lee" in task["output"]
    assert task["output"].rstrip().endswith("-q 5")


async def test_a_folder_named_in_the_config_file(tmp_path: Path) -> None:
    block = {"name": "b", "service": "lumen", "parser": "lumen_log", "tasks": [{"command": "echo"}]}
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"job": {"name": "moth", "blocks": [block]}}))
    config = tmp_path / ".cgru" / "config.json"
    config.parent.mkdir()
    own = {"plugins": [str(tmp_path / "empty"), str(STUDIO)]}
    (tmp_path / "empty").mkdir()
    config.write_text(json.dumps({"cgru_config": {"trio_afrender": own}}))
    code, _, err = await run_command("run", job, home=tmp_path)
    assert code == 0, err
