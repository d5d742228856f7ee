"""The JSON of a request, read strictly, and its values, read as leniently as Afanasy does.

A wrong type of a *selecting* key (ids, masks, modes) counts as absent, as on a real server: clients
rely on it. Values that change something are checked by those who change it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from trio_afrender.text import refuse_constant, refuse_repeated, show_json

__all__ = ("BadJson", "numbers_at", "object_at", "parse_root", "text_at", "texts_at")


class BadJson(Exception):
    """The text is no JSON object. The message is for the client."""


def parse_root(body: bytes) -> dict[str, object]:
    """Parse the JSON of a request. Raises `BadJson` with the place of the mistake."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadJson(f"not UTF-8 (at byte {error.start} of {len(body)})") from None
    try:
        root = json.loads(text, parse_constant=refuse_constant, object_pairs_hook=refuse_repeated)
    except json.JSONDecodeError as error:
        where = f"(at character {error.pos} of {len(text)})"
        raise BadJson(f"not JSON: {error.msg} {where}") from None
    except RecursionError:
        raise BadJson("nested too deeply") from None
    except ValueError as error:
        raise BadJson(f"not JSON: {error}") from None
    if not isinstance(root, dict):
        raise BadJson(f"expected a JSON object, found {show_json(root)}")
    return root


def object_at(data: Mapping[str, object], key: str) -> dict[str, object] | None:
    """The object of a key; None if there is none."""
    value = data.get(key)
    return value if isinstance(value, dict) else None


def text_at(data: Mapping[str, object], key: str) -> str:
    """The string of a key; '' if there is none."""
    value = data.get(key)
    return value if isinstance(value, str) else ""


def numbers_at(data: Mapping[str, object], key: str) -> list[int]:
    """The integers in the list of a key; other items are left out."""
    value = data.get(key)
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, int) and not isinstance(item, bool)]


def texts_at(data: Mapping[str, object], key: str) -> list[str]:
    """The strings in the list of a key; other items are left out."""
    value = data.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
