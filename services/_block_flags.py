"""The bits of a block's flags by Afanasy's names."""

from __future__ import annotations

__all__ = ("FLAGS",)

FLAGS = {
    "numeric": 1,
    "varcapacity": 2,
    "multihost": 4,
    "masteronslave": 8,
    "dependsubtask": 16,
    "skipthumbnails": 32,
    "skipexistingfiles": 64,
    "checkrenderedfiles": 128,
    "slavelostignore": 256,
    "appendedtasks": 512,
    "suspendnewtasks": 1024,
}
