"""OOM scores: commands and plugin processes do not inherit the protection of the agent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trio_afrender.process import oom_score

PROGRAM = """
import os, sys, trio
from pathlib import Path
from trio_afrender.process.host_commands import spawn_detached
from trio_afrender.process import oom_score
from trio_afrender.config import PluginSettings
from support.written_log import open_written_log
from trio_afrender.plugins.interfaces import PluginSpec
from trio_afrender.plugins.host.host_pool import open_plugin_host

folder = Path(sys.argv[1])

async def main():
    # Only a privileged process may lower a score, so this one raises it and claims that it was lowered.
    Path("/proc/self/oom_score_adj").write_text("300")
    real, oom_score.read_score = oom_score.read_score, lambda: -500
    code = await spawn_detached(("/bin/sh", "-c", f"cat /proc/self/oom_score_adj > {folder}/detached"), dict(os.environ))
    print(code, (folder / "detached").read_text().strip(), real())
    async with open_plugin_host(PluginSettings()) as plugins:
        spec = PluginSpec(service="generic", parser="", task_info={"wdir": "", "command_block": "x"})
        async with open_written_log(folder / "log") as log:
            async with plugins.open_task(spec, log):
                children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
                pids = [p for p in os.listdir("/proc") if p.isdigit()]
                mine = {str(os.getpid())}
                scores = []
                for _ in range(4):
                    for pid in pids:
                        try:
                            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
                            score = Path(f"/proc/{pid}/oom_score_adj").read_text().strip()
                        except OSError:  # it has ended
                            continue
                        if parent in mine and pid not in mine:
                            mine.add(pid)
                            scores.append(score)
                print("plugins", sorted(set(scores)))

trio.run(main)
"""


@pytest.mark.skipif(oom_score.read_score() < 0, reason="this process is protected already")
def test_without_protection_a_command_gets_no_prefix() -> None:
    assert oom_score.unprotecting() == ()


def test_the_score_is_lowered_where_that_is_permitted_and_never_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oom_score, "_SCORE", score := tmp_path / "score")
    score.write_text("0\n")
    assert oom_score.protect()
    assert (oom_score.read_score(), bool(oom_score.unprotecting())) == (-500, True)
    score.write_text("-900\n")
    assert oom_score.protect()
    assert oom_score.read_score() == -900
    monkeypatch.setattr(oom_score, "_SCORE", tmp_path / "no" / "such")
    assert (oom_score.read_score(), oom_score.protect(), oom_score.unprotecting()) == (0, False, ())


def test_protection_is_not_inherited(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stdout.splitlines() == [
        "0 0 300",
        "plugins ['0']",
    ], done.stderr
