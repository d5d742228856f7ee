"""Replays a recorded log through a parser as the agent does, and says which line did what."""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs

from trio_afrender.config.settings import PluginSettings
from trio_afrender.devtools.chunk_variants import Chunk, cut_log, spell_chunk
from trio_afrender.errors import PluginError
from trio_afrender.plugins.interfaces import Conclusion, ParserState, PluginSpec
from trio_afrender.plugins.lookup import load_class
from trio_afrender.plugins.task_worker import TaskWorker
from trio_afrender.plugins.validation import read_text, read_texts
from trio_afrender.process.interfaces import ExitStatus
from trio_afrender.protocol.messages import TaskExec, TaskStatus
from trio_afrender.task.status_rules import RunFacts, decide_status
from trio_afrender.task.task_info import make_task_info
from trio_afrender.tasklog.memory_log import MemoryLogStore

__all__ = ("FLAGS", "Event", "Replay", "replay_parser")

FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess")
STOPPING_FLAGS = ("error", "fatalerror", "finishedsuccess")
"""Flags at which the agent stops the task."""
_LASTING = ("fatalerror", "finishedsuccess")
"""Flags that a parser never takes back: seen again they are no news."""
_VALUES = ("percent", "frame", "percentframe", "activity", "report", "resources")
_PID = 1
_LAST_MODE = "0:0"


@attrs.frozen(slots=True)
class Event:
    """One change of what the parser says, and what caused it."""

    name: str
    """An attribute (``percent``, ``activity``, ...), a flag, ``file``, ``output`` or ``problem``."""
    value: int | str | bool
    first_line: int
    """Counted from 1; a portion of several lines may have caused it."""
    line: int
    text: str
    """Of the line, or of the portion's last line; of a progress bar drawn over itself that state."""


@attrs.frozen(slots=True, kw_only=True)
class Replay:
    """What a parser made of a log."""

    parser: str
    chunk: str
    """How the log was cut: put it in again to have the same cuts."""
    events: tuple[Event, ...]
    state: ParserState
    """As it ended; flags are true if they were ever set."""
    files: tuple[str, ...]
    """All that were announced, as they were announced; `state.files` are those that are there."""
    output: str
    """What is stored and shown: the log, with what the parser put in its place."""
    status: TaskStatus
    """What the task would get, had its process ended with exit code 0."""
    stopped: Event | None = None
    """Where the agent would have stopped the task."""
    problems: tuple[str, ...] = ()
    """What the parser's code did wrong: tracebacks and sentences."""
    differences: tuple[str, ...] = ()
    """What came out otherwise when the whole log was one piece; nothing should."""
    log: str = ""
    """What parser and service say for the task's log."""
    html: str = ""
    """The log coloured by the parser, when it was asked for."""

    @property
    def good(self) -> bool:
        """Whether the parser did nothing wrong and the cuts made no difference."""
        return not self.problems and not self.differences

    @property
    def backwards(self) -> tuple[Event, ...]:
        """Where the percents of the task fell."""
        told = [event for event in self.events if event.name == "percent"]
        return tuple(b for a, b in pairwise(told) if int(b.value) < int(a.value))


def replay_parser(
    name: str,
    log: str | bytes,
    *,
    frames: int = 1,
    chunk: Chunk = "line",
    folders: Sequence[Path] = (),
    working_directory: str = "",
    html: bool = False,
) -> Replay:
    """Give a log to a parser in pieces, and once more as a whole; return what came of it.

    `folders` are searched for the parser first. Files that it announces are looked for below
    `working_directory`. Raises `PluginNotFound`, `PluginError` when there is no parser to give
    anything to, `ConfigError` for a wrong `chunk`. Nothing limits the time it takes.
    """
    data = log.encode("utf-8", "surrogateescape") if isinstance(log, str) else bytes(log)
    spelled = spell_chunk(chunk)
    folders = tuple(folder.resolve() for folder in folders)
    load_class("parser", name, folders)  # a parser that is not there is an error here

    def follow(cuts: str) -> _Follower:
        follower = _Follower(name, data, frames, folders, working_directory)
        follower.follow(cuts)
        return follower

    made = follow(spelled)
    events = tuple(made.events)
    if spelled != "line":
        located = _locate(events, follow("line").events)
        events = tuple(sorted(located, key=lambda event: event.line))
    differences = () if spelled == "whole" else _compare(made, follow("whole"))
    concluded = made.probe.run_end_checks(0, check_files=False, post=False)
    page = made.probe.to_html(data.decode("utf-8", "replace")) if html else ""
    made.take_problems()
    return Replay(
        parser=name,
        chunk=spelled,
        events=events,
        state=made.state,
        files=made.files,
        output=made.output(),
        status=_judge(made.state, concluded),
        stopped=next((event for event in events if event.name in STOPPING_FLAGS), None),
        problems=tuple(made.problems),
        differences=differences,
        log=concluded.log,
        html=page,
    )


def _judge(state: ParserState, concluded: Conclusion) -> TaskStatus:
    flags = {flag: getattr(state, flag) for flag in FLAGS if flag != "warning"}
    exited = ExitStatus(code=0, signal=None, raw=0)
    return decide_status(RunFacts(exit=exited, exit_ok=concluded.exit_ok, **flags))


