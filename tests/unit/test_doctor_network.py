"""What the doctor says of server, clock and unit, by facts."""

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
    ("facts", "level", "text", "mend"),
    [
        (GOOD, "ok", "wss://farm:1 answers", ""),
        (attrs.evolve(GOOD, url="af://farm:1"), "ok", "af://farm:1 takes connections", ""),
        (ServerFacts(), "warning", "no server is set", "trio_afrender doctor --server wss://HOST:PORT"),
        (attrs.evolve(GOOD, problem="bad URL"), "error", "bad URL", "trio_afrender config | grep server"),
        (attrs.evolve(GOOD, address=""), "error", '"farm" of the server leads nowhere', "getent hosts farm"),
        (
            attrs.evolve(GOOD, connected=False, refused="Connection refused"),
            "error",
            "no connection to farm:1 (10.0.0.1): Connection refused",
            "nc -vz farm 1",
        ),
        (
            attrs.evolve(GOOD, tls_problem="it has expired"),
            "error",
            "farm:1: it has expired",
            "openssl s_client -connect farm:1 -servername farm",
        ),
        (attrs.evolve(GOOD, answered=False), "error", "does not answer as a server", "curl -v https://farm:1"),
    ],
)  # fmt: skip
def test_server(facts: ServerFacts, level: str, text: str, mend: str) -> None:
    [finding] = check_server_answer(facts)
    assert (finding.level, finding.fix) == (level, mend)
    assert text in finding.text


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (ClockFacts(), [("ok", "clock")]),
        (ClockFacts(skew=1.9), [("ok", "clock")]),
        (ClockFacts(skew=-2.5), [("warning", "clock")]),
        (ClockFacts(skew=61.0), [("error", "clock")]),
        (ClockFacts(year=1970, skew=0.0), [("error", "clock")]),
        (ClockFacts(suspended=61), [("ok", "clock"), ("warning", "sleep")]),
    ],
)
def test_clock(facts: ClockFacts, said: list[tuple[str, str]]) -> None:
    assert [(each.level, each.check) for each in check_clock(facts)] == said


def test_the_skew_is_told_with_its_way() -> None:
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
    ("change", "level", "text", "mend"),
    [
        ({"Delegate": "no"}, "warning", "Delegate=no", "[Service]\\nDelegate=yes"),
        ({"KillMode": "control-group"}, "error", "KillMode=control-group: a restart", "KillMode=process"),
        ({"KillMode": "mixed"}, "error", "KillMode=mixed", "KillMode=process"),
        ({"Restart": "no"}, "warning", "Restart=no: an agent that crashed", "Restart=always"),
        ({"OOMPolicy": "stop"}, "error", "OOMPolicy=stop: when the kernel kills one", "OOMPolicy=continue"),
        ({"Type": "simple"}, "warning", "Type=simple", "Type=notify"),
        ({"WatchdogUSec": "0"}, "warning", "no watchdog", "WatchdogSec=60"),
        ({"TimeoutStopUSec": "1min"}, "warning", "killed 60 s after it was asked", "TimeoutStopSec=90"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("user", [False, True])
def test_unit(change: dict[str, str], level: str, text: str, mend: str, user: bool) -> None:
    facts = UnitFacts(name="r.service", user=user, settings={**SHOWN, **change})
    [finding] = check_unit(facts)
    assert finding.level == level
    assert text in finding.text
    assert mend in finding.fix
    folder = "~/.config/systemd/user" if user else "/etc/systemd/system"
    assert f"mkdir -p {folder}/r.service.d" in finding.fix


def test_a_good_unit_and_none() -> None:
    [good] = check_unit(UnitFacts(name="r.service", settings=SHOWN))
    assert (good.level, good.text) == ("ok", "r.service is as an agent needs it")
    [endless] = check_unit(
        UnitFacts(name="r.service", settings={**SHOWN, "TimeoutStopUSec": "infinity"})
    )
    assert endless.level == "ok"
    [none] = check_unit(UnitFacts())
    assert none.level == "ok"


def test_a_unit_that_was_named_and_is_not_there() -> None:
    [gone] = check_unit(UnitFacts(wanted="r.service"))
    assert (gone.level, gone.text) == ("error", "systemd has no unit r.service")
    assert gone.fix == "systemctl status r.service"
    [silent] = check_unit(UnitFacts(wanted="r.service", problem="Failed to connect to bus"))
    assert silent.level == "warning"
    assert silent.text == "systemd cannot be asked about r.service: Failed to connect to bus"
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
