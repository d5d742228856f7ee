"""How the agent talks to services and parsers: by name, through a runner, never by import.

`plugins.host` runs them in one child process of the agent; `plugins.inline` in this one, for
tests and for hosts that trust their plugins. Both give the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs

from trio_afrender.plugins.error_rules import ErrorClass
from trio_afrender.tasklog.interfaces import RunLog

__all__ = (
    "Conclusion",
    "ParserState",
    "PluginRunner",
    "PluginSpec",
    "PluginTask",
    "Replaced",
    "ServiceFacts",
)


@attrs.frozen(slots=True, kw_only=True)
class PluginSpec:
    """Which plugins a run wants and what they get: values of `task_info` are JSON plain, text is str.

    Keys of `task_info` are those of Afanasy's taskInfo (``wdir``, ``command_block``, ...,
    ``store_dir``); docs/plugins.md lists them.
    """

    service: str
    parser: str
    """Empty or ``none``: no parser, silently."""
    task_info: Mapping[str, object]


@attrs.frozen(slots=True, kw_only=True)
class ServiceFacts:
    """What a service says right after it was made: all paths are this host's."""

    working_directory: str
    command: str
    environment: Mapping[str, str]
    files: tuple[str, ...] = ()
    skip: bool = False
    has_parser: bool = False
    wants_ticks: bool = False
    """A foreign parser that may want a call each second without new output."""
    wants_tail: bool = False
    """The parser also sees the unfinished line (class attribute ``tail = True``)."""
    grace: float | None = None
    """Seconds between TERM and KILL that the service asks for; None: the agent's."""
    limits: Mapping[str, float] = attrs.field(factory=dict, hash=False)
    """Fields of `config.Limits` that the service has of its own."""
    stuck: Mapping[str, float | str] = attrs.field(factory=dict, hash=False)
    """Fields of `config.Stuck` that the service has of its own."""
    settled: bool = False
    """Whether no plugin code has a say in the run's end: its exit code alone counts, and the log
    stays as it is."""
    log: str = ""
    """The service's own log so far, and what went wrong with the parser, for the task's log."""


@attrs.frozen(slots=True, kw_only=True)
class Replaced:
    """The parser replaced the output from `start` to `end` (log offsets) by `text`."""

    start: int
    end: int
    text: str


@attrs.frozen(slots=True, kw_only=True)
class ParserState:
    """A parser's attributes after a call. Flags are true if any portion of that call set them."""

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
    files: tuple[str, ...] = ()
    files_onthefly: tuple[str, ...] = ()
    """New since the last call."""
    consumed: int = 0
    """Log offset up to which portions were given to the parser."""
    replaced: tuple[Replaced, ...] = ()
    problem: str = ""
    """Traceback of what the parser raised in this call, for the task's log; rate limited."""


@attrs.frozen(slots=True, kw_only=True)
class Conclusion:
    """What a service says at the end of a run's own process."""

    exit_ok: bool
    files_ok: bool = True
    post: tuple[str, ...] = ()
    """Shell commands to run after a good end (thumbnails), in order."""
    post_limit: float = 0.0
    """Seconds each of them may take; 0 or less: no limit."""
    parsed_files: tuple[str, ...] = ()
    """Files found by the parser, as server paths."""
    log: str = ""
    """The parser's and the service's log texts, as the task's log shows them."""


class PluginTask(Protocol):
    """The service and parser objects of one run.

    Calls are answered one after another. A method never raises for what a plugin did wrong: it
    returns the value that the contract names, and `problems()` tells. When the plugin has been
    dropped (it hung, or killed its process) `dropped` says why, `parse` returns the last state
    and the checks return what the base class would.
    """

    facts: ServiceFacts

    @property
    def disabled_reason(self) -> str: ...

    async def parse(
        self, upto: int, *, mode: str = "RUN", pid: int = 0, resources: str = ""
    ) -> ParserState:
        """Feed the log up to offset `upto`, in whole lines. `mode` other than ``RUN`` is the last
        call for this process, ``<raw wait status>:<stop time>``: the unfinished line goes too."""
        ...

    async def run_end_checks(
        self, code: int | None, *, check_files: bool, post: bool
    ) -> Conclusion:
        """All that is asked after the last `parse`, in one call: tiny tasks pay for each.

        In Afanasy's order, each only if the one before was good: checkExitStatus of `code` (None:
        it does not count), checkRenderedFiles if `check_files`, doPost if `post`.
        """
        ...

    async def explain(self, code: int | None, signal: int | None) -> tuple[ErrorClass, ...]:
        """What kind of error a failed run had, by its exit code or signal and the end of its log."""
        ...

    async def on_the_fly(self, files: tuple[str, ...]) -> tuple[str, ...]:
        """Shell commands that make thumbnails of files the parser announced while rendering."""
        ...

    async def log(self) -> str:
        """The parser's and the service's log texts, as the task's log shows them."""
        ...

    def problems(self) -> tuple[str, ...]:
        """What went wrong in plugin code since the last call of this, for the task's log."""
        ...


class PluginRunner(Protocol):
    """Where plugins live. Whoever opened it closes it; tasks are closed before it."""

    def open_task(self, spec: PluginSpec, log: RunLog) -> AbstractAsyncContextManager[PluginTask]:
        """Make the objects. Raises `PluginNotFound` (a service that is not there), `PluginError`.

        An unknown or broken parser is no error: the task runs unparsed, `facts.log` says why.
        """
        ...
