"""The paths map with the method names of Afanasy, which services of studios call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from trio_afrender.path_map import PathMap

__all__ = ("Paths",)

_BYTES = "surrogateescape"  # so that paths are mapped in files that are not UTF-8 too


class Paths(PathMap):
    """A `PathMap` whose methods also take bytes in UTF-8; they return str."""

    @property
    def initialized(self) -> bool:
        """Whether the map has any pair of folders."""
        return bool(self.pairs)

    @property
    def PathClient(self) -> list[str]:
        """The client's folders in the order of the map, each with a slash at its end."""
        return [f"{client}/" for client, _ in self.pairs]

    @property
    def PathServer(self) -> list[str]:
        """The server's folders, as `PathClient`."""
        return [f"{server}/" for _, server in self.pairs]

    def toClient(self, path: str | bytes, Verbose: bool = False) -> str:
        """Replace the server's paths in a text by this host's."""
        return self.to_client(_text(path))

    def toServer(self, path: str | bytes, Verbose: bool = False) -> str:
        """Replace this host's paths in a text by the server's."""
        return self.to_server(_text(path))

    def translatePath(self, path: str | bytes, toserver: bool, Verbose: bool = False) -> str:
        """`toServer` or `toClient`."""
        return self.toServer(path) if toserver else self.toClient(path)

    def toClientFile(
        self,
        infile: str,
        outfile: str,
        SearchStrings: Iterable[str] | None = None,
        Verbose: bool = False,
    ) -> bool:
        """Write a copy of a text file with this host's paths; return True. Raises OSError.

        With `SearchStrings` only lines that contain one of them are changed.
        """
        return _map_file(infile, outfile, SearchStrings, self.to_client)

    def toServerFile(
        self,
        infile: str,
        outfile: str,
        SearchStrings: Iterable[str] | None = None,
        Verbose: bool = False,
    ) -> bool:
        """As `toClientFile`, with the server's paths."""
        return _map_file(infile, outfile, SearchStrings, self.to_server)


def _map_file(
    infile: str, outfile: str, search: Iterable[str] | None, convert: Callable[[str], str]
) -> bool:
    marks = tuple(search or ())
    # In binary mode, so that line ends stay; read before written, because both may be one file.
    lines = Path(infile).read_bytes().decode("utf-8", _BYTES).splitlines(keepends=True)
    mapped = [convert(ln) if not marks or any(mark in ln for mark in marks) else ln for ln in lines]
    Path(outfile).write_bytes("".join(mapped).encode("utf-8", _BYTES))
    return True


def _text(path: str | bytes) -> str:
    return path.decode("utf-8", _BYTES) if isinstance(path, bytes) else path
