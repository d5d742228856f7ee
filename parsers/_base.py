"""The base class of all parsers: a task's output goes in, progress, flags and files come out.

A plugin overrides `do`. The names of methods and attributes are those of Afanasy's parsers, which
studios subclass; docs/plugins.md is the manual. Plugins import the class from `parsers.parser`.

Contract between a parser, the agent, and the tables of programs:

- `deciding_line` is None, or the number (from 1, counted by line feeds) and the text of the first
  line that set `error`, `fatalerror`, `badresult` or `finishedsuccess`. It is never replaced. It stays
  None where no single line is known: a foreign parser that sets a flag itself for a batch of several
  lines, or a judgement of the last call (`report` has its reason).
- `missing_assets` is the number of different missing files and the names of the first of them.
- `report` is sticky: the first line that makes the result bad, the first that the program itself
  marks as an error, and the missing files. A `REPORT:` of the program has precedence.
- What programs print about failures is in tables, `parsers._messages.Messages`, one a program:
  markers, fatal, bad, aborts, assets, ignored. A parser names the tables of all programs that run in
  its tasks, ``messages = (MAYA, ARNOLD)``; those of its base classes count too.
- After a line of `fatal` or `aborts` the attribute `aborted` is set: percents stay, and `next_frame`
  counts nothing, until `begin_frame`, which `new_frame` and `begin_pass` call; after `fatal` for good.
- `tells_frames = True`: a task that ends with exit code 0 without a frame, a percent or a file is a
  bad result.
"""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Callable
from itertools import islice

from parsers import _host_load, _line_colours, _text

__all__ = ("ACTIVITY", "REPORT", "parser")

ACTIVITY = "ACTIVITY: "
REPORT = "REPORT: "

_FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess")
_NUMBERS = ("percent", "frame", "percentframe")
_TEXTS = ("activity", "report", "resources")
_MAX_PROBLEM = 16 * 1024
_MAX_FILES = 10_000
"""Files that one task can announce: memory and time stay bounded whatever it prints."""
_DECIDING = ("error", "fatalerror", "badresult", "finishedsuccess")
_ENDS = re.compile(r"\r\n?|\n")
_MAX_LINE = 400
"""Characters of a line, or of a name, that are kept."""
_MAX_NAMED = 10
"""Missing files whose names are kept."""
_MAX_REPORTED = 3
"""Missing files that the report names."""
_CLOCKS_DIFFER = 60.0
"""Seconds by which a file server's clock may be behind."""


