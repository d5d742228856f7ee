"""What a meter shows, read strictly: a silly value is a problem and never reaches the server."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from trio_afrender.errors import ProtocolError
from trio_afrender.protocol.messages import CustomMeter

__all__ = ("meter_from", "read_meter")

MAX_TEXT = {"label": 1000, "tooltip": 8000}
"""Characters. Every host sends them with each measurement."""
_TEXTS = ("label", "tooltip")
_BYTES = (
    "width", "height", "labelsize", "graphr", "graphg", "graphb", "labelr", "labelg", "labelb",
    "bgcolorr", "bgcolorg", "bgcolorb",
)  # fmt: skip
_MAX_INT = 2**31 - 1
_FIELDS = {field.name: field.default for field in attrs.fields(CustomMeter)}


def read_meter(meter: object, last: CustomMeter) -> tuple[CustomMeter, tuple[str, ...]]:
    """A meter's properties, and what is wrong with them.

    A property that is missing or of a wrong type keeps what it was in `last`. Numbers are kept
    within what Afanasy can say: 32 bits for the values, 0..255 for sizes and colours.
    """
    made: dict[str, Any] = {}
    problems: list[str] = []
    for name in _FIELDS:
        value = getattr(meter, name, None)
        read = _read_text(name, value) if name in _TEXTS else _read_number(name, value)
        if read is None:
            wanted = "str" if name in _TEXTS else "int"
            problems.append(f"{name} is {value!r:.60}, not of type {wanted}")
        else:
            made[name] = read
            if read != value and not isinstance(value, float):
                problems.append(f"{name} is {value!r:.60}: {_show(name, read)} is taken")
    return attrs.evolve(last, **made), tuple(problems)


def _read_number(name: str, value: object) -> int | None:
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)  # a division's result is the commonest slip
    if type(value) is not int:
        return None
    low, high = (0, 255) if name in _BYTES else (-_MAX_INT - 1, _MAX_INT)
    return min(max(value, low), high)


def _read_text(name: str, value: object) -> str | None:
    if not isinstance(value, str):
        return None
    plain = "".join(c if c in "\n\t" or c.isprintable() else "?" for c in value[: MAX_TEXT[name]])
    return plain.encode("utf-8", "replace").decode("utf-8")


def _show(name: str, read: int | str) -> str:
    return str(read) if isinstance(read, int) else f"a plainer text of {len(str(read))} characters"


def meter_from(value: object) -> CustomMeter | None:
    """A measurement as the plugin host sends it; None for nothing. Raises `ProtocolError`."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ProtocolError("a measurement is no object")
    fields: dict[str, Any] = {name: value.get(name) for name in _FIELDS}
    for name, field in fields.items():
        if type(field) is not (str if name in _TEXTS else int):
            raise ProtocolError(f"{name} of a measurement is not what it should be")
    return CustomMeter(**fields)
