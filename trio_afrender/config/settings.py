"""What can be set, with its default and unit. Seconds and bytes unless a name says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from trio_afrender.config.keys import CGRU, THUMBNAILS
from trio_afrender.config.limits import Limits, MemoryGuard, Stuck, for_service

__all__ = ("INSTRUCTIONS", "Config", "GpuSlots", "PluginSettings", "Timing", "Token")

INSTRUCTIONS = ("exit", "drain", "launch", "launch_exit", "reboot", "shutdown", "sleep")
"""What a server may say to a render besides handing out tasks."""


def _plugin_variables() -> dict[str, object]:
    return {name: key.default for name, key in CGRU.items()}


@attrs.frozen(slots=True, kw_only=True)
class GpuSlots:
    """How tasks share the cards of a host."""

    tasks_per_card: int = 0
    """0: tasks are told of no cards, each sees all of them."""
    cards_per_task: int = 1
    """A host that has fewer gives all it has."""
    cards: tuple[str, ...] = ()
    """The numbers (or long names, of parts) of those that tasks may have; empty: all."""
    services: tuple[str, ...] = ()
    """Whose tasks have cards; those of others see none. Empty: all."""


@attrs.frozen(slots=True, kw_only=True)
class Timing:
    """How long things may take. Tests shorten them; users seldom need to."""

    grace: float = 10.0
    """Between TERM and KILL, unless the task's service asks for another."""
    drain: float = 1.0
    """How long a pipe held open by somebody is listened to once the leader has ended."""
    sweep: float = 30.0
    """How long killed processes may take to go before they are named as leftovers."""
    plugin: float = 10.0
    """How long one call of a service or parser may take before it counts as hung."""
    heartbeat: float = 1.0
    resources_period: int = 5
    """In heartbeats."""
    zombie: float = 16.0
    """After so long without us the server gives our tasks to somebody else."""
    connect: float = 12.0
    """For connecting, and for the answer to a register."""
    shutdown: float = 60.0
    """The one budget of a drain: tasks end or are stopped, results go out, we say goodbye."""
    unattended: float = 60.0
    """How long a supervisor lets tasks go on without an agent, before it stops them."""
    notice: float = 5.0
    """Between two questions of `Config.notice_command`, which may take as long itself."""


@attrs.frozen(slots=True)
class Token:
    """A bearer token. Its text never shows in logs, reprs or argv."""

    secret: str = attrs.field(repr=False)

    def __str__(self) -> str:
        return "<token>"


@attrs.frozen(slots=True, kw_only=True)
class PluginSettings:
    """What plugins may know of the settings; JSON plain, so that it travels."""

    paths_map: tuple[tuple[str, str], ...] = ()
    thumbnail_command: str = ""
    thumbnail_extensions: tuple[str, ...] = ()
    thumbnail_height: int = 100
    post_limit: float = 16.0
    error_rules: str = ""
    """A file of rules that class errors; empty: the built-in rules alone."""
    disk_folders: tuple[str, ...] = ()
    """What the meter `disk_space` looks at; empty: the disk of ``af_render_hddspace_path``."""
    licences: tuple[tuple[str, str], ...] = ()
    """Pairs of a name and a command, for the meter `licence`."""
    variables: Mapping[str, object] = attrs.field(factory=_plugin_variables, hash=False, repr=False)
    """What plugins may read besides, by CGRU's names: the keys of `config.keys.CGRU`, and
    whatever else stands in the config files, as JSON."""


