"""Completes a taskInfo: every key that the base class uses exists and has its type."""

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

_MAY_HOLD_BYTES = (bytes, list, tuple, dict)


def complete(info: dict[str, Any]) -> None:
    """Add defaults for missing keys and decode bytes, in place."""
    for key, value in info.items():
        if isinstance(value, _MAY_HOLD_BYTES):  # others stay as they are
            info[key] = _text(value)
    for key, default in _DEFAULTS.items():
        value = info.get(key)
        if value is None or not isinstance(value, type(default)):
            info[key] = list(value) if isinstance(value, tuple) else type(default)(default)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list | tuple):
        return [_text(item) for item in value]
    if isinstance(value, dict):
        return {_text(key): _text(item) for key, item in value.items()}
    return value
