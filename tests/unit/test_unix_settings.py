"""Settings that are Unix's own are refused by name on Windows."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_afrender.agent.unix_settings import refuse_unix_settings
from trio_afrender.config import Config, Limits
from trio_afrender.config.settings import TaskProcesses
from trio_afrender.errors import ConfigError


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Config(name="NUL"), "is the name of a device"),
        (Config(name="a."), "ends with a space or a dot"),
        (Config(name="a "), "ends with a space or a dot"),
        (Config(name="r", store=Path("c:/" + "x" * 120)), "it may have 120"),
        (Config(name="r", drain="leave"), 'drain: "leave" is not possible on Windows'),
        (Config(name="r", tasks=TaskProcesses(user="ann")), "tasks: tasks run as the agent's own"),
        (Config(name="r", limits=Limits(files=100)), "limits.files: Windows has no limit"),
        (
            Config(name="r", service_limits={"nuke": {"files": 100}}),
            "limits.services.nuke.files: Windows has no limit",
        ),
    ],
)
def test_a_setting_of_unix_is_refused_on_windows(config: Config, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        refuse_unix_settings(config, windows=True)
    refuse_unix_settings(config, windows=False)


def test_the_default_settings_are_for_both() -> None:
    refuse_unix_settings(Config(name="r"), windows=True)
