"""The units in examples/systemd: their plans, and a command that writes them.

python tests/support/example_units.py
"""

from __future__ import annotations

from pathlib import Path

from trio_afrender.cli.systemd_units import UnitPlan, make_unit

__all__ = ("EXAMPLE_UNITS", "FOLDER")

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "systemd"
PROGRAM = ("/opt/trio_afrender/bin/trio_afrender",)
ETC = "/etc/trio_afrender"
EXAMPLE_UNITS = {
    "trio_afrender.service": UnitPlan(
        kind="agent",
        program=PROGRAM,
        arguments=("--server", "af://farm.example"),
        cgru_location="/opt/cgru",
    ),
    "trio_afrender.user.service": UnitPlan(
        kind="agent",
        program=("%h/.local/bin/trio_afrender",),
        arguments=("--server", "af://farm.example"),
        user=True,
    ),
    "trio_afrender_remote.service": UnitPlan(
        kind="agent",
        program=PROGRAM,
        arguments=("--server", "wss://farm.example:7443", "--token-file", f"{ETC}/token"),
    ),
    "trio_afrender_gateway.service": UnitPlan(
        kind="gateway",
        program=PROGRAM,
        arguments=(
            *("--listen", "wss://0.0.0.0:7443", "--host-name", "farm.example"),
            *("--cert", f"{ETC}/farm.pem", "--key", f"{ETC}/farm.key"),
            *("--tokens", f"{ETC}/tokens", "--server", "af://127.0.0.1"),
            *("--store", "%S/trio_afrender_gateway"),
        ),
    ),
    "trio_afrender_farm.service": UnitPlan(kind="farm", program=PROGRAM, arguments=()),
}


def write() -> None:
    """Write the files of the folder."""
    for name, plan in EXAMPLE_UNITS.items():
        (FOLDER / name).write_text(make_unit(plan), encoding="utf-8")


if __name__ == "__main__":
    write()
