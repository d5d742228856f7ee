"""The base class of all services: a task's command, folder, environment, files and end.

An object is created for each task, from `taskInfo`. The names of methods and attributes are those
of Afanasy's services, which studios subclass; docs/plugins.md is the manual.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from services import _block_flags, _findings, _parsers, _path_map, _task_info, _thumbnail_commands
from trio_afrender import frame_ranges
from trio_afrender.cmd_words import join_for_cmd
from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError

__all__ = ("service", "str_capacity", "str_hosts", "str_hostseparator", "str_hostsprefix")

str_capacity = "@AF_CAPACITY@"
str_hosts = "@AF_HOSTS@"
str_hostsprefix = "-H "
str_hostseparator = ","


class service:
    """A service that runs any command.

    Attributes for subclasses: `taskInfo` (its values are texts, numbers, lists and dicts of them;
    the constructor fills in ``command``, ``files``, ``wdir`` and ``environment`` with this host's
    paths), `parser` or None, `log` (text for the task's log), `skip_task`, `numeric`, `pm` (the
    paths map).
    """

    settings: PluginSettings = PluginSettings()
    """The agent's settings that plugins may read; set before the constructor runs."""
    load_parser: Callable[[str], type] = staticmethod(_parsers.load)
    """Returns a parser's class by name; raises PluginError. Replaced in plugin hosts."""
    secrets: Sequence[str] = ()
    """Values that must not leave the host, such as a token that the command contains."""
    grace: float | None = None
    """Seconds between TERM and KILL; None: the agent's setting."""
    limits: Mapping[str, float] | None = None
    """Limits of this service's tasks, with the keys of the config file (``{"run_time": 3600}``).
    They override the agent's general limits; those of the config file for this service override
    them."""
    stuck: Mapping[str, float | str] | None = None
    """When a task counts as stuck, and the action then; overridden in the same way."""
    checks: Mapping[str, str] | None = None
    """What is checked of a successful end (``{"assets": "error"}``); overridden in the same way, and
    by the block."""

    str_capacity = str_capacity
    str_hosts = str_hosts
    str_hostsprefix = str_hostsprefix
    str_hostseparator = str_hostseparator

    def __init__(self, taskInfo: dict[str, Any], i_verbose: bool = False) -> None:
        self.verbose = i_verbose
        self.log = ""
        self.finding = ""
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
        self._thumbnails = _thumbnail_commands.ThumbnailNames(str(taskInfo["store_dir"]))
        self._quote: Callable[[list[str]], str] = join_for_cmd if windows else shlex.join

        taskInfo["wdir"] = self.pm.to_client(taskInfo["wdir"], whole=True)
        command = self.pm.to_client(self.processCommandPattern())
        # Overrides of studios expect to be called only if there is a value.
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
        """Return the command: the block's with numbers, or the block's with the task's part."""
        info = self.taskInfo
        return self.processPattern(
            info["command_block"], [info["command_task"]], info["frame_start"], info["frame_finish"]
        )[0]

    def processFilesPattern(self) -> list[str]:
        """Return the names of the task's files, each once; none if the block has no patterns."""
        info = self.taskInfo
        names: dict[str, None] = {}
        steps: Iterable[int] = (info["frame_start"],)  # not numeric: the same for all frames
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
        """Fill a block's pattern: one text in a numeric block, else one for each of `i_tasks`."""
        if self.numeric:
            return [self.fillNumbers(i_block, i_start, i_finish)]
        return [frame_ranges.process_pattern(i_block, task) for task in i_tasks if task] or [
            i_block
        ]

    def fillNumbers(self, i_pattern: str, i_start: int, i_end: int) -> str:
        """Replace ``@#@``, ``@##@`` ... by start and end in turn."""
        return frame_ranges.fill_numbers(i_pattern, i_start, i_end)

    def applyCmdCapacity(self, command: str) -> str:
        """Replace ``@AF_CAPACITY@`` by the capacity coefficient, if the task has one."""
        coefficient = self.taskInfo["capacity_coeff"]
        return command.replace(self.str_capacity, str(coefficient)) if coefficient > 0 else command

    def applyCmdHosts(self, command: str) -> str:
        """Replace ``@AF_HOSTS@`` by the hosts of a multi-host task: ``-H host1,host2``."""
        hosts = self.taskInfo["hosts"]
        if not hosts:
            return command
        return command.replace(
            self.str_hosts, self.str_hostsprefix + self.str_hostseparator.join(hosts)
        )

    def checkBlockFlag(self, i_name: str) -> int:
        """Return the bit of a block's flag if it is set, else 0. Raises KeyError for other names."""
        return _block_flags.FLAGS[i_name] & int(self.taskInfo["block_flags"])

    # Called before the command starts.

    def skipTask(self) -> bool:
        """Whether the task counts as done without running its command."""
        return self.skip_task

    def getWDir(self) -> str:
        """Return the working folder; empty: the task's own store folder."""
        return str(self.taskInfo["wdir"])

    def getCommand(self) -> str:
        """Return the command, a text for the shell."""
        return str(self.taskInfo["command"])

    def getEnvironment(self) -> dict[str, str]:
        """Return variables to add to the environment."""
        environment: dict[str, str] = self.taskInfo["environment"]
        return environment

    def getFiles(self) -> list[str]:
        """Return the files that the task should write."""
        files: list[str] = self.taskInfo["files"]
        return files

    def getParsedFiles(self) -> list[str]:
        """Return the parser's files, with the server's paths."""
        if self.taskInfo["parsed_files"]:
            return list(self.taskInfo["parsed_files"])
        if self.parser is None:
            return []
        return [self.pm.to_server(name, whole=True) for name in self.parser.getFiles()]

    def getLog(self) -> str:
        """Return the logs of parser and service, for the task's log."""
        parser_log = self.parser.getLog() if self.parser is not None else None
        parts = (("Parser", parser_log), ("Service", self.log))
        return "\n".join(f"{source}: {text}" for source, text in parts if text)

    def addLog(self, i_text: str) -> None:
        """Add a line to the service's log."""
        self.log = f"{self.log or ''}{i_text}\n"  # a plugin may have set it to None

    # Called while the command runs.

    def hasParser(self) -> bool:
        """Whether the output is parsed."""
        return self.parser is not None

    def parse(self, i_args: dict[str, Any]) -> Any:
        """Feed the parser a batch of output; return the parser, which has the results, or None."""
        if self.parser is not None:
            self.parser.parse(i_args)
        return self.parser

    def toHTML(self, i_data: str) -> str:
        """Convert output to HTML; without a parser return it unchanged."""
        return str(self.parser.toHTML(i_data)) if self.parser is not None else i_data

    # Called after the command has ended.

    def checkExitStatus(self, i_status: int) -> bool:
        """Whether this exit code means success."""
        return i_status == 0

    def isSkippingExistingFiles(self) -> bool:
        """Whether the block has the flag to skip tasks whose files exist."""
        return bool(self.checkBlockFlag("skipexistingfiles"))

    def checkExistingFiles(self) -> None:
        """Set `skip_task` if all files exist and have a permitted size."""
        paths = self._list_files()
        for path in paths:
            if not os.path.isfile(path):  # noqa: PTH113 - also right for names no Path can hold
                return
            problem = self._check_size(path, "Existing file size {}({} {} {}): ")
            if problem:
                self.addLog(f'{problem}"{path}"')
                return
            self.addLog(f'File exists: "{path}"')
        if paths:
            self.addLog("Task file(s) exists. Skipping command execution.")
            self.skip_task = True

    def checkRenderedFiles(self) -> bool:
        """Whether all files of the task exist and have a permitted size.

        If not, `log` has the first that is wrong, and `finding` a sentence about all of them.
        """
        paths = self._list_files()
        missing: list[str] = []
        wrong: list[tuple[str, int]] = []
        for path in paths:
            if not os.path.isfile(path):  # noqa: PTH113 - also right for names no Path can hold
                missing.append(path)
                problem = "File does not exist:\n"
            elif problem := self._check_size(path, "Rendered file size {} ({} {} {}):\n"):
                wrong.append((path, os.path.getsize(path)))  # noqa: PTH202 - as above
            if problem and len(missing) + len(wrong) == 1:
                self.log = problem + path
        if missing:
            self.finding = _findings.missing(missing, len(paths))
        elif wrong:
            least, most = (self.taskInfo.get(f"file_size_{end}", -1) for end in ("min", "max"))
            self.finding = _findings.wrong_size(wrong, least, most)
        return not missing and not wrong

    def _list_files(self) -> list[str]:
        """Paths of the task's files; empty names are left out."""
        wdir = self.taskInfo["wdir"]
        return [os.path.join(wdir, name) for name in self.getFiles() if name]  # noqa: PTH118 - texts

    def _check_size(self, path: str, text: str) -> str:
        """The filled template `text` if the size is not permitted, else an empty text."""
        size = os.path.getsize(path)  # noqa: PTH202 - as above
        least = self.taskInfo.get("file_size_min", -1)
        most = self.taskInfo.get("file_size_max", -1)
        if least > 0 and size < least:
            return text.format("less than minimum", size, "<", least)
        if 0 < most < size:
            return text.format("greater than maximum", size, ">", most)
        return ""

    def doPost(self) -> list[str]:
        """Return commands to run, one by one, after a successful end: they make thumbnails."""
        # With exactly one argument: overrides of studios may have no other parameter and no
        # default.
        return [] if self.checkBlockFlag("skipthumbnails") else self.generateThumbnail(False)

    def doPostLimitSec(self) -> float:
        """Return the seconds that each command of `doPost` may take; 0 or less: no limit."""
        return self.settings.post_limit

    def generateThumbnail(
        self, i_onthefly: bool = False, i_files: Iterable[str] | None = None
    ) -> list[str]:
        """Return commands that make thumbnails; of more than three images: first, middle and last.

        By default the images are the parser's, or else the task's; with `i_onthefly` those that the
        parser has found since the last call.
        """
        if not os.path.isdir(self.taskInfo["store_dir"]):  # noqa: PTH112 - a text
            return []
        if i_files is not None:
            paths = self._existing_images(i_files)
        elif i_onthefly:
            paths = self._existing_images(
                self.parser.getFilesOnTheFly() if self.parser is not None else ()
            )
        else:
            found = self._existing_images(self.parser.getFiles() if self.parser is not None else ())
            paths = found or self._existing_images(self.getFiles())
        if not i_onthefly and len(paths) > 3:
            paths = [paths[0], paths[len(paths) // 2], paths[-1]]
        return [command for path in paths for command in self._thumbnail_command(path)]

    def _existing_images(self, names: Iterable[str]) -> list[str]:
        """The paths of the images among `names`, without those that do not exist."""
        wdir, extensions = self.taskInfo["wdir"], self.settings.thumbnail_extensions
        images = (name for name in names if _thumbnail_commands.extension(name) in extensions)
        paths = (os.path.normpath(os.path.join(wdir, name)) for name in images)  # noqa: PTH118 - texts
        return [path for path in paths if os.path.isfile(path)]  # noqa: PTH113 - a text

    def _thumbnail_command(self, path: str) -> list[str]:
        """The command for one image, in a list; [] and a line in the log if there is none."""
        info = self.taskInfo
        info["image"] = path
        info["thumbnail"] = os.path.join(  # noqa: PTH118 - texts
            os.path.normpath(info["store_dir"]), self._thumbnails.name(path)
        )
        info["pre_args"] = _thumbnail_commands.pre_args(path)
        try:
            command = self.settings.thumbnail_command
            return [
                _thumbnail_commands.make_command(
                    command, info, self._quote, self.settings.thumbnail_height
                )
            ]
        except _thumbnail_commands.NoThumbnailer as error:
            if str(error) not in (self.log or ""):
                self.addLog(str(error))
            return []
