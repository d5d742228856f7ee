"""Calls whose arguments are ours alone, made so that methods of the original's form take them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

__all__ = ("thumbnail_arguments",)


def thumbnail_arguments(service: Any, files: Sequence[str]) -> tuple[object, ...]:  # noqa: ANN401 - a plugin's object
    """What to call ``service.generateThumbnail`` with, for files announced while rendering.

    The original's has one parameter and asks the parser for the files: then they are put back
    there, for they have been taken already.
    """
    try:
        inspect.signature(service.generateThumbnail).bind(True, [])
    except TypeError:
        parser = getattr(service, "parser", None)
        if parser is not None:
            parser.files_onthefly = list(files)
        return (True,)
    except (AttributeError, ValueError):
        pass  # the call itself will tell
    return (True, list(files))
