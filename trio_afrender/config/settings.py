"""The settings of an agent: each field declares its key, default, unit, range and row of the docs.

Times are in seconds and sizes in bytes unless a name has another unit. A limit of a task can come
from three places, each over the one before: the host's config, the class of the task's service, the table
of that service in the host's config (`for_service`).
"""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from trio_afrender.config.value_rules import validate
from trio_afrender.errors import InvalidSetting
from trio_afrender.text import MAX_NODE_NAME, compile_mask, find_near, is_node_name

__all__ = (
    "CGRU",
    "INSTRUCTIONS",
    "OTHERS",
    "OURS",
    "PREFIX",
    "SERVICES",
    "Checks",
    "Config",
    "GpuSlots",
    "Limits",
    "LogSettings",
    "MemoryGuard",
    "PluginSettings",
    "SentAmounts",
    "SettingSpec",
    "Stuck",
    "TaskProcesses",
    "Timing",
    "Token",
    "find_spec",
    "for_service",
    "read_rules",
    "suggest_key",
)

INSTRUCTIONS = ("exit", "drain", "launch", "launch_exit", "reboot", "shutdown", "sleep")
"""Requests that a server may send to a render besides tasks."""
PREFIX = "trio_afrender."
"""The prefix of keys of the section ``trio_afrender{}``, "our own keys" below."""
SERVICES = "services"
"""The kind of a table by the names of services. Each entry may set the keys beside the table."""
_ANY_NICENESS = 2**31 - 1
"""The kernel limits a niceness to its range, as config files for afrender expect."""
_NODE_NAME = f"1 to {MAX_NODE_NAME} printable characters"
_MOST_OF_SERVER = 2**31 - 1
"""The largest number of Afanasy's fields for capacity and tasks."""
WINDOWS = platform.system() == "Windows"
"""Whether the defaults are those of Windows."""
WINDOWS_MUST_DIE = (
    "ImageMagick Studio library and utility programs",
    "Microsoft Visual C++ Runtime Library",
    "QuickTimeHelper-32.exe - Application Error",
    "Visual Studio Just-In-Time Debugger",
)
"""Titles of windows that keep a crashed program from ending; those of Afanasy's documentation."""
_SENDABLE = "a token of printable ASCII characters without spaces"
_MAX_NEAR = 3
MAX_USERS = 10_000
"""Rows of `TaskProcesses.users`."""
_MAX_LISTED = 12
"""Names listed in one error message."""
_KINDS: Mapping[object, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    Path: "path",
    Path | None: "path",
    tuple[str, ...]: "list",
    tuple[Path, ...]: "paths",
    tuple[tuple[str, str], ...]: "pairs",
    Mapping[str, str]: "names",
}
"""The kind of a setting by the type of its field."""
_T = TypeVar("_T")


@attrs.frozen(slots=True, kw_only=True)
class SettingSpec:
    """How a setting is given in files, variables and arguments, and described in the docs."""

    key: str
    """The key in files; in the section ``trio_afrender{}`` its path, made from names of fields."""
    kind: str
    """``str``, ``int``, ``float``, ``bool``, ``list`` (of strings), ``path``, ``paths``, ``pairs``
    (lists of two strings), ``commands`` (pairs of a name and a command), ``names`` (an object with
    strings) or `SERVICES`."""
    default: object
    """As a JSON value."""
    unit: str = ""
    least: float = 0.0
    most: float = math.inf
    choices: tuple[str, ...] = ()
    """The valid words, also for each item of a list; empty: any."""
    text: str
    """The meaning, for the table in ``docs/command-line.md``. It continues default and unit."""
    shown: str = ""
    """What the table shows in place of the default."""
    check: Callable[[Any], str] | None = None
    """Returns what is expected instead of a value, '' for a valid one."""


def _setting(default: _T, text: str, **declared: object) -> _T:
    """Declare a field that is a setting; `declared` are fields of `SettingSpec`."""
    return attrs.field(default=default, metadata={"text": text, **declared}, validator=validate)


