"""How the agent calls services and parsers: by name, through a runner, never by import.

`plugins.host` runs them in child processes of the agent, `plugins.in_process` in the agent's process,
for tests and for applications that trust their plugins. Both return the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs

from trio_afrender.process.task_user import TaskUser
from trio_afrender.tasklog.interfaces import RunLog

__all__ = (
    "Conclusion",
    "ErrorClass",
    "ParserState",
    "PluginRunner",
    "PluginSpec",
    "PluginTask",
    "Replaced",
    "ServiceFacts",
)


@attrs.frozen(slots=True)
class ErrorClass:
    """The class of error that a failed run had."""

    name: str
    note: str
    """A sentence for the log, or empty."""
    host_is_cause: bool
    line: int = attrs.field(default=0, eq=False)
    """Number of the line that matched, from 1, counted by line feeds; 0: the exit status matched, or
    the number is unknown."""
    quote: str = attrs.field(default="", eq=False)
    """That line, cut to `error_rules.MAX_LINE`."""


@attrs.frozen(slots=True, kw_only=True)
class PluginSpec:
    """The plugins of a run and their input.

    `task_info` has the keys of Afanasy's taskInfo (``wdir``, ``command_block``, ..., ``store_dir``);
    docs/plugins.md lists them. Its values are those that JSON has, text is str.
    """

    service: str
    parser: str
    """Empty or ``none``: the output is not parsed, and no problem is reported."""
    task_info: Mapping[str, object]
    assets: tuple[str, str] = ("warn", "")
    """What is done about missing files (`config.settings.Checks`) if the service's class has no rule, and
    what has precedence over its rule; empty: nothing."""
    user: TaskUser | None = None
    """The user as which they run, in a host of their own; None: the agent's. Ignored in process."""


@attrs.frozen(slots=True, kw_only=True)
class ServiceFacts:
    """What a service returns right after its constructor. All paths are this host's."""

    working_directory: str
    command: str
    environment: Mapping[str, str]
    files: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    """Values that must not leave the host (attribute ``secrets``): redacted in all that leaves the run."""
    skip: bool = False
    has_parser: bool = False
    wants_ticks: bool = False
    """Whether the parser is called each second without output too (class attribute ``ticks``; by default
    parsers that are not built-in)."""
    wants_tail: bool = False
    """Whether the parser gets the unfinished line too (class attribute ``tail = True``)."""
    grace: float | None = None
    """Seconds between TERM and KILL for this service; None: the agent's setting."""
    limits: Mapping[str, float] = attrs.field(factory=dict, hash=False)
    """The service's own limits: fields of `config.settings.Limits`."""
    stuck: Mapping[str, float | str] = attrs.field(factory=dict, hash=False)
    """The service's own rules for stuck tasks: fields of `config.settings.Stuck`."""
    checks: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    """The service's own checks: fields of `config.settings.Checks`."""
    settled: bool = False
    """Whether the exit code alone decides the run's result and `log` is final, so that no plugin needs
    to be called at its end."""
    log: str = ""
    """For the task's log: the service's log so far, and why the parser could not be created."""


@attrs.frozen(slots=True, kw_only=True)
class Replaced:
    """The parser replaced the output from `start` to `end` (log offsets) by `text`."""

    start: int
    end: int
    text: str


