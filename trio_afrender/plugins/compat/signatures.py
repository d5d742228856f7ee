"""Adapts calls to the signatures that overrides of Afanasy's own methods have."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

__all__ = ("thumbnail_arguments",)


def thumbnail_arguments(service: Any, files: Sequence[str]) -> tuple[object, ...]:  # noqa: ANN401 - a plugin's object
    """The arguments for ``service.generateThumbnail``, for files that appeared while rendering.

    Afanasy's method has one parameter and takes the files from the parser. For an override with
    that signature they are put back into the parser, from which they have already been taken.
    """
    try:
        inspect.signature(service.generateThumbnail).bind(True, [])
    except TypeError:
        parser = getattr(service, "parser", None)
        if parser is not None:
            parser.files_onthefly = list(files)
        return (True,)
    except (AttributeError, ValueError):
        pass  # no such method, or no signature: the call itself reports the error
    return (True, list(files))
