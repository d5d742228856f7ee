"""The base class of all services: what a task runs, where, with what, and how its end is judged.

A new object is made for each task, from `taskInfo`. The names of methods and attributes are those
of Afanasy's services, which studios subclass; docs/plugins.md is the manual.
"""

from __future__ import annotations

import os
import shlex
import subprocess  # for the quoting rules of Windows only
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from services import _block_flags, _parsers, _path_map, _task_info, _thumbnail_commands
from trio_afrender import frame_ranges
from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError

__all__ = ("service", "str_capacity", "str_hosts", "str_hostseparator", "str_hostsprefix")

str_capacity = "@AF_CAPACITY@"
str_hosts = "@AF_HOSTS@"
str_hostsprefix = "-H "
str_hostseparator = ","


class service:
    """What every service has; alone it runs any command.

    Attributes for subclasses: `taskInfo` (values are text, numbers, lists and dicts of them;
    after the constructor ``command``, ``files``, ``wdir`` and ``environment`` are filled and
    mapped), `parser` or None, `log` (text for the task's log), `skip_task`, `numeric`, `pm` (the
    paths map).
    """

    settings: PluginSettings = PluginSettings()
    """What a plugin may know of the agent's settings; put here before the constructor runs."""
    load_parser: Callable[[str], type] = staticmethod(_parsers.load)
    """Finds a parser's class by name; raises PluginError."""
    grace: float | None = None
    """Seconds between TERM and KILL; None: the agent's setting."""
    limits: Mapping[str, float] | None = None
    """Limits of such tasks, as in the config file (``{"run_time": 3600}``), over the agent's own;
    what the config file says of this service by name is over these."""
    stuck: Mapping[str, float | str] | None = None
    """What counts as stuck, and what is done then; the same way."""

    str_capacity = str_capacity
    str_hosts = str_hosts
    str_hostsprefix = str_hostsprefix
    str_hostseparator = str_hostseparator

    def __init__(self, taskInfo: dict[str, Any], i_verbose: bool = False) -> None:
        self.verbose = i_verbose
        self.log = ""
        self.skip_task = False
        self.parser: Any = None
        self.parser_problem = ""
        windows = os.sep == "\\"
        self.pm = _path_map.Paths(self.settings.paths_map, windows=windows)
        for problem in self.pm.problems:
            self.addLog(problem)
        _task_info.complete(taskInfo)
        self.taskInfo = taskInfo
        self.numeric = bool(self.checkBlockFlag("numeric"))
        self._thumbnails = _thumbnail_commands.Names(str(taskInfo["store_dir"]))
        self._quote: Callable[[list[str]], str] = subprocess.list2cmdline if windows else shlex.join

        taskInfo["wdir"] = self.pm.to_client(taskInfo["wdir"], whole=True)
        command = self.pm.to_client(self.processCommandPattern())
        # Overrides count on being asked only where there is something to put in.
        if taskInfo["capacity_coeff"] > 0:
            command = self.applyCmdCapacity(command)
        if taskInfo["hosts"]:
            command = self.applyCmdHosts(command)
        taskInfo["command"] = command
        taskInfo["files"] = [
            self.pm.to_client(name, whole=True) for name in self.processFilesPattern()
        ]
        if taskInfo["files"] and self.isSkippingExistingFiles():
            self.checkExistingFiles()
        taskInfo["environment"] = {
            name: self.pm.to_client(str(value)) for name, value in taskInfo["environment"].items()
        }
        taskInfo["parsed_files"] = [
            self.pm.to_client(name, whole=True) for name in taskInfo["parsed_files"]
        ]
        self._make_parser(taskInfo["parser"])

    def _make_parser(self, name: str) -> None:
        if name in ("", "none"):
            return
        try:
            made = self.load_parser(name)()
            made.setTaskInfo(self.taskInfo)
        except PluginError as error:
            self.parser_problem = f"{error}\n{error.details}".strip()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - plugin code may raise anything
            self.parser_problem = _parsers.describe(name, error)
        else:
            self.parser = made

    # Patterns.

    def processCommandPattern(self) -> str:
        """The command with its numbers filled in, or put together from block's and task's."""
        info = self.taskInfo
        return self.processPattern(
            info["command_block"], [info["command_task"]], info["frame_start"], info["frame_finish"]
        )[0]

    def processFilesPattern(self) -> list[str]:
        """The files that the task makes, each once; none unless the block has patterns."""
        info = self.taskInfo
        names: dict[str, None] = {}
        steps: Iterable[int] = (info["frame_start"],)  # not numeric: alike for all frames
        if self.numeric:
            steps = frame_ranges.frames_between(
                info["frame_start"], info["frame_finish"], info["frame_inc"]
            )
        for pattern in info["files_block"]:
            for frame in steps:
                names.update(
                    dict.fromkeys(self.processPattern(pattern, info["files_task"], frame, frame))
                )
        return list(names)

    def processPattern(
        self, i_block: str, i_tasks: Iterable[str], i_start: int, i_finish: int
    ) -> list[str]:
        """A block's pattern filled: one text of a numeric block, else one for each of `i_tasks`."""
        if self.numeric:
            return [self.fillNumbers(i_block, i_start, i_finish)]
        return [frame_ranges.process_pattern(i_block, task) for task in i_tasks if task] or [
            i_block
        ]

    def fillNumbers(self, i_pattern: str, i_start: int, i_end: int) -> str:
        """Put numbers for ``@#@``, ``@##@`` ...: start and end in turn."""
        return frame_ranges.fill_numbers(i_pattern, i_start, i_end)

    def applyCmdCapacity(self, command: str) -> str:
        """Put the capacity coefficient for ``@AF_CAPACITY@``, if the task has one."""
        coefficient = self.taskInfo["capacity_coeff"]
        return command.replace(self.str_capacity, str(coefficient)) if coefficient > 0 else command

    def applyCmdHosts(self, command: str) -> str:
        """Put the hosts of a multi-host task for ``@AF_HOSTS@``: ``-H host1,host2``."""
        hosts = self.taskInfo["hosts"]
        if not hosts:
            return command
        return command.replace(
            self.str_hosts, self.str_hostsprefix + self.str_hostseparator.join(hosts)
        )

    def checkBlockFlag(self, i_name: str) -> int:
        """The bit of a block's flag if it is set, else 0. Raises KeyError for no such flag."""
        return _block_flags.FLAGS[i_name] & int(self.taskInfo["block_flags"])

    # What the agent asks before it starts the command.

    def skipTask(self) -> bool:
        """Whether the task needs no running."""
        return self.skip_task

    def getWDir(self) -> str:
        """The folder to run in; empty: any."""
        return str(self.taskInfo["wdir"])

    def getCommand(self) -> str:
        """The command for the shell."""
        return str(self.taskInfo["command"])

    def getEnvironment(self) -> dict[str, str]:
        """Variables to add to the environment."""
        environment: dict[str, str] = self.taskInfo["environment"]
        return environment

    def getFiles(self) -> list[str]:
        """The files that the task should make."""
        files: list[str] = self.taskInfo["files"]
        return files

    def getParsedFiles(self) -> list[str]:
        """The files that the parser has found, as the server names them."""
        if self.taskInfo["parsed_files"]:
            return list(self.taskInfo["parsed_files"])
        if self.parser is None:
            return []
        return [self.pm.to_server(name, whole=True) for name in self.parser.getFiles()]

    def getLog(self) -> str:
        """What the parser and the service have to say, for the task's log."""
        said = self.parser.getLog() if self.parser is not None else None
        parts = (("Parser", said), ("Service", self.log))
        return "\n".join(f"{who}: {text}" for who, text in parts if text)

    def addLog(self, i_text: str) -> None:
        """Add a line to the service's log."""
        self.log = f"{self.log or ''}{i_text}\n"  # a plugin may have put None there

    # While it runs.

    def hasParser(self) -> bool:
        """Whether output is parsed."""
        return self.parser is not None

    def parse(self, i_args: dict[str, Any]) -> Any:
        """Give the parser a portion of output; the parser holds what came of it, None without one."""
        if self.parser is not None:
            self.parser.parse(i_args)
        return self.parser

    def toHTML(self, i_data: str) -> str:
        """Output as HTML; without a parser as it is."""
        return str(self.parser.toHTML(i_data)) if self.parser is not None else i_data

    # Afterwards.

    def checkExitStatus(self, i_status: int) -> bool:
        """Whether this exit code is a good end."""
        return i_status == 0

    def isSkippingExistingFiles(self) -> bool:
        """Whether the block asks to skip tasks whose files are there."""
        return bool(self.checkBlockFlag("skipexistingfiles"))

    def checkExistingFiles(self) -> None:
        """Skip the task if all its files are there and of a good size."""
        paths = self._files_here()
        for path in paths:
            if not os.path.isfile(path):  # noqa: PTH113 - also right for names no Path can hold
                return
            problem = self._size_problem(path, "Existing file size {}({} {} {}): ")
            if problem:
                self.addLog(f'{problem}"{path}"')
                return
            self.addLog(f'File exists: "{path}"')
        if paths:
            self.addLog("Task file(s) exists. Skipping command execution.")
            self.skip_task = True

    def checkRenderedFiles(self) -> bool:
        """Whether all files that the task should have made are there and of a good size."""
        for path in self._files_here():
            if not os.path.isfile(path):  # noqa: PTH113 - also right for names no Path can hold
                self.log = f"File does not exist:\n{path}"
                return False
            problem = self._size_problem(path, "Rendered file size {} ({} {} {}):\n")
            if problem:
                self.log = problem + path
                return False
        return True

    def _files_here(self) -> list[str]:
        """Paths of the task's files; empty names are none."""
        wdir = self.taskInfo["wdir"]
        return [os.path.join(wdir, name) for name in self.getFiles() if name]  # noqa: PTH118 - texts

    def _size_problem(self, path: str, text: str) -> str:
        size = os.path.getsize(path)  # noqa: PTH202 - as above
        least = self.taskInfo.get("file_size_min", -1)
        most = self.taskInfo.get("file_size_max", -1)
        if least > 0 and size < least:
            return text.format("less than minimum", size, "<", least)
        if 0 < most < size:
            return text.format("greater than maximum", size, ">", most)
        return ""

    def doPost(self) -> list[str]:
        """Commands to run one after another after a good end: they make thumbnails."""
        # With its one argument: an override may know no other and no default.
        return [] if self.checkBlockFlag("skipthumbnails") else self.generateThumbnail(False)

    def doPostLimitSec(self) -> float:
        """Seconds each of those may take; 0 or less: no limit."""
        return self.settings.post_limit

    def generateThumbnail(
        self, i_onthefly: bool = False, i_files: Iterable[str] | None = None
    ) -> list[str]:
        """Commands that make thumbnails of these files.

        By default of the parser's files (`i_onthefly`: those announced since the last call), or
        else of the task's files: the first, the one in the middle and the last.
        """
        if not os.path.isdir(self.taskInfo["store_dir"]):  # noqa: PTH112 - a text
            return []
        names = list(i_files) if i_files is not None else self._thumbnail_files(i_onthefly)
        if not i_onthefly and len(names) > 3:
            names = [names[0], names[len(names) // 2], names[-1]]
        commands = []
        for name in names:
            path = os.path.normpath(os.path.join(self.taskInfo["wdir"], name))  # noqa: PTH118 - texts
            if name and os.path.isfile(path):  # noqa: PTH113 - a text
                commands.extend(self._thumbnail_command(path))
        return commands

    def _thumbnail_files(self, onthefly: bool) -> list[str]:
        if onthefly:
            return list(self.parser.getFilesOnTheFly()) if self.parser is not None else []
        found = list(self.parser.getFiles()) if self.parser is not None else []
        return found or self.getFiles()

    def _thumbnail_command(self, path: str) -> list[str]:
        """The command for one image, none (and a line in the log) if there is no way to make it."""
        if _thumbnail_commands.extension(path) not in self.settings.thumbnail_extensions:
            return []
        info = self.taskInfo
        info["image"] = path
        info["thumbnail"] = os.path.join(  # noqa: PTH118 - texts
            os.path.normpath(info["store_dir"]), self._thumbnails.name(path)
        )
        info["pre_args"] = _thumbnail_commands.pre_args(path)
        try:
            command = self.settings.thumbnail_command
            return [
                _thumbnail_commands.command(
                    command, info, self._quote, self.settings.thumbnail_height
                )
            ]
        except _thumbnail_commands.NoThumbnailer as error:
            if str(error) not in (self.log or ""):
                self.addLog(str(error))
            return []
