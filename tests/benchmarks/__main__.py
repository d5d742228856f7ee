"""All benchmarks, one after another: ``python tests/benchmarks [scale]``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

for script in sorted(HERE.glob("[!_]*.py")):
    sys.stdout.write(f"\n## {script.stem}\n\n")
    sys.stdout.flush()
    arguments = sys.argv[1:] if script.stem == "agent" else []
    subprocess.run([sys.executable, str(script), *arguments], check=True)
