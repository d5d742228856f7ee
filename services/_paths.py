"""The paths map under the names by which services of studios call it."""

from __future__ import annotations

from trio_afrender.pathmap import PathMap

__all__ = ("Paths",)


class Paths(PathMap):
    """A `PathMap`."""

    def toClient(self, path: str, Verbose: bool = False) -> str:
        """The text with this host's paths for the server's."""
        return self.to_client(path)

    def toServer(self, path: str, Verbose: bool = False) -> str:
        """The text with the server's paths for this host's."""
        return self.to_server(path)
