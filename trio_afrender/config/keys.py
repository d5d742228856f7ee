"""Every key of the config files that the agent reads: CGRU's and those of ``trio_afrender{}``.

Values of other keys pass through unchecked: a CGRU file holds the settings of many programs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import attrs

__all__ = (
    "CGRU",
    "GPU",
    "GUARD",
    "LIMITS",
    "NESTED",
    "OTHERS",
    "OURS",
    "PLUGIN",
    "POLICIES",
    "SERVICES",
    "STUCK",
    "THUMBNAILS",
    "TIMING",
    "Key",
    "suggest_key",
)

SERVICES = "services"
"""The kind of a table by the names of services. Each entry may set the keys beside the table."""
POLICIES = ("off", "warn", "stop")
_MAX_LISTED = 40
"""Names listed in one error message."""


@attrs.frozen(slots=True)
class Key:
    """One setting: `kind` is ``str``, ``int``, ``float``, ``bool``, ``list`` (of strings), ``path``,
    ``paths``, ``pairs`` (lists of two strings) or ``commands`` (pairs of a name and a command)."""

    kind: str
    default: object
    unit: str = ""


PLUGIN: Mapping[str, Key] = {
    "af_render_customiostat_devices": Key("str", "sda"),
    "af_render_cmd_wolsleep": Key("str", "wolsleep"),
    "af_render_cmd_wolwake": Key("str", "wolwake"),
    "email_send_cmd": Key("str", "emailsend"),
    "email_sender_address_host": Key("str", "cgru.info"),
}
"""CGRU's keys that only plugins use."""

THUMBNAILS = [
    "exr", "dpx", "jpg", "jpeg", "png", "tif", "tiff", "tga", "bmp",
    "cin", "hdr", "psd", "sgi", "webp", "avi", "mkv", "mov", "mp4", "mxf", "webm",
]  # fmt: skip

CGRU: Mapping[str, Key] = {
    "af_servername": Key("str", "127.0.0.1"),
    "af_serverport": Key("int", 51000),
    "af_store_folder": Key("path", "/var/tmp/afanasy"),  # noqa: S108 - Afanasy's own default
    "cmd_shell": Key("str", "/bin/sh -c"),
    "af_cmdprefix": Key("str", ""),
    "af_priority": Key("int", 99),
    "af_render_nice": Key("int", 10),
    "af_render_cut_domain_name": Key("bool", True),
    "af_user_cut_domain_name": Key("bool", True),
    "af_render_hddspace_path": Key("str", "/"),
    "af_render_resclasses": Key("list", []),
    "af_render_iostat_device": Key("str", "*"),
    "af_render_networkif": Key("str", ""),
    "af_render_gpuinfo_nvidia_cmd": Key("str", ""),
    "af_thumbnail_extensions": Key("list", THUMBNAILS),
    "af_thumbnail_cmd": Key("str", ""),
    "af_task_post_limit_sec": Key("int", 16, "seconds"),
    "af_render_cmd_reboot": Key("str", "reboot"),
    "af_render_cmd_shutdown": Key("str", "shutdown -P 1 afrequest"),
    "af_sysjob_wol_service": Key("str", "wakeonlan"),
    "pathsmap": Key("pairs", []),
    **PLUGIN,
}
"""CGRU's keys that the agent or its plugins use, with the defaults of the files CGRU ships. Three
defaults differ: no commands for thumbnails and for the GPU, because no other program is needed, and
all extensions that the built-in thumbnailer reads."""

OTHERS = frozenset(
    {
        "af_ipv6_disable",
        "af_render_get_cpu_temperature_mod",
        "af_render_get_hw_info_mod",
        "af_render_task_read_buffer_size",
        "af_render_windowsmustdie",
        "af_so_client_LINGER",
        "af_so_client_RCVTIMEO_sec",
        "af_so_client_REUSEADDR",
        "af_so_client_SNDTIMEO_sec",
        "af_so_client_TCP_CORK",
        "af_so_client_TCP_NODELAY",
    }
)
"""Keys of afrender that this agent does not use. They may be given, since they are not typos."""

