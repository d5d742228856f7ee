"""``cgrusequence``: groups file names into sequences."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from trio_afrender.plugins.compat.unsupported import make_getattr

__all__ = ("cgruSequence",)

_NUMBER = re.compile(r"(.*?)(\d+)(\D*)\Z", re.DOTALL)  # the last number of a name


def cgruSequence(i_files: Iterable[str], i_verbose: bool = False) -> list[dict[str, Any]]:
    """Group files with consecutive numbers; every other file is a sequence of one. Sorted by name.

    Each sequence is a dict: ``name`` (the first file), ``seq`` (whether it has several files),
    ``prefix`` (with the folder), ``suffix``, ``padding`` (digits), ``first``, ``last``, ``count``. For
    a name without a number ``prefix``, ``suffix``, ``padding``, ``first`` and ``last`` are None.
    """
    found: list[dict[str, Any]] = []
    for name in sorted(i_files):
        new = _split_name(name)
        if found and _is_next(found[-1], new):
            found[-1].update(seq=True, last=new["last"], count=found[-1]["count"] + 1)
        else:
            found.append(new)
    if i_verbose:
        for one in found:
            print(_format(one))  # noqa: T201 - added to the task's log
    return found


def _split_name(name: str) -> dict[str, Any]:
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


def _is_next(one: dict[str, Any], new: dict[str, Any]) -> bool:
    alike = all(one[key] == new[key] for key in ("prefix", "suffix", "padding"))
    return alike and new["first"] is not None and new["first"] == one["last"] + 1


def _format(one: dict[str, Any]) -> str:
    if not one["seq"]:
        return str(one["name"])
    hashes = "#" * one["padding"]
    return f"{one['prefix']}{hashes}{one['suffix']} {one['first']}-{one['last']} ({one['count']})"


__getattr__ = make_getattr("cgrusequence")
