"""The settings of an agent as typed values, and the limits of a task merged from their sources.

Times are in seconds and sizes in bytes unless a name has another unit. A limit of a task can come
from three places, each over the one before: the host's config, the class of the task's service, the table
of that service in the host's config (`for_service`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from trio_afrender.config.keys import (
    CGRU,
    LIMITS,
    POLICIES,
    SERVICES,
    STUCK,
    THUMBNAILS,
    Key,
    suggest_key,
)

__all__ = (
    "INSTRUCTIONS",
    "Config",
    "GpuSlots",
    "Limits",
    "MemoryGuard",
    "PluginSettings",
    "Stuck",
    "Timing",
    "Token",
    "for_service",
    "read_rules",
)

INSTRUCTIONS = ("exit", "drain", "launch", "launch_exit", "reboot", "shutdown", "sleep")
"""Requests that a server may send to a render besides tasks."""


def _plugin_variables() -> dict[str, object]:
    return {name: key.default for name, key in CGRU.items()}


@attrs.frozen(slots=True, kw_only=True)
class Limits:
    """What a task may use before it is stopped with an error. 0: no limit."""

    run_time: float = 0.0
    """Seconds since the start of the task's main process."""
    no_output: float = 0.0
    """Seconds without a byte of output."""
    no_progress: float = 0.0
    """Seconds in which neither percent nor frame changed, for a task that has a parser."""
    output: int = 0
    """Bytes printed. The log keeps `Config.log_quota` of them; this limit ends the task."""
    memory: int = 0
    """Resident bytes of the whole process tree."""
    post_time: float = 0.0
    """Seconds for everything after the main process: checks, post commands, thumbnails."""


@attrs.frozen(slots=True, kw_only=True)
class Stuck:
    """When a task without any activity counts as stuck, and what the agent does then."""

    policy: str = "warn"
    """``off``, ``warn`` or ``stop``."""
    warn_after: float = 600.0
    """Seconds without any sign of activity until the agent logs a warning."""
    stop_after: float = 1800.0
    """Seconds without any sign of activity until the task is stopped, with the policy ``stop``."""
    cpu: float = 0.01
    """Cores: a tree that uses less on average counts as idle."""


@attrs.frozen(slots=True, kw_only=True)
class MemoryGuard:
    """How much memory the agent keeps free of tasks, at most an eighth of the host's memory."""

    floor: int = 256 * 1024 * 1024
    """Bytes available below which a task is stopped and given back. 0: no guard."""
    room: int = 512 * 1024 * 1024
    """Bytes available from which on the agent takes new tasks again."""


@attrs.frozen(slots=True, kw_only=True)
class GpuSlots:
    """How the tasks of a host share its GPUs."""

    tasks_per_card: int = 0
    """0: no GPU is assigned, each task sees all of them."""
    cards_per_task: int = 1
    """GPUs for each task; a host that has fewer gives all it has."""
    cards: tuple[str, ...] = ()
    """The GPUs for tasks, by number or (for MIG instances) by UUID; empty: all."""
    services: tuple[str, ...] = ()
    """The services whose tasks get GPUs; tasks of other services see none. Empty: all."""


@attrs.frozen(slots=True, kw_only=True)
class Timing:
    """Deadlines and periods. Tests shorten them; users seldom need to."""

    grace: float = 10.0
    """Between TERM and KILL, unless the task's service sets another value."""
    drain: float = 1.0
    """How long a pipe that other processes keep open is read after the main process has exited."""
    sweep: float = 30.0
    """How long killed processes may take to exit before they are reported as leftovers."""
    plugin: float = 10.0
    """How long one call of a service or parser may take before it counts as hung."""
    heartbeat: float = 1.0
    resources_period: int = 5
    """In heartbeats."""
    zombie: float = 16.0
    """After so long without a heartbeat the server gives the tasks of a render to others."""
    connect: float = 12.0
    """For connecting, and for the answer to a register."""
    shutdown: float = 60.0
    """The one budget of a drain: end or stop tasks, deliver results, deregister."""
    unattended: float = 60.0
    """How long a supervisor lets tasks run without an agent before it stops them."""
    notice: float = 5.0
    """The pause between two runs of `Config.notice_command`, and the time limit of each."""


@attrs.frozen(slots=True)
class Token:
    """A bearer token. Its text never appears in logs, reprs or argv."""

    secret: str = attrs.field(repr=False)

    def __str__(self) -> str:
        return "<token>"