TIMING: Mapping[str, Key] = {
    "grace": Key("float", 10.0, "seconds"),
    "drain": Key("float", 1.0, "seconds"),
    "sweep": Key("float", 30.0, "seconds"),
    "plugin": Key("float", 10.0, "seconds"),
    "heartbeat": Key("float", 1.0, "seconds"),
    "resources_period": Key("int", 5, "heartbeats"),
    "zombie": Key("float", 16.0, "seconds"),
    "connect": Key("float", 12.0, "seconds"),
    "shutdown": Key("float", 60.0, "seconds"),
    "unattended": Key("float", 60.0, "seconds"),
    "notice": Key("float", 5.0, "seconds"),
}
"""Keys of ``trio_afrender{"timing": {}}``: the fields of `settings.Timing`."""

LIMITS: Mapping[str, Key] = {
    "run_time": Key("float", 0.0, "seconds"),
    "no_output": Key("float", 0.0, "seconds"),
    "no_progress": Key("float", 0.0, "seconds"),
    "output": Key("int", 0, "bytes"),
    "memory": Key("int", 0, "bytes"),
    "post_time": Key("float", 0.0, "seconds"),
    SERVICES: Key(SERVICES, {}),
}
"""Keys of ``trio_afrender{"limits": {}}``: the fields of `settings.Limits`, and a table."""

STUCK: Mapping[str, Key] = {
    "policy": Key("str", "warn"),
    "warn_after": Key("float", 600.0, "seconds"),
    "stop_after": Key("float", 1800.0, "seconds"),
    "cpu": Key("float", 0.01, "cores"),
    SERVICES: Key(SERVICES, {}),
}
"""Keys of ``trio_afrender{"stuck": {}}``: the fields of `settings.Stuck`, and a table."""

GUARD: Mapping[str, Key] = {
    "floor": Key("int", 256 * 1024 * 1024, "bytes"),
    "room": Key("int", 512 * 1024 * 1024, "bytes"),
}
"""Keys of ``trio_afrender{"memory_guard": {}}``: the fields of `settings.MemoryGuard`."""

GPU: Mapping[str, Key] = {
    "tasks_per_card": Key("int", 0),
    "cards_per_task": Key("int", 1),
    "cards": Key("list", []),
    "services": Key("list", []),
}
"""Keys of ``trio_afrender{"gpu": {}}``: the fields of `settings.GpuSlots`."""

NESTED: Mapping[str, Mapping[str, Key]] = {
    "gpu": GPU,
    "timing": TIMING,
    "limits": LIMITS,
    "stuck": STUCK,
    "memory_guard": GUARD,
}
"""Objects inside ``trio_afrender{}``, by their kind, which is also their name."""

OURS: Mapping[str, Key] = {
    "server": Key("str", ""),
    "name": Key("str", ""),
    "token_file": Key("path", ""),
    "ca_file": Key("path", ""),
    "allow_plain": Key("bool", False),
    "plugins": Key("paths", []),
    "plugin_memory": Key("int", 1024 * 1024 * 1024, "bytes"),
    "nimby": Key("str", ""),
    "capacity": Key("int", 1100),
    "max_tasks": Key("int", 4),
    "services": Key("list", []),
    "window": Key("int", 1024 * 1024, "bytes"),
    "log_quota": Key("int", 1024 * 1024 * 1024, "bytes"),
    "keep_runs": Key("bool", False),
    "error_rules": Key("path", ""),
    "thumbnail_height": Key("int", 100, "pixels"),
    "check_images": Key("str", "warn"),
    "disk_folders": Key("paths", []),
    "licences": Key("commands", []),
    "redact": Key("list", ["*TOKEN*", "*PASSWORD*", "*SECRET*", "*_KEY"]),
    "drain": Key("str", "finish"),
    "supervisor": Key("bool", True),
    "instructions": Key("list", []),
    "notice_command": Key("str", ""),
    "gpu": Key("gpu", {}),
    "limits": Key("limits", {}),
    "stuck": Key("stuck", {}),
    "memory_guard": Key("memory_guard", {}),
    "timing": Key("timing", {}),
}
"""Keys of ``cgru_config.trio_afrender{}``: settings that Afanasy does not have."""


def suggest_key(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message about an unknown key: the nearest known key, or all."""
    names = sorted(filter(None, known))
    if close := difflib.get_close_matches(name, names, n=1, cutoff=0.5):
        return f'did you mean "{close[0]}"?'
    if len(names) > _MAX_LISTED:
        return "trio_afrender config prints all"
    return f"known: {', '.join(names)}"
