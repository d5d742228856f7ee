"""The base class of all parsers: a task's output goes in, progress, flags and files come out.

A plugin overrides `do`. The names of methods and attributes are those of Afanasy's parsers, which
studios subclass; docs/plugins.md is the manual. Plugins import the class from `parsers.parser`.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable

from parsers import _host_load, _line_colours, _text

__all__ = ("ACTIVITY", "REPORT", "parser")

ACTIVITY = "ACTIVITY: "
REPORT = "REPORT: "

_FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess")
_NUMBERS = ("percent", "frame", "percentframe")
_TEXTS = ("activity", "report", "resources")
_LONGEST_PROBLEM = 16 * 1024
_MOST_FILES = 10_000  # announced by one task: whatever it prints, memory and time stay bounded


class parser:
    """What every parser has; alone it knows only the markers that any program may print."""

    tail = False
    """Whether `do` also wants to see a line that is not finished, as ``args['tail']``."""
    ticks: bool | None = None
    """Whether it wants a call each second without new output; None: plugins of others do."""
    recheck = 1.0
    """Seconds between two looks for files that were announced before they were there."""

    str_warning: list[str]
    str_error: list[str]
    str_badresult: list[str]
    str_fatalerror: list[str]
    str_finishedsuccess: list[str]

    def __init__(self) -> None:
        self.percent = 0
        self.frame = 0
        self.percentframe = 0
        self.numframes = 0
        self.warning = False
        self.error = False
        self.badresult = False
        self.fatalerror = False
        self.finishedsuccess = False
        self.activity = ""
        self.report = ""
        self.result: str | None = None
        self.resources = ""
        self.log: str | None = None
        self.progress_changed = False
        self.problem = ""
        self.taskInfo: dict[str, object] = {}
        self.pid = 0
        self.files: list[str] = []
        self.files_onthefly: list[str] = []
        self.files_all: list[str] = []
        self.host_resources: dict[str, object] | None = None
        self.res_mem_peak_mb: int | None = None
        self.res_cpu_agv: int | None = None
        self.res_cpu_cur: list[int] = []
        for flag in _FLAGS:
            # A class with two parsers for bases comes here twice: the first one's lists stay.
            if f"str_{flag}" not in self.__dict__:
                setattr(self, f"str_{flag}", list(getattr(type(self), f"str_{flag}", ())))
        self._load = _host_load.Load()
        self._known = dict.fromkeys(_NUMBERS, 0)
        self._announced: dict[str, bool] = {}
        self._places: dict[str, int] = {}
        self._told: set[str] = set()
        self._looked = -self.recheck

    def setTaskInfo(self, i_info: dict[str, object]) -> None:
        """Learn the task: called once, right after the parser was made."""
        self.taskInfo = i_info
        self._told.clear()  # the same names may be other files now
        frames = i_info.get("frames_num", 1)
        self.numframes = max(1, frames) if isinstance(frames, int) else 1

    # What the host calls.

    def parse(self, i_args: dict[str, object]) -> None:
        """Take one portion: whole lines, in ``i_args['data']``. Not meant to be overridden.

        Never raises: what plugin code raised stands in `problem`, as a traceback, until cleared.
        """
        for key in ("data", "mode"):
            if key in i_args:
                i_args[key] = _text.text_of(i_args[key])
        data = str(i_args.setdefault("data", ""))
        pid = i_args.get("pid")
        if isinstance(pid, int):
            self.pid = pid
        self._guarded(self.processResources, i_args)
        if data:
            self._guarded(self.doBaseCheck, data)
        self.result = self._result_of(self._guarded(self.do, i_args))
        self.progress_changed = bool(self._guarded(self.hasProgressChanged, i_args))
        self._settle()
        if i_args.get("mode", "RUN") != "RUN":
            self.findFiles()

    def do(self, i_args: dict[str, object]) -> str | None:
        """Read the portion: to be overridden.

        Called with empty data too. None keeps the portion as it is; a text replaces it, in what
        is stored and in what listeners get.
        """
        return None

    def doBaseCheck(self, i_data: str) -> None:
        """Reset what lives for one portion, then look for the lists of texts and the markers."""
        self.activity = ""
        self.report = ""
        self.warning = self.error = self.badresult = False
        self.result = None
        lowered = i_data.lower()
        for flag in _FLAGS:
            patterns = getattr(self, f"str_{flag}")
            if patterns and any(pattern.lower() in lowered for pattern in patterns):
                setattr(self, flag, True)
        self.findMarkers(i_data)

    def findMarkers(self, i_data: str) -> None:
        """Look for what any program may print to tell its stage and its files."""
        self.activity = _text.last_after(i_data, ACTIVITY)
        self.report = _text.last_after(i_data, REPORT)
        if "@IMAGE" in i_data or "Image: " in i_data:
            for line in _text.lines(i_data):
                self.findImage(line)

    def calculate(self) -> None:
        """Work out `percent` from `frame` and `percentframe`, all put into their bounds."""
        frames = max(1, self.numframes)
        self.frame = min(max(int(self.frame), 0), frames)
        self.percentframe = min(max(int(self.percentframe), 0), 100)
        if frames > 1:
            percent = (100 * self.frame + self.percentframe) // frames
        else:
            percent = self.percentframe
        self.percent = min(max(percent, 0), 100)

    def hasProgressChanged(self, i_args: dict[str, object]) -> bool:
        """Whether this portion shows that the task is alive: any output does."""
        return bool(i_args.get("data"))

    def processResources(self, i_args: dict[str, object]) -> None:
        """Take the host's load from ``i_args['resources']`` (JSON), once per measurement."""
        if not self._load.take(i_args.get("resources")):
            return
        self.host_resources = self._load.measured
        self.res_mem_peak_mb = self._load.memory_peak
        self.res_cpu_agv = self._load.cpu_mean
        self.res_cpu_cur = self._load.cpu_recent

    def getLog(self) -> str | None:
        """Text for the task's log on the server."""
        return self.log

    # Files.

    def appendFile(self, i_file: str, i_onthefly: bool = False) -> None:
        """Announce a file: a thumbnail is made of it, after the task or (`i_onthefly`) at once.

        It counts once it is there: one that is not is looked for again until the end.
        """
        if i_file in self._told:
            return
        name = _text.text_of(i_file).strip()
        path = os.path.join(_text.text_of(self.taskInfo.get("wdir", "")), name)  # noqa: PTH118 - a text
        key = os.path.normpath(path)
        if not name or key in self._places or len(self._places) >= _MOST_FILES:
            return
        self.files_all.append(name)
        self._told.add(i_file)
        self._places[key] = len(self._places)
        self._announced[path] = i_onthefly
        self._look_for((path,))

    def getFiles(self) -> list[str]:
        """Files to make thumbnails of after the task, in the order they were announced."""
        if time.monotonic() - self._looked >= self.recheck:
            self.findFiles()
        return self.files

    def getFilesOnTheFly(self) -> list[str]:
        """Files to make thumbnails of now: each is told once."""
        if time.monotonic() - self._looked >= self.recheck:
            self.findFiles()
        found, self.files_onthefly = self.files_onthefly, []
        return found

    def findFiles(self) -> None:
        """Look now for announced files that were not there before."""
        self._looked = time.monotonic()
        self._look_for(tuple(self._announced))

    def findImage(self, i_line: str) -> None:
        """Look for a file that a line announces."""
        name = _text.after(i_line, "@IMAGE@")
        if name is not None:
            self.appendFile(name)
        elif i_line.startswith("Image: "):
            self.frame += 1
            self.calculate()
            self.appendFile(i_line[len("Image: ") :])
        else:
            name = _text.after(i_line, "@IMAGE!@")
            if name is not None:
                self.appendFile(name, True)

    def _look_for(self, paths: tuple[str, ...]) -> None:
        for path in paths:
            if not os.path.isfile(path):  # noqa: PTH113 - also right for names no Path can hold
                continue
            found = self.files_onthefly if self._announced.pop(path) else self.files
            found.append(path)
            found.sort(key=self._place)

    def _place(self, path: str) -> int:
        return self._places.get(os.path.normpath(path), len(self._places))

    # HTML.

    def toHTML(self, i_data: str) -> str:
        """The output as HTML, lines coloured by what this parser sees in each. Text is escaped.

        Another object does the parsing, so that this one's progress and files stay.
        """
        probe = type(self)()
        probe.numframes = self.numframes
        return "<br>\n".join(probe.toHTMLline(line) for line in _text.lines(_text.text_of(i_data)))

    def toHTMLline(self, i_line: str) -> str:
        """One line as HTML; changes this object's state as `parse` does."""
        for flag in _FLAGS:
            setattr(self, flag, False)
        self.activity = self.report = ""
        self.parse({"data": i_line + "\n"} if i_line else {"data": ""})
        return self.tagHTML(_line_colours.colour(i_line, self))

    def tagHTML(self, i_line: str) -> str:
        """A last change to a line that is HTML already: to be overridden."""
        return i_line

    # What plugin code may do wrong.

    def _guarded(self, call: Callable[..., object], argument: object) -> object:
        try:
            return call(argument)
        except (Exception, SystemExit):  # noqa: BLE001 - plugin code may raise anything
            self._complain(traceback.format_exc())
            return None

    def _complain(self, text: str) -> None:
        self.problem = (self.problem + text)[-_LONGEST_PROBLEM:]

    def _result_of(self, value: object) -> str | None:
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bytes):
            return _text.text_of(value)
        self._complain(f"do() must return None or text, not {type(value).__name__}\n")
        return None

    def _settle(self) -> None:
        """Give every attribute its type: a float for a percent is as good as a number."""
        for name in _NUMBERS:
            value = getattr(self, name)
            if type(value) is not int:
                value = _text.int_of(value, self._known[name])
                setattr(self, name, value)
            self._known[name] = value
        for name in _FLAGS:
            if type(getattr(self, name)) is not bool:
                setattr(self, name, bool(getattr(self, name)))
        for name in _TEXTS:
            if type(getattr(self, name)) is not str:
                setattr(self, name, _text.text_of(getattr(self, name)))
        if self.log is not None and type(self.log) is not str:
            self.log = _text.text_of(self.log)
