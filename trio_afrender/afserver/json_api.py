"""Requests to an afserver's JSON API, as its GUIs and submitters make them."""

from __future__ import annotations

import json

from trio_afrender.afserver.client import Dialer
from trio_afrender.afserver.fatal_requests import find_fatal
from trio_afrender.afserver.json_repair import load_repaired
from trio_afrender.errors import ConfigError, LinkRefused, ProtocolError
from trio_afrender.protocol.afanasy import Json, encode
from trio_afrender.text import printable, to_bytes

__all__ = ("ask_json", "is_unknown_id", "parse_answer", "to_json")


async def ask_json(dialer: Dialer, question: object) -> dict[str, object]:
    """Send a request and return the server's answer, a JSON object.

    Raises `LinkLost` if there is no answer, `LinkRefused` with the server's text if it refuses the
    request, `ProtocolError` if the answer cannot be parsed, and `ConfigError` for a request that is
    larger than the server accepts or would end it.
    """
    url = dialer.address.url
    if reason := find_fatal(question):
        raise ConfigError(f"not sent to {url}, because it would end an afserver: {reason}")
    try:
        # In a binary message. The plain form ("AFANASY n JSON") is refused if a network splits it
        # within its header.
        request = encode(Json(body=to_json(question)))
    except ProtocolError as error:
        raise ConfigError(f"too large for {url}: {error}") from error
    message = await dialer.ask(request)
    if not isinstance(message, Json):
        raise ProtocolError(f"{url}: answered with {type(message).__name__}, not with JSON")
    answer = parse_answer(message.body, url)
    info = answer.get("info")
    if isinstance(info, dict) and info.get("kind") == "error":
        raise LinkRefused(printable(str(info.get("text", "error"))))
    return answer


def is_unknown_id(error: LinkRefused) -> bool:
    """Return whether a request was refused because the server has no node with its only id."""
    return error.reason.casefold().startswith("invalid id")


def to_json(value: object) -> bytes:
    """Return the JSON text of a value; surrogate escapes become the bytes that they stand for."""
    # A page can send surrogates that stand for no byte.
    return to_bytes(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def parse_answer(body: bytes, url: str) -> dict[str, object]:
    """Parse an answer of the server at `url`. Raises `ProtocolError`."""
    # The server copies texts into its JSON as they are, also bytes that are not UTF-8.
    try:
        answer = load_repaired(body.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{url}: its answer is no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise ProtocolError(f"{url}: its answer is no JSON object")
    return answer
