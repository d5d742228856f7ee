"""Whether what a service will say of a run's end is known as soon as it has been made.

A task that has no parser and makes no files, of a service that changes nothing of the base class,
needs not be asked: its end is good if its exit code is, and there is nothing else to say. Most tiny
tasks are like that, and each question is a quarter of what they cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import FunctionType

from trio_afrender.plugins.lookup import is_builtin, load_class

__all__ = ("only_exit_code_counts", "remember_base")


@cache
def remember_base() -> Mapping[str, FunctionType]:
    """The base class's functions as we wrote them: to be called before plugins can change them."""
    base = load_class("service", "service")
    return {name: value for name, value in vars(base).items() if isinstance(value, FunctionType)}


def only_exit_code_counts(service: object) -> bool:
    """Ask only what is ours, and only once that is sure: anything else may have its own mind."""
    made = type(service)
    if not is_builtin(made):
        return False
    own = vars(service)
    for name, function in remember_base().items():
        if getattr(made, name, None) is not function or name in own:
            return False
    if own.get("parser") is not None or own.get("parser_problem"):
        return False
    return not any(getattr(service, name)() for name in ("getFiles", "getParsedFiles"))
