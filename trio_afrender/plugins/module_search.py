"""Where the helper modules of a plugin folder lie: a studio's own code that its plugins import.

They are what they would be with the folder on PYTHONPATH: modules and packages right in it.
Modules beside the plugins count too, behind what is installed: a service called like the library
that it wraps must find the library.
"""

from __future__ import annotations

import sys
from pathlib import Path

import attrs

__all__ = ("ModuleFiles", "find_chain", "find_module", "is_shadowable")


@attrs.frozen
class ModuleFiles:
    """The files that make up a dotted name, the outermost first."""

    parts: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def inside(self) -> Path | None:
        """The folder of the last one's own modules; None when it is no package."""
        last = self.files[-1]
        return last.parent if last.name == "__init__.py" else None


def is_shadowable(top: str) -> bool:
    """Whether a folder's own module may take that name: not one of the standard library's."""
    return top not in sys.stdlib_module_names


def find_module(place: Path, name: str) -> Path | None:
    """The file of a package or module in a folder; a folder without ``__init__.py`` is none."""
    for file in (place / name / "__init__.py", place / f"{name}.py"):
        if file.is_file():
            return file
    return None


def find_chain(place: Path, name: str) -> ModuleFiles | None:
    """The files of a dotted name below a folder, None when its first part is not there.

    Raises ModuleNotFoundError when a later part is missing.
    """
    parts = name.split(".")
    files: list[Path] = []
    for part in parts:
        file = find_module(place, part)
        if file is None:
            if not files:
                return None
            full = ".".join(parts[: len(files) + 1])
            raise ModuleNotFoundError(f"No module named {full!r}", name=full)
        files.append(file)
        # What is no package has no such folder: the next part is missing then.
        place = file.parent if file.name == "__init__.py" else file
    return ModuleFiles(tuple(parts), tuple(files))
