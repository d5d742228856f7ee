"""Previews of services for tasks and job files, without running anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.plugins import PLUGINS

from trio_afrender.config import PluginSettings
from trio_afrender.errors import ConfigError, PluginError, PluginNotFound
from trio_afrender.testing import make_service, read_tasks

JOBS = Path(__file__).parents[1] / "data" / "jobs"


def test_numbers_are_filled_and_paths_mapped(tmp_path: Path) -> None:
    view = make_service(
        "generic",
        {
            "command_block": "render /srv/s @#@-@#@",
            "wdir": "/srv/shot",
            "files_block": ["/srv/o.@###@.exr"],
            "environment": {"WHERE": "/srv/x"},
            "block_flags": 1,
            "frame_start": 4,
            "frame_finish": 5,
            "task_name": "frames",
            "parser": "generic",
        },
        settings=PluginSettings(paths_map=(("/mnt/", "/srv/"),)),
    )
    assert view.command == "render /mnt/s 4-5".replace("/", os.sep)
    assert view.working_directory == "/mnt/shot".replace("/", os.sep)
    files = ("/mnt/o.004.exr", "/mnt/o.005.exr")
    assert view.files == tuple(each.replace("/", os.sep) for each in files)
    assert view.environment["WHERE"] == "/mnt/x".replace("/", os.sep)
    assert (view.task, view.parser, view.has_parser, view.skip) == (
        "frames",
        "generic",
        True,
        False,
    )
    assert view.good


def test_thumbnails_are_of_existing_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    settings = PluginSettings(
        thumbnail_command="convert %(image)s %(thumbnail)s", thumbnail_extensions=("png",)
    )
    info = {"wdir": str(tmp_path), "files_block": ["a.png", "b.png"]}
    (command,) = make_service("generic", info, settings=settings).thumbnails
    assert command.replace("\\", "/").startswith(f"convert {tmp_path.as_posix()}/a.png ")


def test_a_missing_parser_is_not_good() -> None:
    view = make_service("generic", {"command_block": "x", "parser": "blendr"})
    assert not view.good
    assert 'did you mean "blender"' in view.log
    assert make_service("generic", {"command_block": "x", "parser": "none"}).good


def test_a_wrong_result_of_a_service_is_a_problem() -> None:
    view = make_service("bad_answers", {}, folders=[PLUGINS])
    assert "service.skipTask() returned int, not a bool" in view.problems
    assert not view.good


def test_a_missing_or_broken_service_is_an_error() -> None:
    with pytest.raises(PluginNotFound, match='did you mean "generic"'):
        make_service("generik", {})
    with pytest.raises(PluginError, match="nothing there"):
        make_service("bad_init_raise", {}, folders=[PLUGINS])


def test_a_job_gives_the_first_task_of_each_block() -> None:
    infos = read_tasks(JOBS / "submitted.json")
    assert [info["block_name"] for info in infos] == ["render", "movie"]
    view = make_service("generic", infos[0])
    assert (view.task, view.command) == ("frame 1-3", "blender -b scene.blend -s 1 -e 3 -a")


def test_a_file_with_one_task_is_returned_unchanged(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"command_block": "x"}))
    assert read_tasks(tmp_path / "t.json") == ({"command_block": "x"},)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "expected an object"),
        ('{"job": {"blocks": [{"command": 3}]}}', r"blocks\[0\]"),
    ],
)
def test_other_json_is_an_error(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read_tasks(tmp_path / "t.json")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"t\.json: No such file"):
        read_tasks(tmp_path / "t.json")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="Linux has it")
def test_a_file_without_an_end_is_an_error() -> None:
    with pytest.raises(ConfigError, match="larger than 256 MiB"):
        read_tasks(Path("/dev/zero"))


def test_the_limits_of_a_service_are_returned(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "slow.py").write_text(
        "from services import service\n\n\nclass slow(service.service):\n"
        '    limits = {"run_time": 3600, "memory": 5}\n    stuck = {"policy": "stop", "cpu": True}\n'
    )
    view = make_service("slow", {"command_block": "x"}, folders=[tmp_path])
    assert view.limits == {"run_time": 3600.0, "memory": 5}
    assert view.stuck == {"policy": "stop"}
    assert view.problems == ("service.stuck: cpu is True: it is ignored",)
