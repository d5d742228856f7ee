"""Replaces secrets in text, also when they arrive in pieces.

Overlapping occurrences are replaced as one: the result never shows a part of a secret, and it is the
same however the text was split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

__all__ = ("MASK_COMMAND", "MAX_MASKS", "REDACTION_MARK", "Redactor", "find_masks", "find_secrets")

MASK_COMMAND = "::add-mask::"
"""A line of output that begins with this names a value to be redacted, as known from GitHub Actions."""
_MAX_MASK = 4096
"""Characters of one such value; a longer one is cut, which redacts its first part."""
MAX_MASKS = 200
"""Values that a task may name; each costs a search in every text."""

REDACTION_MARK = "[redacted]"
_MIN_SECRET = 6
"""Characters. Shorter values occur in any log: replacing them would hide more than it protects."""


def find_secrets(environment: Mapping[str, str], patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the values of the variables whose names match a pattern, without regard to case, the
    longest first."""
    wanted = [pattern.upper() for pattern in patterns]
    values = {
        value.strip()
        for name, value in environment.items()
        if any(fnmatchcase(name.upper(), pattern) for pattern in wanted)
    }
    kept = (value for value in values if len(value) >= _MIN_SECRET)
    return tuple(sorted(kept, key=lambda value: (-len(value), value)))


def find_masks(text: str) -> tuple[str, ...]:
    """Return the values that lines of a task's output name with `MASK_COMMAND`."""
    if MASK_COMMAND not in text:
        return ()
    lines = (line.strip() for line in text.splitlines())
    values = (line.removeprefix(MASK_COMMAND) for line in lines if line.startswith(MASK_COMMAND))
    return tuple(value[:_MAX_MASK] for value in values if len(value) >= _MIN_SECRET)


class Redactor:
    """Replaces a set of secrets. `feed` and `finish` process one stream."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets: tuple[str, ...] = ()
        self.learned: tuple[str, ...] = ()
        """The secrets that `learn` has added."""
        self._add(secrets)
        self._carry = ""  # the end of the stream so far, if it can be the start of a secret
        self._covered = 0  # how much of it belongs to a secret whose mark has been returned

    def learn(self, text: str) -> bool:
        """Redact from now on also what the text names with `MASK_COMMAND`; whether it is new."""
        if len(self.learned) >= MAX_MASKS:
            return False
        known = set(self._secrets)
        new = [mask for mask in find_masks(text) if mask not in known]
        new = list(dict.fromkeys(new))[: MAX_MASKS - len(self.learned)]
        self.learned = (*self.learned, *new)
        self._add(new)
        return bool(new)

    def _add(self, secrets: Iterable[str]) -> None:
        # The longest first: `cover` must not break up one that contains another.
        kept = {secret for secret in secrets if len(secret) >= _MIN_SECRET} | {*self._secrets}
        self._secrets = tuple(sorted(kept, key=lambda secret: (-len(secret), secret)))

    def redact(self, text: str) -> str:
        """Return the text with a mark in place of each secret."""
        spans = self.spans(text)
        return _replace(text, spans, len(text)) if spans else text

    def cover(self, data: bytes) -> bytes:
        """Return the data with asterisks in place of each secret; nothing changes its position."""
        for secret in self._secrets:
            encoded = secret.encode("utf-8", "surrogateescape")
            data = data.replace(encoded, b"*" * len(encoded))
        return data

    def feed(self, text: str) -> str:
        """Add text to the stream; return what is certain. A possible start of a secret is held back."""
        if not self._secrets:
            return text
        return self._advance(self._carry + text, final=False)

    def finish(self) -> str:
        """Return what was held back; a new stream may begin."""
        return self._advance(self._carry, final=True)

    def _advance(self, text: str, *, final: bool) -> str:
        spans = self.spans(text, covered=self._covered)
        end = len(text) if final else self.open_end(text)
        shown = _replace(text, spans, end, covered=self._covered)
        # A secret that starts before `end` and ends after it has its mark in `shown`: the rest of it
        # must not get another one with the next text.
        covered_end = spans[0][1] if self._covered else 0
        reach = max((stop for start, stop in spans if start < end), default=covered_end)
        self._carry, self._covered = text[end:], max(0, reach - end)
        return shown

    def spans(self, text: str, *, covered: int = 0) -> list[tuple[int, int]]:
        """Return start and end of each secret in order, with overlapping ones joined.

        The first `covered` characters count as part of one.
        """
        found = [(0, covered)] if covered else []
        for secret in self._secrets:
            length = len(secret)
            at = text.find(secret)
            while at >= 0:
                start = at
                # Occurrences may overlap: then the last one of them that overlaps with this one follows.
                # Those in between add nothing, and of "aaaaaa" in a long line of it there are as many as
                # characters.
                while (last := text.rfind(secret, at + 1, at + 2 * length - 1)) >= 0:
                    at = last
                found.append((start, at + length))
                at = text.find(secret, at + length)
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
        """Return the offset from which the rest of the text can be the start of a secret; its length
        if there is none."""
        end = len(text)
        for secret in self._secrets:
            # Only where less than the whole secret is left; `spans` finds whole ones.
            at = text.find(secret[0], max(0, len(text) - len(secret) + 1))
            while at >= 0:
                if secret.startswith(text[at:]):
                    end = min(end, at)
                    break
                at = text.find(secret[0], at + 1)
        return end

    def open_start(self, text: str) -> int:
        """Return the offset up to which the text can be the end of a secret; 0 if there is none."""
        start = 0
        for secret in self._secrets:
            for length in range(min(len(secret) - 1, len(text)), start, -1):
                # The last character first: that comparison is cheap and nearly always fails.
                if text[length - 1] == secret[-1] and secret.endswith(text[:length]):
                    start = length
                    break
        return start


def _replace(text: str, spans: list[tuple[int, int]], end: int, *, covered: int = 0) -> str:
    """Return the text up to `end` with a mark for each span that starts before it.

    A span at the start that is `covered` gets no mark: it has had one.
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
