"""The unit files of the examples: systemd accepts them, and the doctor has no objection."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.cli import run_command

from trio_afrender.cli.doctor.network import compare_unit
from trio_afrender.cli.systemd_units import UNIT_KINDS

FOLDER = Path(__file__).parents[2] / "examples" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
ANALYZE = shutil.which("systemd-analyze") or ""
SHOWN = {"WatchdogSec": "WatchdogUSec", "TimeoutStopSec": "TimeoutStopUSec"}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.skipif(not ANALYZE, reason="no systemd-analyze here")
def test_systemd_knows_every_setting(unit: Path, tmp_path: Path) -> None:
    lines = [
        "ExecStart=/bin/true" if line.startswith("ExecStart=") else line
        for line in unit.read_text().splitlines()
    ]
    verify("\n".join(lines), tmp_path, user=".user." in unit.name)


@pytest.mark.parametrize("user", [False, True], ids=["host", "user"])
@pytest.mark.parametrize("kind", UNIT_KINDS)
@pytest.mark.skipif(not ANALYZE, reason="no systemd-analyze here")
async def test_systemd_knows_every_setting_that_the_command_prints(
    kind: str, user: bool, tmp_path: Path
) -> None:
    """With the path of this program, and a store that needs quotes."""
    words = ["--user"] if user else []
    code, out, _ = await run_command("unit", kind, *words, "--store", "/srv/a b%$", home=tmp_path)
    assert code == 0
    verify(out, tmp_path, user=user)


def verify(unit: str, folder: Path, *, user: bool) -> None:
    (folder / "it.service").write_text(unit)
    verified = subprocess.run(
        [ANALYZE, *(["--user"] if user else []), "--man=no", "verify", str(folder / "it.service")],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
    )  # fmt: skip
    errors = [line for line in verified.stderr.splitlines() if "it.service" in line]
    assert (verified.returncode, errors) == (0, []), verified.stderr


@pytest.mark.parametrize(
    "unit", [unit for unit in UNITS if "farm" not in unit.name], ids=lambda unit: unit.name
)
def test_the_doctor_accepts_those_of_agents(unit: Path) -> None:
    settings = dict(
        line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line[:20]
    )
    shown = {SHOWN.get(key, key): value for key, value in settings.items()}
    assert [finding.level for finding in compare_unit(unit.name, shown)] == ["ok"]
