"""Replays a recorded log through a parser as the agent does, and records the effect of each line."""

from __future__ import annotations

import os
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
from trio_afrender.plugins.interfaces import ParserState, PluginSpec
from trio_afrender.plugins.lookup import load_class
from trio_afrender.plugins.task_worker import TaskWorker
from trio_afrender.plugins.validation import read_text, read_texts
from trio_afrender.process.interfaces import ExitStatus
from trio_afrender.protocol.messages import TaskExec, TaskStatus
from trio_afrender.task.status_rules import RunFacts, decide_status
from trio_afrender.task.task_info import make_task_info
from trio_afrender.tasklog.memory_log import MemoryLogStore
from trio_afrender.user_files import find_temporary_folder

__all__ = ("FLAGS", "Event", "Replay", "replay_parser")

FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess")
STOPPING_FLAGS = ("error", "fatalerror", "finishedsuccess")
"""Flags at which the agent stops the task."""
_LASTING = ("fatalerror", "finishedsuccess")
"""Flags that a parser never resets, so that they are an event only once."""
_VALUES = ("percent", "frame", "percentframe", "activity", "report", "resources")
_PID = 1
_LAST_MODE = "0:0"


@attrs.frozen(slots=True)
class Event:
    """One change of a parser's attributes, and the lines that caused it."""

    name: str
    """The attribute (``percent``, ``activity``, ...), the flag, ``file``, ``output`` or ``problem``."""
    value: int | str | bool
    first_line: int
    """Counted from 1. Less than `line` if a batch of several lines caused the event."""
    line: int
    text: str
    """The text of `line`; of a line redrawn with ``\\r``, such as a progress bar, the last state."""


@attrs.frozen(slots=True, kw_only=True)
class Replay:
    """The result of replaying a log."""

    parser: str
    chunk: str
    """How the log was cut; as an argument of `replay_parser` it gives the same chunks again."""
    events: tuple[Event, ...]
    state: ParserState
    """The final state; flags are true if they were set at any time."""
    files: tuple[str, ...]
    """All announced files, with the names as announced; `state.files` are those that exist."""
    output: str
    """The output as stored and shown: the log with the parser's replacements."""
    status: TaskStatus
    """The status of the task if its process had ended with exit code 0."""
    stopped: Event | None = None
    """The event at which the agent would have stopped the task."""
    problems: tuple[str, ...] = ()
    """Faults of the parser's code: tracebacks and sentences."""
    differences: tuple[str, ...] = ()
    """How the result differs from that of the whole log as one chunk; empty for a correct parser."""
    log: str = ""
    """The texts of parser and service for the task's log."""
    html: str = ""
    """The log in the parser's colours; empty unless requested."""

    @property
    def good(self) -> bool:
        """Whether there are no problems and no differences."""
        return not self.problems and not self.differences

    @property
    def backwards(self) -> tuple[Event, ...]:
        """The events at which the task's percent decreased."""
        percents = [event for event in self.events if event.name == "percent"]
        return tuple(b for a, b in pairwise(percents) if int(b.value) < int(a.value))


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
    """Feed a log to a parser in chunks, and once more as a whole; return the result.

    `folders` are searched for the parser first. Announced files are searched below
    `working_directory`. Raises `PluginNotFound` or `PluginError` if the parser cannot be created,
    `ConfigError` for an invalid `chunk`. Blocking, without a time limit.
    """
    data = log.encode("utf-8", "surrogateescape") if isinstance(log, str) else bytes(log)
    spelled = spell_chunk(chunk)
    folders = tuple(folder.resolve() for folder in folders)
    load_class("parser", name, folders)  # raises if it is missing, which `TaskWorker` does not

    def replay(cuts: str) -> _Recorder:
        recorder = _Recorder(name, data, frames, folders, working_directory)
        recorder.replay(cuts)
        return recorder

    made = replay(spelled)
    events = tuple(made.events)
    if spelled != "line":
        # In larger batches an event has a range of lines: feeding line by line finds the exact one.
        located = _locate(events, replay("line").events)
        events = tuple(sorted(located, key=lambda event: event.line))
    differences = () if spelled == "whole" else _compare(made, replay("whole"))
    conclusion = made.worker.run_end_checks(0, check_files=False, post=False)
    page = made.worker.to_html(data.decode("utf-8", "replace")) if html else ""
    made.take_problems()
    flags = {flag: getattr(made.state, flag) for flag in FLAGS if flag != "warning"}
    exited = ExitStatus(code=0, signal=None, raw=0)
    return Replay(
        parser=name,
        chunk=spelled,
        events=events,
        state=made.state,
        files=made.files,
        output=made.output(),
        status=decide_status(RunFacts(exit=exited, exit_ok=conclusion.exit_ok, **flags)),
        stopped=next((event for event in events if event.name in STOPPING_FLAGS), None),
        problems=tuple(made.problems),
        differences=differences,
        log=conclusion.log,
        html=page,
    )


