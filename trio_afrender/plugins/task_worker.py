"""One run's service and parser objects, and the calls into them. Plain blocking code.

The plugin host and the in-process runner both use this class, so both return the same values.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import attrs

from trio_afrender.config.settings import PluginSettings, read_rules
from trio_afrender.errors import PluginError, is_exhausted
from trio_afrender.plugins.compat import active_settings
from trio_afrender.plugins.compat.signatures import thumbnail_arguments
from trio_afrender.plugins.diagnostics import Captured, Problems, capturing, shorten_middle
from trio_afrender.plugins.error_rules import explain_end
from trio_afrender.plugins.interfaces import (
    Conclusion,
    ErrorClass,
    ParserState,
    PluginSpec,
    Replaced,
    ServiceFacts,
)
from trio_afrender.plugins.log_chunks import LogChunks
from trio_afrender.plugins.lookup import is_builtin, load_class
from trio_afrender.plugins.validation import (
    StateReader,
    read_facts,
    read_flag,
    read_map,
    read_seconds,
    read_text,
    read_texts,
)
from trio_afrender.tasklog.interfaces import LogReader
from trio_afrender.tasklog.redact import MASK_COMMAND, MAX_MASKS, find_masks

__all__ = ("TaskWorker", "only_exit_code_counts", "remember_base")

T = TypeVar("T")

REQUIRED = (
    "skipTask", "getWDir", "getCommand", "getEnvironment", "getFiles", "getParsedFiles",
    "hasParser", "parse", "toHTML", "getLog", "checkExitStatus", "checkRenderedFiles", "doPost",
    "doPostLimitSec",
)  # fmt: skip
READ_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 1.0)
"""Seconds between two attempts to read the log while the host has no descriptor left."""
MAX_FINDING = 500
"""Characters of the sentence about what is wrong with a task's files."""
MAX_REPLACED = 2 * 1024 * 1024
"""Characters of replacement text that one call returns: in JSON a character takes at most 12 bytes,
so the answer fits into one frame of the plugin host (`MAX_PLUGIN_FRAME`)."""


