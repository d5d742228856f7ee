"""Finds services, parsers and meters by name.

Search order: the given folders, installed packages with entry points, the built-in packages. The base
classes `service`, `parser` and `resbase` are always the built-in ones. Names come from the server, so
only plain identifiers are accepted.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from trio_afrender.errors import PluginError, PluginNotFound, is_exhausted
from trio_afrender.plugins.loader import (
    BASES,
    PACKAGES,
    PluginFolder,
    builtin_folder,
    has_builtin,
    import_builtin,
    load_file,
)
from trio_afrender.text import find_near

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ("is_builtin", "is_foreign", "list_plugins", "load_class", "near")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z", re.ASCII)
_UNPRINTABLE = re.compile(r"[^ -~]")
MAX_DETAILS = 16 * 1024
"""Characters of a traceback, counted from its end."""


def list_plugins(kind: str, folders: Sequence[Path] = ()) -> tuple[str, ...]:
    """Names that `load_class` finds, sorted, without the base class."""
    found = set(_entry_points(kind))
    for folder in (*map(PluginFolder, folders), builtin_folder):
        found.update(folder.names(kind))
    found.discard(BASES[kind])
    return tuple(sorted(name for name in found if _NAME.match(name)))


def near(kind: str, name: str, folders: Sequence[Path] = ()) -> tuple[str, ...]:
    """Up to three names of that kind that resemble `name`, the best first."""
    return find_near(name, list_plugins(kind, folders), count=3, cutoff=0.6)


def load_class(kind: str, name: str, folders: Sequence[Path] = ()) -> type:
    """The class of a plugin. Loads its file again if it has changed.

    Raises `PluginNotFound`, and `PluginError` if its module cannot be imported (with the traceback in
    `details`) or has no such class.
    """
    if not _NAME.match(name):
        raise PluginNotFound(kind, _UNPRINTABLE.sub("?", name[:64]))
    if name != BASES[kind]:
        for folder in map(PluginFolder, folders):
            if (file := folder.find(kind, name)) is not None:
                return _load(kind, name, partial(load_file, file, folder, kind), str(file))
        if (point := _entry_points(kind).get(name)) is not None:
            return _load(kind, name, point.load, f"entry point {point.value}")
    if has_builtin(kind, name):
        where = f"{PACKAGES[kind]}.{name}"
        return _load(kind, name, partial(import_builtin, kind, name), where)
    raise PluginNotFound(kind, name, near(kind, name, folders))


def is_foreign(kind: str, name: str, folders: Sequence[Path] = ()) -> bool:
    """Whether `load_class` would load code for this name that is not built-in. Loads nothing."""
    if name == BASES[kind] or not _NAME.match(name):
        return False
    found = any(folder.find(kind, name) is not None for folder in map(PluginFolder, folders))
    return found or name in _entry_points(kind)


def is_builtin(made: type) -> bool:
    """Whether a class is a built-in plugin, by the file of its module."""
    file = getattr(sys.modules.get(made.__module__), "__file__", None)
    return bool(file) and _is_builtin_file(str(file))


@lru_cache(maxsize=1000)
def _is_builtin_file(file: str) -> bool:
    folders = (builtin_folder.path / package for package in PACKAGES.values())
    return Path(file).resolve().parent in folders


def _load(kind: str, name: str, load: Callable[[], object], where: str) -> type:
    try:
        loaded = load()
    except (Exception, SystemExit) as error:
        text = f'{kind} "{name}" cannot be loaded from {where}: {type(error).__name__}: {error}'
        text = text[:1000]
        if isinstance(error, TypeError) and str(error).startswith("module() takes at most"):
            # Python's message does not name the cause, and three files of CGRU have this fault.
            text += " (a class of it is derived from a module: it must use module.class)"
        raise PluginError(text, traceback.format_exc()[-MAX_DETAILS:]) from error
    found = getattr(loaded, name, None) if isinstance(loaded, ModuleType) else loaded
    if isinstance(found, type):
        return found
    if isinstance(loaded, ModuleType):
        # A class whose name differs in case alone is taken if it is the only one.
        own = [
            value
            for key, value in vars(loaded).items()
            if key.lower() == name.lower()
            and isinstance(value, type)
            and value.__module__ == loaded.__name__
        ]
        if len(own) == 1:
            return own[0]
    raise PluginError(f'{kind} "{name}": {where} has no class "{name}"')


@cache
def _entry_points(kind: str) -> dict[str, EntryPoint]:
    """Entry points of installed packages by name; read once per process.

    Raises `OSError` where the host has no descriptor left for that.
    """
    group = f"trio_afrender.{PACKAGES[kind]}"
    if not _has_entry_points(f"[{group}]".encode()):
        return {}
    from importlib.metadata import entry_points  # 40 ms and 4 MB: only if there is an entry point

    return {point.name: point for point in entry_points(group=group)}


def _has_entry_points(section: bytes) -> bool:
    """Whether an installed package has that section in its list of entry points."""
    for folder in sys.path:
        for pattern in ("*.dist-info/entry_points.txt", "*.egg-info/entry_points.txt"):
            for file in Path(folder or ".").glob(pattern):
                try:
                    if section in file.read_bytes():
                        return True
                except OSError as error:
                    # The answer is remembered: a package whose list cannot be read for a moment
                    # would have no plugins for good.
                    if is_exhausted(error):
                        raise
    return False
