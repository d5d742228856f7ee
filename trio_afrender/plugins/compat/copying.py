"""The part of ``cgruutils`` that makes folders and copies files.

As plugins expect of it nothing is raised for what the file system refuses: a line is printed,
which goes into the task's log, and the answer says no.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ("copyJobFile", "copy_directory", "copy_file", "createFolder")


def createFolder(path: str, writeToAll: bool = True) -> bool:
    """Make a folder with its parents, which everybody may write into unless told otherwise."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        if writeToAll:
            Path(path).chmod(0o777)
    except OSError as error:
        _say(f"Cannot make the folder {path}: {error}")
        return False
    return True


def copy_file(
    source_file: str, destination_file: str, delete_original: bool = False, debug: bool = False
) -> bool:
    """Copy a file with its time, unless there is one that is as new; whether it was copied."""
    source, destination = Path(source_file), Path(destination_file)
    try:
        if destination.is_file() and _seconds(source) <= _seconds(destination):
            if debug:
                _say(f"Not newer: {source}")
            return False
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, destination)
        if delete_original:
            source.unlink(missing_ok=True)
    except OSError as error:
        _say(f"Cannot copy {source} to {destination}: {error}")
        return False
    if debug:
        _say(f"Copied {source} to {destination}")
    return True


def copy_directory(
    source_folders: str | Iterable[str],
    destination_folder: str,
    reg_match: str | None = None,
    delete_copied_files: bool = False,
    debug: bool = False,
) -> int:
    """Copy what is newer in these folders and below; how many files were copied.

    With `reg_match` only files right in them whose names match from their start.
    """
    folders = [source_folders] if isinstance(source_folders, str) else list(source_folders)
    if not createFolder(destination_folder):
        return 0
    copied = 0
    for folder in map(Path, folders):
        if not folder.is_dir():
            _say(f"There is no folder {folder} to copy")
            return copied
        for item in sorted(folder.iterdir()):
            target = str(Path(destination_folder) / item.name)
            if item.is_dir():
                copied += copy_directory(str(item), target, None, delete_copied_files, debug)
            elif reg_match is None or re.match(reg_match, item.name):
                copied += copy_file(str(item), target, delete_copied_files, debug)
    return copied


def copyJobFile(fileName: str, jobName: str = "", fileExtension: str = "") -> str:
    """Copy a file beside itself under a name with the time in it; its path, '' if that failed."""
    now = time.time()
    parts = [fileName, jobName, time.strftime("%m%d-%H%M%S-", time.localtime(now))]
    parts[2] += f"{now % 1:.3f}"[2:]
    target = ".".join(part for part in (*parts, fileExtension) if part)
    try:
        shutil.copyfile(fileName, target)
    except OSError as error:
        _say(f"Cannot copy {fileName} to {target}: {error}")
        return ""
    return target


def _seconds(path: Path) -> int:
    """Whole seconds: file systems differ in what is below."""
    return int(path.stat().st_mtime)


def _say(text: str) -> None:
    print(text)  # noqa: T201 - a plugin's prints go into its task's log
