"""``afcommon``: block flags, and file name patterns with frame numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trio_afrender.frame_ranges import fill_numbers
from trio_afrender.plugins.compat.unsupported import NameFinder, make_getattr
from trio_afrender.plugins.loader import import_builtin

if TYPE_CHECKING:
    from services._block_flags import FLAGS
else:
    # By file, not by name: an application that embeds the agent may have other `services`.
    FLAGS = import_builtin("service", "_block_flags").FLAGS

__all__ = (
    "BlockFlags",
    "checkBlockFlag",
    "fillNumbers",
    "filterFileName",
    "patternFromDigits",
    "patternFromFile",
    "patternFromStdC",
    "setBlockFlag",
)

BlockFlags: dict[str, int] = dict(FLAGS)

_NOT_IN_NAMES = re.compile(r"""[ ~`!@#$%^&*()+\[\]{};:'",<>/?\\|]""")
_HASHES = re.compile(r"@#+@|#+")
_PRINTF = re.compile(r"%(\d*)d")
_LAST_DIGITS = re.compile(r"(?<=.)(?<!\d)(\d+)(?=\.[^.]*\Z)|\A(\d+)(?=\.[^.]*\Z)", re.DOTALL)


def checkBlockFlag(i_flags: int, i_name: str) -> int:
    """The bit of that flag if it is set, else 0. An unknown flag: 0, and a line is printed."""
    return i_flags & _bit(i_name)


def setBlockFlag(i_flags: int, i_name: str) -> int:
    """The flags with that one set. An unknown flag: no change, and a line is printed."""
    return i_flags | _bit(i_name)


def _bit(name: str) -> int:
    if name not in BlockFlags:
        known = ", ".join(BlockFlags)
        print(f'There is no block flag "{name}". Flags: {known}')  # noqa: T201 - added to the task's log
    return BlockFlags.get(name, 0)


def fillNumbers(i_pattern: str, i_start: int, i_end: int) -> str:
    """Replace ``@#@``, ``@##@`` ... by numbers: start and end in turn."""
    return fill_numbers(i_pattern, i_start, i_end)


def filterFileName(filename: str) -> str:
    """The text with ``_`` for each character that is special to shells or file systems."""
    return _NOT_IN_NAMES.sub("_", filename)


def patternFromDigits(path: str, verbose: bool = False) -> str:
    """``a.####.exr`` as a pattern: ``a.@####@.exr``. A pattern is returned unchanged."""
    return _HASHES.sub(lambda found: f"@{found.group().strip('@')}@", path)


def patternFromStdC(path: str, verbose: bool = False) -> str:
    """``a.%04d.exr`` as a pattern: ``a.@####@.exr``."""
    return _PRINTF.sub(lambda found: f"@{'#' * max(1, int(found[1] or 1))}@", path)


def patternFromFile(path: str) -> str:
    """``a.0012.exr`` as a pattern: the digits before the last dot become ``@####@``."""
    return _LAST_DIGITS.sub(lambda found: f"@{'#' * len(found.group())}@", path)


__getattr__: NameFinder = make_getattr("afcommon")
