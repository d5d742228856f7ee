"""Conversion of settings: checks JSON values, reads the texts of variables and arguments."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs

from trio_afrender.errors import ConfigError
from trio_afrender.text import show_json
from trio_afrender.user_files import expand_home

__all__ = ("SettingValue", "check", "from_text", "is_pair")

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_NAMES = {
    "str": "a string",
    "path": "a path",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list of strings",
    "paths": "a list of paths",
    "pairs": "a list of pairs",
    "commands": "a list of pairs of a name and a command",
    "names": "an object with strings",
}


@attrs.frozen(slots=True)
class SettingValue:
    """A value, its unit, and where it was set."""

    value: object
    origin: str = "default"
    """The layer: a file, a variable, an option."""
    unit: str = ""
    key: tuple[str, ...] = attrs.field(default=(), eq=False, repr=False)
    """The path of keys in the file that set it."""


def check(kind: str, value: object, folder: Path) -> object:
    """Return a JSON value converted to `kind` (of `SettingSpec`); relative paths start at `folder`.

    Raises `ConfigError` with what was expected; the caller adds the key and where it was set.
    """
    match kind:
        case "str" if isinstance(value, str):
            return value
        case "path" if isinstance(value, str):
            return _absolute(value, folder)
        case "int" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "float" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case "bool" if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        case "list" | "paths" if isinstance(value, list):
            if all(map(_is_text, value)):
                return [_absolute(item, folder) if kind == "paths" else item for item in value]
        case "names" if isinstance(value, dict) and all(map(_is_text, value.values())):
            return value
        case "commands" if isinstance(value, list) and all(map(is_pair, value)):
            return value
        case "pairs" if isinstance(value, list) and all(map(is_pair, value)):
            # `PathMap` compares paths with slashes, on every platform.
            return [[part.replace("\\", "/") for part in item] for item in value]
        case _:
            pass
    raise ConfigError(f"expected {_NAMES[kind]}, got {show_json(value)}")


def from_text(kind: str, text: str) -> object:
    """Return the value of a variable or an argument that has this `text`.

    A list is split at commas and loses its empty items, unless it begins with ``[``: then it is
    JSON. Pairs are always JSON. Relative paths start at the current folder. Raises `ConfigError`.
    """
    folder = Path()
    match kind:
        case "str":
            return text
        case "path":
            return _absolute(text, folder)
        case "int" | "float":
            try:
                return int(text) if kind == "int" else float(text)
            except ValueError:
                expected = _NAMES[kind]
                raise ConfigError(f"expected {expected}, got {show_json(text)}") from None
        case "bool":
            word = text.strip().lower()
            if word in _TRUE or word in _FALSE:
                return word in _TRUE
            raise ConfigError(f"expected true or false, got {show_json(text)}")
        case "list" | "paths" if not text.lstrip().startswith("["):
            return check(kind, [item.strip() for item in text.split(",") if item.strip()], folder)
        case _:
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                expected = _NAMES[kind]
                raise ConfigError(f"expected {expected} as JSON, got {show_json(text)}") from None
            return check(kind, value, folder)


def _is_text(item: object) -> bool:
    return isinstance(item, str)


def is_pair(item: object) -> bool:
    """Whether a JSON value is a list of two strings."""
    return isinstance(item, list) and len(item) == 2 and all(isinstance(part, str) for part in item)


def _absolute(text: str, folder: Path) -> str:
    # `absolute` asks for the current folder only where it counts: it may have been deleted.
    return os.path.normpath((folder / expand_home(text)).absolute()) if text else ""
