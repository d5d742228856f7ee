"""The binary messages between an Afanasy server and its renders, protocol version 81. No I/O.

`primitives` and `compounds` are the kinds of which everything is made, `records` the values, `layout` the tables
that say which value has which parts in which order, `framing` what is around a message.
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
