"""The doctor's findings about server, clock and systemd unit, by facts."""

from __future__ import annotations

import attrs
import pytest

from trio_afrender.cli.doctor.network import (
    ClockFacts,
    ServerFacts,
    UnitFacts,
    check_clock,
    check_server_answer,
    check_unit,
    read_span,
)

GOOD = ServerFacts(
    url="wss://farm:1", place="farm:1", address="10.0.0.1", connected=True, answered=True
)


@pytest.mark.parametrize(
    ("facts", "level", "text", "fix"),
    [
        (GOOD, "ok", "wss://farm:1 answers", ""),
        (attrs.evolve(GOOD, url="af://farm:1"), "ok", "af://farm:1 accepts connections", ""),
        (ServerFacts(), "warning", "no server is set", "trio_afrender doctor --server wss://HOST:PORT"),
        (attrs.evolve(GOOD, problem="bad URL"), "error", "bad URL", "trio_afrender config | grep server"),
        (attrs.evolve(GOOD, address=""), "error", '"farm" of the server cannot be resolved', "getent hosts farm"),
        (
            attrs.evolve(GOOD, connected=False, refused="Connection refused"),
            "error",
            "cannot connect to farm:1 (10.0.0.1): Connection refused",
            "nc -vz farm 1",
        ),
        (
            attrs.evolve(GOOD, tls_problem="it has expired"),
            "error",
            "farm:1: it has expired",
            "openssl s_client -connect farm:1 -servername farm",
        ),
        (attrs.evolve(GOOD, answered=False), "error", "does not answer an HTTP request", "curl -v https://farm:1"),
    ],
)  # fmt: skip
def test_server(facts: ServerFacts, level: str, text: str, fix: str) -> None:
    [finding] = check_server_answer(facts)
    assert (finding.level, finding.fix) == (level, fix)
    assert text in finding.text


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (ClockFacts(), [("ok", "clock")]),
        (ClockFacts(skew=1.9), [("ok", "clock")]),
        (ClockFacts(skew=-2.5), [("warning", "clock")]),
        (ClockFacts(skew=61.0), [("error", "clock")]),
        (ClockFacts(year=1970, skew=0.0), [("error", "clock")]),
        (ClockFacts(suspended=61), [("ok", "clock"), ("warning", "sleep")]),
    ],
)
def test_clock(facts: ClockFacts, expected: list[tuple[str, str]]) -> None:
    assert [(each.level, each.check) for each in check_clock(facts)] == expected


def test_the_skew_has_a_direction() -> None:
    [ahead], [behind] = check_clock(ClockFacts(skew=5)), check_clock(ClockFacts(skew=-5))
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
    facts = UnitFacts(name="r.service", user=user, settings={**SHOWN, **change})
    [finding] = check_unit(facts)
    assert finding.level == level
    assert text in finding.text
    assert fix in finding.fix
    folder = "~/.config/systemd/user" if user else "/etc/systemd/system"
    assert f"mkdir -p {folder}/r.service.d" in finding.fix


def test_a_good_unit_and_none() -> None:
    [good] = check_unit(UnitFacts(name="r.service", settings=SHOWN))
    assert (good.level, good.text) == ("ok", "the settings of r.service suit an agent")
    [endless] = check_unit(
        UnitFacts(name="r.service", settings={**SHOWN, "TimeoutStopUSec": "infinity"})
    )
    assert endless.level == "ok"
    [none] = check_unit(UnitFacts())
    assert none.level == "ok"


def test_a_named_unit_that_does_not_exist() -> None:
    [gone] = check_unit(UnitFacts(wanted="r.service"))
    assert (gone.level, gone.text) == ("error", "systemd has no unit r.service")
    assert gone.fix == "systemctl status r.service"
    [silent] = check_unit(UnitFacts(wanted="r.service", problem="Failed to connect to bus"))
    assert silent.level == "warning"
    assert silent.text == "systemctl cannot query r.service: Failed to connect to bus"
    assert silent.fix == "sudo systemctl status r.service"


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
