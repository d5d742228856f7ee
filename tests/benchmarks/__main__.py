"""All benchmarks, one after another: ``python tests/benchmarks [scale]``.

Stores are made in memory where that is possible: some disks are slower for each file that was removed
in the minutes before, so that a run would depend on the runs before it. ``TMPDIR`` chooses a disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MEMORY = Path("/dev/shm")  # noqa: S108 - for folders that `tempfile` makes

environment = dict(os.environ)
if "TMPDIR" not in environment and os.access(MEMORY, os.W_OK):
    environment["TMPDIR"] = str(MEMORY)
place = environment.get("TMPDIR") or tempfile.gettempdir()
sys.stdout.write(f"stores are in {place}\n")

for script in sorted(HERE.glob("[!_]*.py")):
    sys.stdout.write(f"\n## {script.stem}\n\n")
    sys.stdout.flush()
    arguments = sys.argv[1:] if script.stem == "agent" else []
    subprocess.run([sys.executable, str(script), *arguments], check=True, env=environment)
