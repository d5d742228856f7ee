"""The nearest message that can be written, for one with a value that does not fit its place.

A meter that reports nonsense, a counter beyond 32 bits, half a surrogate in a name: none of that
may keep a render from telling its server the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from trio_afrender.errors import ProtocolError
from trio_afrender.protocol.afanasy.composite_types import (
    Listed,
    Mapped,
    Optional,
    RecordType,
    Repeated,
)
from trio_afrender.protocol.afanasy.field_types import STR, FieldType, Number
from trio_afrender.protocol.afanasy.framing import encode
from trio_afrender.protocol.afanasy.messages import RenderEvents, RenderRegister, RenderUpdate
from trio_afrender.protocol.afanasy.schema import EVENTS, REGISTER, UPDATE, Payload
from trio_afrender.protocol.messages import TaskFile, TaskKey

__all__ = ("encode_fitted", "fit", "strip_json_breakers")

T = TypeVar("T", RenderRegister, RenderUpdate, RenderEvents)

_TABLES: Mapping[type, RecordType[Any]] = {
    RenderRegister: REGISTER,
    RenderUpdate: UPDATE,
    RenderEvents: EVENTS,
}
# Every surrogate that no byte stands behind: U+DC80..U+DCFF come from bytes that are no UTF-8.
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_HARMFUL = re.compile(r'["\\\x00-\x1f\x7f]')


def encode_fitted(message: RenderRegister | RenderUpdate | RenderEvents) -> bytes:
    """The bytes of a message; what does not fit is moved to the nearest value that does."""
    try:
        return encode(message)
    except ProtocolError:
        fitted: RenderRegister | RenderUpdate | RenderEvents
        fitted = _fit(_TABLES[type(message)], message)
        return encode(fitted)


def fit(message: T) -> T:
    """The message with every number in its range, texts that can be written, lists cut."""
    fitted: T = _fit(_TABLES[type(message)], message)
    return fitted


def strip_json_breakers(text: str) -> str:
    """The text for a field that the server puts into its JSON as it is: one quote, backslash or
    control character there would break every answer that shows it."""
    return _HARMFUL.sub(_replace, text)


def _replace(match: re.Match[str]) -> str:
    return {'"': "'", "\\": "/"}.get(match[0], " ")


def _fit(kind: FieldType[Any], value: Any) -> Any:  # noqa: ANN401 - a kind says what it takes
    match kind:
        case Number():
            return min(max(int(value), kind.lowest), kind.highest)
        case Listed():
            return tuple(_fit(kind.item, item) for item in value[: kind.length.highest])
        case Repeated():
            return tuple(_fit(kind.item, item) for item in value)
        case Mapped():
            return {_fit(STR, key): _fit(kind.value, item) for key, item in value.items()}
        case Optional():
            return None if value is None else _fit(kind.value, value)
        case Payload():
            data, files = value
            return data, tuple(TaskFile(name=_fit(STR, f.name), data=f.data) for f in files)
        case RecordType():
            return _fit_record(kind, value)
    return _LONE.sub("\ufffd", value) if kind is STR else value


def _fit_record(record: RecordType[Any], value: Any) -> Any:  # noqa: ANN401 - as above
    changes: dict[str, Any] = {}
    for names, kind in record.parts:
        if len(names) > 1:
            fitted = _fit(kind, tuple(getattr(value, name) for name in names))
            changes.update(zip(names, fitted, strict=True))
        else:
            changes[names[0]] = _fit(kind, getattr(value, names[0]))
    return (
        value._replace(**changes) if isinstance(value, TaskKey) else attrs.evolve(value, **changes)
    )
