"""The installed command line: start, help, settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import make_environment, run_command

_HELP = """
import sys
from trio_afrender.cli.main import main
assert main(["--help"]) == 0
slow = {"trio", "psutil", "rich", "attrs", "cattrs", "trio_websocket", "json"} & set(sys.modules)
assert slow <= {"attrs"}, slow
"""


def test_help_imports_nothing_slow(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _HELP], check=True, env=make_environment(tmp_path))


async def test_config_prints_each_setting_with_its_layer(tmp_path: Path) -> None:
    home = tmp_path / ".cgru"
    home.mkdir()
    (home / "config.json").write_text(
        '{"cgru_config": {"af_servername": "farm\\u001b[31m", "af_priority": "high",'
        ' "trio_afrender": {"max_tasks": 2, "token_file": "token"}}}'
    )
    (tmp_path / "token").write_text("not-to-be-seen")
    code, out, err = await run_command("config", "--af_render_nice", "5", home=tmp_path)
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["af_servername"].endswith(f'"farm\\u001b[31m"  [file {home}/config.json]')
    assert lines["af_render_nice"].endswith("5  [command line --af_render_nice]")
    assert lines["trio_afrender.max_tasks"].endswith(f"2  [file {home}/config.json]")
    assert lines["trio_afrender.timing.grace"].endswith("10.0 seconds  [default]")
    assert f"warning: {home}/config.json:1:53: af_priority: expected a whole number" in err
    assert f"config files read: {home}/config.json\n" in err
    assert "not-to-be-seen" not in out + err


async def test_config_as_json_is_all_of_stdout(tmp_path: Path) -> None:
    code, out, _ = await run_command("config", "--json", "--af_priority", "7", home=tmp_path)
    assert code == 0
    data = json.loads(out)
    assert data["values"]["af_priority"] == {
        "value": 7,
        "unit": "",
        "from": "command line --af_priority",
    }
    assert data["files"] == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"cgru_config": {"trio_afrender": {"max_task": 2}}}', 'no setting "max_task" in trio_afrender, did you mean "max_tasks"?'),
        ('{"cgru_config": {\n"a": 1,\n}}', "c.json:3:1: not JSON"),
        ('{"cgru_config": {"trio_afrender": {"max_tasks": 0}}}', "max_tasks: expected at least 1, got 0"),
    ],
)  # fmt: skip
async def test_a_bad_file_given_by_an_option_is_an_error(
    tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "c.json").write_text(text)
    code, out, err = await run_command("config", "--config", "c.json", home=tmp_path)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
