"""``cgrupathmap``: the paths map of `cgruconfig.VARS`, with the method names of the original."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from trio_afrender.plugins.compat import cgruconfig
from trio_afrender.plugins.compat.unsupported import tell_missing
from trio_afrender.plugins.loader import import_builtin

if TYPE_CHECKING:
    from services._path_map import Paths
else:
    # By file, not by name: an application that embeds us may have other `services`.
    Paths = import_builtin("service", "_path_map").Paths

__all__ = ("CompatPathMap", "PathMap")


class CompatPathMap(Paths):
    """The map in use when this object is made; with `UnixSeparators` client paths keep slashes."""

    def __init__(self, UnixSeparators: bool = False, Verbose: bool = False) -> None:
        self.UnixSeparators = UnixSeparators
        self.init(cgruconfig.VARS.get("pathsmap") or (), Verbose)

    def init(self, pathsmap: Iterable[Sequence[str]], Verbose: bool = False) -> None:
        """Take another map: pairs (client, server)."""
        super().__init__(
            pathsmap,
            windows="windows" in cgruconfig.VARS["platform"],
            unix_separators=self.UnixSeparators,
        )
        for problem in self.problems:
            print(problem)  # noqa: T201 - a plugin's prints go into its task's log
        if Verbose:
            for client, server in self.pairs:
                print(f'"{client}" <-> "{server}"')  # noqa: T201 - as above


PathMap = CompatPathMap
"""The name by which plugin files know it."""


__getattr__ = tell_missing("cgrupathmap")
