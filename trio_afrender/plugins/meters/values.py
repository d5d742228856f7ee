"""Checks a meter's properties: a wrong value is a problem and is never sent to the server."""

from __future__ import annotations

import math
from typing import Any

import attrs

from trio_afrender.errors import ProtocolError
from trio_afrender.protocol.messages import CustomMeter

__all__ = ("load_measurement", "read_meter")

MAX_TEXT = {"label": 1000, "tooltip": 8000}
"""Characters. Limited because every host sends them with each measurement."""
_TEXTS = ("label", "tooltip")
_BYTES = (
    "width", "height", "labelsize", "graphr", "graphg", "graphb", "labelr", "labelg", "labelb",
    "bgcolorr", "bgcolorg", "bgcolorb",
)  # fmt: skip
_MAX_INT = 2**31 - 1
_FIELDS = {field.name: field.default for field in attrs.fields(CustomMeter)}


def read_meter(meter: object, last: CustomMeter) -> tuple[CustomMeter, tuple[str, ...]]:
    """A meter's properties, and the problems with them.

    A property that is missing or has a wrong type keeps its value in `last`. Numbers are limited to
    the ranges of Afanasy's fields: 32 bits for the values, 0..255 for sizes and colours.
    """
    made: dict[str, Any] = {}
    problems: list[str] = []
    for name in _FIELDS:
        value = getattr(meter, name, None)
        read: int | str | None = None
        if name in _TEXTS:
            wanted = "str"
            if isinstance(value, str):
                shown = value[: MAX_TEXT[name]]
                plain = "".join(c if c in "\n\t" or c.isprintable() else "?" for c in shown)
                read = plain.encode("utf-8", "replace").decode("utf-8")
        else:
            wanted, number = "int", value
            if isinstance(value, float) and math.isfinite(value):
                number = int(value)  # the result of a division, the commonest mistake
            if type(number) is int:
                low, high = (0, 255) if name in _BYTES else (-_MAX_INT - 1, _MAX_INT)
                read = min(max(number, low), high)
        if read is None:
            problems.append(f"{name} is {value!r:.60}, not of type {wanted}")
        else:
            made[name] = read
            if read != value and not isinstance(value, float):
                taken = read if isinstance(read, int) else f"a plain text of {len(read)} characters"
                problems.append(f"{name} is {value!r:.60}: {taken} is used")
    return attrs.evolve(last, **made), tuple(problems)


def load_measurement(value: object) -> tuple[CustomMeter | None, bool]:
    """Read the values of a meter, if it has any, and whether it raised. Raises `ProtocolError`."""
    if not isinstance(value, dict) or type(value.get("raised")) is not bool:
        raise ProtocolError("a measurement has wrong fields")
    shown = value.get("shown")
    if shown is None:
        return None, value["raised"]
    if not isinstance(shown, dict):
        raise ProtocolError("the values of a measurement are not an object")
    fields: dict[str, Any] = {name: shown.get(name) for name in _FIELDS}
    for name, field in fields.items():
        if type(field) is not (str if name in _TEXTS else int):
            raise ProtocolError(f"{name} of a measurement has a wrong type")
    return CustomMeter(**fields), value["raised"]
