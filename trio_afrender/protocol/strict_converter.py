"""A strict cattrs converter: values must have exactly the declared type; errors name the field.

The stock hooks of cattrs convert values (``"7"`` becomes 7, ``null`` becomes ``"None"``), accept a
string as a list, and collect an exception for each bad item of a list, so that 8 MiB of ``1,1,1``
grow into gigabytes. Here types are exact, numbers are bounded, and reading a list ends at its first
bad item.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, override

__all__ = (
    "FieldError",
    "Hook",
    "clamp",
    "clean",
    "explain",
    "make_class_structure",
    "make_converter",
    "structure_bytes",
)

_INT64 = 2**63
_PROBLEM_LIMIT = 300
"""Characters of a problem's text."""
# NUL, and every lone surrogate but U+DC80..U+DCFF, the escapes of bytes that are not UTF-8.
_UNCLEAN = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")

Hook = Callable[[object, object], Any]


class FieldError(ValueError):
    """A value of the wrong type or out of range; the text says what was expected."""


def clean(text: str) -> str:
    """Return the text with NUL replaced by U+2400, and invalid surrogates by U+FFFD.

    Escapes of bytes that are not UTF-8 stay, so that writing the text with
    ``errors="surrogateescape"`` restores the task's own bytes.
    """
    if text.isascii() and "\0" not in text:
        return text
    return _UNCLEAN.sub(lambda match: "\u2400" if match[0] == "\0" else "\ufffd", text)


def explain(error: Exception, path: str) -> str:
    """Return the first problem as ``update.tasks[0].percent: expected int``; `path` is the root."""
    first = cattrs.transform_error(error, path, _describe)[0]
    problem, _, position = first.rpartition(" @ ")
    text = f"{position}: {problem}"
    return text if len(text) <= _PROBLEM_LIMIT else text[:_PROBLEM_LIMIT] + "..."


def _describe(error: BaseException, _type: type | None) -> str:
    if isinstance(error, FieldError):
        return str(error)
    if isinstance(error, KeyError):
        return "missing"
    return f"{type(error).__name__}: {error}"


def clamp(low: int, high: int) -> Hook:
    """Return a hook that moves a number into a range instead of refusing it."""

    def structure(value: object, type_: object) -> float:
        if type_ is float:
            return min(max(_float(value, type_), float(low)), float(high))
        return min(max(_int(value, type_), low), high)

    return structure


def make_converter(fields: Mapping[type, Mapping[str, Hook]]) -> cattrs.Converter:
    """Return a strict converter; `fields` has special hooks for single fields of a class."""
    converter = cattrs.Converter(omit_if_default=True)
    converter.register_structure_hook(bool, _bool)
    converter.register_structure_hook(int, _int)
    converter.register_structure_hook(float, _float)
    converter.register_structure_hook(str, _str)
    converter.register_structure_hook(bytes, structure_bytes)
    # Both directions: a NUL that a task printed must not leave here, and must not come in.
    converter.register_unstructure_hook(str, clean)
    converter.register_unstructure_hook(bytes, lambda data: base64.b64encode(data).decode("ascii"))

    def make_class_hook(cls: type, converter: cattrs.Converter) -> Hook:
        return make_class_structure(cls, converter, fields.get(cls, {}))

    converter.register_structure_hook_factory(attrs.has, make_class_hook)
    converter.register_structure_hook_factory(_is_tuple, _make_tuple_hook)
    converter.register_structure_hook_factory(_is_mapping, _make_mapping_hook)
    return converter


def make_class_structure(
    cls: type, converter: cattrs.Converter, fields: Mapping[str, Hook]
) -> Hook:
    """Return the hook of an attrs class: a JSON object with its fields; unknown keys are ignored."""
    overrides: dict[str, Any] = {name: override(struct_hook=fields[name]) for name in fields}
    structure: Callable[..., Any] = make_dict_structure_fn(cls, converter, **overrides)

    def checked(value: object, type_: object) -> object:
        if type(value) is not dict:
            raise FieldError("expected object")
        return structure(value, type_)

    return checked


def _bool(value: object, _: object) -> bool:
    if type(value) is not bool:
        raise FieldError("expected bool")
    return value


def _int(value: object, _: object) -> int:
    if type(value) is not int:  # isinstance would accept True and False
        raise FieldError("expected int")
    if not -_INT64 <= value < _INT64:
        raise FieldError("expected int of 64 bits")
    return value


def _float(value: object, _: object) -> float:
    if type(value) is int:
        return float(_int(value, int))
    if type(value) is not float or not math.isfinite(value):
        raise FieldError("expected number")
    return value


def _str(value: object, _: object) -> str:
    if type(value) is not str:
        raise FieldError("expected string")
    return clean(value)


def structure_bytes(value: object, _: object) -> bytes:
    """Decode strict base64. Raises `FieldError`."""
    if type(value) is not str:
        raise FieldError("expected base64 string")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise FieldError("expected base64 string") from None


def _is_tuple(type_: object) -> bool:
    return get_origin(type_) is tuple


def _is_mapping(type_: object) -> bool:
    return get_origin(type_) is Mapping


def _make_tuple_hook(type_: type, converter: cattrs.Converter) -> Hook:
    args = get_args(type_)
    item_type = args[0]  # tuples of fixed length have items of one type here, too
    length = None if args[1:] == (Ellipsis,) else len(args)
    hook = converter.get_structure_hook(item_type)

    def structure(value: object, _: object) -> tuple[Any, ...]:
        if type(value) is not list:
            raise FieldError("expected list")
        if length is not None and len(value) != length:
            raise FieldError(f"expected list of {length}")
        items: list[Any] = []
        try:
            for item in value:
                items.append(hook(item, item_type))  # noqa: PERF401 - their number is the index
        except (FieldError, cattrs.BaseValidationError) as error:
            raise _at_index(error, len(items), type_, item_type) from None
        return tuple(items)

    return structure


def _make_mapping_hook(type_: type, converter: cattrs.Converter) -> Hook:
    _, value_type = get_args(type_)
    hook = converter.get_structure_hook(value_type)

    def structure(value: object, _: object) -> dict[str, Any]:
        if type(value) is not dict:
            raise FieldError("expected object")
        items: dict[str, Any] = {}
        key = ""
        try:
            for key, item in value.items():
                items[clean(key)] = hook(item, value_type)
        except (FieldError, cattrs.BaseValidationError) as error:
            raise _at_index(error, key[:64], type_, value_type) from None
        return items

    return structure


def _at_index(error: Exception, index: int | str, type_: type, item_type: type) -> Exception:
    """Return an error for the list or map that has `error` at `index`, for `explain`."""
    error.add_note(IterableValidationNote(f"at {index!r}", index, item_type))
    return IterableValidationError("in a list", [error], type_)
