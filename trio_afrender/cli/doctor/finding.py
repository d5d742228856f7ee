"""The result of a doctor check: a level, one sentence, and the command that fixes the problem."""

from __future__ import annotations

from shlex import quote

import attrs

__all__ = (
    "ERROR",
    "HAND",
    "LOOK",
    "OK",
    "ROOT",
    "RUN",
    "WARNING",
    "Finding",
    "drop_in",
    "persistent_sysctl",
)

OK, WARNING, ERROR = "ok", "warning", "error"
RUN, ROOT, HAND, LOOK = "run", "root", "hand", "look"


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
    how: str = LOOK
    """What the command is. ``run``: it fixes the fault, and ``--fix`` may run it; ``root``: the same,
    but root has to run it; ``hand``: it fixes the fault where it is typed, as in the agent's shell;
    ``look``: it shows more, because only its reader knows what is right."""


def drop_in(unit: str, key: str, value: str, *, user: bool) -> str:
    """Return the command that changes one setting of a systemd unit by a drop-in file.

    The unit is not restarted: with the setting that is wrong, a restart may end its tasks.
    """
    # systemctl takes the name without its suffix, too, but systemd looks for this folder alone. A name
    # that was escaped has backslashes.
    name = quote(f"{unit.removesuffix('.service')}.service.d")
    folder = f"~/.config/systemd/user/{name}" if user else f"/etc/systemd/system/{name}"
    control = "systemctl --user" if user else "systemctl"
    return (
        f"mkdir -p {folder} && printf '[Service]\\n{key}={value}\\n' > {folder}/{key.lower()}.conf"
        f" && {control} daemon-reload  # it counts from the next start of {unit} on"
    )


def persistent_sysctl(key: str, value: int) -> str:
    """Return the command that sets a parameter of the kernel, now and at each boot."""
    text = quote(f"{key} = {value}")
    return (
        f"echo {text} > /etc/sysctl.d/60-{key.rpartition('.')[2]}.conf && sysctl -w {key}={value}"
    )
