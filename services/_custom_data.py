"""Custom data of jobs, users and renders: JSON in strings, merged into one object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

__all__ = ("merge", "merge_all", "one", "texts")


def merge_all(objects: dict[str, Any], into: dict[str, Any]) -> Iterator[str]:
    """Merge the ``custom_data`` of all objects; yield a message for each that cannot be read."""
    for kind, value in objects.items():
        for item in value if isinstance(value, list) else [value]:
            data = item.get("custom_data") if isinstance(item, dict) else None
            if not data:
                continue
            try:
                merge(into, _load(data))
            except (TypeError, ValueError, RecursionError) as error:
                yield f"The custom data of a {kind} cannot be read: {error}"


def _load(data: object) -> dict[str, Any]:
    found = json.loads(data) if isinstance(data, str) else data
    if not isinstance(found, dict):
        raise TypeError("it is no JSON object")
    return found


def merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    """Merge objects by name and append lists; any other new value replaces the old one.

    Names that are empty or begin with ``-`` are skipped: this is how users disable an entry.
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
    """Return the object of that kind, the first if it is a list, an empty one if there is none."""
    value = objects.get(kind)
    found = value[0] if isinstance(value, list) and value else value
    return found if isinstance(found, dict) else {}


def texts(value: object) -> list[str]:
    """Return the non-empty strings of a list; a single string counts as a list of one."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str) and item]
