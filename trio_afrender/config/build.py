"""Makes the `Config` of an agent from layered settings; checks ranges and known words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from trio_afrender.config.convert import SettingValue
from trio_afrender.config.keys import (
    GPU,
    GUARD,
    LIMITS,
    NESTED,
    POLICIES,
    SERVICES,
    STUCK,
    TIMING,
    Key,
    suggest_key,
)
from trio_afrender.config.load import Settings
from trio_afrender.config.settings import (
    INSTRUCTIONS,
    Config,
    GpuSlots,
    Limits,
    MemoryGuard,
    Stuck,
    Timing,
)
from trio_afrender.errors import ConfigError

__all__ = ("make_config",)

_AT_LEAST: Mapping[str, float] = {
    "trio_afrender.capacity": 1,
    "trio_afrender.max_tasks": 1,
    "trio_afrender.thumbnail_height": 8,
    "trio_afrender.window": 4096,
    "trio_afrender.log_quota": 65536,
    "trio_afrender.plugin_memory": 128 * 1024 * 1024,
    "trio_afrender.gpu.cards_per_task": 1,
    "trio_afrender.timing.heartbeat": 0.01,
    "trio_afrender.timing.resources_period": 1,
    "trio_afrender.timing.plugin": 0.1,
    "trio_afrender.timing.connect": 0.1,
    "trio_afrender.timing.zombie": 1,
    "trio_afrender.timing.notice": 0.5,
}
_DERIVED = frozenset({"name", "user_name", "server"})
"""Keys of `Settings.values` that are neither CGRU's nor in ``trio_afrender{}``: `config.derived`
makes them."""
_NESTED = tuple(f"trio_afrender.{kind}." for kind in NESTED)
_WORDS = {
    "trio_afrender.nimby": ("", "nimby", "NIMBY"),
    "trio_afrender.drain": ("finish", "stop", "leave"),
    "trio_afrender.check_images": ("off", "warn", "error"),
}


def make_config(settings: Settings) -> Config:
    """Return the settings of an agent without the token, which the caller reads from its file.

    Raises `ConfigError` for a value that is not valid, with the key and the layer that set it.
    """
    for key, setting in settings.values.items():
        _check_range(key, setting)
    prefix = "trio_afrender."
    ours = {
        key.removeprefix(prefix): item.value
        for key, item in settings.values.items()
        if key.startswith(prefix)
    }
    shell = tuple(str(settings["cmd_shell"]).split())
    if not shell:
        raise _wrong("cmd_shell", settings.values["cmd_shell"], "must name a shell")
    timing = {name: cast("float", ours[f"timing.{name}"]) for name in TIMING}
    period = cast("int", timing.pop("resources_period"))
    gpu = _section(ours, "gpu", GPU)
    return Config(
        name=str(settings["name"]),
        user_name=str(settings["user_name"]),
        server=str(settings["server"]),
        server_port=cast("int", settings["af_serverport"]),
        ca_file=Path(cast("str", ours["ca_file"])) if ours["ca_file"] else None,
        allow_plain=cast("bool", ours["allow_plain"]),
        store=Path(cast("str", settings["af_store_folder"])),
        disk_path=cast("str", settings["af_render_hddspace_path"]),
        io_disks=cast("str", settings["af_render_iostat_device"]),
        networks=cast("str", settings["af_render_networkif"]),
        gpu_command=cast("str", settings["af_render_gpuinfo_nvidia_cmd"]),
        plugins=tuple(Path(folder) for folder in _texts(ours["plugins"])),
        nimby=cast("str", ours["nimby"]),
        priority=cast("int", settings["af_priority"]),
        capacity=cast("int", ours["capacity"]),
        max_tasks=cast("int", ours["max_tasks"]),
        services=_texts(ours["services"]),
        nice=cast("int", settings["af_render_nice"]),
        shell=shell,
        paths_map=_pairs(settings["pathsmap"]),
        thumbnail_command=cast("str", settings["af_thumbnail_cmd"]),
        thumbnail_extensions=_texts(settings["af_thumbnail_extensions"]),
        thumbnail_height=cast("int", ours["thumbnail_height"]),
        check_images=cast("str", ours["check_images"]),
        post_limit=float(cast("int", settings["af_task_post_limit_sec"])),
        plugin_variables={
            key: item.value
            for key, item in settings.values.items()
            if not key.startswith(prefix) and key not in _DERIVED
        },
        window=cast("int", ours["window"]),
        plugin_memory=cast("int", ours["plugin_memory"]),
        log_quota=cast("int", ours["log_quota"]),
        keep_runs=cast("bool", ours["keep_runs"]),
        error_rules=Path(cast("str", ours["error_rules"])) if ours["error_rules"] else None,
        meters=tuple(name for name in _texts(settings["af_render_resclasses"]) if name),
        disk_folders=_texts(ours["disk_folders"]),
        licences=_pairs(ours["licences"]),
        redact=_texts(ours["redact"]),
        drain=cast("str", ours["drain"]),
        supervisor=cast("bool", ours["supervisor"]),
        instructions=_texts(ours["instructions"]),
        reboot_command=cast("str", settings["af_render_cmd_reboot"]),
        shutdown_command=cast("str", settings["af_render_cmd_shutdown"]),
        sleep_service=cast("str", settings["af_sysjob_wol_service"]),
        notice_command=cast("str", ours["notice_command"]),
        gpu=GpuSlots(**{**gpu, "cards": _texts(gpu["cards"]), "services": _texts(gpu["services"])}),
        limits=Limits(**_section(ours, "limits", LIMITS)),
        stuck=Stuck(**_section(ours, "stuck", STUCK)),
        service_limits=_by_service(ours, "limits"),
        service_stuck=_by_service(ours, "stuck"),
        memory_guard=MemoryGuard(**_section(ours, "memory_guard", GUARD)),
        timing=Timing(resources_period=period, **timing),
    )


def _check_range(key: str, setting: SettingValue) -> None:
    value = setting.value
    if (
        key.startswith(_NESTED)
        and not isinstance(value, str | list)
        and not 0 <= cast("float", value) < float("inf")
    ):
        raise _wrong(key, setting, "must not be negative or infinite")
    if key in _AT_LEAST and cast("float", value) < _AT_LEAST[key]:
        raise _wrong(key, setting, f"must be at least {_AT_LEAST[key]:g}")
    if key in _WORDS and value not in _WORDS[key]:
        raise _wrong(key, setting, f"must be a known word, {suggest_key(str(value), _WORDS[key])}")
    if key.startswith("trio_afrender.stuck.") and key.endswith(".policy") and value not in POLICIES:
        raise _wrong(key, setting, f"must be a known word, {suggest_key(str(value), POLICIES)}")
    if key == "trio_afrender.instructions":
        for word in _texts(value):
            if word not in INSTRUCTIONS:
                near = suggest_key(word, INSTRUCTIONS)
                raise _wrong(key, setting, f'contains "{word}", which is no instruction, {near}')
    if key == "af_render_networkif" and value != "*":
        try:
            re.compile(str(value))
        except re.error as error:
            raise _wrong(key, setting, f"must be a regular expression ({error})") from None
    if key == "name" and not value:
        raise _wrong(key, setting, "must not be empty: give --name")


def _section(ours: Mapping[str, object], kind: str, known: Mapping[str, Key]) -> dict[str, Any]:
    return {name: ours[f"{kind}.{name}"] for name, key in known.items() if key.kind != SERVICES}


def _by_service(ours: Mapping[str, object], kind: str) -> dict[str, dict[str, object]]:
    """Return the table of `kind` by the names of services, which may contain dots."""
    prefix = f"{kind}.{SERVICES}."
    table: dict[str, dict[str, object]] = {}
    for path, value in ours.items():
        if path.startswith(prefix):
            service, _, name = path.removeprefix(prefix).rpartition(".")
            table.setdefault(service, {})[name] = value
    return table


def _wrong(key: str, setting: SettingValue, problem: str) -> ConfigError:
    return ConfigError(f"{setting.origin}: {key} {problem}, got {setting.value!r}")


def _texts(value: object) -> tuple[str, ...]:
    return tuple(cast("list[str]", value))


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    return tuple((client, server) for client, server in cast("list[list[str]]", value))
