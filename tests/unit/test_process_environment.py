"""Which variables of the agent its child processes inherit."""

from __future__ import annotations

import pytest

from trio_afrender.process.environment import clean_environment, find_inheritable
from trio_afrender.task.task_environment import AgentEnvironment

OWN = {
    "AFRENDER_TOKEN": "t",
    "TRIO_AFRENDER_TOKEN_FILE": "/t",
    "AF_SERVER_TOKEN": "t",
    "NOTIFY_SOCKET": "/run/x",
    "WATCHDOG_USEC": "1",
    "LISTEN_FDS": "1",
}
STUDIO = {"LICENCE_TOKEN": "hush-hush", "PATH": "/bin", "AF_TASK_TOKEN": "an outer agent's"}


@pytest.mark.parametrize("name", sorted(OWN))
def test_no_child_inherits_what_belongs_to_the_agent(name: str) -> None:
    environ = {**STUDIO, name: OWN[name]}
    assert find_inheritable(environ) == STUDIO
    assert AgentEnvironment.of(environ, ()).variables == STUDIO
    assert name not in clean_environment(environ)


def test_tokens_of_a_studio_reach_tasks_and_plugins() -> None:
    environ = {**OWN, **STUDIO}
    of_tasks = AgentEnvironment.of(environ, ("*TOKEN*",))
    assert STUDIO.items() <= of_tasks.variables.items()
    assert "hush-hush" in of_tasks.secrets  # masked in what leaves the host
    assert STUDIO.items() <= clean_environment(environ).items()
