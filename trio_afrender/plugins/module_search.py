"""Finds the helper modules of a plugin folder: a studio's own code that its plugins import.

Helper modules are the modules and packages directly in the plugin folder, as if it were on PYTHONPATH.
Modules beside a plugin file are helper modules too, but installed modules precede them: a service
with the name of the library that it wraps must be able to import the library.
"""

from __future__ import annotations

from pathlib import Path

import attrs

__all__ = ("ModuleFiles", "find_chain", "find_module")


@attrs.frozen
class ModuleFiles:
    """The files of the modules in a dotted name, the outermost first."""

    parts: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def inside(self) -> Path | None:
        """The folder of the modules inside the last one; None if that is no package."""
        last = self.files[-1]
        return last.parent if last.name == "__init__.py" else None


def find_module(folder: Path, name: str) -> Path | None:
    """The file of a package or module in a folder. A folder without ``__init__.py`` is no package."""
    for file in (folder / name / "__init__.py", folder / f"{name}.py"):
        if file.is_file():
            return file
    return None


def find_chain(folder: Path, name: str) -> ModuleFiles | None:
    """The files of a dotted name below a folder, None if the first part is missing.

    Raises ModuleNotFoundError if a later part is missing.
    """
    parts = name.split(".")
    files: list[Path] = []
    for part in parts:
        file = find_module(folder, part)
        if file is None:
            if not files:
                return None
            full = ".".join(parts[: len(files) + 1])
            raise ModuleNotFoundError(f"No module named {full!r}", name=full)
        files.append(file)
        # Below a plain module nothing is found, because its file is no folder: the next part is missing.
        folder = file.parent if file.name == "__init__.py" else file
    return ModuleFiles(tuple(parts), tuple(files))
