"""`make windows-test` where Wine is not available: a reason, exit code 3, and no waiting."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from windows import wine_python
from windows.wine_python import WineError, WinePython, install_packages, limited

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Wine is made on Linux")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of programs, as root."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(wine_python, "_find_library", lambda: tmp_path)
    return tmp_path


def write_apt_get(folder: Path, script: str) -> None:
    (folder / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "apt-get").chmod(0o755)


def test_without_apt_get_or_root_the_command_is_named(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WineError, match=r"no wine .* as root: apt-get install"):
        install_packages()
    write_apt_get(programs, "exit 0")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(WineError, match="as root: apt-get install"):
        install_packages()


def test_a_failure_of_apt_get_is_a_reason(programs: Path) -> None:
    write_apt_get(programs, 'echo "E: no such mirror" >&2; exit 100')
    with pytest.raises(WineError, match="apt-get failed: E: no such mirror"):
        install_packages()


def test_a_download_that_hangs_is_ended(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wine_python, "DOWNLOADING", 1)
    write_apt_get(programs, "exec /bin/sleep 100")
    begun = time.monotonic()
    with pytest.raises(WineError, match="a download took more than 1 s"):
        install_packages()
    assert time.monotonic() - begun < 50


def test_a_limit_counts_in_its_body_alone() -> None:
    with limited(60, TimeoutError("over")):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    with pytest.raises(TimeoutError, match="over"), limited(1, TimeoutError("over")):
        subprocess.run(["/bin/sleep", "100"], check=False)


def test_the_gate_is_skipped_with_the_reason_on_stderr(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(Path(wine_python.__file__).parent), "--quick"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("windows-test: skipped: there is no ")


LOADER = """#!/bin/sh
sleep 1000 &
echo $! > pid
printf 'one test passed\\r\\n'
exit 3
"""


def test_a_process_that_keeps_the_output_does_not_delay_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Wine's loader may, if its process was killed while it was being made."""
    loader = tmp_path / "loader"
    loader.write_text(LOADER)
    loader.chmod(0o755)
    monkeypatch.setattr(wine_python, "LOADER", loader)
    monkeypatch.setattr(wine_python, "PAUSE", 0.05)
    python = WinePython(tmp_path / "prefix")
    python.source.mkdir(parents=True)
    try:
        assert python.run("-m", "pytest") == 3
        handle = os.pidfd_open(int((python.source / "pid").read_text()))
    finally:
        python._end_loaders()
    ended, _, _ = select.select([handle], [], [], 30)
    os.close(handle)
    assert ended
    printed = capsysbinary.readouterr().out
    assert printed == b"one test passed\nnote: a loader of Wine stayed, with this output\n"
