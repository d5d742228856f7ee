"""`trio_afrender resources` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from support.cli import open_command, run_command


async def test_a_table_and_json_of_this_host(tmp_path: Path) -> None:
    code, out, err = await run_command("resources", home=tmp_path)
    assert (code, err) == (0, "")
    names = [line.split("  ")[0] for line in out.splitlines()]
    assert {"host", "cpu", "memory", "disk", "network", "users"} <= set(names)
    assert "\x1b" not in out
    code, out, _ = await run_command("-res", "--json", home=tmp_path)
    report = json.loads(out)
    assert code == 0
    assert report["resources"]["mem_total_mb"] * 1024**2 <= psutil.virtual_memory().total
    assert report["resources"]["cpu_num"] >= 1
    assert report["host"]["name"]


async def test_watching_ends_with_a_signal(tmp_path: Path) -> None:
    async with open_command("resources", "--watch", "0.1", "--json", home=tmp_path) as command:
        while command.out.count("\n") < 2:
            await command.output()
        command.process.send_signal(signal.SIGINT)
        assert await command.wait() == 0
    lines = [json.loads(line) for line in command.out.splitlines()]
    assert lines[0]["time"] < lines[1]["time"]


async def test_watching_into_a_pipe_is_plain_lines(tmp_path: Path) -> None:
    async with open_command("resources", "--watch", "0.1", home=tmp_path) as command:
        while command.out.count("\n") < 2:
            await command.output()
        command.process.send_signal(signal.SIGTERM)
        assert await command.wait() == 0
    assert all(" cpu " in line for line in command.out.splitlines())


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
async def test_watching_on_a_terminal_draws_curves(tmp_path: Path) -> None:
    async with open_command(
        "resources", "--watch", "0.1", home=tmp_path, out_terminal=True
    ) as command:
        while "\x1b[" not in command.out or "memory" not in command.out:
            await command.output()
        command.process.send_signal(signal.SIGINT)
        assert await command.wait() == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--watch", "0"], "expected 0.1 to 86400 seconds, got 0"),
        (["--watch", "often"], "invalid number value: 'often'"),
        (["--af_render_networkif", "("], "af_render_networkif: expected a regular expression"),
        (["--jsn"], 'did you mean "--json"?'),
    ],
)
async def test_invalid_arguments_are_errors(
    tmp_path: Path, words: list[str], sentence: str
) -> None:
    code, out, err = await run_command("resources", *words, home=tmp_path)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


async def test_a_missing_disk_is_reported_and_the_rest_is_shown(tmp_path: Path) -> None:
    code, out, err = await run_command(
        "resources", "--af_render_hddspace_path", "/no/such/folder", home=tmp_path
    )
    assert code == 0
    assert "could not be measured now: hdd_total_gb, hdd_free_gb" in out
    assert "memory" in out
    assert "cannot measure the disk's space" in err
