"""Lets one call of a program fail: every call of the system is a numbered site of its source.

Standard library alone, because the supervisor and its task supervisors load it too, by its path. A module
of the table `SITES_FILE` is compiled from its source with each site ``f(x)`` written as
``_fault_seam_(number, f)(x)``. The numbers stand in that table, so they are the same in all processes.
Which call fails, and which were made, is in a file that all of them map.
"""

from __future__ import annotations

import ast
import ctypes
import importlib.abc
import importlib.machinery
import json
import marshal
import mmap
import os
import struct
import sys
from collections.abc import Container, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, cast

__all__ = ("HEADER", "NO_NICE", "SITES_FILE", "STATE_FILE", "THREAD", "install", "place_of")

SITES_FILE, STATE_FILE = "sites.json", "state"
_COUNT = struct.Struct("<H")
HEADER = struct.Struct("<iiiiii")
"""Number of the site that fails, errno, turn, calls so far, process in which it has failed, kind of the
process in which alone it may fail (1: the agent, 2: the supervisor and below). Behind it, for each
site, how often these two have made the call, as numbers of two bytes."""
THREAD = -1
"""In place of an errno: the error of an interpreter that gets no thread."""
NO_NICE = "FAULT_SEAM_NO_NICE"
"""The variable by which what the program starts loses the right to raise a priority."""
_PR_CAPBSET_DROP, _CAP_SYS_NICE = 24, 23  # linux/prctl.h, linux/capability.h
_NAME = "_fault_seam_"


def find_calls(tree: ast.Module, places: Container[tuple[int, ...]]) -> list[ast.Call]:
    """Return the calls of a module that stand at these places."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [call for call in calls if place_of(call) in places]


def place_of(call: ast.Call) -> tuple[int, int, int, int]:
    """Return where a call stands; no two calls stand at the same place."""
    return call.lineno, call.col_offset, call.end_lineno or 0, call.end_col_offset or 0


class _Seam:
    def __init__(self, folder: Path, kind: int) -> None:
        handle = os.open(folder / STATE_FILE, os.O_RDWR | os.O_CLOEXEC)
        try:
            # Shared and inherited by a fork: task supervisors use the mapping of the supervisor.
            self._state = mmap.mmap(handle, 0)
        finally:
            os.close(handle)
        self._kind = kind

    def __call__(self, number: int, function: Any) -> Any:  # noqa: ANN401 - any function
        state = self._state
        at = HEADER.size + 4 * number + 2 * (self._kind - 1)
        if state[at + 1] < 255:  # little-endian; it may miss a call of another thread
            _COUNT.pack_into(state, at, _COUNT.unpack_from(state, at)[0] + 1)
        site, error, turn, calls, failed, kind = HEADER.unpack_from(state)
        if site != number or failed or kind != self._kind:
            return function
        calls += 1
        HEADER.pack_into(state, 0, site, error, turn, calls, os.getpid() * (calls == turn), kind)
        if calls != turn:
            return function

        def fail(*_args: Any, **_words: Any) -> Any:  # noqa: ANN401
            if error == THREAD:
                raise RuntimeError("can't start new thread")
            raise OSError(error, os.strerror(error))

        return fail


class _Rewriter(ast.NodeTransformer):
    def __init__(self, numbers: dict[ast.Call, int]) -> None:
        self._numbers = numbers

    def visit_Call(self, node: ast.Call) -> ast.Call:
        number = self._numbers.get(node)
        self.generic_visit(node)
        if number is not None:
            seam = ast.copy_location(ast.Name(_NAME, ast.Load()), node)
            place = ast.copy_location(ast.Constant(number), node)
            node.func = ast.copy_location(ast.Call(seam, [place, node.func], []), node)
        return node


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(
        self, name: str, path: str, sites: list[list[int]], seam: _Seam, cache: Path
    ) -> None:
        super().__init__(name, path)
        self._sites = sites
        self._seam = seam
        self._cache = cache / f"{name}.code"

    def get_code(self, fullname: str) -> CodeType:
        if self._cache.exists():
            return cast(CodeType, marshal.loads(self._cache.read_bytes()))  # noqa: S302 - written below
        tree = ast.parse(self.get_data(self.path))
        places = {tuple(place): number for *place, number in self._sites}
        numbers = {call: places[place_of(call)] for call in find_calls(tree, places)}
        assert len(numbers) == len(places), fullname
        tree = ast.fix_missing_locations(_Rewriter(numbers).visit(tree))
        code = compile(tree, self.path, "exec", dont_inherit=True)
        part = self._cache.with_suffix(f".{os.getpid()}")
        part.write_bytes(marshal.dumps(code))
        part.rename(self._cache)
        return code

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__[_NAME] = self._seam
        super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, folder: Path, kind: int) -> None:
        self._sites: dict[str, list[list[int]]] = json.loads((folder / SITES_FILE).read_text())
        self._seam = _Seam(folder, kind)
        self._folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._sites:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin:
            sites = self._sites[fullname]
            spec.loader = _Loader(fullname, spec.origin, sites, self._seam, self._folder)
        return spec


BOOT_CODE = """
import importlib.util, sys
sys.path.insert(0, sys.argv[1])
spec = importlib.util.spec_from_file_location("fault_seam", {seam!r})
seam = importlib.util.module_from_spec(spec)
spec.loader.exec_module(seam)
seam.install({folder!r}, 2)
from trio_afrender.supervisor.daemon import main
sys.exit(main(sys.argv[2:]))
"""


def install(folder: str, kind: int) -> None:
    """Rewrite the modules of the table that this process imports from now on."""
    sys.meta_path.insert(0, _Finder(Path(folder), kind))


def main() -> int:
    """Run ``trio_afrender WORDS...``, given as ``fault_seam.py FOLDER WORDS...``."""
    folder = sys.argv[1]
    sys.path.pop(0)  # the folder of this file, which is no package of the program
    sys.argv = ["trio_afrender", *sys.argv[2:]]
    install(folder, 1)
    if NO_NICE in os.environ:
        # Without root there is nothing to lose.
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)
    from trio_afrender.process import supervisor_client

    supervisor_client.BOOT_CODE = BOOT_CODE.format(seam=__file__, folder=folder)
    from trio_afrender.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
