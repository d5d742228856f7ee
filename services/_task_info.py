"""Makes a taskInfo whole: every key that the base class uses is there and of its type."""

from __future__ import annotations

from typing import Any

__all__ = ("complete",)

_DEFAULTS: dict[str, Any] = {
    "wdir": "",
    "parser": "",
    "command_block": "",
    "command_task": "",
    "capacity_coeff": 0,
    "files_block": [],
    "files_task": [],
    "hosts": [],
    "parsed_files": [],
    "environment": {},
    "frame_start": 0,
    "frame_finish": 0,
    "frame_inc": 1,
    "frames_num": 1,
    "block_flags": 0,
    "store_dir": "",
}

_TURNED = (bytes, list, tuple, dict)  # what may hold bytes


def complete(info: dict[str, Any]) -> None:
    """Put defaults for what is missing and text for bytes, in place."""
    for key, value in info.items():
        if isinstance(value, _TURNED):  # numbers and texts stay as they are
            info[key] = _text(value)
    for key, default in _DEFAULTS.items():
        value = info.get(key)
        if value is None or not isinstance(value, type(default)):
            info[key] = list(value) if isinstance(value, tuple) else _copy(default)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list | tuple):
        return [_text(item) for item in value]
    if isinstance(value, dict):
        return {_text(key): _text(item) for key, item in value.items()}
    return value


def _copy(default: Any) -> Any:
    return type(default)(default)
