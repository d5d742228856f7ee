"""``cgruutils``: small functions on texts, times and files."""

from __future__ import annotations

import re
from typing import Any

from trio_afrender.plugins.compat.copying import (
    copy_directory,
    copy_file,
    copyJobFile,
    createFolder,
)
from trio_afrender.plugins.compat.unsupported import tell_missing

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

ImgExtensions = [
    "dpx", "exr", "jpg", "jpeg", "png", "tif", "tiff", "psd", "xcf", "insp", "dng",
]  # fmt: skip
MovExtensions = ["mov", "avi", "mp4", "ogg", "mxf", "mpg", "mpeg"]

_MEMORY = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?b)\b", re.IGNORECASE)
_TIMECODE = re.compile(r"\d(?:.*\d)?", re.DOTALL)


def toStr(data: str | bytes) -> str:
    """The text; bytes as UTF-8, what is none replaced. Raises TypeError for anything else."""
    if isinstance(data, str):
        return data
    return str(data, "utf-8", "replace")


def isImageExt(i_file: str) -> bool:
    """Whether a name ends as names of images do."""
    return _extension(i_file) in ImgExtensions


def isMovieExt(i_file: str) -> bool:
    """Whether a name ends as names of movies do."""
    return _extension(i_file) in MovExtensions


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def memStrToBytes(i_str: str) -> int | None:
    """Bytes of ``1.5 GB`` (b, kb, mb, gb, tb: powers of 1024); None for what is no such text."""
    found = _MEMORY.match(i_str)
    if found is None:
        return None
    unit = 1024 ** ("b", "kb", "mb", "gb", "tb").index(found[2].lower())
    return round(float(found[1]) * int(unit))


def sepThousands(i_int: Any) -> str:  # noqa: ANN401 - whatever int() takes
    """A whole number with spaces between its thousands."""
    return f"{int(i_int):,}".replace(",", " ")


def timecodeToFrame(i_tc: str, i_fps: int = 24) -> int | None:
    """The frame of ``hours:minutes:seconds:frames``; leading parts may be missing. None: no digits."""
    found = _TIMECODE.search(i_tc)
    if found is None:
        return None
    parts = [int(part) for part in re.findall(r"\d+", found.group())]
    steps = (1, i_fps, i_fps * 60, i_fps * 3600)
    return sum(part * step for part, step in zip(reversed(parts), steps, strict=False))


def timecodesToFrameRange(i_tc: str, i_fps: int = 24) -> tuple[int | None, int | None] | None:
    """First and last frame of two time codes with a ``-`` between; None for anything else."""
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
    """Two time codes with `` - `` between."""
    return f"{timecodeFromFrame(i_ffirst, i_fps)} - {timecodeFromFrame(i_flast, i_fps)}"


__getattr__ = tell_missing("cgruutils")
