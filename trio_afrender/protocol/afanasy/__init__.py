"""The binary messages between an Afanasy server and its renders, protocol version 81. No I/O.

`field_types` and `composite_types` read and write single values, `messages` has the messages as
values, `schema` the fields of each in their order, `framing` the headers around them, `clamp` moves
values into the range of their fields.
"""

from __future__ import annotations

from trio_afrender.protocol.afanasy.framing import (
    MAX_BODY,
    VERSION,
    Receiver,
    decode,
    encode,
)
from trio_afrender.protocol.afanasy.messages import (
    Interface,
    IpAddress,
    Json,
    Message,
    OutputText,
    RenderDeregister,
    RenderEvents,
    RenderId,
    RenderRegister,
    RenderUpdate,
    TaskUp,
    VersionMismatch,
)

__all__ = (
    "MAX_BODY",
    "VERSION",
    "Interface",
    "IpAddress",
    "Json",
    "Message",
    "OutputText",
    "Receiver",
    "RenderDeregister",
    "RenderEvents",
    "RenderId",
    "RenderRegister",
    "RenderUpdate",
    "TaskUp",
    "VersionMismatch",
    "decode",
    "encode",
)