@attrs.frozen(slots=True, kw_only=True)
class PluginSettings:
    """The settings that plugins may read; plain JSON, since it is sent to their processes."""

    paths_map: tuple[tuple[str, str], ...] = ()
    thumbnail_command: str = ""
    thumbnail_extensions: tuple[str, ...] = ()
    thumbnail_height: int = 100
    post_limit: float = 16.0
    error_rules: str = ""
    """A file of rules that classify errors; empty: the built-in rules alone."""
    disk_folders: tuple[str, ...] = ()
    """Folders that the meter `disk_space` measures; empty: ``af_render_hddspace_path``."""
    licences: tuple[tuple[str, str], ...] = ()
    """Pairs (name, command) for the meter `licence`."""
    variables: Mapping[str, object] = attrs.field(factory=_plugin_variables, hash=False, repr=False)
    """Other settings by CGRU's names: the keys of `config.keys.CGRU`, and all further keys of
    the config files, as JSON."""


@attrs.frozen(slots=True, kw_only=True)
class Config:
    """All settings of one agent."""

    name: str
    """The render's identity on the server."""
    user_name: str = ""
    server: str = ""
    """``ws://``, ``wss://`` or, for an Afanasy server, ``af://``."""
    server_port: int = 51000
    """The port of an ``af://`` URL that names none (``af_serverport``)."""
    token: Token | None = None
    ca_file: Path | None = None
    """Certificates to trust instead of the system's."""
    allow_plain: bool = False
    """Whether ``ws://`` to other hosts is allowed; the network can read the token then."""
    store: Path = Path("/var/tmp/afanasy")  # noqa: S108 - Afanasy's own default, checked by agent.state_dir
    """Afanasy's store folder; the agent uses ``trio_afrender/<name>`` in it."""
    disk_path: str = "/"
    """The disk whose free space is reported (``af_render_hddspace_path``)."""
    io_disks: str = "*"
    """The disks whose traffic is reported (``af_render_iostat_device``): shell patterns."""
    networks: str = ""
    """The interfaces whose traffic is reported (``af_render_networkif``): a regular expression for
    the whole name. Empty: all but loopback and the interfaces of containers."""
    gpu_command: str = ""
    """A command that prints load, temperature, memory, used memory and name of the first GPU
    (``af_render_gpuinfo_nvidia_cmd``). Empty, or `nvidia-smi`: the driver's library is read."""
    plugins: tuple[Path, ...] = ()
    """Folders with a studio's ``services``, ``parsers``, ``resources``; earlier ones win."""
    plugin_memory: int = 1024 * 1024 * 1024
    """Resident bytes that one process of services and parsers may use."""
    nimby: str = ""
    """Empty, ``nimby`` (only the owner's jobs) or ``NIMBY`` (no jobs)."""
    priority: int = 99
    capacity: int = 1100
    max_tasks: int = 4
    services: tuple[str, ...] = ()
    """Services to offer; empty: any."""
    nice: int = 10
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    """``cmd_shell`` split by spaces; the command follows as one argument."""
    paths_map: tuple[tuple[str, str], ...] = ()
    """Pairs (client, server)."""
    thumbnail_command: str = ""
    """``af_thumbnail_cmd``; empty: the built-in thumbnailer, if its extra is installed."""
    thumbnail_extensions: tuple[str, ...] = tuple(THUMBNAILS)
    thumbnail_height: int = 100
    """Pixels, for the built-in thumbnailer."""
    check_images: str = "warn"
    """What happens for a damaged rendered image, in a block that asks for file checks: ``off``,
    ``warn`` (a line in the log) or ``error`` (the task fails)."""
    post_limit: float = 16.0
    """Seconds for each post command (``af_task_post_limit_sec``)."""
    plugin_variables: Mapping[str, object] = attrs.field(
        factory=_plugin_variables, hash=False, repr=False
    )
    """`PluginSettings.variables`. Not in the repr: a studio may keep secrets in its own keys."""
    window: int = 1024 * 1024
    """Bytes of output that the server gets: head and tail."""
    log_quota: int = 1024 * 1024 * 1024
    """Bytes of one run's log on disk; beyond it the middle is dropped."""
    keep_runs: bool = False
    """Whether run folders stay after the server closed the run (``run --keep``)."""
    error_rules: Path | None = None
    """A file of rules that classify the errors of tasks, searched before the built-in ones."""
    meters: tuple[str, ...] = ()
    """Meters of the host's load, by name (``af_render_resclasses``)."""
    disk_folders: tuple[str, ...] = ()
    """Folders for the meter `disk_space`."""
    licences: tuple[tuple[str, str], ...] = ()
    """Pairs (name, command) for the meter `licence`."""
    redact: tuple[str, ...] = ("*TOKEN*", "*PASSWORD*", "*SECRET*", "*_KEY")
    """Environment variables whose values are removed from everything that leaves the store."""
    drain: str = "finish"
    """What a drain does with running tasks: ``finish`` them within the budget, ``stop`` them, or
    ``leave`` them to the supervisor and the next agent (on a signal only; the server gets no
    message)."""
    instructions: tuple[str, ...] = ()
    """What the server may do with this host besides ``exit`` and ``drain``: ``launch``,
    ``launch_exit``, ``reboot``, ``shutdown``, ``sleep``."""
    reboot_command: str = "reboot"
    """``af_render_cmd_reboot``, run by the shell."""
    shutdown_command: str = "shutdown -P 1 afrequest"
    """``af_render_cmd_shutdown``, run by the shell."""
    sleep_service: str = "wakeonlan"
    """The service that makes the command for ``sleep`` (``af_sysjob_wol_service``)."""
    notice_command: str = ""
    """A shell command, run every `Timing.notice` seconds: exit code 0 means that this host is about
    to be reclaimed (a spot instance), and the agent drains. Empty: none."""
    console: bool = False
    """Whether tasks print on the agent's own stdout and stderr; nothing is parsed, kept or sent
    then (``-nor``)."""
    supervisor: bool = True
    """Whether tasks outlive the agent. Otherwise their task supervisors stop them as soon as the
    agent has gone."""
    gpu: GpuSlots = GpuSlots()
    limits: Limits = attrs.field(factory=Limits)
    stuck: Stuck = attrs.field(factory=Stuck)
    service_limits: Mapping[str, Mapping[str, object]] = attrs.field(factory=dict, hash=False)
    """Fields of `Limits` that replace the others for tasks of a service, by the service's name."""
    service_stuck: Mapping[str, Mapping[str, object]] = attrs.field(factory=dict, hash=False)
    memory_guard: MemoryGuard = attrs.field(factory=MemoryGuard)
    timing: Timing = Timing()

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

    def plugin_settings(self) -> PluginSettings:
        """Return the part of the settings that is sent to plugin processes."""
        return PluginSettings(
            paths_map=self.paths_map,
            thumbnail_command=self.thumbnail_command,
            error_rules=str(self.error_rules or ""),
            thumbnail_extensions=self.thumbnail_extensions,
            thumbnail_height=self.thumbnail_height,
            post_limit=self.post_limit,
            disk_folders=self.disk_folders,
            licences=self.licences,
            variables=self.plugin_variables,
        )


