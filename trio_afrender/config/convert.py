"""Values of settings: checked as JSON has them, or made from the text of a variable or argument."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs

from trio_afrender.config.keys import Key
from trio_afrender.errors import ConfigError

__all__ = ("SettingValue", "check", "from_text", "is_pair")

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_NAMES = {
    "str": "a text",
    "path": "a path",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list of texts",
    "paths": "a list of paths",
    "pairs": "a list of pairs",
    "commands": "a list of pairs of a name and a command",
}


@attrs.frozen(slots=True)
class SettingValue:
    """A value, its unit, and where it was set."""

    value: object
    origin: str = "default"
    unit: str = ""


def check(key: Key, value: object, folder: Path) -> object:
    """Return a JSON value as `key` wants it; relative paths count from `folder`.

    Raises `ConfigError` that says what was expected (the caller knows the name and place).
    """
    match key.kind:
        case "str" if isinstance(value, str):
            return value
        case "path" if isinstance(value, str):
            return _full(value, folder)
        case "int" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "float" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case "bool" if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        case "list" | "paths" if isinstance(value, list):
            if all(isinstance(item, str) for item in value):
                paths = key.kind == "paths"
                return [_full(item, folder) if paths else item for item in value]
        case "commands" if isinstance(value, list):
            if all(is_pair(item) for item in value):
                return value
        case "pairs" if isinstance(value, list):
            if all(is_pair(item) for item in value):
                return [[part.replace("\\", "/") for part in item] for item in value]
        case _:
            pass
    raise ConfigError(f"expected {_NAMES[key.kind]}, got {_show(value)}")


def from_text(key: Key, text: str) -> object:
    """Return the value that a variable's or an argument's `text` means. Raises `ConfigError`.

    Lists are split by commas, empty items vanish; lists and pairs may also be written as JSON.
    """
    folder = Path.cwd()
    match key.kind:
        case "str":
            return text
        case "path":
            return _full(text, folder)
        case "int" | "float":
            try:
                return int(text) if key.kind == "int" else float(text)
            except ValueError:
                raise ConfigError(f"expected {_NAMES[key.kind]}, got {_show(text)}") from None
        case "bool":
            word = text.strip().lower()
            if word in _TRUE or word in _FALSE:
                return word in _TRUE
            raise ConfigError(f"expected true or false, got {_show(text)}")
        case _:
            return check(key, _listed(key, text), folder)


def _listed(key: Key, text: str) -> object:
    if key.kind not in ("pairs", "commands") and not text.lstrip().startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return json.loads(text)
    except ValueError:
        raise ConfigError(f"expected {_NAMES[key.kind]} as JSON, got {_show(text)}") from None


def is_pair(item: object) -> bool:
    """Whether a JSON value is a list of two texts."""
    return isinstance(item, list) and len(item) == 2 and all(isinstance(part, str) for part in item)


def _full(text: str, folder: Path) -> str:
    return os.path.normpath(folder / Path(text).expanduser()) if text else ""


def _show(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
