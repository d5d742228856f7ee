"""Settings objects refuse wrong values when they are made, by a program as well as from a file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from trio_afrender.config import Checks, Config, GpuSlots, Limits, MemoryGuard, Stuck, Timing, Token
from trio_afrender.config.settings import PluginSettings, SentAmounts
from trio_afrender.errors import ConfigError, InvalidSetting
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.gateway.settings import GatewayConfig
from trio_afrender.transport.address import NativeAddress
from trio_afrender.transport.listen_address import ListenAddress
from trio_afrender.transport.tokens import TokenTable

LISTEN = ListenAddress(host="127.0.0.1", port=0)
SERVER = NativeAddress(host="127.0.0.1", port=51000)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "", "1 to 255 printable characters"),
        ("name", "a\n", "1 to 255 printable characters"),
        ("name", "n" * 256, "1 to 255 printable characters"),
        ("name", None, "a string"),
        ("priority", 256, "0 to 255"),
        ("max_tasks", 0, "at least 1"),
        ("max_tasks", True, "a whole number"),
        ("max_tasks", 2.5, "a whole number"),
        ("capacity", "many", "a whole number"),
        ("capacity", 2**31, "1 to 2147483647"),
        ("server_port", 0, "1 to 65535"),
        ("drain", "fast", 'one of "finish", "stop", "leave"'),
        ("drain", "leav", 'one of "finish", "stop", "leave" (did you mean "leave"?)'),
        ("services", "nuke", "a tuple"),
        ("services", ("nuke", 3), "a tuple, each item a string"),
        ("plugins", ("/studio",), "a tuple, each item a pathlib.Path"),
        ("paths_map", (("P:/",),), "a tuple of tuples of 2 strings"),
        ("instructions", ("reboot", "halt"), "only words of"),
        ("store", "/srv/store", "a pathlib.Path"),
        ("store", Path("/a\0b"), "text without NUL characters"),
        ("ca_file", "/etc/ca.pem", "a pathlib.Path"),
        ("token", "secret", "a Token"),
        ("supervisor", 1, "True or False"),
        ("console", None, "True or False"),
        ("networks", "(", "a regular expression (missing )"),
        ("networks", "a{99999999999}", "a regular expression (the repetition number is too large)"),
        ("shell", (), "a shell, with its options"),
        ("timing", {"grace": 3}, "a Timing"),
        ("limits", None, "a Limits"),
        ("log_quota", 10**30, "65536 to"),
    ],
)
def test_a_config_with_a_wrong_value_is_not_made(field: str, value: object, expected: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Config(**{"name": "r", field: value})  # type: ignore[arg-type] # wrong on purpose
    error = caught.value
    assert (error.field, error.value) == (f"Config.{field}", value)
    assert error.expected.startswith(expected)
    assert str(error).startswith(f"Config.{field}: expected {expected}")
    assert isinstance(error, ConfigError)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Timing(grace=-1), "Timing.grace: expected at least 0 seconds, got -1"),
        (lambda: Timing(grace=math.nan), "Timing.grace: expected at least 0 seconds, got nan"),
        (
            lambda: Timing(shutdown=math.inf),
            "Timing.shutdown: expected 0 to 1e+09 seconds, got inf",
        ),
        (lambda: Timing(heartbeat=0), "Timing.heartbeat: expected at least 0.01 seconds, got 0"),
        (lambda: Limits(memory=-1), "Limits.memory: expected at least 0 bytes, got -1"),
        (lambda: Stuck(policy="kill"), 'Stuck.policy: expected one of "off", "warn", "stop", got'),
        (lambda: Checks(assets=""), 'Checks.assets: expected one of "off", "warn", "error", got'),
        (lambda: GpuSlots(cards_per_task=0), "GpuSlots.cards_per_task: expected at least 1, got 0"),
        (lambda: SentAmounts(log=1), "SentAmounts.log: expected at least 4096 bytes, got 1"),
        (lambda: MemoryGuard(floor=-5), "MemoryGuard.floor: expected at least 0 bytes, got -5"),
        (
            lambda: PluginSettings(thumbnail_height=1),
            "PluginSettings.thumbnail_height: expected at",
        ),
        (lambda: Token(None), "Token.secret: expected a string"),  # type: ignore[arg-type] # wrong on purpose
        (lambda: FarmSettings(zombie_time=0), "FarmSettings.zombie_time: expected at least 0.01"),
        (
            lambda: FarmSettings(errors_retries=-1),
            "FarmSettings.errors_retries: expected at least 0",
        ),
        (lambda: FarmSettings(wake_port=70000), "FarmSettings.wake_port: expected 1 to 65535"),
        (lambda: ListenAddress(host="x", port=-1), "ListenAddress.port: expected 0 to 65535"),
        (lambda: NativeAddress(host="x", port=70000), "NativeAddress.port: expected 0 to 65535"),
        (
            lambda: GatewayConfig(listen=LISTEN, server=SERVER, tokens=TokenTable(), max_agents=0),
            "GatewayConfig.max_agents: expected at least 1, got 0",
        ),
        (
            lambda: GatewayConfig(listen=LISTEN, server=SERVER, tokens=TokenTable(), rate=math.nan),
            "GatewayConfig.rate: expected at least 0.001 messages a second, got nan",
        ),
        (
            lambda: GatewayConfig(listen=LISTEN, server=SERVER, tokens=None),  # type: ignore[arg-type] # wrong on purpose
            "GatewayConfig.tokens: expected a TokenTable, got None",
        ),
        (
            lambda: GatewayConfig(
                listen=attrs.evolve(LISTEN, tls=True), server=SERVER, tokens=TokenTable()
            ),
            "GatewayConfig.ssl_context: expected a context of a server",
        ),
        (
            lambda: Config(name="r", service_limits={"nuke": {"runtime": 3}}),
            "Config.service_limits['nuke']: expected only fields of Limits, did you mean \"run_time\"?",
        ),
        (
            lambda: Config(name="r", service_stuck={"nuke": {"policy": "kill"}}),
            "Config.service_stuck['nuke']['policy']: expected one of",
        ),
        (
            lambda: Config(name="r", service_checks={"nuke": 3}),  # type: ignore[dict-item] # wrong on purpose
            "Config.service_checks['nuke']: expected a mapping, got 3",
        ),
    ],
)
def test_the_error_names_field_value_and_range(make: Callable[[], object], text: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        make()
    assert str(caught.value).startswith(text)


def test_a_changed_copy_is_checked_too() -> None:
    with pytest.raises(InvalidSetting, match=r"Config\.max_tasks: expected at least 1"):
        attrs.evolve(Config(name="r"), max_tasks=0)


@pytest.mark.parametrize("secret", ["", "two words", "two\nlines", "caf\u00e9"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(
        InvalidSetting, match=r"Config\.token: expected a token of printable"
    ) as bad:
        Config(name="r", token=Token(secret))
    assert not secret or secret not in str(bad.value)
    with pytest.raises(ConfigError, match=r'the token for "r\*" is empty or has characters'):
        TokenTable().add("r*", Token(secret))


def test_whole_numbers_are_numbers() -> None:
    assert Timing(grace=3).grace == 3
    assert Config(name="r", nice=-5, post_limit=-1).nice == -5
