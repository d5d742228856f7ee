"""Questions to an afserver in JSON, as its GUIs and submitters ask them."""

from __future__ import annotations

import json

from trio_afrender.afserver.client import Dialer
from trio_afrender.errors import ConfigError, LinkRefused, ProtocolError
from trio_afrender.protocol.afanasy import Json, encode
from trio_afrender.transport.websocket_connection import printable

__all__ = ("ask_json", "to_json")


async def ask_json(dialer: Dialer, question: object) -> dict[str, object]:
    """The server's answer, an object.

    Raises `LinkLost` when there is none, `LinkRefused` with the server's words when it says that
    it will not, `ProtocolError` when the answer cannot be read, and `ConfigError` for a question
    that is larger than a server takes.
    """
    url = dialer.address.url
    try:
        request = encode(Json(body=to_json(question)))
    except ProtocolError as error:
        raise ConfigError(f"too large for {url}: {error}") from error
    message = await dialer.ask(request)
    if not isinstance(message, Json):
        raise ProtocolError(f"{url}: answered with {type(message).__name__}, not with JSON")
    answer = _read(message.body, url)
    info = answer.get("info")
    if isinstance(info, dict) and info.get("kind") == "error":
        raise LinkRefused(printable(str(info.get("text", "error"))))
    return answer


def to_json(value: object) -> bytes:
    """The bytes of a JSON value; surrogate escapes become the foreign bytes they stand for."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogateescape")


def _read(body: bytes, url: str) -> dict[str, object]:
    """Servers write foreign bytes and control characters into texts as they come."""
    try:
        answer = json.loads(body.decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{url}: its answer is no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise ProtocolError(f"{url}: its answer is no JSON object")
    return answer