class TaskWorker:
    """The service and parser of one run. Not thread safe: one call after another.

    The constructor raises `PluginNotFound` and `PluginError`. The methods raise nothing for a fault
    of plugin code, ``sys.exit`` included: they return what Afanasy's own host assumes then.
    """

    def __init__(
        self,
        spec: PluginSpec,
        reader: LogReader,
        settings: PluginSettings,
        folders: Sequence[Path] = (),
        *,
        copied: bool = False,
    ) -> None:
        """`copied`: `spec` was read from JSON for this worker alone, so plugins may write into it."""
        self._name = spec.service
        self._folders = tuple(folders)
        self._problems = Problems()
        self._printed = Captured()
        self._reader = reader
        self._error_rules = settings.error_rules
        self._chunks = LogChunks(reader)
        self._state = StateReader(self._problems.add)
        self._masks: set[str] = set()
        self._tail = ""
        self._takes_pieces = False
        """Whether the parser gets an unfinished line as data, piece by piece (docs/plugins.md)."""
        active_settings.use(settings)
        remember_base()  # before plugin code is loaded, which can change the base class
        with capturing(self._printed):
            self._service: Any = self._make_service(spec, settings, copied=copied)
            self.facts: ServiceFacts = self._read_facts()
            default, above = spec.assets
            if (above or self.facts.checks.get("assets", default)) == "off":
                # The parser neither warns of missing files nor names them in its report.
                parser: Any = getattr(self._service, "parser", None)
                if hasattr(parser, "warns_of_assets"):
                    parser.warns_of_assets = False

    # -- creation -------------------------------------------------------------------------------

    def _make_service(self, spec: PluginSpec, settings: PluginSettings, *, copied: bool) -> object:
        made: Any = load_class("service", spec.service, self._folders)
        # A copy, because plugins write into it. Through JSON, so that plugins see the same types in
        # this process as in a plugin host.
        info = dict(spec.task_info) if copied else json.loads(json.dumps(dict(spec.task_info)))
        info.update(service=spec.service, parser=spec.parser)
        try:
            service: Any = made.__new__(made)
            service.settings = settings
            # Not a method of this object: that would be a reference cycle, which only the garbage
            # collector frees (test_a_run_that_is_over_leaves_no_reference_cycle).
            service.load_parser = partial(load_class, "parser", folders=self._folders)
            service.__init__(info, False)
        except KeyboardInterrupt:
            raise  # a request to this process, here and below; SystemExit is a fault of the plugin
        except BaseException as error:
            text = f'service "{spec.service}" could not be made: {_summarize(error)}'
            raise PluginError(text, self._details(error)) from error
        missing = [name for name in REQUIRED if not callable(getattr(service, name, None))]
        if missing:
            raise PluginError(f'service "{spec.service}" lacks {", ".join(missing)}')
        return service

    @property
    def ours(self) -> bool:
        """Whether the classes of service and parser are built-in ones."""
        parser = getattr(self._service, "parser", None)
        return is_builtin(type(self._service)) and (parser is None or is_builtin(type(parser)))

    def _read_facts(self) -> ServiceFacts:
        service = self._service
        has_parser = self._call("hasParser", read_flag, False, "a bool")
        parser = getattr(service, "parser", None) if has_parser else None
        foreign = parser is not None and not is_builtin(type(parser))
        ticks = read_flag(getattr(parser, "ticks", None))
        if ticks is None:
            ticks = foreign
        tail = read_flag(getattr(parser, "tail", None))
        # Parsers written for Afanasy may rely on getting each second whatever was printed: Nuke's
        # prints ".1.2.3" while a frame is rendered, and ends the line when it is done.
        self._takes_pieces = foreign and ticks and tail is None
        grace = getattr(service, "grace", None)
        if grace is not None and read_seconds(grace) is None:
            self._problems.add(f"service.grace is {grace!r:.100}, not seconds: it is ignored")
        return ServiceFacts(
            working_directory=self._require("getWDir", read_text, "a str"),
            command=self._require("getCommand", read_text, "a str"),
            environment=self._require("getEnvironment", read_map, "a dict"),
            files=self._call("getFiles", read_texts, (), "a list"),
            secrets=read_texts(getattr(service, "secrets", ())) or (),
            skip=self._call("skipTask", read_flag, False, "a bool"),
            has_parser=has_parser,
            wants_ticks=ticks,
            wants_tail=tail or False,
            grace=read_seconds(grace),
            limits=self._read_rules("limits"),
            stuck=self._read_rules("stuck"),
            checks=self._read_rules("checks"),
            settled=only_exit_code_counts(service),
            log=self._join(
                self._call("getLog", read_text, "", "a str"),
                read_text(getattr(service, "parser_problem", "")) or "",
            ),
        )

    def _read_rules(self, kind: str) -> dict[str, Any]:
        """The service's own `limits`, `stuck` or `checks`, by the name of that attribute."""
        rules, problems = read_rules(kind, getattr(self._service, kind, None))
        for problem in problems:
            self._problems.add(problem)
        return rules

    def _require(self, name: str, read: Callable[[object], T | None], wanted: str) -> T:
        """The result of a method without which there is nothing to run. Raises `PluginError`."""
        try:
            value = getattr(self._service, name)()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = f'service "{self._name}": {name}() raised {_summarize(error)}'
            raise PluginError(text, self._details(error)) from error
        result = read(value)
        if result is None:
            kind = type(value).__name__
            raise PluginError(f'service "{self._name}": {name}() returned {kind}, not {wanted}')
        return result

    def _details(self, error: BaseException) -> str:
        return self._join(_trace(error))

    def _join(self, *texts: str) -> str:
        """Join texts for the task's log, with what plugin code has printed since the last call."""
        printed = self._printed.take()
        if printed.strip():
            texts = (*texts, f"Printed by plugin code:\n{printed}")
        return "\n".join(text.rstrip("\n") for text in texts if text.strip())

    # -- calls ----------------------------------------------------------------------------------

    def parse(
        self,
        upto: int,
        *,
        mode: str = "RUN",
        pid: int = 0,
        resources: str = "",
        more: bool = False,
    ) -> ParserState:
        """Feed the log up to offset `upto`; see `PluginTask.parse`.

        `more`: other steps of the same call follow, so this one makes no tick.
        """
        # A tick has no mark of its own: so the same calls on the same log feed the same pieces, which
        # building a parser anew relies on (`plugins.host.plugin_run`).
        tick = upto <= self._chunks.position
        if not self.facts.has_parser:
            return ParserState(consumed=upto)
        turn = _Turn(pid, resources)
        with capturing(self._printed):
            self._feed_log(turn, upto)
            if mode != "RUN":
                self._feed_last(turn, mode)
            elif not more:
                self._feed_idle(turn, tick=tick)
        return attrs.evolve(
            self._state.take(),
            consumed=self._chunks.consumed,
            replaced=tuple(turn.replaced),
            masks=tuple(turn.masks),
            problem="\n".join(turn.problems),
        )

    @property
    def position(self) -> int:
        """Offset up to which the log was read: beyond `consumed` by the unfinished line."""
        return self._chunks.position

    def run_end_checks(self, code: int | None, *, check_files: bool, post: bool) -> Conclusion:
        """See `PluginTask.run_end_checks`."""
        exit_ok = code is None or self.check_exit_status(code)
        files_ok = not (exit_ok and check_files) or self.check_rendered_files()
        finding = ""
        if not files_ok:
            # An override of the check may have written a log only.
            own = (vars(self._service).get(name) for name in ("finding", "log"))
            text = next(
                filter(None, map(read_text, own)), "the service's check of its files failed"
            )
            finding = " ".join(text.split())[:MAX_FINDING]
        commands = self.do_post() if exit_ok and files_ok and post else ()
        return Conclusion(
            exit_ok=exit_ok,
            files_ok=files_ok,
            finding=finding,
            post=commands,
            post_limit=self.post_limit() if commands else 0.0,
            parsed_files=self.parsed_files(),
            log=self.log(),
        )

    def explain(
        self,
        code: int | None,
        signal: int | None,
        *,
        upto: int | None = None,
        last_lines: int = 0,
    ) -> tuple[ErrorClass, ...]:
        """See `PluginTask.explain`; faults of the rules are added to the problems."""
        facts = read_facts(getattr(self._service, "parser", None))
        deciding = (facts.get("deciding_line", 0), facts.get("deciding_text", ""))
        try:
            found, problems = explain_end(
                self._reader,
                self._error_rules,
                code,
                signal,
                deciding=deciding,
                upto=upto,
                last_lines=last_lines,
            )
        except OSError as error:
            found, problems = (), (f"the log cannot be read: {error}",)
        for problem in problems:
            self._problems.add(problem)
        return found

    def check_exit_status(self, code: int) -> bool:
        return self._call("checkExitStatus", read_flag, True, "a bool", code)

    def check_rendered_files(self) -> bool:
        return self._call("checkRenderedFiles", read_flag, True, "a bool")

    def parsed_files(self) -> tuple[str, ...]:
        return self._call("getParsedFiles", read_texts, (), "a list")

    def do_post(self) -> tuple[str, ...]:
        return self._call("doPost", read_texts, (), "a list")

    def post_limit(self) -> float:
        return self._call("doPostLimitSec", read_seconds, 0.0, "seconds")

    def on_the_fly(self, files: Sequence[str]) -> tuple[str, ...]:
        arguments = thumbnail_arguments(self._service, files)
        return self._call("generateThumbnail", read_texts, (), "a list", *arguments)

    def log(self) -> str:
        text = self._call("getLog", read_text, "", "a str")
        return self._join(text)

    def problems(self) -> tuple[str, ...]:
        """Faults of plugin code since the last call of this method."""
        return self._problems.take()

    def _call(
        self,
        name: str,
        read: Callable[[object], T | None],
        default: T,
        wanted: str,
        *args: object,
    ) -> T:
        """Call a method of the service; return its result in its right type, else `default`."""
        with capturing(self._printed):
            try:
                value = getattr(self._service, name)(*args)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
                self._problems.add(f"service.{name}() raised:\n{_trace(error)}")
                return default
        result = read(value)
        if result is None:
            self._problems.add(f"service.{name}() returned {type(value).__name__}, not {wanted}")
            return default
        return result

    # -- feeding the parser ---------------------------------------------------------------------

    def _feed_log(self, turn: _Turn, upto: int) -> None:
        """Feed the whole lines up to offset `upto`."""
        # Again where the host has no descriptor left: after the last call nothing would be read again,
        # and an error at the end of the output would not be seen.
        for pause in (*READ_PAUSES, None):
            try:
                for chunk in self._chunks.read(upto):
                    for index, text in enumerate(chunk.texts):
                        self._feed(turn, text, partial(chunk.span, index))
            except OSError as error:
                if pause is not None and is_exhausted(error):
                    time.sleep(pause)
                    continue
                self._problems.add(f"the log cannot be read: {error}")
            return

    def _feed_last(self, turn: _Turn, mode: str) -> None:
        """Feed the unfinished line. The last call of the parser has `mode`, and only that one."""
        chunk = self._chunks.finish()
        last = len(chunk.texts) - 1
        for index, text in enumerate(chunk.texts):
            called = mode if index == last else "RUN"
            self._feed(turn, text, partial(chunk.span, index), called)
        if not chunk.texts:
            self._feed(turn, "", self._here, mode)
        self._tail = ""

    def _feed_idle(self, turn: _Turn, *, tick: bool) -> None:
        """Feed a changed unfinished line to a parser with ``tail``; at a tick, a piece or no data."""
        tail = self._chunks.tail if self.facts.wants_tail else ""
        if tail and tail != self._tail:
            self._feed(turn, "", self._here, tail=tail)
        elif tick and self._takes_pieces and (piece := self._chunks.take_tail()).texts:
            self._feed(turn, piece.texts[0], partial(piece.span, 0))
        elif tick and self.facts.wants_ticks:
            self._feed(turn, "", self._here)
        self._tail = tail

    def _here(self) -> tuple[int, int]:
        consumed = self._chunks.consumed
        return consumed, consumed

    def _feed(
        self,
        turn: _Turn,
        data: str,
        span: Callable[[], tuple[int, int]],
        mode: str = "RUN",
        *,
        tail: str | None = None,
    ) -> None:
        """Call the service's ``parse`` once. `span` returns the log offsets of `data`."""
        if masks := find_masks(data):
            self._take_masks(turn, masks)
        args = {"pid": turn.pid, "mode": mode, "data": data, "resources": turn.resources}
        if tail is not None:
            args["tail"] = tail
        try:
            parser = self._service.parse(args)
            problem = read_text(getattr(parser, "problem", "")) or ""
            if problem:
                parser.problem = ""
            result = getattr(parser, "result", None)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
            parser, problem, result = None, _trace(error), None
        if problem and (reported := self._problems.add(problem)):
            turn.problems.append(reported)
        if parser is None:
            return
        self._state.read(parser)
        if result is None:
            return
        text = read_text(result)
        if text is None:
            self._problems.add(f"parser.result is {type(result).__name__}, not a str")
            return
        turn.room -= len(text)
        start, end = span()  # decodes the chunk again: only for text that was replaced
        if turn.room < 0:
            self._problems.add("the parser replaces output by too much text: it is left as it was")
        elif text or end > start:  # else nothing was replaced by nothing, in a tick
            turn.replaced.append(Replaced(start=start, end=end, text=text))

    def _take_masks(self, turn: _Turn, masks: Sequence[str]) -> None:
        """Note the secrets that the output names, each once, and as many as the agent searches for."""
        for mask in masks:
            if mask in self._masks:
                continue
            if len(self._masks) >= MAX_MASKS:
                self._problems.add(
                    f"the output names more than {MAX_MASKS} secrets ({MASK_COMMAND}...): only the"
                    " first ones are redacted"
                )
                return
            self._masks.add(mask)
            turn.masks.append(mask)