@attrs.frozen(slots=True, kw_only=True)
class Config:
    """One agent's settings."""

    name: str
    """The render's identity on the server."""
    user_name: str = ""
    server: str = ""
    """``ws://``, ``wss://`` or, for an Afanasy server, ``af://``."""
    server_port: int = 51000
    """Where an ``af://`` URL without a port leads (``af_serverport``)."""
    token: Token | None = None
    ca_file: Path | None = None
    """Certificates to trust instead of the system's."""
    allow_plain: bool = False
    """Whether ``ws://`` may leave this host. The token is readable on the way then."""
    store: Path = Path("/var/tmp/afanasy")  # noqa: S108 - Afanasy's own default, checked by agent.store
    """Afanasy's store folder; ours is ``trio_afrender/<name>`` below it."""
    disk_path: str = "/"
    """The disk whose free space is reported (``af_render_hddspace_path``)."""
    io_disks: str = "*"
    """The disks whose traffic is reported (``af_render_iostat_device``): patterns as of a shell."""
    networks: str = ""
    """The interfaces whose traffic is reported (``af_render_networkif``): a regular expression for
    the whole name. Empty: those that packets leave the host by."""
    gpu_command: str = ""
    """Prints load, temperature, memory, memory used, name of the first card
    (``af_render_gpuinfo_nvidia_cmd``). Empty, or `nvidia-smi`: the driver is asked itself."""
    plugins: tuple[Path, ...] = ()
    """Folders with a studio's ``services``, ``parsers``, ``resources``; earlier ones win."""
    plugin_memory: int = 1024 * 1024 * 1024
    """Bytes that one process of services and parsers may have resident."""
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
    """Pixels, of the built-in thumbnailer's."""
    check_images: str = "warn"
    """What becomes of a rendered image that cannot be right, where a block wants its files checked:
    ``off``, ``warn`` (a line in the log) or ``error`` (the task has failed)."""
    post_limit: float = 16.0
    """Seconds for each post command (``af_task_post_limit_sec``)."""
    plugin_variables: Mapping[str, object] = attrs.field(
        factory=_plugin_variables, hash=False, repr=False
    )
    """What plugins read, by CGRU's names (``af_render_cmd_wolsleep``, a studio's own keys). Not
    in the repr: a studio may keep secrets there."""
    window: int = 1024 * 1024
    """Bytes of output that the server gets: head and tail."""
    log_quota: int = 1024 * 1024 * 1024
    """Bytes of one run's log on disk; beyond it the middle is dropped."""
    keep_runs: bool = False
    """Whether run folders stay after the server closed the run (``run --keep``)."""
    error_rules: Path | None = None
    """A file of rules that tell what kind of error a failed task had, over the built-in ones."""
    meters: tuple[str, ...] = ()
    """Meters of the host's load, by name (``af_render_resclasses``)."""
    disk_folders: tuple[str, ...] = ()
    """Folders for the meter `disk_space`."""
    licences: tuple[tuple[str, str], ...] = ()
    """Pairs (name, command) for the meter `licence`."""
    redact: tuple[str, ...] = ("*TOKEN*", "*PASSWORD*", "*SECRET*", "*_KEY")
    """Environment names whose values are blotted out of everything that leaves the store."""
    drain: str = "finish"
    """What a drain does with running tasks: ``finish`` them within the budget, ``stop`` them, or
    ``leave`` them to the supervisor and the next agent (by a signal only; the server is told nothing)."""
    instructions: tuple[str, ...] = ()
    """What the server may make of this host besides ``exit`` and ``drain``: ``launch``,
    ``launch_exit``, ``reboot``, ``shutdown``, ``sleep``."""
    reboot_command: str = "reboot"
    """``af_render_cmd_reboot``, by the shell."""
    shutdown_command: str = "shutdown -P 1 afrequest"
    """``af_render_cmd_shutdown``, by the shell."""
    sleep_service: str = "wakeonlan"
    """The service that makes the command for ``sleep`` (``af_sysjob_wol_service``)."""
    notice_command: str = ""
    """A shell command, asked every `Timing.notice` seconds: exit code 0 says that this host is
    about to be taken away (a spot instance), and the agent drains. Empty: none."""
    console: bool = False
    """Whether tasks print on the agent's own stdout and stderr: nothing of it is parsed, kept or
    sent (``-nor``)."""
    supervisor: bool = True
    """Whether a process beside the agent holds the tasks, so that they outlive it; where the
    platform can. Without it the agent is their parent."""
    subreaper: bool = False
    """Without a supervisor: adopt orphans of tasks (process-wide: only the command line allows it)."""
    gpu: GpuSlots = GpuSlots()
    limits: Limits = attrs.field(factory=Limits)
    stuck: Stuck = attrs.field(factory=Stuck)
    service_limits: Mapping[str, Mapping[str, object]] = attrs.field(factory=dict, hash=False)
    """By a service's name: fields of `Limits` that are otherwise for its tasks."""
    service_stuck: Mapping[str, Mapping[str, object]] = attrs.field(factory=dict, hash=False)
    memory_guard: MemoryGuard = attrs.field(factory=MemoryGuard)
    timing: Timing = Timing()

    def limits_of(self, service: str, own: Mapping[str, object]) -> Limits:
        """The limits of a task of `service`, whose class says `own` of itself."""
        limits = for_service(self.limits, own, self.service_limits.get(service, {}))
        if not self.console:
            return limits
        # Limits on output and on what is parsed of it would see silence.
        return attrs.evolve(limits, no_output=0.0, no_progress=0.0, output=0)

    def stuck_of(self, service: str, own: Mapping[str, object]) -> Stuck:
        """As `limits_of`, for what counts as stuck."""
        return for_service(self.stuck, own, self.service_stuck.get(service, {}))

    def plugin_settings(self) -> PluginSettings:
        """The part that the plugin host is given."""
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
