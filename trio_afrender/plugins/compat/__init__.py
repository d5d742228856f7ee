"""The helper modules that plugin files written for CGRU import, by their names there.

One module a name, with what services, parsers and meters of a render use of it. Our loader serves
them to files from plugin folders and to nobody else: no other code of this process finds a
``cgruconfig`` here.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ("NAMES", "serve")

NAMES = frozenset({"afcommon", "cgruconfig", "cgrupathmap", "cgrusequence", "cgruutils"})
"""Always ours, whatever a plugin folder or this process's path holds under these names: the
original of ``cgruconfig`` reads and writes files of its own as soon as it is imported."""


def serve(name: str) -> ModuleType:
    """The module that a plugin file means by one of `NAMES`."""
    return importlib.import_module(f"{__name__}.{name}")