def _by_service(section: str) -> Mapping[str, Mapping[str, object]]:
    """Declare a field for what is set by service: fields of the class that `section` names."""
    text = f"a table by service names, each with keys of `{section}`, see [limits.md](limits.md)"
    key = f"{PREFIX}{section}.{SERVICES}"
    table: Mapping[str, Mapping[str, object]] = attrs.field(
        factory=dict,
        hash=False,
        metadata={"text": text, "key": key, "kind": SERVICES},
        validator=_validate_table,
    )
    return table


def _validate_table(
    config: Config, field: attrs.Attribute[Any], table: Mapping[str, Mapping[str, object]]
) -> None:
    """Raise `InvalidSetting` for an entry that the section beside the table could not have."""
    base: Limits | Stuck | Checks = getattr(config, field.name.removeprefix("service_"))
    place = f"Config.{field.name}"
    for service, fields in _entries(place, table):
        for name, value in _entries(f"{place}[{service!r}]", fields):
            if name not in _names(type(base)):
                expected = (
                    f"only fields of {type(base).__name__}, {suggest_key(name, _names(type(base)))}"
                )
                raise InvalidSetting(f"{place}[{service!r}]", name, expected)
            try:
                attrs.evolve(base, **{name: value})
            except InvalidSetting as error:
                where = f"{place}[{service!r}][{name!r}]"
                raise InvalidSetting(where, value, error.expected) from error


def _entries(place: str, table: object) -> Iterable[tuple[str, Any]]:
    if not isinstance(table, Mapping):
        raise InvalidSetting(place, table, "a mapping")
    return table.items()


