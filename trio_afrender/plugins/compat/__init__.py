"""The helper modules that plugin files written for CGRU import, under their CGRU names.

Each module has the part of the original that services, parsers and meters of a render use. The
plugin loader serves them to files of plugin folders only: no other code of this process can import a
``cgruconfig``.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ("NAMES", "serve")

NAMES = frozenset({"afcommon", "cgruconfig", "cgrupathmap", "cgrusequence", "cgruutils"})
"""Always the built-in modules, even if a plugin folder or ``sys.path`` has files of these names: the
original ``cgruconfig`` reads and writes config files as soon as it is imported."""


def serve(name: str) -> ModuleType:
    """The module for one of `NAMES`."""
    return importlib.import_module(f"{__name__}.{name}")
