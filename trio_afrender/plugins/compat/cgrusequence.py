"""``cgrusequence``: names of files put together to sequences."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from trio_afrender.plugins.compat.unsupported import tell_missing

__all__ = ("cgruSequence",)

_NUMBER = re.compile(r"(.*?)(\d+)(\D*)\Z", re.DOTALL)  # the last number of a name


def cgruSequence(i_files: Iterable[str], i_verbose: bool = False) -> list[dict[str, Any]]:
    """Sequences in the order of names: a run of numbers is one, every other file is one alone.

    Each is a dict: ``name`` (the first file), ``seq`` (whether there are several), ``prefix`` (with
    the folder), ``suffix``, ``padding`` (digits), ``first``, ``last``, ``count``; without a number
    ``prefix``, ``suffix``, ``padding``, ``first`` and ``last`` are None.
    """
    found: list[dict[str, Any]] = []
    for name in sorted(i_files):
        new = _alone(name)
        if found and _follows(found[-1], new):
            found[-1].update(seq=True, last=new["last"], count=found[-1]["count"] + 1)
        else:
            found.append(new)
    if i_verbose:
        for one in found:
            print(_shown(one))  # noqa: T201 - to the task's log
    return found


def _alone(name: str) -> dict[str, Any]:
    folder, base = os.path.split(name)
    made: dict[str, Any] = {"name": name, "seq": False, "count": 1}
    parts = _NUMBER.match(base)
    if parts is None:
        return {**made, **dict.fromkeys(("prefix", "suffix", "padding", "first", "last"))}
    before, digits, after = parts.groups()
    return {
        **made,
        "prefix": os.path.join(folder, before),  # noqa: PTH118 - a text
        "suffix": after,
        "padding": len(digits),
        "first": int(digits),
        "last": int(digits),
    }


def _follows(one: dict[str, Any], new: dict[str, Any]) -> bool:
    alike = all(one[key] == new[key] for key in ("prefix", "suffix", "padding"))
    return alike and new["first"] is not None and new["first"] == one["last"] + 1


def _shown(one: dict[str, Any]) -> str:
    if not one["seq"]:
        return str(one["name"])
    hashes = "#" * one["padding"]
    return f"{one['prefix']}{hashes}{one['suffix']} {one['first']}-{one['last']} ({one['count']})"


__getattr__ = tell_missing("cgrusequence")