def _names(section: type[attrs.AttrsInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(section))


def _check_titles(titles: tuple[str, ...]) -> str:
    # Compared exactly: an empty title would close the many windows without one, a pattern none.
    if any(not title.strip() for title in titles):
        return "titles that are not empty"
    return "titles without wildcards" if any(set("*?") & set(each) for each in titles) else ""


def _check_networks(pattern: str) -> str:
    try:
        compile_mask("" if pattern == "*" else pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"a regular expression ({error})"
    return ""


@attrs.frozen(slots=True, kw_only=True)
class Limits:
    """What a task may use. 0: no limit. The kernel refuses more processes and files than the last two
    permit; a task that reaches another limit is stopped with an error."""

    run_time: float = _setting(0.0, "for a task's own process", unit="seconds")
    no_output: float = _setting(0.0, "without a byte of output", unit="seconds")
    no_progress: float = _setting(
        0.0, "in which neither percent nor frame changed, for tasks with a parser", unit="seconds"
    )
    output: int = _setting(0, "of output", unit="bytes")
    """The log keeps `Config.log_quota` bytes; this limit ends the task."""
    memory: int = _setting(0, "of resident memory of all processes of the task", unit="bytes")
    post_time: float = _setting(
        0.0,
        "for everything after the own process: checks, post commands, thumbnails",
        unit="seconds",
    )
    processes: int = _setting(
        8192,
        "processes and threads at once; the kernel refuses more, see [limits.md](limits.md#processes-and-files)",
    )
    files: int = _setting(
        65536, "open files of each process, never more than the agent itself may open"
    )


@attrs.frozen(slots=True, kw_only=True)
class Stuck:
    """When a task without any activity counts as stuck, and what the agent does then."""

    policy: str = _setting(
        "warn",
        "what happens to a task without any activity: `off`, `warn`, `stop`",
        choices=("off", "warn", "stop"),
    )
    warn_after: float = _setting(600.0, "without activity until the warning", unit="seconds")
    stop_after: float = _setting(
        1800.0, "without activity until the stop, with the policy `stop`", unit="seconds"
    )
    cpu: float = _setting(0.01, "a tree that uses less on average only waits", unit="cores")


@attrs.frozen(slots=True, kw_only=True)
class Checks:
    """What is checked of a task whose program ended with success."""

    assets: str = _setting(
        "warn",
        "`off`, `warn` or `error`: files that the program missed, see [limits.md](limits.md#missing-files)",
        choices=("off", "warn", "error"),
    )


@attrs.frozen(slots=True, kw_only=True)
class SentAmounts:
    """How much of a run leaves this host. What is left out is counted in the task's log."""

    files: int = _setting(1000, "files of a run that are sent", least=1)
    file_bytes: int = _setting(64 * 1024 * 1024, "in these files together", unit="bytes", least=1)
    log: int = _setting(
        1024 * 1024,
        "of log beside the output: of services, parsers, checks",
        unit="bytes",
        least=4096,
    )
    log_lines: int = _setting(10_000, "lines in that log", least=10)
    parsed_files: int = _setting(1000, "names of rendered files that a parser reports", least=1)


@attrs.frozen(slots=True, kw_only=True)
class MemoryGuard:
    """How much memory the agent keeps free of tasks, at most an eighth of the host's memory."""

    floor: int = _setting(
        256 * 1024 * 1024,
        "available, below which a task is stopped and given back; 0: no guard",
        unit="bytes",
    )
    room: int = _setting(
        512 * 1024 * 1024, "available, from which on new tasks are accepted again", unit="bytes"
    )


@attrs.frozen(slots=True, kw_only=True)
class GpuSlots:
    """How the tasks of a host share its GPUs."""

    tasks_per_card: int = _setting(
        0,
        "how many tasks may share a GPU, see [resources.md](resources.md#gpus-for-tasks)",
        shown="0: no assignment of cards",
    )
    cards_per_task: int = _setting(1, "GPUs for each task", least=1)
    """A host that has fewer gives all it has."""
    cards: tuple[str, ...] = _setting(
        (),
        "numbers (or UUIDs, of parts of divided cards) of those that tasks may have",
        shown="all",
    )
    services: tuple[str, ...] = _setting(
        (), "services whose tasks have GPUs; tasks of others see none", shown="any"
    )


def _check_umask(text: str) -> str:
    return "" if re.fullmatch("([0-7]{3,4})?", text) else "three octal digits, as 022"


def _check_users(users: Mapping[str, str]) -> str:
    if len(users) > MAX_USERS:
        return f"at most {MAX_USERS} rows"
    return "names of users" if not all((*users, *users.values())) else ""


@attrs.frozen(slots=True, kw_only=True)
class TaskProcesses:
    """As which users the processes of tasks run."""

    user: str = _setting(
        "",
        "as which tasks run, or `job`, see [security.md](security.md#a-user-of-their-own-for-tasks)",
        shown="the agent's own",
    )
    users: Mapping[str, str] = attrs.field(
        factory=dict,
        hash=False,
        metadata={
            "text": "for `job`: users of this host by users of jobs; the row `*` is for all others",
            "check": _check_users,
        },
        validator=validate,
    )
    privileged: bool = _setting(
        False, "accept root and the agent's own user where `tasks.user` or `tasks.users` names them"
    )
    umask: str = _setting(
        "", "of tasks: octal digits, as `022`", shown="the agent's", check=_check_umask
    )

    def file_mask(self) -> int:
        """Return the umask of tasks; -1: the agent's."""
        return int(self.umask, 8) if self.umask else -1


@attrs.frozen(slots=True, kw_only=True)
class Timing:
    """Deadlines and periods. Tests shorten them; users seldom need to."""

    grace: float = _setting(
        10.0, "between TERM and KILL, unless the service sets another value", unit="seconds"
    )
    drain: float = _setting(1.0, "for a pipe held open after the end", unit="seconds")
    sweep: float = _setting(
        30.0, "for killed processes to end; then they count as leftovers", unit="seconds"
    )
    plugin: float = _setting(
        10.0, "for one call of a service, parser or meter", unit="seconds", least=0.1
    )
    heartbeat: float = _setting(1.0, "unless the server sets it", unit="seconds", least=0.01)
    resources_period: int = _setting(5, "unless the server sets it", unit="heartbeats", least=1)
    zombie: float = _setting(
        16.0,
        "after which the server counts the render as lost, unless the server sets it",
        unit="seconds",
        least=1,
    )
    connect: float = _setting(
        12.0, "for opening a connection, or one request to an afserver", unit="seconds", least=0.1
    )
    shutdown: float = _setting(60.0, "for a whole drain", unit="seconds")
    unattended: float = _setting(
        60.0,
        "that tasks continue without an agent; then their task supervisors stop them",
        unit="seconds",
    )
    notice: float = _setting(
        5.0, "between two runs of `notice_command`, and for its answer", unit="seconds", least=0.5
    )


@attrs.frozen(slots=True, kw_only=True)
class LogSettings:
    """The log of a program that runs for long: of an agent, a farm, a gateway."""

    format: str = _setting(
        "text", "`text` or `json`, see [logging.md](logging.md)", choices=("text", "json")
    )
    file: Path | None = _setting(
        None, "the file of the log, relative to the config file", shown="stderr"
    )
    file_bytes: int = _setting(
        16 * 1024 * 1024,
        "of that file, beyond which it is renamed and a new one begun",
        unit="bytes",
        least=64 * 1024,
    )
    files: int = _setting(5, "renamed files that are kept", least=0, most=1000)


@attrs.frozen(slots=True)
class Token:
    """A bearer token. Its text never appears in logs, reprs or argv."""

    secret: str = attrs.field(repr=False, validator=validate)

    @property
    def sendable(self) -> bool:
        """Whether it can travel in the line of an HTTP header, which a space or a line end would end."""
        text = self.secret
        return bool(text) and text.isascii() and text.isprintable() and " " not in text

    def __str__(self) -> str:
        return "<token>"


@attrs.frozen(slots=True, kw_only=True)
class PluginSettings:
    """The settings that plugins may read; plain JSON, since it is sent to their processes."""

    paths_map: tuple[tuple[str, str], ...] = _setting(
        (), "list of pairs `[client, server]`", key="pathsmap"
    )
    thumbnail_command: str = _setting(
        "",
        "a command; empty: the built-in one, which needs the extra `thumbnails`",
        key="af_thumbnail_cmd",
        shown="built-in",
    )
    thumbnail_extensions: tuple[str, ...] = _setting(
        (
            "exr", "dpx", "jpg", "jpeg", "png", "tif", "tiff", "tga", "bmp",
            "cin", "hdr", "psd", "sgi", "webp", "avi", "mkv", "mov", "mp4", "mxf", "webm",
        ),
        "files that are images",
        key="af_thumbnail_extensions",
        shown="see below",
    )  # fmt: skip
    thumbnail_height: int = _setting(
        100, "of the built-in thumbnailer's pictures", unit="pixels", least=8
    )
    post_limit: float = _setting(
        16.0,
        "for each post command",
        key="af_task_post_limit_sec",
        kind="int",
        unit="seconds",
        least=-math.inf,  # negative: none, as 0
    )
    error_rules: str = _setting(
        "",
        "rules for error classes, before the built-in ones, see [plugins.md](plugins.md#error-classes)",
        kind="path",
    )
    disk_folders: tuple[str, ...] = _setting(
        (),
        "folders for the meter `disk_space`",
        kind="paths",
        shown="the disk of `af_render_hddspace_path`",
    )
    licences: tuple[tuple[str, str], ...] = _setting(
        (), 'for the meter `licence`: list of pairs `["name", "command"]`', kind="commands"
    )
    variables: Mapping[str, object] = attrs.field(
        factory=lambda: {key: spec.default for key, spec in CGRU.items()}, hash=False, repr=False
    )
    """Other settings by CGRU's names: the keys of `CGRU`, and all further keys of the config files,
    as JSON. Not in the repr: a studio may keep secrets in its own keys."""


@attrs.frozen(slots=True, kw_only=True)
class Config(PluginSettings):
    """All settings of one agent.

    The defaults are those of the files CGRU ships, but for three: no commands for thumbnails and
    for the GPU, because no other program is needed, and all extensions that the built-in
    thumbnailer reads.
    """

    server: str = _setting("", "`af://HOST:PORT` or `wss://HOST:PORT`")
    server_port: int = _setting(
        51000,
        "the port of the afserver, also for an `af://` URL that names none",
        key="af_serverport",
        least=1,
        most=65535,
    )
    name: str = attrs.field(
        metadata={
            "text": "after `--name`, the variable of this key and `AF_HOSTNAME`",
            "shown": "the computer's",
            "check": lambda name: "" if is_node_name(name) else _NODE_NAME,
        },
        validator=validate,
    )
    """The render's identity on the server."""
    user_name: str = attrs.field(default="", validator=validate)
    token: Token | None = _setting(
        None,
        "the file of the token; a path, relative to the config file",
        key=f"{PREFIX}token_file",
        kind="path",
        check=lambda token: "" if token is None or token.sendable else _SENDABLE,
    )
    ca_file: Path | None = _setting(
        None, "certificates to trust instead of the system's; a path, relative to the config file"
    )
    allow_plain: bool = _setting(
        False, "let `ws://` leave this host: the token is readable on the way"
    )
    store: Path = _setting(
        Path("c:/temp/afanasy" if WINDOWS else "/var/tmp/afanasy"),  # noqa: S108 - Afanasy's own default, checked by agent.state_dir
        "the agent's own folder is `trio_afrender/<name>` below it",
        key="af_store_folder",
        shown="`/var/tmp/afanasy`, Windows `c:/temp/afanasy`",
    )
    shell: tuple[str, ...] = _setting(
        ("cmd.exe", "/c") if WINDOWS else ("/bin/sh", "-c"),
        "split by spaces; the command follows as one argument",
        key="cmd_shell",
        kind="str",
        shown="`/bin/sh -c`, Windows `cmd.exe /c`",
        check=lambda words: "" if words and words[0] else "a shell, with its options",
    )
    nice: int = _setting(
        10, "niceness of tasks", key="af_render_nice", least=-_ANY_NICENESS, most=_ANY_NICENESS
    )
    priority: int = _setting(99, "the render's priority", key="af_priority", most=255)
    capacity: int = _setting(1100, "of the render", least=1, most=_MOST_OF_SERVER)
    max_tasks: int = _setting(4, "the most tasks at once", least=1, most=_MOST_OF_SERVER)
    services: tuple[str, ...] = _setting((), "names to offer", shown="any")
    nimby: str = _setting(
        "", "`nimby` (only the owner's jobs) or `NIMBY` (no jobs)", choices=("", "nimby", "NIMBY")
    )
    plugins: tuple[Path, ...] = _setting(
        (),
        "folders with `services`, `parsers`, `resources`, relative to the config file; earlier ones win",
    )
    plugin_memory: int = _setting(
        1024 * 1024 * 1024,
        "of resident memory that a process of services and parsers may use",
        unit="bytes",
        least=128 * 1024 * 1024,
    )
    check_images: str = _setting(
        "warn",
        "`off`, `warn` or `error`: check rendered images, see [thumbnails.md](thumbnails.md#rendered-images)",
        choices=("off", "warn", "error"),
    )
    window: int = _setting(
        1024 * 1024,
        "of a task's output that the server gets, head and tail",
        unit="bytes",
        least=256,
    )
    log_quota: int = _setting(
        1024 * 1024 * 1024,
        "of one run's log on disk; beyond it the middle is dropped",
        unit="bytes",
        least=65536,
    )
    keep_runs: bool = _setting(False, "keep the folders of runs")
    redact: tuple[str, ...] = _setting(
        ("*TOKEN*", "*PASSWORD*", "*SECRET*", "*_KEY"),
        "variables whose values are masked in what leaves the host",
    )
    meters: tuple[str, ...] = _setting(
        (), "list of meters, see [resources.md](resources.md#meters)", key="af_render_resclasses"
    )
    windows_must_die: tuple[str, ...] = _setting(
        WINDOWS_MUST_DIE if WINDOWS else (),
        "titles of windows that are closed every few seconds, on Windows alone, see [windows.md](windows.md#windows-must-die)",
        key="af_render_windowsmustdie",
        shown="none; Windows: the four of Afanasy",
        check=_check_titles,
    )
    disk_path: str = _setting(
        "/", "the disk whose free space is reported", key="af_render_hddspace_path"
    )
    io_disks: str = _setting(
        "*",
        "disks whose traffic is reported: shell patterns; `*`: all whole disks",
        key="af_render_iostat_device",
    )
    networks: str = _setting(
        "",
        "interfaces whose traffic is reported: a regular expression for the whole name",
        key="af_render_networkif",
        check=_check_networks,
        shown="all but loopback and containers",
    )
    gpu_command: str = _setting(
        "",
        "a command for cards of another maker, see [resources.md](resources.md#gpus)",
        key="af_render_gpuinfo_nvidia_cmd",
        shown="the driver is read",
    )
    """It prints load, temperature, memory, used memory and name of the first GPU. Empty, or
    `nvidia-smi`: the driver's library is read."""
    drain: str = _setting(
        "finish",
        "`finish` or `stop`: what a drain does with running tasks; or `leave`, see below",
        choices=("finish", "stop", "leave"),
    )
    supervisor: bool = _setting(
        True, "whether tasks outlive the agent; false as with `--no-supervisor`, see below"
    )
    console: bool = attrs.field(default=False, validator=validate)
    """Whether tasks print on the agent's own stdout and stderr; nothing is parsed, kept or sent
    then (``-nor``)."""
    instructions: tuple[str, ...] = _setting(
        (), "what a server may do besides `exit` and `drain`, see below", choices=INSTRUCTIONS
    )
    reboot_command: str = _setting(
        "shutdown /r" if WINDOWS else "reboot",
        "for an instruction of the server",
        key="af_render_cmd_reboot",
        shown="`reboot`, Windows `shutdown /r`",
    )
    shutdown_command: str = _setting(
        "shutdown /s" if WINDOWS else "shutdown -P 1 afrequest",
        "for an instruction of the server",
        key="af_render_cmd_shutdown",
        shown="`shutdown -P 1 afrequest`, Windows `shutdown /s`",
    )
    sleep_service: str = _setting(
        "wakeonlan",
        "the service that makes the command for the instruction `sleep`",
        key="af_sysjob_wol_service",
    )
    notice_command: str = _setting(
        "", "a shell command: exit code 0 means that this host will be reclaimed; the agent drains"
    )
    gpu: GpuSlots = attrs.field(default=GpuSlots(), validator=validate)
    limits: Limits = attrs.field(factory=Limits, validator=validate)
    service_limits: Mapping[str, Mapping[str, object]] = _by_service("limits")
    """Fields of `Limits` that replace the others for tasks of a service, by the service's name."""
    stuck: Stuck = attrs.field(factory=Stuck, validator=validate)
    service_stuck: Mapping[str, Mapping[str, object]] = _by_service("stuck")
    checks: Checks = attrs.field(factory=Checks, validator=validate)
    service_checks: Mapping[str, Mapping[str, object]] = _by_service("checks")
    sent: SentAmounts = attrs.field(default=SentAmounts(), validator=validate)
    tasks: TaskProcesses = attrs.field(factory=TaskProcesses, validator=validate)
    memory_guard: MemoryGuard = attrs.field(factory=MemoryGuard, validator=validate)
    timing: Timing = attrs.field(default=Timing(), validator=validate)

    def limits_of(self, service: str, own: Mapping[str, object]) -> Limits:
        """Return the limits of a task of `service`, whose class sets the fields in `own`."""
        limits = for_service(self.limits, own, self.service_limits.get(service, {}))
        if not self.console:
            return limits
        # The agent reads none of the output then: to these limits every task would look silent.
        return attrs.evolve(limits, no_output=0.0, no_progress=0.0, output=0)

    def stuck_of(self, service: str, own: Mapping[str, object]) -> Stuck:
        """Return the rules for stuck tasks of `service`, whose class sets the fields in `own`."""
        return for_service(self.stuck, own, self.service_stuck.get(service, {}))

    def checks_of(
        self, service: str, own: Mapping[str, object], block: Mapping[str, object]
    ) -> Checks:
        """Return the checks of a task of `service`, whose class sets the fields in `own`, and whose
        block or job sets those in `block`: its owner decides what a good frame is."""
        checks = for_service(self.checks, own, self.service_checks.get(service, {}))
        return for_service(checks, {}, block)

    def asset_checks(self, service: str, block: Mapping[str, object]) -> tuple[str, str]:
        """Return `Checks.assets` as it is if the service's class sets none, and what has precedence
        over the class; empty: nothing."""
        above = {**self.service_checks.get(service, {}), **block}.get("assets", "")
        return self.checks.assets, str(above)

    def plugin_settings(self) -> PluginSettings:
        """Return the part of the settings that is sent to plugin processes."""
        fields = attrs.fields(PluginSettings)
        return PluginSettings(**{field.name: getattr(self, field.name) for field in fields})


_Rules = TypeVar("_Rules", bound="Limits | Stuck | Checks")


def for_service(
    base: _Rules, own: Mapping[str, object], configured: Mapping[str, object]
) -> _Rules:
    """Return `base` with the fields that the service's class sets (`own`), and over them those
    that the host's config sets for that service (`configured`)."""
    if not (own or configured):
        return base  # most: six times a task, and each copy is validated
    # Both mappings were checked when they were read: `read_rules`, `config.load`.
    return attrs.evolve(base, **{**own, **configured})  # type: ignore[arg-type]  # checked at their reading


def read_rules(
    kind: str, value: object, owner: str = "service"
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields that a service class sets by its attribute `kind` (``limits``, ``stuck``,
    ``checks``), and a sentence for each part that is ignored. None sets nothing.

    `owner` is what has the attribute, for those sentences.
    """
    if value is None:
        return {}, ()
    if not isinstance(value, Mapping):
        return {}, (f"{owner}.{kind} is {value!r:.100}, not a dict: it is ignored",)
    section = f"{PREFIX}{kind}."
    known = {
        key.removeprefix(section): spec
        for key, spec in OURS.items()
        if key.startswith(section) and spec.kind != SERVICES
    }
    rules, problems = {}, []
    for name, item in value.items():
        if name not in known:
            near = suggest_key(str(name), known)
            problems.append(f'{owner}.{kind} has no "{name!s:.100}", {near}; it is ignored')
            continue
        spec = known[name]
        is_number = isinstance(item, int | float) and not isinstance(item, bool)
        if spec.kind == "str" and item in spec.choices:
            rules[name] = item
        elif spec.kind != "str" and is_number and math.isfinite(item) and item >= 0:
            rules[name] = int(item) if spec.kind == "int" else float(item)
        else:
            valid = f", not one of {', '.join(known[name].choices)}" if known[name].choices else ""
            problems.append(f"{owner}.{kind}: {name} is {item!r:.100}{valid}: it is ignored")
    return rules, tuple(problems)


def suggest_key(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message about an unknown key: the nearest known ones, or all if few."""
    names = sorted(filter(None, known))
    parts = [each for each in names if name and name.lower() in each.lower()]
    likely = find_near(name, names, cutoff=0.75)
    if len(parts) > _MAX_NEAR:  # as "tasks" of "trio_afrender.tasks.user"
        parts = [each for each in parts if name.lower() in each.lower().split(".")][:_MAX_NEAR]
    if not likely and 0 < len(parts) <= _MAX_NEAR:  # as "nice" of "af_render_nice"
        likely = tuple(parts)
    if near := likely or find_near(name, names, cutoff=0.6):
        return "did you mean " + " or ".join(f'"{each}"' for each in near) + "?"
    if len(names) > _MAX_LISTED:
        return "trio_afrender config prints all"
    return f"known: {', '.join(names)}"


def _collect_specs(settings: type[attrs.AttrsInstance], prefix: str) -> Iterator[SettingSpec]:
    """Yield what the fields of a class declare, with key, kind and default."""
    for field in attrs.fields(attrs.resolve_types(settings)):
        if attrs.has(field.type):
            yield from _collect_specs(field.type, f"{prefix}{field.name}.")
        elif field.metadata:
            kind = field.metadata.get("kind") or _KINDS[field.type]
            default: object = field.default
            match field.default:  # the default as a file would give it
                case None | attrs.NOTHING:
                    default = ""
                case tuple() as words:
                    default = " ".join(words) if kind == "str" else list(words)
                case Path() as path:
                    default = str(path)
                case float() as number if kind == "int":
                    default = int(number)
            if kind == "names":  # made by a factory
                default = {}
            found = {"key": prefix + field.name, "default": default}
            yield SettingSpec(**{**found, **field.metadata, "kind": kind})


_SHOWN = {"af_render_cmd_wolsleep": "`wolsleep`, Windows `cmd.exe /c wolsleep`"}
_KEYS = (
    *_collect_specs(Config, PREFIX),
    *_collect_specs(LogSettings, f"{PREFIX}log."),
    *(
        SettingSpec(
            key=key,
            kind=_KINDS[type(default)],
            default=default,
            text=text,
            shown=_SHOWN.get(key, ""),
        )
        for key, default, text in (
            ("af_servername", "127.0.0.1", "the afserver, unless `server` names one"),
            ("af_cmdprefix", "", "put before commands of jobs at submission"),
            ("af_render_cut_domain_name", True, "cut the domain off names of hosts"),
            ("af_user_cut_domain_name", True, "cut the domain off names of users"),
            (
                "af_render_customiostat_devices",
                "sda",
                "for the meter `iostat`: a regular expression for whole names of disks",
            ),
            (
                "af_render_cmd_wolsleep",
                "cmd.exe /c wolsleep" if WINDOWS else "wolsleep",
                "for the service `wakeonlan`",
            ),
            ("af_render_cmd_wolwake", "wolwake", "for the service `wakeonlan`"),
            ("email_send_cmd", "emailsend", "for the service `events`"),
            ("email_sender_address_host", "cgru.info", "for the service `events`"),
        )
    ),
)
"""All settings: the fields of `Config`, CGRU's keys from which others are derived, and those that
only plugins read."""
CGRU: Mapping[str, SettingSpec] = {
    spec.key: spec for spec in _KEYS if not spec.key.startswith(PREFIX)
}
"""CGRU's keys that the agent or its plugins use."""
OURS: Mapping[str, SettingSpec] = {spec.key: spec for spec in _KEYS if spec.key.startswith(PREFIX)}
"""Keys of ``cgru_config.trio_afrender{}``, with their path: settings that Afanasy does not have."""
OTHERS = frozenset(
    {
        "af_ipv6_disable",
        "af_render_get_cpu_temperature_mod",
        "af_render_get_hw_info_mod",
        "af_render_task_read_buffer_size",
        "af_so_client_LINGER",
        "af_so_client_RCVTIMEO_sec",
        "af_so_client_REUSEADDR",
        "af_so_client_SNDTIMEO_sec",
        "af_so_client_TCP_CORK",
        "af_so_client_TCP_NODELAY",
    }
)
"""Keys of afrender that this agent does not use. They may be given, since they are not typos."""


def find_spec(key: str) -> SettingSpec | None:
    """Return the declaration of a full key, which may be in a table by service; None: unknown."""
    section, table, path = key.partition(f".{SERVICES}.")
    if table:  # names of services may contain dots
        service, _, name = path.rpartition(".")
        key = f"{section}.{name}" if service and name != SERVICES else ""
    return OURS.get(key) or CGRU.get(key)
