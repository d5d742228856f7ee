"""The agent's process loads no plugins; they run in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(program: str, *words: str) -> str:
    """Run a program in an interpreter of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_importing_the_agent_loads_no_plugin_and_no_picture_library() -> None:
    program = (
        "import sys, trio_afrender.agent.agent, trio_afrender.cli.commands.agent\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(roots & {'services', 'parsers', 'resmeters', 'OpenImageIO', 'numpy', 'rich'}))\n"
    )
    assert run(program) == "[]\n"


@pytest.mark.skipif(sys.platform == "win32", reason="what Windows needs is loaded there")
def test_the_agent_loads_nothing_of_other_programs_links_and_systems() -> None:
    """Each costs memory on every host: the gateway 1.7 MB, jobs 1 MB, a link 2 to 3 MB."""
    program = (
        "import sys, trio_afrender.agent.agent_dependencies, trio_afrender.cli.commands.agent\n"
        "parts = [name.removeprefix('trio_afrender.') for name in sys.modules]\n"
        "print(sorted({name for name in parts if name.partition('.')[0] in sys.argv[1:]}))\n"
        "print(sorted(name for name in parts if name.startswith('process.windows')))\n"
    )
    others = ("gateway", "farm", "web", "jobs", "afserver", "testing", "trio_websocket", "h11")
    assert run(program, *others) == "[]\n[]\n"


def test_the_package_alone_loads_nothing_large() -> None:
    """Plugin hosts import it, and a program's start must not wait for names that it does not use."""
    program = (
        "import sys, trio_afrender; dir(trio_afrender); before = set(sys.modules)\n"
        "print(sorted(before & {'trio', 'attrs', 'psutil', 'cattrs'}))\n"
        "trio_afrender.TaskKey, trio_afrender.Config, trio_afrender.parse_job\n"
        "print('trio' in sys.modules)\n"
    )
    assert run(program) == "[]\nFalse\n"


def test_the_template_of_plugin_hosts_loads_nothing_large() -> None:
    """It is loaded on every host: OpenSSL alone costs 4 MB, trio 8."""
    program = (
        "import sys, trio_afrender.plugins.host.forkserver_main\n"
        "from trio_afrender.plugins.lookup import load_class\n"
        "for kind in ('service', 'parser'):\n"
        "    load_class(kind, 'generic')\n"
        "print(sorted({'ssl', '_hashlib', 'email', 'http', 'urllib.request', 'importlib.metadata',"
        " 'asyncio', 'trio', 'cattrs', 'psutil', 'logging'} & set(sys.modules)))\n"
    )
    assert run(program) == "[]\n"
