"""The forms of an answer, and its bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

import attrs

__all__ = (
    "Answer",
    "BinaryAnswer",
    "EncodedAnswer",
    "encode_json",
    "encode_text",
    "info",
    "message",
    "status",
)

Answer: TypeAlias = dict[str, object]

# No blanks, no escapes but those that JSON needs: clients get UTF-8. Dictionaries keep their order.
encode_text: Callable[[object], str] = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False
).encode
"""The JSON of a value."""


@attrs.frozen(slots=True)
class EncodedAnswer:
    """An answer whose JSON has been made in parts."""

    text: str


@attrs.frozen(slots=True)
class BinaryAnswer:
    """An answer in Afanasy's binary form, with its header."""

    data: bytes


def encode_json(answer: Answer | EncodedAnswer) -> bytes:
    """The bytes of an answer. Names with bytes that are not UTF-8 get "?" for them."""
    text = answer.text if isinstance(answer, EncodedAnswer) else encode_text(answer)
    return text.encode("utf-8", "replace")


def info(kind: Literal["log", "info", "error"], text: str) -> Answer:
    """A sentence; kind "error" says that something was refused."""
    return {"info": {"kind": kind, "text": text}}


def message(name: str, kind: str, lines: Iterable[str]) -> Answer:
    """The lines of a log or of a list of hosts with errors."""
    return {"message": {"name": name, "type": kind, "list": list(lines)}}


def status(request: str, text: str) -> Answer:
    """The answer to a request about the server as a whole."""
    return {"status": "success", request: text, "success": text}
