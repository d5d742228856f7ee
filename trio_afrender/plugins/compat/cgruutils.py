"""``cgruutils``: small functions on texts, time codes and files.

The functions on files raise nothing for an error of the file system, as in CGRU: they print a line,
which is added to the task's log, and return a value that means failure.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trio_afrender.plugins.compat.unsupported import NameFinder, make_getattr

__all__ = (
    "ImgExtensions",
    "MovExtensions",
    "copyJobFile",
    "copy_directory",
    "copy_file",
    "createFolder",
    "isImageExt",
    "isMovieExt",
    "memStrToBytes",
    "sepThousands",
    "timecodeFromFrame",
    "timecodeToFrame",
    "timecodesFromFrameRange",
    "timecodesToFrameRange",
    "toStr",
)

ImgExtensions: list[str] = [
    "dpx", "exr", "jpg", "jpeg", "png", "tif", "tiff", "psd", "xcf", "insp", "dng",
]  # fmt: skip
MovExtensions: list[str] = ["mov", "avi", "mp4", "ogg", "mxf", "mpg", "mpeg"]

_MEMORY = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?b)\b", re.IGNORECASE)
_TIMECODE = re.compile(r"\d(?:.*\d)?", re.DOTALL)


# -- texts ----------------------------------------------------------------------------------------


def toStr(data: str | bytes) -> str:
    """The text; bytes as UTF-8, with U+FFFD for invalid ones. Raises TypeError for other types."""
    if isinstance(data, str):
        return data
    return str(data, "utf-8", "replace")


def isImageExt(i_file: str) -> bool:
    """Whether a file name has the extension of an image."""
    return _extension(i_file) in ImgExtensions


def isMovieExt(i_file: str) -> bool:
    """Whether a file name has the extension of a movie."""
    return _extension(i_file) in MovExtensions


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def memStrToBytes(i_str: str) -> int | None:
    """Bytes of ``1.5 GB`` (b, kb, mb, gb, tb: powers of 1024); None for any other text."""
    found = _MEMORY.match(i_str)
    if found is None:
        return None
    unit = 1024 ** ("b", "kb", "mb", "gb", "tb").index(found[2].lower())
    return round(float(found[1]) * int(unit))


def sepThousands(i_int: Any) -> str:  # noqa: ANN401 - whatever int() takes
    """A whole number with spaces between its thousands."""
    return f"{int(i_int):,}".replace(",", " ")


# -- time codes -----------------------------------------------------------------------------------


def timecodeToFrame(i_tc: str, i_fps: int = 24) -> int | None:
    """The frame of ``hours:minutes:seconds:frames``; leading parts are optional. None: no digits."""
    found = _TIMECODE.search(i_tc)
    if found is None:
        return None
    parts = [int(part) for part in re.findall(r"\d+", found.group())]
    steps = (1, i_fps, i_fps * 60, i_fps * 3600)
    return sum(part * step for part, step in zip(reversed(parts), steps, strict=False))


def timecodesToFrameRange(i_tc: str, i_fps: int = 24) -> tuple[int | None, int | None] | None:
    """First and last frame of two time codes separated by ``-``; None for any other text."""
    parts = i_tc.split("-")
    if len(parts) != 2:
        return None
    return timecodeToFrame(parts[0], i_fps), timecodeToFrame(parts[1], i_fps)


def timecodeFromFrame(i_frame: int, i_fps: int = 24) -> str:
    """``hours:minutes:seconds:frames`` of a frame."""
    seconds, frame = divmod(int(i_frame), int(i_fps))
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}:{frame:02d}"


def timecodesFromFrameRange(i_ffirst: int, i_flast: int, i_fps: int = 24) -> str:
    """Two time codes separated by `` - ``."""
    return f"{timecodeFromFrame(i_ffirst, i_fps)} - {timecodeFromFrame(i_flast, i_fps)}"


# -- files ----------------------------------------------------------------------------------------


def createFolder(path: str, writeToAll: bool = True) -> bool:
    """Create a folder and its parents, by default writable for every user. False: it failed."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        if writeToAll:
            Path(path).chmod(0o777)
    except OSError as error:
        _print(f"Cannot make the folder {path}: {error}")
        return False
    return True


def copy_file(
    source_file: str, destination_file: str, delete_original: bool = False, debug: bool = False
) -> bool:
    """Copy a file with its time, unless the destination is as new. Return whether it was copied."""
    source, destination = Path(source_file), Path(destination_file)
    try:
        if destination.is_file() and _mtime(source) <= _mtime(destination):
            if debug:
                _print(f"Not newer: {source}")
            return False
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, destination)
        if delete_original:
            source.unlink(missing_ok=True)
    except OSError as error:
        _print(f"Cannot copy {source} to {destination}: {error}")
        return False
    if debug:
        _print(f"Copied {source} to {destination}")
    return True


def copy_directory(
    source_folders: str | Iterable[str],
    destination_folder: str,
    reg_match: str | None = None,
    delete_copied_files: bool = False,
    debug: bool = False,
) -> int:
    """Copy newer files from these folders and their sub-folders. Return the number of copied files.

    With `reg_match`: of the files directly in these folders, only those whose name it matches from
    the start.
    """
    folders = [source_folders] if isinstance(source_folders, str) else list(source_folders)
    if not createFolder(destination_folder):
        return 0
    copied = 0
    for folder in map(Path, folders):
        if not folder.is_dir():
            _print(f"There is no folder {folder} to copy")
            return copied
        for item in sorted(folder.iterdir()):
            target = str(Path(destination_folder) / item.name)
            if item.is_dir():
                copied += copy_directory(str(item), target, None, delete_copied_files, debug)
            elif reg_match is None or re.match(reg_match, item.name):
                copied += copy_file(str(item), target, delete_copied_files, debug)
    return copied


def copyJobFile(fileName: str, jobName: str = "", fileExtension: str = "") -> str:
    """Copy a file into its folder, with the time in the name. Return the path, '' on failure."""
    now = time.time()
    parts = [fileName, jobName, time.strftime("%m%d-%H%M%S-", time.localtime(now))]
    parts[2] += f"{now % 1:.3f}"[2:]
    target = ".".join(part for part in (*parts, fileExtension) if part)
    try:
        shutil.copyfile(fileName, target)
    except OSError as error:
        _print(f"Cannot copy {fileName} to {target}: {error}")
        return ""
    return target


def _mtime(path: Path) -> int:
    """Modification time in whole seconds: file systems differ in the resolution below that."""
    return int(path.stat().st_mtime)


def _print(text: str) -> None:
    print(text)  # noqa: T201 - what plugin code prints is added to the task's log


__getattr__: NameFinder = make_getattr("cgruutils")
