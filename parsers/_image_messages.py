r"""What OpenImageIO and its tools print about failures: ``oiiotool ERROR: read : "a.exr" not found``.

The wordings are those of `src/oiiotool/oiiotool.cpp`, `src/maketx/maketx.cpp` and
`src/libOpenImageIO/imageinput.cpp` of OpenImageIO 2 and 3.
"""

from __future__ import annotations

from parsers._messages import Messages, like

__all__ = ("image_tool",)


def image_tool(name: str) -> Messages:
    """Return the table of a tool that puts its name before errors and warnings."""
    return Messages(
        bad=(like(f"{name} error", rf"^{name} ERROR\b"),),
        warnings=(like(f"{name} warning", rf"^{name} WARNING\b"),),
        words=(f"{name} error", f"{name} warning"),
    )
