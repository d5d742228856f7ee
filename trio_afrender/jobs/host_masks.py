"""Masks of render names and systems: regular expressions, or the word lists of Afanasy's server.

A *find* mask is a list of words, separated by blanks or one of ``|;,:``. A name matches if it
begins with one of them, a text if it contains one; letters are compared by case. A *regex* mask is
a regular expression for whole names, or to be found in a text; case does not matter.
"""

from __future__ import annotations

import re

import attrs

from trio_afrender.errors import JobError
from trio_afrender.jobs.job_spec import HostNeeds
from trio_afrender.text import compile_mask

__all__ = (
    "MASK_TYPES",
    "NO_MASKS",
    "HostMasks",
    "compile_masks",
    "compile_name_mask",
    "compile_text_mask",
)

MASK_TYPES = ("regex", "find")

_SEPARATORS = re.compile(r"[|;,: ]+")


@attrs.frozen(slots=True, kw_only=True)
class HostMasks:
    """The compiled masks of a block, a job or a user; None where it has none."""

    hosts: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None
    os: re.Pattern[str] | None = None
    properties: re.Pattern[str] | None = None


def compile_name_mask(text: str, mask_type: str) -> re.Pattern[str] | None:
    """Return a pattern for `fullmatch` with names, None for an empty mask.

    Raises `re.error`, `RecursionError` or `OverflowError` for one that is not a regular expression.
    """
    if not text:
        return None
    if mask_type == "regex":
        return compile_mask(text, re.IGNORECASE)
    return re.compile(f"(?:{_any_word(text)}).*", re.DOTALL)


def compile_text_mask(text: str, mask_type: str) -> re.Pattern[str] | None:
    """Return a pattern for `search` in texts. Otherwise like `compile_name_mask`."""
    if not text:
        return None
    return (
        compile_mask(text, re.IGNORECASE) if mask_type == "regex" else re.compile(_any_word(text))
    )


def _any_word(text: str) -> str:
    # In ";" there is no word: the empty alternative matches all names, as an empty mask does.
    return "|".join(re.escape(word) for word in _SEPARATORS.split(text) if word)


NO_MASKS = HostMasks()

_COMPILERS = {
    "hosts_mask": ("hosts", compile_name_mask),
    "hosts_mask_exclude": ("exclude", compile_name_mask),
    "need_os": ("os", compile_text_mask),
    "need_properties": ("properties", compile_text_mask),
}
"""Key -> where its mask goes, and what compiles it."""


def compile_masks(needs: HostNeeds, mask_type: str, path: str = "") -> HostMasks:
    """Compile all masks. Raises `JobError` with the key after `path`."""
    found: dict[str, re.Pattern[str] | None] = {}
    for key, (name, compiled) in _COMPILERS.items():
        try:
            found[name] = compiled(getattr(needs, key), mask_type)
        except (re.error, RecursionError, OverflowError) as error:
            raise JobError(path + key, f"not a regular expression: {error}") from None
    return HostMasks(**found)
