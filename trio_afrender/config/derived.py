"""Settings derived from several keys and variables: server URL, names, plugin folders."""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from trio_afrender.config.convert import SettingValue
from trio_afrender.user_files import is_folder

__all__ = ("host_name", "plugin_folders", "server", "user_name")

_COMMAND_LINE = "command line"
_LAYERS = ("default", "file", "environment", _COMMAND_LINE)
_PLUGIN_PACKAGES = ("services", "parsers", "resources", "resmeters")


def plugin_folders(
    environment: Mapping[str, str], values: Mapping[str, SettingValue]
) -> SettingValue:
    """Return `trio_afrender.plugins`, followed by folders of ``CGRU_CUSTOM_PYTHONPATH``.

    Of that variable only folders that contain a plugin package count: it lists folders of plain
    modules too.
    """
    own = values["trio_afrender.plugins"]
    parts = environment.get("CGRU_CUSTOM_PYTHONPATH", "").split(os.pathsep)
    given = [os.path.normpath(Path(part).absolute()) for part in parts if part]
    custom = [
        folder
        for folder in given
        if any(is_folder(Path(folder, package)) for package in _PLUGIN_PACKAGES)
    ]
    if not custom:
        return own
    folders = cast("list[str]", own.value)
    origin = "environment CGRU_CUSTOM_PYTHONPATH"
    return SettingValue([*folders, *custom], f"{own.origin}, {origin}" if folders else origin)


def server(values: Mapping[str, SettingValue]) -> SettingValue:
    """Choose the server URL: `trio_afrender.server` if set, else af_servername and af_serverport.

    Afanasy's two keys are shared by many programs, `trio_afrender.server` is for this one alone,
    so it wins even from a lower layer. A value given on the command line beats any other. Without
    any of them the value is empty.
    """
    own = values["trio_afrender.server"]
    host, port = values["af_servername"], values["af_serverport"]
    typed = any(item.origin.startswith(_COMMAND_LINE) for item in (host, port))
    if own.value and (own.origin.startswith(_COMMAND_LINE) or not typed):
        return own
    decisive = max(host.origin, port.origin, key=_rank)
    if not _rank(decisive):
        return SettingValue("")
    name = f"[{host.value}]" if ":" in str(host.value) else host.value  # an IPv6 address
    return SettingValue(f"af://{name}:{port.value}", f"af_servername and af_serverport, {decisive}")


def _rank(origin: str) -> int:
    """Return the position of a layer; a higher one wins. 0: the default."""
    return next(rank for rank, layer in enumerate(_LAYERS) if origin.startswith(layer))


def host_name(environment: Mapping[str, str], values: Mapping[str, SettingValue]) -> SettingValue:
    """Choose the render's name: --name, its own variable, AF_HOSTNAME, `trio_afrender.name` of a file,
    the computer's name."""
    own = values["trio_afrender.name"]
    if own.value and not own.origin.startswith(("default", "file ")):
        return own  # given for this program alone
    if environment.get("AF_HOSTNAME"):
        return SettingValue(environment["AF_HOSTNAME"], "environment AF_HOSTNAME")
    if own.value:
        return own
    name = environment.get("HOSTNAME") or environment.get("COMPUTERNAME") or platform.node()
    name = name.lower()
    if values["af_render_cut_domain_name"].value:
        name = name.partition(".")[0]
    return SettingValue(name, "this computer's name")


def user_name(environment: Mapping[str, str], values: Mapping[str, SettingValue]) -> SettingValue:
    """Choose the owner's name: AF_USERNAME, CGRU_USERNAME, the login name in lower case."""
    for variable in ("AF_USERNAME", "CGRU_USERNAME"):
        if environment.get(variable):
            return SettingValue(environment[variable], f"environment {variable}")
    name = environment.get("USER") or environment.get("USERNAME", "")
    if not name:
        try:
            name = getpass.getuser()
        except (OSError, KeyError):  # the account has no entry in the user database
            name = "unknown"
    if values["af_user_cut_domain_name"].value:
        name = name.rpartition("/" if "/" in name else "\\")[2]
    return SettingValue(name.lower(), "this login's name")