class _ReplayWorker(TaskWorker):
    """The agent's `TaskWorker`, with access to more of the parser."""

    def reported_files(self) -> tuple[str, ...]:
        """Files as the parser announced them, whether they exist or not."""
        return read_texts(getattr(self._service.parser, "files_all", ())) or ()

    def to_html(self, text: str) -> str:
        """The text as HTML; without colours if the parser's ``toHTML`` fails."""
        try:
            made = read_text(self._service.toHTML(text))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - plugin code may raise anything
            self._problems.add(f"toHTML() raised {type(error).__name__}: {error}")
            made = None
        return "<br>\n".join(escape(text).splitlines()) if made is None else made


class _Recorder:
    """Feeds one log to one parser object and records the changes."""

    def __init__(
        self, name: str, data: bytes, frames: int, folders: tuple[Path, ...], wdir: str
    ) -> None:
        store = MemoryLogStore()
        store.append(data)
        task = TaskExec(run="check", job=1, block=0, task=0, frames_num=frames)
        info = {**make_task_info(task, str(find_temporary_folder())), "wdir": wdir}
        spec = PluginSpec(service="service", parser=name, task_info=info)
        self.worker = _ReplayWorker(spec, store, PluginSettings(), folders)
        if not self.worker.facts.has_parser:
            first, _, details = self.worker.facts.log.partition("\n")
            raise PluginError(first or f'parser "{name}" could not be made', details)
        self.events: list[Event] = []
        self.state = ParserState()
        self.files: tuple[str, ...] = ()
        self.problems: list[str] = []
        self._data = data
        self._line_starts = [0, *(at + 1 for at, byte in enumerate(data) if byte == 0x0A)]
        self._replaced: list[tuple[int, int, str]] = []
        self._seen_files: set[str] = set()

    def replay(self, chunk: str) -> None:
        """Feed the whole log, and make the last call as after the end of the process."""
        for end in cut_log(self._data, chunk):
            self._take(self.worker.parse(end, pid=_PID), end)
        self._take(self.worker.parse(len(self._data), mode=_LAST_MODE), len(self._data))
        self.take_problems()

    def take_problems(self) -> None:
        """Record the worker's problems, each once."""
        self.problems.extend(text for text in self.worker.problems() if text not in self.problems)

    def output(self) -> str:
        """The log with the parser's replacements."""
        parts, at = [], 0
        for start, end, text in self._replaced:
            parts += [self._data[at:start].decode("utf-8", "replace"), text]
            at = end
        return "".join([*parts, self._data[at:].decode("utf-8", "replace")])

    def _take(self, state: ParserState, read: int) -> None:
        """Record the changes of one call. `read` is the offset up to which the log was fed."""
        before = self.state
        start, end = before.consumed, state.consumed
        if start == end:
            end = read  # the call had the unfinished line or no data
        for name, value in self._changes(before, state):
            first = bisect_right(self._line_starts, start)
            last = bisect_right(self._line_starts, max(start, end - 1))
            text = self._data[start:end].rstrip(b"\r\n")
            line = text[max(text.rfind(b"\n"), text.rfind(b"\r")) + 1 :]
            self.events.append(Event(name, value, first, last, line.decode("utf-8", "replace")))
        latched: dict[str, Any] = {flag: True for flag in FLAGS if getattr(before, flag)}
        self.state = attrs.evolve(state, **latched)

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
        # From the state too, because a foreign parser may lack the list of all announced files.
        for file in (*self.worker.reported_files(), *state.files, *state.files_onthefly):
            wdir = self.worker.facts.working_directory
            key = os.path.normpath(os.path.join(wdir, file))  # noqa: PTH118 - a text
            if key not in self._seen_files:
                self._seen_files.add(key)
                self.files += (file,)
                yield "file", file
        for part in state.replaced:
            self._replaced.append((part.start, part.end, part.text))
            if part.text != self._data[part.start : part.end].decode("utf-8", "replace"):
                yield "output", part.text
        if state.problem:
            yield "problem", state.problem.rstrip().rpartition("\n")[2]


def _locate(events: Sequence[Event], exact: Sequence[Event]) -> Iterator[Event]:
    """Narrow each event of a batch down to the line at which line-by-line feeding had the same event."""
    by_change: dict[tuple[str, int | str | bool], list[Event]] = {}
    for event in exact:
        by_change.setdefault((event.name, event.value), []).append(event)
    for event in events:
        same = by_change.get((event.name, event.value), ())
        inside = (one for one in same if event.first_line <= one.line <= event.line)
        yield next(inside, event)


def _compare(made: _Recorder, whole: _Recorder) -> tuple[str, ...]:
    found = []
    for name in (*_VALUES, *FLAGS):
        cut, uncut = getattr(made.state, name), getattr(whole.state, name)
        if cut != uncut:
            found.append(f"{name} is {cut!r} in these chunks, {uncut!r} in one")
    if set(made.files) != set(whole.files):
        only = sorted(set(made.files) ^ set(whole.files))
        found.append(f"files announced only in these chunks or only in one: {', '.join(only)}")
    if made.output() != whole.output():
        found.append("the replaced output differs")
    return tuple(found)