_T = TypeVar("_T", bound="Limits | Stuck")


def for_service(base: _T, own: Mapping[str, object], configured: Mapping[str, object]) -> _T:
    """Return `base` with the fields that the service's class sets (`own`), and over them those
    that the host's config sets for that service (`configured`)."""
    # Both mappings were checked when they were read: `read_rules`, `config.load`.
    return attrs.evolve(base, **{**own, **configured})  # type: ignore[arg-type]  # checked at their reading


def read_rules(kind: str, value: object) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields that a service class sets by its attribute `kind` (``limits``, ``stuck``),
    and a sentence for each part that is ignored. None sets nothing."""
    known = {"limits": LIMITS, "stuck": STUCK}[kind]
    if value is None:
        return {}, ()
    if not isinstance(value, Mapping):
        return {}, (f"service.{kind} is {value!r:.100}, not a dict: it is ignored",)
    rules, problems = {}, []
    for name, item in value.items():
        key = known.get(name) if name != SERVICES else None
        if key is None:
            near = suggest_key(str(name), set(known) - {SERVICES})
            problems.append(f'service.{kind} has no "{name!s:.100}", {near}; it is ignored')
        elif (read := _rule_value(key, item)) is None:
            problems.append(f"service.{kind}: {name} is {item!r:.100}: it is ignored")
        else:
            rules[name] = read
    return rules, tuple(problems)


def _rule_value(key: Key, value: object) -> object:
    """Return a value of the kind that `key` has, or None if it is not valid."""
    if key.kind == "str":
        return value if value in POLICIES else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not (math.isfinite(value) and value >= 0):
        return None
    return int(value) if key.kind == "int" else float(value)
