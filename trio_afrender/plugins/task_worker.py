"""One run's service and parser objects, and the calls into them. Plain blocking code.

The plugin host and the inline runner both work through this, so their answers are the same.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs

from trio_afrender.config.settings import read_rules
from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError
from trio_afrender.plugins.compat import active_settings
from trio_afrender.plugins.compat.signatures import thumbnail_arguments
from trio_afrender.plugins.diagnostics import Captured, Problems, capturing, shorten
from trio_afrender.plugins.error_explanations import explain_end
from trio_afrender.plugins.error_rules import ErrorClass
from trio_afrender.plugins.exit_code_only import only_exit_code_counts, remember_base
from trio_afrender.plugins.interfaces import (
    Conclusion,
    ParserState,
    PluginSpec,
    Replaced,
    ServiceFacts,
)
from trio_afrender.plugins.log_chunks import LogChunks
from trio_afrender.plugins.lookup import is_builtin, load_class
from trio_afrender.plugins.validation import (
    StateReader,
    read_flag,
    read_map,
    read_seconds,
    read_text,
    read_texts,
)
from trio_afrender.tasklog.interfaces import LogReader

__all__ = ("TaskWorker",)

T = TypeVar("T")

REQUIRED = (
    "skipTask", "getWDir", "getCommand", "getEnvironment", "getFiles", "getParsedFiles",
    "hasParser", "parse", "toHTML", "getLog", "checkExitStatus", "checkRenderedFiles", "doPost",
    "doPostLimitSec",
)  # fmt: skip
MAX_REPLACED = 2 * 1024 * 1024
"""Characters by which one call may replace output: at 12 bytes each they fit into a frame."""


class TaskWorker:
    """The objects of one run. Not thread safe: one call after another.

    Making it raises `PluginNotFound` and `PluginError`. Its methods raise nothing for what plugin
    code does wrong, `sys.exit` included: they return what the original's host would take instead.
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
        """`copied`: the spec came out of JSON for this worker alone."""
        self._name = spec.service
        self._folders = tuple(folders)
        self._problems = Problems()
        self._printed = Captured()
        self._reader = reader
        self._error_rules = settings.error_rules
        self._portions = LogChunks(reader)
        self._state = StateReader(self._problems.add)
        self._tail = ""
        active_settings.use(settings)
        remember_base()
        with capturing(self._printed):
            self._service: Any = self._make_service(spec, settings, copied=copied)
            self.facts = self._make_facts()

    # -- making ---------------------------------------------------------------------------------

    def _make_service(self, spec: PluginSpec, settings: PluginSettings, *, copied: bool) -> object:
        made: Any = load_class("service", spec.service, self._folders)
        # A copy: plugins write into it. Through JSON, so that it is alike wherever we run.
        info = dict(spec.task_info) if copied else json.loads(json.dumps(dict(spec.task_info)))
        info.update(service=spec.service, parser=spec.parser)
        try:
            service: Any = made.__new__(made)
            service.settings = settings
            # No method of ours: it would keep us, and what keeps itself waits to be looked for.
            service.load_parser = partial(load_class, "parser", folders=self._folders)
            service.__init__(info, False)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = f'service "{spec.service}" could not be made: {_name(error)}'
            raise PluginError(text, self._details(error)) from error
        missing = [name for name in REQUIRED if not callable(getattr(service, name, None))]
        if missing:
            raise PluginError(f'service "{spec.service}" lacks {", ".join(missing)}')
        return service

    @property
    def ours(self) -> bool:
        """Whether no code but our own is in the objects."""
        parser = getattr(self._service, "parser", None)
        return is_builtin(type(self._service)) and (parser is None or is_builtin(type(parser)))

    def _make_facts(self) -> ServiceFacts:
        service = self._service
        has_parser = self._ask("hasParser", read_flag, False, "a bool")
        parser = getattr(service, "parser", None) if has_parser else None
        ticks = read_flag(getattr(parser, "ticks", None))
        if ticks is None:
            ticks = parser is not None and not is_builtin(type(parser))
        grace = getattr(service, "grace", None)
        if grace is not None and read_seconds(grace) is None:
            self._problems.add(f"service.grace is {grace!r:.100}, not seconds: it is ignored")
        return ServiceFacts(
            working_directory=self._demand("getWDir", read_text, "a str"),
            command=self._demand("getCommand", read_text, "a str"),
            environment=self._demand("getEnvironment", read_map, "a dict"),
            files=self._ask("getFiles", read_texts, (), "a list"),
            skip=self._ask("skipTask", read_flag, False, "a bool"),
            has_parser=has_parser,
            wants_ticks=ticks,
            wants_tail=read_flag(getattr(parser, "tail", False)) or False,
            grace=read_seconds(grace),
            limits=self._read_rules("limits"),
            stuck=self._read_rules("stuck"),
            settled=only_exit_code_counts(service),
            log=self._join(
                self._ask("getLog", read_text, "", "a str"),
                read_text(getattr(service, "parser_problem", "")) or "",
            ),
        )

    def _read_rules(self, kind: str) -> dict[str, Any]:
        """What the service's class says by its attribute `kind`."""
        rules, problems = read_rules(kind, getattr(self._service, kind, None))
        for problem in problems:
            self._problems.add(problem)
        return rules

    def _demand(self, name: str, read: Callable[[object], T | None], wanted: str) -> T:
        """The answer of a method without which there is nothing to run."""
        try:
            value = getattr(self._service, name)()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = f'service "{self._name}": {name}() raised {_name(error)}'
            raise PluginError(text, self._details(error)) from error
        result = read(value)
        if result is None:
            kind = type(value).__name__
            raise PluginError(f'service "{self._name}": {name}() gave {kind}, not {wanted}')
        return result

    def _details(self, error: BaseException) -> str:
        return self._join(_trace(error))

    def _join(self, *texts: str) -> str:
        """Texts for the task's log, with what was printed and not told yet."""
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

        With `more` this is a step of a call that goes on: there is no silence to tell of.
        """
        if not self.facts.has_parser:
            return ParserState(consumed=upto)
        turn = _Turn(pid, resources)
        with capturing(self._printed):
            try:
                for block in self._portions.read(upto):
                    for index, text in enumerate(block.texts):
                        self._feed(turn, text, partial(block.span, index))
            except OSError as error:
                self._problems.add(f"the log cannot be read: {error}")
            if mode != "RUN":
                self._feed_last(turn, mode)
            elif not more:
                self._feed_idle(turn)
        return attrs.evolve(
            self._state.take(),
            consumed=self._portions.consumed,
            replaced=tuple(turn.replaced),
            problem="\n".join(turn.problems),
        )

    @property
    def position(self) -> int:
        """Offset up to which the log was read: beyond `consumed` by the unfinished line."""
        return self._portions.position

    def run_end_checks(self, code: int | None, *, check_files: bool, post: bool) -> Conclusion:
        """See `PluginTask.conclude`."""
        exit_ok = code is None or self.check_exit_status(code)
        files_ok = not (exit_ok and check_files) or self.check_rendered_files()
        commands = self.do_post() if exit_ok and files_ok and post else ()
        return Conclusion(
            exit_ok=exit_ok,
            files_ok=files_ok,
            post=commands,
            post_limit=self.post_limit() if commands else 0.0,
            parsed_files=self.parsed_files(),
            log=self.log(),
        )

    def explain(self, code: int | None, signal: int | None) -> tuple[ErrorClass, ...]:
        """See `PluginTask.explain`; what is wrong with the rules goes to the problems."""
        found, problems = explain_end(self._reader, self._error_rules, code, signal)
        for problem in problems:
            self._problems.add(problem)
        return found

    def check_exit_status(self, code: int) -> bool:
        return self._ask("checkExitStatus", read_flag, True, "a bool", code)

    def check_rendered_files(self) -> bool:
        return self._ask("checkRenderedFiles", read_flag, True, "a bool")

    def parsed_files(self) -> tuple[str, ...]:
        return self._ask("getParsedFiles", read_texts, (), "a list")

    def do_post(self) -> tuple[str, ...]:
        return self._ask("doPost", read_texts, (), "a list")

    def post_limit(self) -> float:
        return self._ask("doPostLimitSec", read_seconds, 0.0, "seconds")

    def on_the_fly(self, files: Sequence[str]) -> tuple[str, ...]:
        arguments = thumbnail_arguments(self._service, files)
        return self._ask("generateThumbnail", read_texts, (), "a list", *arguments)

    def log(self) -> str:
        text = self._ask("getLog", read_text, "", "a str")
        return self._join(text)

    def problems(self) -> tuple[str, ...]:
        """What went wrong since the last call of this."""
        return self._problems.take()

    def _ask(
        self,
        name: str,
        read: Callable[[object], T | None],
        default: T,
        wanted: str,
        *args: object,
    ) -> T:
        """A method's answer in its right type, or `default`."""
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
            self._problems.add(f"service.{name}() gave {type(value).__name__}, not {wanted}")
            return default
        return result

    # -- portions -------------------------------------------------------------------------------

    def _feed_last(self, turn: _Turn, mode: str) -> None:
        """The one call that tells the end, with the unfinished line."""
        block = self._portions.finish()
        last = len(block.texts) - 1
        for index, text in enumerate(block.texts):
            called = mode if index == last else "RUN"
            self._feed(turn, text, partial(block.span, index), called)
        if not block.texts:
            self._feed(turn, "", self._here, mode)
        self._tail = ""

    def _feed_idle(self, turn: _Turn) -> None:
        """The unfinished line for a parser that wants it, or a tick for one that wants those."""
        tail = self._portions.tail if self.facts.wants_tail else ""
        if tail and tail != self._tail:
            self._feed(turn, "", self._here, tail=tail)
        elif not turn.fed and self.facts.wants_ticks:
            self._feed(turn, "", self._here)
        self._tail = tail

    def _here(self) -> tuple[int, int]:
        consumed = self._portions.consumed
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
        """One call of the service's ``parse``. `span` tells where in the log `data` stands."""
        turn.fed = True
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
        if problem and (said := self._problems.add(problem)):
            turn.problems.append(said)
        if parser is None:
            return
        self._state.read(parser)
        if result is not None:
            self._replace(turn, result, span())

    def _replace(self, turn: _Turn, result: object, span: tuple[int, int]) -> None:
        text = read_text(result)
        if text is None:
            self._problems.add(f"parser.result is {type(result).__name__}, not a str")
            return
        turn.room -= len(text)
        if turn.room < 0:
            self._problems.add("the parser replaces output by too much text: it is left as it was")
        elif text or span[1] > span[0]:
            turn.replaced.append(Replaced(start=span[0], end=span[1], text=text))


@attrs.define
class _Turn:
    """What one call of `Worker.parse` gathers."""

    pid: int
    resources: str
    fed: bool = False
    room: int = MAX_REPLACED
    replaced: list[Replaced] = attrs.field(factory=list)
    problems: list[str] = attrs.field(factory=list)


def _name(error: BaseException) -> str:
    return shorten(f"{type(error).__name__}: {error}", 500)


def _trace(error: BaseException) -> str:
    """The traceback without our own frame at its top."""
    trace = error.__traceback__
    lines = traceback.format_exception(type(error), error, trace.tb_next if trace else None)
    return shorten("".join(lines))
