"""``cgrusequence``: groups file names into sequences."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from trio_afrender.plugins.compat.unsupported import NameFinder, make_getattr

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
        folder, base = os.path.split(name)
        new: dict[str, Any] = {"name": name, "seq": False, "count": 1}
        new |= dict.fromkeys(("prefix", "suffix", "padding", "first", "last"))
        if parts := _NUMBER.match(base):
            before, digits, after = parts.groups()
            new["prefix"] = os.path.join(folder, before)  # noqa: PTH118 - a text
            new.update(suffix=after, padding=len(digits), first=int(digits), last=int(digits))
        one = found[-1] if found else {}
        alike = all(one.get(key) == new[key] for key in ("prefix", "suffix", "padding"))
        if alike and new["first"] is not None and new["first"] == one["last"] + 1:
            one.update(seq=True, last=new["last"], count=one["count"] + 1)
        else:
            found.append(new)
    if i_verbose:
        for one in found:
            text = str(one["name"])
            if one["seq"]:
                text = f"{one['prefix']}{'#' * one['padding']}{one['suffix']}"
                text += f" {one['first']}-{one['last']} ({one['count']})"
            print(text)  # noqa: T201 - added to the task's log
    return found


__getattr__: NameFinder = make_getattr("cgrusequence")
