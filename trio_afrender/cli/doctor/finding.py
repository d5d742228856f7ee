"""The result of a doctor check: a level, one sentence, and the command that fixes the problem."""

from __future__ import annotations

import attrs

__all__ = ("ERROR", "OK", "WARNING", "Finding", "drop_in")

OK, WARNING, ERROR = "ok", "warning", "error"


@attrs.frozen(slots=True)
class Finding:
    """One result of one check."""

    check: str
    """A stable word."""
    level: str
    """``ok``; ``warning``: it works, but worse than it could; ``error``: it does not work."""
    text: str
    fix: str = ""
    """The exact command; '' if there is nothing to fix, or no command for it."""


def drop_in(unit: str, key: str, value: str, *, user: bool) -> str:
    """Return the command that changes one setting of a systemd unit by a drop-in file."""
    folder = f"~/.config/systemd/user/{unit}.d" if user else f"/etc/systemd/system/{unit}.d"
    control = "systemctl --user" if user else "systemctl"
    return (
        f"mkdir -p {folder} && printf '[Service]\\n{key}={value}\\n' > {folder}/{key.lower()}.conf"
        f" && {control} daemon-reload && {control} restart {unit}"
    )