@attrs.frozen(slots=True, kw_only=True)
class ParserState:
    """A parser's attributes after a call. Flags are true if any batch of lines of that call set them."""

    percent: int = 0
    frame: int = 0
    percentframe: int = 0
    progress_changed: bool = False
    warning: bool = False
    error: bool = False
    badresult: bool = False
    fatalerror: bool = False
    finishedsuccess: bool = False
    activity: str = ""
    report: str = ""
    resources: str = ""
    deciding_line: int = 0
    """Number of the first line by which the parser decided that the task has failed or is done, from
    1; 0: no line did, or it is unknown."""
    deciding_text: str = ""
    missing_assets: int = 0
    """How many files the program needed and did not find."""
    missing_names: tuple[str, ...] = ()
    """Names of the first of them."""
    masks: tuple[str, ...] = ()
    """Values that the output has named as secrets in this call for the first time
    (`tasklog.redact.MASK_COMMAND`); all calls together return `MAX_MASKS` at most."""
    files: tuple[str, ...] = ()
    files_onthefly: tuple[str, ...] = ()
    """Files announced since the last call."""
    consumed: int = 0
    """Log offset up to which lines were passed to the parser."""
    replaced: tuple[Replaced, ...] = ()
    problem: str = ""
    """Traceback of an exception of the parser in this call, for the task's log; rate limited."""


@attrs.frozen(slots=True, kw_only=True)
class Conclusion:
    """What a service returns at the end of a run's own process."""

    exit_ok: bool
    files_ok: bool = True
    finding: str = ""
    """What is wrong with the files, in a sentence; empty if nothing is."""
    post: tuple[str, ...] = ()
    """Shell commands to run in this order after a successful end (thumbnails)."""
    post_limit: float = 0.0
    """Time limit in seconds for each of them; 0 or less: none."""
    parsed_files: tuple[str, ...] = ()
    """Files found by the parser, as server paths."""
    log: str = ""
    """The parser's and the service's log texts, as the task's log shows them."""


class PluginTask(Protocol):
    """The service and parser objects of one run.

    Calls are processed one after another. A method raises nothing for a fault of a plugin: it returns
    a default value, and `problems()` reports the fault. When the plugins were disabled (one hung or
    ended its process), `disabled_reason` is not empty, `parse` returns the last state, and the checks
    return what those of the base class do.
    """

    facts: ServiceFacts

    @property
    def disabled_reason(self) -> str: ...

    async def parse(
        self, upto: int, *, mode: str = "RUN", pid: int = 0, resources: str = ""
    ) -> ParserState:
        """Feed the log up to offset `upto` to the parser, in whole lines.

        A call without new bytes is a tick, for a parser that wants those. Foreign parsers then get the
        unfinished line as far as it was printed, unless their class sets ``tail``.

        In the last call for a process `mode` is ``<raw wait status>:<stop time>`` instead of ``RUN``,
        and the unfinished line is fed too.
        """
        ...

    async def run_end_checks(
        self, code: int | None, *, check_files: bool, post: bool
    ) -> Conclusion:
        """Make all calls that follow the last `parse`. One request, because each one is a large part
        of the cost of a tiny task.

        In Afanasy's order, each only if the one before succeeded: checkExitStatus of `code` (not called
        for None), checkRenderedFiles if `check_files`, doPost if `post`.
        """
        ...

    async def explain(
        self,
        code: int | None,
        signal: int | None,
        *,
        upto: int | None = None,
        last_lines: int = 0,
    ) -> tuple[ErrorClass, ...]:
        """The error classes of a failed run, from its exit code or signal, the line by which its parser
        decided and the end of its log: that before the offset `upto`, and only so many last lines of
        it (None and 0: all). See `error_rules.explain_end`."""
        ...

    async def on_the_fly(self, files: tuple[str, ...]) -> tuple[str, ...]:
        """Shell commands that make thumbnails of files that the parser announced during the run."""
        ...

    async def log(self) -> str:
        """The parser's and the service's log texts, as the task's log shows them."""
        ...

    def problems(self) -> tuple[str, ...]:
        """Faults of plugin code since the last call of this method, for the task's log."""
        ...


class PluginRunner(Protocol):
    """Creates the plugin objects of runs. It must stay open until all of its tasks are closed."""

    def open_task(self, spec: PluginSpec, log: RunLog) -> AbstractAsyncContextManager[PluginTask]:
        """Create service and parser. Raises `PluginNotFound` (no such service), `PluginError`.

        A missing or broken parser is no error: the output is not parsed, `facts.log` has the reason.
        """
        ...