@attrs.define
class _Turn:
    """What one call of `TaskWorker.parse` collects."""

    pid: int
    resources: str
    room: int = MAX_REPLACED
    replaced: list[Replaced] = attrs.field(factory=list)
    problems: list[str] = attrs.field(factory=list)
    masks: list[str] = attrs.field(factory=list)


def _summarize(error: BaseException) -> str:
    return shorten_middle(f"{type(error).__name__}: {error}", 500)


def _trace(error: BaseException) -> str:
    """The traceback without its first frame, which is this module's."""
    trace = error.__traceback__
    lines = traceback.format_exception(type(error), error, trace.tb_next if trace else None)
    return shorten_middle("".join(lines))


# -- runs whose result depends on the exit code alone ---------------------------------------------


@cache
def remember_base() -> Mapping[str, FunctionType]:
    """The base class's functions as imported. The first call must precede any plugin's import,
    because a plugin can replace attributes of the base class."""
    base = load_class("service", "service")
    return {name: value for name, value in vars(base).items() if isinstance(value, FunctionType)}


def only_exit_code_counts(service: object) -> bool:
    """Whether a run's result depends on the exit code alone, so that no call is needed at its end.

    True only for a built-in service that has no parser, makes no files and overrides no method of
    the base class. Most tiny tasks are like that, and each call is a quarter of their cost.
    """
    made = type(service)
    if not is_builtin(made):
        return False
    own = vars(service)
    for name, function in remember_base().items():
        if getattr(made, name, None) is not function or name in own:
            return False
    if own.get("parser") is not None or own.get("parser_problem"):
        return False
    # Called only now: the loop has proven that both are the base class's own methods.
    return not any(getattr(service, name)() for name in ("getFiles", "getParsedFiles"))
