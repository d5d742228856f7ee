"""Custom data of jobs, users and renders: JSON in texts, merged into one object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

__all__ = ("merge", "merge_all", "one", "texts")


def merge_all(objects: dict[str, Any], into: dict[str, Any]) -> Iterator[str]:
    """Merge the ``custom_data`` of all objects; yield what was wrong with some."""
    for kind, value in objects.items():
        for item in value if isinstance(value, list) else [value]:
            data = item.get("custom_data") if isinstance(item, dict) else None
            if not data:
                continue
            try:
                merge(into, _object(data))
            except (TypeError, ValueError, RecursionError) as error:
                yield f"The custom data of a {kind} cannot be read: {error}"


def _object(data: object) -> dict[str, Any]:
    found = json.loads(data) if isinstance(data, str) else data
    if not isinstance(found, dict):
        raise TypeError("it is no JSON object")
    return found


def merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    """Objects name by name, lists one after the other, of all else the new one.

    Names that are empty or begin with ``-`` do not count: so people put things aside.
    """
    for name, value in new.items():
        if not name or name.startswith("-"):
            continue
        old = into.get(name)
        if isinstance(value, dict):
            into[name] = old if isinstance(old, dict) else {}
            merge(into[name], value)
        elif isinstance(value, list) and isinstance(old, list):
            into[name] = [*old, *value]
        else:
            into[name] = value


def one(objects: dict[str, Any], kind: str) -> dict[str, Any]:
    """The object of a kind, the first of several, an empty one if there is none."""
    value = objects.get(kind)
    found = value[0] if isinstance(value, list) and value else value
    return found if isinstance(found, dict) else {}


def texts(value: object) -> list[str]:
    """The texts in a list; one text alone will do."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str) and item]
