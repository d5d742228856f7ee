"""The doctor's findings about server, clock and systemd unit, by facts."""

from __future__ import annotations

import pytest

from trio_afrender.cli.doctor.network import compare_clock, compare_unit, read_span


@pytest.mark.parametrize(
    ("skew", "asleep", "year", "expected"),
    [
        (None, 0, 2026, [("ok", "clock")]),
        (1.9, 0, 2026, [("ok", "clock")]),
        (-2.5, 0, 2026, [("warning", "clock")]),
        (61.0, 0, 2026, [("error", "clock")]),
        (0.0, 0, 1970, [("error", "clock")]),
        (None, 61, 2026, [("ok", "clock"), ("warning", "sleep")]),
    ],
)
def test_clock(
    skew: float | None, asleep: float, year: int, expected: list[tuple[str, str]]
) -> None:
    findings = compare_clock(skew, asleep=asleep, year=year)
    assert [(each.level, each.check) for each in findings] == expected


def test_the_skew_has_a_direction() -> None:
    [ahead], [behind] = (compare_clock(skew, asleep=0, year=2026) for skew in (5, -5))
    assert "5 s ahead of the server's" in ahead.text
    assert "5 s behind the server's" in behind.text
    assert ahead.fix == "timedatectl set-ntp true"


SHOWN = {
    "Delegate": "yes",
    "KillMode": "process",
    "Type": "notify",
    "Restart": "always",
    "OOMPolicy": "continue",
    "WatchdogUSec": "1min",
    "TimeoutStopUSec": "1min 30s",
}


@pytest.mark.parametrize(
    ("change", "level", "text", "fix"),
    [
        ({"Delegate": "no"}, "warning", "Delegate=no", "[Service]\\nDelegate=yes"),
        ({"KillMode": "control-group"}, "error", "KillMode=control-group: a restart", "KillMode=process"),
        ({"KillMode": "mixed"}, "error", "KillMode=mixed", "KillMode=process"),
        ({"Restart": "no"}, "warning", "Restart=no: an agent that crashed", "Restart=always"),
        ({"OOMPolicy": "stop"}, "error", "OOMPolicy=stop: when the kernel kills one", "OOMPolicy=continue"),
        ({"Type": "simple"}, "warning", "Type=simple", "Type=notify"),
        ({"WatchdogUSec": "0"}, "warning", "no watchdog", "WatchdogSec=60"),
        ({"TimeoutStopUSec": "1min"}, "warning", "kills r.service 60 s after the request to stop", "TimeoutStopSec=90"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("user", [False, True])
def test_unit(change: dict[str, str], level: str, text: str, fix: str, user: bool) -> None:
    [finding] = compare_unit("r.service", {**SHOWN, **change}, user=user)
    assert finding.level == level
    assert text in finding.text
    assert fix in finding.fix
    folder = "~/.config/systemd/user" if user else "/etc/systemd/system"
    assert f"mkdir -p {folder}/r.service.d" in finding.fix
    # The name as systemctl takes it, too; of an instance with a dash.
    [finding] = compare_unit("r@a\\x2db", {**SHOWN, **change}, user=user)
    assert f"mkdir -p {folder}/'r@a\\x2db.service.d' " in finding.fix
    assert finding.how == ("run" if user else "root")


def test_a_good_unit() -> None:
    for settings in (SHOWN, {**SHOWN, "TimeoutStopUSec": "infinity"}):
        [good] = compare_unit("r.service", settings)
        assert (good.level, good.text) == ("ok", "the settings of r.service suit an agent")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1min 30s", 90.0),
        ("500ms", 0.5),
        ("1h", 3600.0),
        ("0", 0.0),
        ("infinity", float("inf")),
        ("", None),
        ("soon", None),
        ("3 parsecs", None),
    ],
)
def test_spans(text: str, seconds: float | None) -> None:
    assert read_span(text) == seconds
