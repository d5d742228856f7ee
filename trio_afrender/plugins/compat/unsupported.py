"""The error for a name that a helper module of CGRU has and the built-in one lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeAlias

__all__ = ("NameFinder", "make_getattr")

NameFinder: TypeAlias = Callable[[str], NoReturn]
"""The ``__getattr__`` of a module."""


def make_getattr(module: str) -> NameFinder:
    """The ``__getattr__`` of a helper module: raises an AttributeError that explains the reason."""

    def find(name: str) -> NoReturn:
        raise AttributeError(
            f"{module} has no {name!r} here: trio_afrender provides the part of CGRU's {module} "
            "that plugins of a render need, see docs/plugins.md",
            name=name,
        )

    return find
