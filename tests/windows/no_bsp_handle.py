"""`sitecustomize` of the Windows Python: answers a question of trio that Wine cannot.

At the first use of a socket, trio compares two handles of it, ``SIO_BASE_HANDLE`` and
``SIO_BSP_HANDLE_SELECT``. Wine has the first request only. On Windows both give the same handle unless a
third program has put itself between, so here the second gets the answer of the first.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

__all__ = ()

_MODULE = "trio._core._io_windows"


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = (
            importlib.machinery.PathFinder.find_spec(fullname, path)
            if fullname == _MODULE
            else None
        )
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:  # noqa: ANN401 - a module of trio
            execute(module)
            ask, codes = module._get_underlying_socket, module.WSAIoctls

            def get(sock: object, *, which: object = codes.SIO_BASE_HANDLE) -> object:
                known = which == codes.SIO_BSP_HANDLE_SELECT
                return ask(sock, which=codes.SIO_BASE_HANDLE if known else which)

            module._get_underlying_socket = get

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # this one module
        return spec


sys.meta_path.insert(0, _Finder())
