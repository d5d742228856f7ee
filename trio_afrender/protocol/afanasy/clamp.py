"""Makes any message encodable: numbers are clamped, texts cleaned, lists cut.

A wrong figure of a meter, a counter beyond 32 bits, a lone surrogate in a name must not keep a
render from sending the rest of the message.
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
# Every lone surrogate but U+DC80..U+DCFF, the escapes of bytes that are not UTF-8.
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_JSON_BREAKERS = re.compile(r'["\\\x00-\x1f\x7f]')


def encode_fitted(message: RenderRegister | RenderUpdate | RenderEvents) -> bytes:
    """Return the bytes of a message; values out of range are replaced by the nearest valid ones."""
    try:
        return encode(message)
    except ProtocolError:
        fitted: RenderRegister | RenderUpdate | RenderEvents
        fitted = _fit(_TABLES[type(message)], message)
        return encode(fitted)


def fit(message: T) -> T:
    """Return the message with every number in range, texts that can be encoded, and lists cut."""
    fitted: T = _fit(_TABLES[type(message)], message)
    return fitted


def strip_json_breakers(text: str) -> str:
    """Return the text for a field that the server copies into its JSON without escaping.

    A quote, backslash or control character in it would break every answer that contains it.
    """
    return _JSON_BREAKERS.sub(_replace, text)


def _replace(match: re.Match[str]) -> str:
    return {'"': "'", "\\": "/"}.get(match[0], " ")


def _fit(kind: FieldType[Any], value: Any) -> Any:  # noqa: ANN401 - of the type that `kind` writes
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
            changes: dict[str, Any] = {}
            for names, part in kind.parts:
                if len(names) > 1:  # one part on the wire that several fields share
                    fitted = _fit(part, tuple(getattr(value, name) for name in names))
                    changes.update(zip(names, fitted, strict=True))
                else:
                    changes[names[0]] = _fit(part, getattr(value, names[0]))
            is_key = isinstance(value, TaskKey)
            return value._replace(**changes) if is_key else attrs.evolve(value, **changes)
    return _LONE.sub("\ufffd", value) if kind is STR else value
