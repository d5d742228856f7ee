"""Encodes and decodes the messages of a websocket session: a JSON object in each text frame.

Frames are ASCII and have at most `MAX_FRAME` bytes. Everything that the peer sends is checked here:
the result is a message or a `ProtocolError` that names the field, never another exception.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import cattrs
from cattrs.gen import make_dict_unstructure_fn

from trio_afrender.errors import ProtocolError
from trio_afrender.protocol.messages import (
    Ack,
    Deregister,
    Events,
    FilesEntry,
    FromRender,
    FromServer,
    Refused,
    Register,
    Registered,
    TaskFile,
    TaskStatus,
    TaskUpdate,
    Unknown,
    Update,
)
from trio_afrender.protocol.strict_converter import (
    FieldError,
    clamp,
    clean,
    explain,
    make_class_structure,
    make_converter,
    structure_bytes,
)
from trio_afrender.text import base_name, refuse_constant, refuse_repeated

__all__ = (
    "FILES_LIMIT",
    "FILE_LIMIT",
    "MAX_FRAME",
    "SUBPROTOCOL",
    "decode_from_render",
    "decode_from_server",
    "encode",
)

SUBPROTOCOL = "afrender.v1"
MAX_FRAME = 8 * 1024 * 1024
"""Bytes of a frame, in both directions."""
FILE_LIMIT = 100_000
"""A file in an update must have fewer bytes than this."""
FILES_LIMIT = 3 * 1024 * 1024
"""Bytes of all files in one update together."""

_DAY = 86_400
_TAGS: Mapping[type, str] = {
    Register: "register",
    Update: "update",
    Deregister: "deregister",
    Registered: "registered",
    Refused: "refused",
    Events: "events",
    Ack: "ack",
}
_FROM_RENDER: Mapping[str, type[Register | Update | Deregister]] = {
    _TAGS[cls]: cls for cls in (Register, Update, Deregister)
}
_FROM_SERVER: Mapping[str, type[Registered | Refused | Events | Ack]] = {
    _TAGS[cls]: cls for cls in (Registered, Refused, Events, Ack)
}
_NAME_LIMIT = 255


def encode(message: FromRender | FromServer) -> str:
    """Return the frame of a message; fields with their default value are left out.

    Raises ProtocolError for a number that JSON does not have, and if the frame would be larger
    than `MAX_FRAME`.
    """
    if isinstance(message, Unknown):
        fields: object = {**message.raw, "type": message.type}
    else:
        fields = {"type": _TAGS[type(message)], **_converter.unstructure(message)}
    try:
        text = _writer.encode(fields)
    except ValueError as error:
        raise ProtocolError(f"{_TAGS.get(type(message), 'message')}: {error}") from error
    if len(text) > MAX_FRAME:
        raise ProtocolError(
            f"{_TAGS.get(type(message), 'message')}: {len(text)} bytes, "
            f"at most {MAX_FRAME} are allowed in a frame"
        )
    return text


def decode_from_render(frame: str | bytes) -> FromRender:
    """Decode a message of a render; one of an unknown type becomes `Unknown`.

    Raises ProtocolError for anything that is not a message.
    """
    tag, fields = _parse(frame)
    if tag not in _FROM_RENDER:
        return Unknown(type=tag, raw=fields)
    try:
        message = _converter.structure(fields, _FROM_RENDER[tag])
    except cattrs.BaseValidationError as error:
        raise ProtocolError(explain(error, tag)) from None
    if isinstance(message, Update):
        total = sum(len(file.data) for entry in message.files for file in entry.files)
        if total > FILES_LIMIT:
            raise ProtocolError(f"update.files: {total} bytes, at most {FILES_LIMIT} are allowed")
    return message


def decode_from_server(frame: str | bytes) -> FromServer:
    """Decode a message of a server; one of an unknown type becomes `Unknown`.

    Raises ProtocolError for anything that is not a message.
    """
    tag, fields = _parse(frame)
    if tag not in _FROM_SERVER:
        return Unknown(type=tag, raw=fields)
    try:
        return _converter.structure(fields, _FROM_SERVER[tag])
    except cattrs.BaseValidationError as error:
        raise ProtocolError(explain(error, tag)) from None


def _parse(frame: str | bytes) -> tuple[str, dict[str, Any]]:
    if len(frame) > MAX_FRAME:
        raise ProtocolError(f"frame of {len(frame)} bytes, at most {MAX_FRAME} are allowed")
    try:
        text = frame if isinstance(frame, str) else frame.decode("utf-8")
        value = _reader.decode(text)
    except RecursionError:
        raise ProtocolError("frame nested too deeply") from None
    except ValueError as error:
        raise ProtocolError(f"frame is not JSON: {str(error)[:200]}") from None
    if type(value) is not dict:
        raise ProtocolError("frame: expected object")
    tag = value.get("type")
    if type(tag) is not str:
        raise ProtocolError("type: expected string" if "type" in value else "type: missing")
    return clean(tag), value


def _make_converter() -> cattrs.Converter:
    # Clamped instead of refused: a parser's 120 % must not cost the whole update, and a wrong
    # setting of the server not the registration.
    seconds = clamp(0, _DAY)
    times = {"heartbeat_sec": seconds, "zombie_time": seconds, "exit_no_task_time": seconds}
    settings = {**times, "resources_update_period": clamp(0, _DAY)}
    percents = {"percent": clamp(0, 100), "percentframe": clamp(0, 100)}
    hooks = {TaskUpdate: percents, Registered: settings, Events: settings}
    converter = make_converter({**hooks, TaskFile: {"data": _file_data}})
    converter.register_structure_hook(TaskStatus, _status)
    structure = make_class_structure(FilesEntry, converter, {})

    # Names of files are cut to their last part; a file without a valid one is left out.
    def structure_files(value: object, type_: object) -> FilesEntry:
        entry: FilesEntry = structure(value, type_)
        files = []
        for file in entry.files:
            name = base_name(file.name)
            length = len(name.encode("utf-8", "surrogateescape"))
            if name and length <= _NAME_LIMIT:
                files.append(TaskFile(name=name, data=file.data))
        return FilesEntry(run=entry.run, n=entry.n, files=tuple(files))

    converter.register_structure_hook(FilesEntry, structure_files)
    plain = make_dict_unstructure_fn(TaskUpdate, converter, _cattrs_omit_if_default=True)

    # `status_name` is for readers of recorded frames; the decoder ignores it.
    def unstructure_update(update: TaskUpdate) -> dict[str, Any]:
        return {**plain(update), "status_name": update.status.name}

    converter.register_unstructure_hook(TaskStatus, int)
    converter.register_unstructure_hook(TaskUpdate, unstructure_update)
    return converter


def _status(value: object, _: object) -> TaskStatus:
    if type(value) is not int:
        raise FieldError("expected int")
    try:
        return TaskStatus(value)
    except ValueError:
        raise FieldError("no status has this number") from None


def _file_data(value: object, type_: object) -> bytes:
    too_long = FieldError(f"a file must have fewer than {FILE_LIMIT} bytes")
    # Checked before decoding, which would allocate memory for all of it.
    if isinstance(value, str) and len(value) > 4 * FILE_LIMIT // 3 + 4:
        raise too_long
    data = structure_bytes(value, type_)
    if len(data) >= FILE_LIMIT:
        raise too_long
    return data


_converter = _make_converter()
_writer = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_reader = json.JSONDecoder(parse_constant=refuse_constant, object_pairs_hook=refuse_repeated)
