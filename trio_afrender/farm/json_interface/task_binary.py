"""The message about a task in Afanasy's binary form, for clients that ask for it: ``afcmd``.

Type, position, progress, render, names, text; numbers in network order; a string is its length, its
bytes and a zero, which the length includes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import cast

from trio_afrender.farm.json_interface.answers import Answer, BinaryAnswer
from trio_afrender.protocol.afanasy import VERSION
from trio_afrender.text import to_bytes

__all__ = ("BINARY_TYPES", "encode_task")

BINARY_TYPES = ("TOutput", "TLog", "TErrorHosts")
"""Types of messages about tasks that have a binary form here."""
_NUMBERS = {"TOutput": 2, "TLog": 3, "TErrorHosts": 4}
_TASK = 51
_HEAD = struct.Struct(">iii")
_POSITION = ("job", "block", "task", "number")
_PROGRESS = (
    ("st", 64), ("per", 8), ("frm", 64), ("pfr", 8), ("str", 32), ("err", 32), ("tst", 64), ("tdn", 64),
)  # fmt: skip
"""Numbers of the progress and their bits."""
_NAMES = ("job_name", "block_name", "task_name", "service", "parser", "data")


def encode_task(message: Answer) -> BinaryAnswer:
    """The binary form of a message that `task_messages.describe_task` has made."""
    position = cast("Mapping[str, int]", message["pos"])
    progress = cast("Mapping[str, int]", message["progress"])
    body = b"".join(
        (
            _number(_NUMBERS[str(message["type"])], 32),
            *(_number(position[key], 32) for key in _POSITION),
            *(_number(progress.get(key, 0), bits) for key, bits in _PROGRESS),
            *(_string(str(progress.get(key, ""))) for key in ("hst", "act", "res")),
            _number(cast("int", message["render_id"]), 32),
            *(_string(str(message[key])) for key in _NAMES),
        )
    )
    return BinaryAnswer(_HEAD.pack(VERSION, _TASK, len(body)) + body)


def _number(value: int, bits: int) -> bytes:
    """A signed number, the nearest one that has a place: a request may name any id."""
    limit = 1 << (bits - 1)
    return max(-limit, min(value, limit - 1)).to_bytes(bits // 8, "big", signed=True)


def _string(text: str) -> bytes:
    # A zero would end the text for the client.
    data = to_bytes(text).replace(b"\0", b" ")
    return _number(len(data) + 1, 32) + data + b"\0"