class parser:
    """A parser that reads only the markers that any program may print."""

    tail: bool | None = None
    """Whether `do` also gets the unfinished line, as ``args['tail']``; None: only a parser that is not
    built-in gets it, as data, at a call without new output."""
    ticks: bool | None = None
    """Whether `do` is called each second without new output; None: only if it is not built-in."""
    recheck = 1.0
    """Seconds between two searches for announced files that do not exist yet."""

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
        self.deciding_line: tuple[int, str] | None = None
        """Number and text of the first line that set a flag which decides; see the module."""
        self.missing_assets: tuple[int, tuple[str, ...]] = (0, ())
        """How many files the program did not find, and the names of the first ones."""
        self.warns_of_assets = True
        """Whether missing files are a warning and stand in the report; set for each task."""
        for flag in _FLAGS:
            # In a class with two parsers as bases this constructor runs twice: the first lists
            # stay.
            if f"str_{flag}" not in self.__dict__:
                setattr(self, f"str_{flag}", list(getattr(type(self), f"str_{flag}", ())))
        self._host_load = _host_load.Load()
        self._valid_numbers = dict.fromkeys(_NUMBERS, 0)
        self._missing_files: dict[str, bool] = {}
        self._file_order: dict[str, int] = {}
        self._announced: set[str] = set()
        self._lines = 0
        """Line feeds in all batches before this one."""
        self._candidate: tuple[int, str, str] | None = None
        """The first line of this batch that set a flag which decides: its position in a text, itself,
        and that text."""
        self._missing: set[str] = set()
        self._reported: dict[bool, str] = {}
        """The lines of the report, by whether they decide."""
        self._last_report = ""
        self._has_own_report = False
        self.has_failed = False
        """Whether any batch set `error`, `fatalerror` or `badresult`, which are reset with each batch."""
        self._began = time.time()
        self._searched_at = -self.recheck

    def setTaskInfo(self, i_info: dict[str, object]) -> None:
        """Set the task: called once, right after the constructor."""
        self.taskInfo = i_info
        self._announced.clear()  # in another working folder the same names are other files
        frames = i_info.get("frames_num", 1)
        self.numframes = max(1, frames) if isinstance(frames, int) else 1

    # Called by the plugin host.

    def parse(self, i_args: dict[str, object]) -> None:
        """Read one batch: whole lines, in ``i_args['data']``. Not meant to be overridden.

        Raises nothing: tracebacks of plugin code are appended to `problem`, until that is cleared.
        """
        for key in ("data", "mode"):
            if key in i_args:
                i_args[key] = _text.text_of(i_args[key])
        data = str(i_args.setdefault("data", ""))
        pid = i_args.get("pid")
        if isinstance(pid, int):
            self.pid = pid
        self._call_plugin(self.processResources, i_args)
        if data:
            self._call_plugin(self.doBaseCheck, data)
        self.result = self._result_text(self._call_plugin(self.do, i_args))
        self.progress_changed = bool(self._call_plugin(self.hasProgressChanged, i_args))
        self._convert_attributes()
        self._settle(data)
        if i_args.get("mode", "RUN") != "RUN":
            self.findFiles()

    def do(self, i_args: dict[str, object]) -> str | None:
        """Read the batch; subclasses override this. Also called with empty data.

        None keeps the output as it is; a text replaces it, in what is stored and in what listeners
        get.
        """
        return None

    def doBaseCheck(self, i_data: str) -> None:
        """Reset what is valid for one batch, then search for the lists of texts and the markers."""
        self.activity = ""
        self.report = ""
        self.warning = self.error = self.badresult = False
        self.result = None
        lists = [(flag, patterns) for flag in _FLAGS if (patterns := getattr(self, f"str_{flag}"))]
        text = _ENDS.sub("\n", i_data) if lists and "\r" in i_data else i_data
        lowered = text.lower() if lists else ""
        for flag, patterns in lists:
            places = [at for one in patterns if (at := lowered.find(one.lower())) >= 0]
            if places:
                setattr(self, flag, True)
                self._note_decision(flag, text, min(places))
        self.findMarkers(i_data)

    def findMarkers(self, i_data: str) -> None:
        """Search for the markers by which any program may report its activity and files."""
        self.activity = _text.last_after(i_data, ACTIVITY)
        self.report = _text.last_after(i_data, REPORT)
        if "@IMAGE" in i_data or "Image: " in i_data:
            for line in _text.lines(i_data):
                self.findImage(line)

    def calculate(self) -> None:
        """Compute `percent` from `frame` and `percentframe`; clip all three to their ranges."""
        frames = max(1, self.numframes)
        self.frame = min(max(int(self.frame), 0), frames)
        self.percentframe = min(max(int(self.percentframe), 0), 100)
        if frames > 1:
            percent = (100 * self.frame + self.percentframe) // frames
        else:
            percent = self.percentframe
        self.percent = min(max(percent, 0), 100)

    def hasProgressChanged(self, i_args: dict[str, object]) -> bool:
        """Whether this batch shows that the task makes progress: any output does."""
        return bool(i_args.get("data"))

    def processResources(self, i_args: dict[str, object]) -> None:
        """Read the host's load from ``i_args['resources']`` (JSON), once per measurement."""
        if not self._host_load.take(i_args.get("resources")):
            return
        self.host_resources = self._host_load.measured
        self.res_mem_peak_mb = self._host_load.memory_peak
        self.res_cpu_agv = self._host_load.cpu_mean
        self.res_cpu_cur = self._host_load.cpu_recent

    def getLog(self) -> str | None:
        """Return text for the task's log on the server."""
        return self.log

    # What decides.

    def _note_decision(self, flag: str, text: str, at: int) -> None:
        """Keep the line at position `at` of this batch as the deciding one, if none was earlier.

        In `text` all line ends are line feeds.
        """
        if flag not in _DECIDING or self.deciding_line is not None:
            return
        if self._candidate is None or at < self._candidate[0]:
            start = text.rfind("\n", 0, at) + 1
            line = text[start : start + _MAX_LINE].partition("\n")[0]
            self._candidate = (at, line.strip(), text)

    def note_report(self, line: str, *, decides: bool = False) -> None:
        """Report a line until the end: the first of those that decide, and the first of the others."""
        if decides not in self._reported:
            self._reported[decides] = line.strip()[:_MAX_LINE]

    def add_missing(self, name: str) -> None:
        """Count a file that the program did not find; the same name again changes nothing."""
        name = name[:_MAX_LINE]
        if name not in self._missing and len(self._missing) < _MAX_FILES:
            self._missing.add(name)
            count, names = self.missing_assets
            self.missing_assets = (count + 1, (*names, name)[:_MAX_NAMED])

    def wrote_files(self) -> bool:
        """Whether a file of the task was written since this object was made."""
        files = self.taskInfo.get("files")
        for name in files[:_MAX_FILES] if isinstance(files, list | tuple) else ():
            path = os.path.join(_text.text_of(self.taskInfo.get("wdir", "")), _text.text_of(name))  # noqa: PTH118
            try:
                if os.stat(path).st_mtime >= self._began - _CLOCKS_DIFFER:  # noqa: PTH116 - any text
                    return True
            except (OSError, ValueError):
                continue
        return False

    def _settle(self, data: str) -> None:
        """Set `deciding_line` and `report` at the end of a batch."""
        if self.deciding_line is None and any(getattr(self, flag) for flag in _DECIDING):
            line = data.strip("\r\n")
            if self._candidate is None and line and "\n" not in line and "\r" not in line:
                self._candidate = (0, line.strip()[:_MAX_LINE], line)
            if self._candidate is not None:
                at, line, text = self._candidate
                ends = islice(_ENDS.finditer(data), self._feeds_before(text, at))
                feeds = sum(end.group() != "\r" for end in ends)
                self.deciding_line = (self._lines + feeds + 1, line)
        self.has_failed = self.has_failed or self.error or self.fatalerror or self.badresult
        self._candidate = None
        self._lines += data.count("\n")
        if self.report not in ("", self._last_report):
            self._has_own_report = True
        if not self._has_own_report:
            self.report = self._last_report = self._report_text()

    def _feeds_before(self, text: str, at: int) -> int:
        """Return how many lines of the batch end before a position of a text that was searched."""
        return text.count("\n", 0, at)

    def _report_text(self) -> str:
        parts = [self._reported[decides] for decides in (True, False) if decides in self._reported]
        count, names = self.missing_assets
        if count and self.warns_of_assets:
            more = f" and {count - _MAX_REPORTED} more" if count > _MAX_REPORTED else ""
            assets = "asset" if count == 1 else "assets"
            parts.append(f"{count} missing {assets}: {', '.join(names[:_MAX_REPORTED])}{more}")
        return "; ".join(parts)

    # Files.

    def appendFile(self, i_file: str, i_onthefly: bool = False) -> None:
        """Announce a file: a thumbnail is made of it, after the task or (`i_onthefly`) at once.

        A file that does not exist yet is searched again until the end.
        """
        if i_file in self._announced:
            return
        name = _text.text_of(i_file).strip()
        path = os.path.join(_text.text_of(self.taskInfo.get("wdir", "")), name)  # noqa: PTH118 - any text
        key = os.path.normpath(path)
        if not name or key in self._file_order or len(self._file_order) >= _MAX_FILES:
            return
        self.files_all.append(name)
        self._announced.add(i_file)
        self._file_order[key] = len(self._file_order)
        self._missing_files[path] = i_onthefly
        self._search_files((path,))

    def getFiles(self) -> list[str]:
        """Return the existing files for thumbnails after the task, in the order of announcement."""
        if time.monotonic() - self._searched_at >= self.recheck:
            self.findFiles()
        return self.files

    def getFilesOnTheFly(self) -> list[str]:
        """Return the files for thumbnails at once; each file is returned once."""
        if time.monotonic() - self._searched_at >= self.recheck:
            self.findFiles()
        found, self.files_onthefly = self.files_onthefly, []
        return found

    def findFiles(self) -> None:
        """Search now for announced files that did not exist before."""
        self._searched_at = time.monotonic()
        self._search_files(tuple(self._missing_files))

    def findImage(self, i_line: str) -> None:
        """Announce the file that a line names after one of the markers."""
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

    def _search_files(self, paths: tuple[str, ...]) -> None:
        for path in paths:
            if not os.path.isfile(path):  # noqa: PTH113 - any text
                continue
            found = self.files_onthefly if self._missing_files.pop(path) else self.files
            found.append(path)
            # A plugin may have added files of its own to the list: they come last.
            last = len(self._file_order)
            found.sort(key=lambda name: self._file_order.get(os.path.normpath(name), last))

    # HTML.

    def toHTML(self, i_data: str) -> str:
        """Return output as HTML, escaped, each line coloured by what this parser finds in it.

        A new object of the same class parses it: this object's progress and files stay.
        """
        probe = type(self)()
        probe.numframes = self.numframes
        return "<br>\n".join(probe.toHTMLline(line) for line in _text.lines(_text.text_of(i_data)))

    def toHTMLline(self, i_line: str) -> str:
        """Return one line as HTML; this object's state changes as in `parse`."""
        for flag in _FLAGS:
            setattr(self, flag, False)
        self.activity = self.report = self._last_report = ""
        self._has_own_report = False
        self._reported.clear()
        self.missing_assets = (0, ())
        self._missing.clear()
        self.parse({"data": i_line + "\n"} if i_line else {"data": ""})
        return self.tagHTML(_line_colours.colour(i_line, self))

    def tagHTML(self, i_line: str) -> str:
        """Change a line that is HTML already; for subclasses."""
        return i_line

    # Faults of plugin code.

    def _call_plugin(self, function: Callable[..., object], argument: object) -> object:
        try:
            return function(argument)
        except (Exception, SystemExit):  # noqa: BLE001 - plugin code may raise anything
            self._add_problem(traceback.format_exc())
            return None

    def _add_problem(self, text: str) -> None:
        """Append to `problem`, of which the end is kept."""
        self.problem = (self.problem + text)[-_MAX_PROBLEM:]

    def _result_text(self, value: object) -> str | None:
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bytes):
            return _text.text_of(value)
        self._add_problem(f"do() must return None or text, not {type(value).__name__}\n")
        return None

    def _convert_attributes(self) -> None:
        """Convert attributes to their types: a plugin may set a percent to a float."""
        for name in _NUMBERS:
            value = getattr(self, name)
            if type(value) is not int:
                value = _text.int_of(value, self._valid_numbers[name])
                setattr(self, name, value)
            self._valid_numbers[name] = value
        for name in _FLAGS:
            if type(getattr(self, name)) is not bool:
                setattr(self, name, bool(getattr(self, name)))
        for name in _TEXTS:
            if type(getattr(self, name)) is not str:
                setattr(self, name, _text.text_of(getattr(self, name)))
        if self.log is not None and type(self.log) is not str:
            self.log = _text.text_of(self.log)
