"""Loads parsers of the package `parsers` by name, for a service that no plugin host created."""

from __future__ import annotations

import importlib
import traceback

from trio_afrender.errors import PluginError, PluginNotFound

__all__ = ("describe", "load")


def load(name: str) -> type:
    """Return the class `name` of the module ``parsers.<name>``.

    Raises `PluginNotFound`, and `PluginError` for a module that fails or has no such class.
    """
    if not name.isidentifier():
        raise PluginNotFound("parser", name)
    try:
        found = getattr(importlib.import_module(f"parsers.{name}"), name, None)
    except ModuleNotFoundError as error:
        if error.name != f"parsers.{name}":
            raise PluginError(describe(name, error), traceback.format_exc()) from error
        raise PluginNotFound("parser", name) from None
    except (Exception, SystemExit) as error:
        raise PluginError(describe(name, error), traceback.format_exc()) from error
    if not isinstance(found, type):
        raise PluginError(f'parser "{name}": its module has no class of that name')
    return found


def describe(name: str, error: BaseException) -> str:
    """One sentence with the error, and its traceback."""
    trace = "".join(traceback.format_exception(error))
    return f'parser "{name}" cannot be created: {type(error).__name__}: {error}\n{trace}'.rstrip()
