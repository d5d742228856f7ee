"""``python -m trio_afrender``."""

from __future__ import annotations

import sys

from trio_afrender.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
