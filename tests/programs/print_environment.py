"""Prints as JSON its environment, folder, session and descriptors, and its grandchild's priority."""

import json
import os
import sys
from pathlib import Path

parent, child = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.write(child, b"%d" % os.getpriority(os.PRIO_PROCESS, 0))
    os._exit(0)
json.dump(
    {
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "session": os.getsid(0) == os.getpgid(0) == os.getpid(),
        "stdin": os.read(0, 1).decode(),
        "descriptors": sorted(int(path.name) for path in Path("/proc/self/fd").iterdir()),
        "nice": int(os.read(parent, 9)),
    },
    sys.stdout,
)