class _Probe(TaskWorker):
    """The agent's own worker, with a look inside."""

    def reported_files(self) -> tuple[str, ...]:
        """Files as the parser named them, there or not."""
        return read_texts(getattr(self._service.parser, "files_all", ())) or ()

    def to_html(self, text: str) -> str:
        """The text as HTML; without colours from a parser that cannot."""
        try:
            made = read_text(self._service.toHTML(text))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - plugin code may raise anything
            self._problems.add(f"toHTML() raised {type(error).__name__}: {error}")
            made = None
        return "<br>\n".join(escape(text).splitlines()) if made is None else made


class _Follower:
    """Gives one log to one parser object and notes what changes."""

    def __init__(
        self, name: str, data: bytes, frames: int, folders: tuple[Path, ...], wdir: str
    ) -> None:
        store = MemoryLogStore()
        store.append(data)
        task = TaskExec(run="check", job=1, block=0, task=0, frames_num=frames)
        info = {**make_task_info(task, tempfile.gettempdir()), "wdir": wdir}
        spec = PluginSpec(service="service", parser=name, task_info=info)
        self.probe = _Probe(spec, store, PluginSettings(), folders)
        if not self.probe.facts.has_parser:
            first, _, details = self.probe.facts.log.partition("\n")
            raise PluginError(first or f'parser "{name}" could not be made', details)
        self.events: list[Event] = []
        self.state = ParserState()
        self.files: tuple[str, ...] = ()
        self.problems: list[str] = []
        self._data = data
        self._ends = [0, *(at + 1 for at, byte in enumerate(data) if byte == 0x0A)]
        self._replaced: list[tuple[int, int, str]] = []
        self._told: set[str] = set()

    def follow(self, chunk: str) -> None:
        """Feed all of it, as the agent does while the process runs and once it has ended."""
        for end in cut_log(self._data, chunk):
            self._take(self.probe.parse(end, pid=_PID), end)
        self._take(self.probe.parse(len(self._data), mode=_LAST_MODE), len(self._data))
        self.take_problems()

    def take_problems(self) -> None:
        """Note what the probe has to complain about, each once."""
        self.problems.extend(text for text in self.probe.problems() if text not in self.problems)

    def output(self) -> str:
        """The log with what was put in the place of its portions."""
        parts, at = [], 0
        for start, end, text in self._replaced:
            parts += [self._data[at:start].decode("utf-8", "replace"), text]
            at = end
        return "".join([*parts, self._data[at:].decode("utf-8", "replace")])

    def _take(self, state: ParserState, read: int) -> None:
        """Note what one call has changed; `read` is how far the log was given."""
        before = self.state
        start, end = before.consumed, state.consumed
        if start == end:
            end = read  # it saw the unfinished line, or nothing
        for name, value in self._changes(before, state):
            self.events.append(self._event(name, value, start, end))
        kept: dict[str, Any] = {flag: True for flag in FLAGS if getattr(before, flag)}
        self.state = attrs.evolve(state, **kept)

    def _changes(
        self, before: ParserState, state: ParserState
    ) -> Iterator[tuple[str, int | str | bool]]:
        fed = state.consumed > before.consumed
        for name in _VALUES:
            if getattr(state, name) != getattr(before, name):
                yield name, getattr(state, name)
        for flag in FLAGS:
            known = getattr(before, flag) and (flag in _LASTING or not fed)
            if getattr(state, flag) and not known:
                yield flag, True
        for file in self._new_files(state):
            yield "file", file
        for part in state.replaced:
            self._replaced.append((part.start, part.end, part.text))
            if part.text != self._data[part.start : part.end].decode("utf-8", "replace"):
                yield "output", part.text
        if state.problem:
            yield "problem", state.problem.rstrip().rpartition("\n")[2]

    def _new_files(self, state: ParserState) -> Iterator[str]:
        """Files announced now, each once: a parser of others may only know those that are there."""
        wdir = self.probe.facts.working_directory
        for file in (*self.probe.reported_files(), *state.files, *state.files_onthefly):
            key = os.path.normpath(os.path.join(wdir, file))  # noqa: PTH118 - a text
            if key not in self._told:
                self._told.add(key)
                self.files += (file,)
                yield file

    def _event(self, name: str, value: int | str | bool, start: int, end: int) -> Event:
        first = bisect_right(self._ends, start)
        last = bisect_right(self._ends, max(start, end - 1))
        text = self._data[start:end].rstrip(b"\r\n")
        shown = text[max(text.rfind(b"\n"), text.rfind(b"\r")) + 1 :].decode("utf-8", "replace")
        return Event(name, value, first, last, shown)


def _locate(events: Sequence[Event], exact: Sequence[Event]) -> Iterator[Event]:
    """Find the line within each portion at which the parser, fed by lines, said the same."""
    places: dict[tuple[str, int | str | bool], list[Event]] = {}
    for event in exact:
        places.setdefault((event.name, event.value), []).append(event)
    for event in events:
        same = places.get((event.name, event.value), ())
        inside = (one for one in same if event.first_line <= one.line <= event.line)
        yield next(inside, event)


def _compare(made: _Follower, whole: _Follower) -> tuple[str, ...]:
    found = []
    for name in (*_VALUES, *FLAGS):
        ours, theirs = getattr(made.state, name), getattr(whole.state, name)
        if ours != theirs:
            found.append(f"{name} is {ours!r} as it was cut, {theirs!r} in one piece")
    if set(made.files) != set(whole.files):
        only = sorted(set(made.files) ^ set(whole.files))
        found.append(f"files found in one way only: {', '.join(only)}")
    if made.output() != whole.output():
        found.append("the output that replaces the log is not the same")
    return tuple(found)
