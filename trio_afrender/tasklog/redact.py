"""Blots secrets out of text, also when they arrive in pieces.

Every occurrence goes, overlapping ones as one, so that what is left never shows a part of a
secret, and so that the result is the same however the text was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

__all__ = ("REDACTION_MARK", "Redactor", "find_secrets")

REDACTION_MARK = "[redacted]"
_MIN_SECRET = 6
"""Shorter values are words of every log: blotting them out would hide more than it protects."""


def find_secrets(environment: Mapping[str, str], patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the values of the variables whose names match, letter case ignored, longest first."""
    wanted = [pattern.upper() for pattern in patterns]
    values = {
        value.strip()
        for name, value in environment.items()
        if any(fnmatchcase(name.upper(), pattern) for pattern in wanted)
    }
    kept = (value for value in values if len(value) >= _MIN_SECRET)
    return tuple(sorted(kept, key=lambda value: (-len(value), value)))


class Redactor:
    """Knows some secrets. `feed` and `finish` are for one stream; the rest keeps no state."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple({secret for secret in secrets if len(secret) >= _MIN_SECRET})
        self._carry = ""  # the end of the stream so far: it may be the start of a secret
        self._covered = 0  # how much of the carry belongs to a secret whose mark was returned

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        spans = self.spans(text)
        return _replace(text, spans, len(text)) if spans else text

    def feed(self, text: str) -> str:
        """Return what is certain of the stream so far; the possible start of a secret waits."""
        if not self._secrets:
            return text
        return self._advance(self._carry + text, final=False)

    def finish(self) -> str:
        """Return what waited. The stream may start anew then."""
        return self._advance(self._carry, final=True)

    def _advance(self, text: str, *, final: bool) -> str:
        spans = self.spans(text, covered=self._covered)
        end = len(text) if final else self.open_end(text)
        shown = _replace(text, spans, end, covered=self._covered)
        # A secret that reaches beyond `end` has its mark already.
        reach = max((stop for start, stop in spans if start < end), default=self._reach(spans))
        self._carry, self._covered = text[end:], max(0, reach - end)
        return shown

    def _reach(self, spans: list[tuple[int, int]]) -> int:
        return spans[0][1] if self._covered else 0

    def spans(self, text: str, *, covered: int = 0) -> list[tuple[int, int]]:
        """Return from where to where secrets stand, overlapping ones as one, in order.

        The first `covered` characters count as part of one.
        """
        found = [(0, covered)] if covered else []
        for secret in self._secrets:
            at = text.find(secret)
            while at >= 0:
                found.append((at, at + len(secret)))
                at = text.find(secret, at + 1)
        if len(found) < 2:
            return found
        found.sort()
        merged = [found[0]]
        for start, stop in found[1:]:
            last_start, last_stop = merged[-1]
            if start < last_stop:
                merged[-1] = (last_start, max(last_stop, stop))
            else:
                merged.append((start, stop))
        return merged

    def open_end(self, text: str) -> int:
        """Return from where on the text may be the start of a secret; its length if nowhere."""
        end = len(text)
        for secret in self._secrets:
            at = text.find(secret[0], max(0, len(text) - len(secret) + 1))
            while at >= 0:
                if secret.startswith(text[at:]):
                    end = min(end, at)
                    break
                at = text.find(secret[0], at + 1)
        return end

    def open_start(self, text: str) -> int:
        """Return up to where the text may be the end of a secret; 0 if it cannot be."""
        start = 0
        for secret in self._secrets:
            for length in range(min(len(secret) - 1, len(text)), start, -1):
                if text[length - 1] == secret[-1] and secret.endswith(text[:length]):
                    start = length
                    break
        return start


def _replace(text: str, spans: list[tuple[int, int]], end: int, *, covered: int = 0) -> str:
    """Return the text up to `end` with a mark for each span that starts before it.

    A span that was covered before has had its mark.
    """
    parts: list[str] = []
    at = 0
    for start, stop in spans:
        if start >= end:
            break
        parts.append(text[at:start])
        if start or not covered:
            parts.append(REDACTION_MARK)
        at = stop
    parts.append(text[at:end])
    return "".join(parts)
