"""``cgruconfig``: the settings for plugins, as in ``cgruconfig.VARS['af_render_nice']``.

This module reads and writes no files: the agent has read the config files, and `VARS` holds their
values. Keys that only the studio uses are in it too, with the values of its files.
"""

from __future__ import annotations

import getpass
import os
import platform
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

from trio_afrender.config.cgru_files import platform_tokens
from trio_afrender.config.settings import PluginSettings
from trio_afrender.plugins.compat import active_settings
from trio_afrender.plugins.compat.unsupported import NameFinder, make_getattr

__all__ = ("VARS", "getVar", "reconfigure")

VARS: dict[str, Any] = {}
"""Settings by name. What a plugin adds is removed when the agent's settings change."""

_PLATFORMS = ("unix", "windows", "macosx", "linux")


def getVar(i_var: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """A setting; None if there is none of that name."""
    return VARS.get(i_var)


def reconfigure() -> None:
    """Set `VARS` to the agent's settings."""
    _fill(active_settings.settings())


def _fill(settings: PluginSettings) -> None:
    # A copy: a plugin that changes a list in it must not change the settings.
    variables = deepcopy(dict(settings.variables))
    limit = settings.post_limit
    program = sys.executable.replace("%", "%%")
    thumbnailer = f'"{program}" -E -P -m trio_afrender.thumbnail -- "%(image)s" "%(thumbnail)s"'
    location = os.environ.get("CGRU_LOCATION", "")
    home = os.environ.get("APPDATA") or os.environ.get("HOME") or _find_home()
    own = Path(home) / ("cgru" if os.environ.get("APPDATA") else ".cgru")
    names = map(os.environ.get, ("CGRU_USERNAME", "AF_USERNAME", "USER", "USERNAME"))
    user = next(filter(None, names), None)
    if user is None:
        try:
            user = getpass.getuser()
        except (OSError, KeyError):
            user = "unknown"
    made = {
        # What CGRU derives from the host and the environment instead of config files.
        "platform": [token for token in platform_tokens() if token in _PLATFORMS],
        "HOSTNAME": platform.node().lower(),
        "USERNAME": user.rpartition("/" if "/" in user else "\\")[2].lower(),
        "HOME": home,
        "HOME_CGRU": str(own),
        "config_file_home": str(own / "config.json"),
        "filenames": [],
        "CGRU_LOCATION": location,
        "CGRU_VERSION": os.environ.get("CGRU_VERSION", ""),
        "CGRU_PYTHONEXE": os.environ.get("CGRU_PYTHONEXE", "python"),
        "CGRU_UPDATE_CMD": os.environ.get("CGRU_UPDATE_CMD"),
        "AF_ROOT": os.environ.get("AF_ROOT")
        or (str(Path(location) / "afanasy") if location else ""),
        "company": "CGRU",
        **variables,
        "pathsmap": [list(pair) for pair in settings.paths_map],
        "af_thumbnail_cmd": settings.thumbnail_command or thumbnailer,
        "af_thumbnail_extensions": list(settings.thumbnail_extensions),
        "af_task_post_limit_sec": int(limit) if limit.is_integer() else limit,
    }
    for name in VARS.keys() - made.keys():
        del VARS[name]
    VARS.update(made)


def _find_home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:  # the user is not in the database, as in bare containers
        return "/"


active_settings.follow(_fill)
__getattr__: NameFinder = make_getattr("cgruconfig")
