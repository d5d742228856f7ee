"""``cgrupathmap``: the paths map of `cgruconfig.VARS`, with CGRU's names of methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from trio_afrender.plugins.compat import cgruconfig
from trio_afrender.plugins.compat.unsupported import NameFinder, make_getattr
from trio_afrender.plugins.loader import import_builtin

if TYPE_CHECKING:
    from services._path_map import Paths
else:
    # By file, not by name: an application that embeds the agent may have other `services`.
    Paths = import_builtin("service", "_path_map").Paths

__all__ = ("CompatPathMap", "PathMap")


class CompatPathMap(Paths):
    """A copy of the map at the time of creation. With `UnixSeparators`, client paths have slashes."""

    def __init__(self, UnixSeparators: bool = False, Verbose: bool = False) -> None:
        self.UnixSeparators = UnixSeparators
        self.init(cgruconfig.VARS.get("pathsmap") or (), Verbose)

    def init(self, pathsmap: Iterable[Sequence[str]], Verbose: bool = False) -> None:
        """Replace the map by these pairs (client, server)."""
        super().__init__(
            pathsmap,
            windows="windows" in cgruconfig.VARS["platform"],
            unix_separators=self.UnixSeparators,
        )
        for problem in self.problems:
            print(problem)  # noqa: T201 - added to the task's log
        if Verbose:
            for client, server in self.pairs:
                print(f'"{client}" <-> "{server}"')  # noqa: T201 - as above


PathMap = CompatPathMap
"""The name in CGRU."""


__getattr__: NameFinder = make_getattr("cgrupathmap")
