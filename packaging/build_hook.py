"""Adds to a wheel what belongs below share/: manual page, completions, units, documents, examples.

Manual and completions are written from the parsers while the wheel is built, so they are never older
than the options. This needs attrs, which `build-system.requires` therefore lists.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MANUAL = "share/man/man1/trio_afrender.1"
COMPLETIONS = {
    "bash": "share/bash-completion/completions/trio_afrender",
    "zsh": "share/zsh/site-functions/_trio_afrender",
    "fish": "share/fish/vendor_completions.d/trio_afrender.fish",
}
PAGES = "share/trio_afrender"
"""The pages keep their places to each other, so that their links hold."""
PATTERNS = ("README.md", "CHANGELOG.md", "docs/**/*.md", "examples/**/*")
LEFT_OUT = {"__pycache__", "out", ".gitignore"}


class SharedFilesHook(BuildHookInterface[Any]):
    """Adds the files to a wheel; an editable installation has them in its source tree."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the generated files, and tell the builder which files go where."""
        if version == "editable":
            return
        root = Path(self.root)
        made = Path(self.directory, "shared")
        shutil.rmtree(made, ignore_errors=True)
        shared: dict[str, str] = build_data["shared_data"]
        for place, text in _generate(root):
            path = made / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            shared[str(path)] = place
        for pattern in PATTERNS:
            for path in sorted(root.glob(pattern)):
                inside = path.relative_to(root)
                if path.is_file() and not LEFT_OUT.intersection(inside.parts):
                    shared[str(path)] = f"{PAGES}/{inside}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the generated files."""
        del version, build_data, artifact_path
        shutil.rmtree(Path(self.directory, "shared"), ignore_errors=True)


def _generate(root: Path) -> Iterator[tuple[str, str]]:
    sys.path.insert(0, str(root))
    try:
        from trio_afrender.cli.manual_page import make_manual
        from trio_afrender.cli.shell_completion import make_completion

        yield MANUAL, make_manual()
        for shell, place in COMPLETIONS.items():
            yield place, make_completion(shell)
    finally:
        sys.path.remove(str(root))
