"""What the helper modules say when a plugin asks for something that they do not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

__all__ = ("tell_missing",)


def tell_missing(module: str) -> Callable[[str], NoReturn]:
    """The ``__getattr__`` of a helper module: an error that tells whose module this is."""

    def find(name: str) -> NoReturn:
        raise AttributeError(
            f"{module} has no {name!r} here: trio_afrender serves plugins the part of CGRU's "
            f"{module} that a render needs, see docs/plugins.md",
            name=name,
        )

    return find
