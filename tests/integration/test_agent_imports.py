"""The agent's process loads no plugins; they run in processes of their own."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_agent_loads_no_plugin_and_no_picture_library() -> None:
    program = (
        "import sys, trio_afrender.agent.agent, trio_afrender.cli.commands.agent\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(roots & {'services', 'parsers', 'resmeters', 'OpenImageIO', 'numpy', 'rich'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_package_alone_loads_nothing_large() -> None:
    """Plugin hosts import it, and a program's start must not wait for names that it does not use."""
    program = (
        "import sys, trio_afrender; dir(trio_afrender); before = set(sys.modules)\n"
        "print(sorted(before & {'trio', 'attrs', 'psutil', 'cattrs'}))\n"
        "trio_afrender.TaskKey, trio_afrender.Config, trio_afrender.parse_job\n"
        "print('trio' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\nFalse\n"
