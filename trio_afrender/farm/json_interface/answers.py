"""The forms of an answer, and its bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

__all__ = ("encode_json", "info", "message", "status")

Answer = dict[str, object]

# No blanks, no escapes but those that JSON needs: clients get UTF-8. Dictionaries keep their order.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def encode_json(answer: Answer) -> bytes:
    """The bytes of an answer. Names with bytes that are not UTF-8 get "?" for them."""
    return _encode(answer).encode("utf-8", "replace")


def info(kind: Literal["log", "info", "error"], text: str) -> Answer:
    """A sentence; kind "error" says that something was refused."""
    return {"info": {"kind": kind, "text": text}}


def message(name: str, kind: str, lines: Iterable[str]) -> Answer:
    """The lines of a log or of a list of hosts with errors."""
    return {"message": {"name": name, "type": kind, "list": list(lines)}}


def status(request: str, text: str) -> Answer:
    """The answer to a request about the server as a whole."""
    return {"status": "success", request: text, "success": text}
