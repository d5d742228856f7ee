"""Server URLs: which are accepted, and the messages for the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.errors import ConfigError
from trio_afrender.transport.address import (
    is_loopback,
    is_native,
    make_url,
    parse_native,
    parse_url,
    split_host,
)


@pytest.mark.parametrize(
    ("url", "host", "port", "resource", "tls", "header"),
    [
        ("ws://127.0.0.1:51000", "127.0.0.1", 51000, "/", False, "127.0.0.1:51000"),
        ("ws://localhost", "localhost", 80, "/", False, "localhost"),
        ("ws://[::1]:7/farm?x=1", "::1", 7, "/farm?x=1", False, "[::1]:7"),
        ("wss://Farm.Example", "farm.example", 443, "/", True, "farm.example"),
        ("wss://farm:80/a/b", "farm", 80, "/a/b", True, "farm:80"),
    ],
)
def test_urls_are_parsed(
    url: str, host: str, port: int, resource: str, tls: bool, header: str
) -> None:
    address = parse_url(url)
    assert (address.host, address.port, address.resource, address.tls) == (
        host,
        port,
        resource,
        tls,
    )
    assert address.host_header == header


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "expected ws://HOST:PORT"),
        ("farm:51000", "expected ws://HOST:PORT"),
        ("http://farm", "expected ws://HOST:PORT"),
        ("wss://", "expected ws://HOST:PORT"),
        ("wss://farm:port", "Port could not be cast"),
        ("wss://farm:99999", "Port out of range"),
        ("wss://[::1", "Invalid IPv6 URL"),
        ("wss://farm/#part", "expected ws://HOST:PORT"),
        ("wss://farm/a b", "expected ws://HOST:PORT"),
        ("wss://farm/\u00e4", "expected ws://HOST:PORT"),
        ("wss://" + "a" * 64, "expected ws://HOST:PORT"),
        ("ws://farm:51000", "readable on its way to another host; use wss://"),
        ("ws://192.168.0.1", "readable on its way to another host; use wss://"),
        ("ws://localhost.example.com", "readable on its way"),
    ],
)
def test_a_bad_url_is_refused_with_a_reason(url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert problem in str(caught.value)
    assert url in str(caught.value)


def test_a_message_shows_only_the_start_of_a_long_url() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url("ws://" + "a" * 5000 + "/\n")
    assert len(str(caught.value)) < 400


def test_a_secret_in_a_url_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigError, match="put the token into a file") as caught:
        parse_url("wss://user:geheim@farm")
    assert "geheim" not in str(caught.value)


def test_plain_connections_to_other_hosts_need_allow_plain() -> None:
    assert parse_url("ws://farm:51000", allow_plain=True).host == "farm"


@given(st.text(max_size=30))
def test_any_text_gives_an_address_or_a_config_error(text: str) -> None:
    for url in (text, f"ws://{text}", f"wss://{text}:80/x"):
        try:
            address = parse_url(url, allow_plain=True)
        except ConfigError:
            continue
        address.host_header.encode("idna")
        address.resource.encode("ascii")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("LocalHost.", True),
        ("0.0.0.0", False),  # noqa: S104 - not bound here
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_loopback_addresses_are_recognized(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("Farm:51000", "farm"),
        ("farm", "farm"),
        ("farm.", "farm"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("::1", ":"),
        ("", ""),
        (":80", ":80"),
        ("[", ""),
    ],
)
def test_host_headers_are_parsed(header: str, host: str) -> None:
    assert split_host(header) == host


@pytest.mark.parametrize(
    ("host", "tls", "url"),
    [
        ("127.0.0.1", False, "ws://127.0.0.1:5"),
        ("0.0.0.0", True, "wss://127.0.0.1:5"),  # noqa: S104 - not bound here
        ("::", False, "ws://[::1]:5"),
        ("fe80::1", False, "ws://[fe80::1]:5"),
        ("farm", True, "wss://farm:5"),
        ("", False, "ws://localhost:5"),
    ],
)
def test_a_bound_address_becomes_a_url(host: str, tls: bool, url: str) -> None:
    assert make_url(host, 5, tls=tls) == url


@pytest.mark.parametrize(
    ("url", "host", "port", "whole"),
    [
        ("af://farm", "farm", 51000, "af://farm:51000"),
        ("af://farm/", "farm", 51000, "af://farm:51000"),
        ("af://Farm.Example:7", "farm.example", 7, "af://farm.example:7"),
        ("af://10.1.2.3:51001", "10.1.2.3", 51001, "af://10.1.2.3:51001"),
        ("af://[fd00::7]", "fd00::7", 51000, "af://[fd00::7]:51000"),
        ("AF://[fe80::1%25eth0]:9", "fe80::1%eth0", 9, "af://[fe80::1%eth0]:9"),
        ("af://[fe80::1%eth0]", "fe80::1%eth0", 51000, "af://[fe80::1%eth0]:51000"),
    ],
)
def test_native_urls_are_parsed(url: str, host: str, port: int, whole: str) -> None:
    address = parse_native(url)
    assert (address.host, address.port) == (host, port)
    assert address.url == whole
    assert is_native(url)


def test_a_native_url_without_a_port_has_the_configured_port() -> None:
    assert parse_native("af://farm", 50000).port == 50000


@pytest.mark.parametrize(
    "url",
    ["af://", "af://:51000", "af://farm:0", "af://farm:70000", "af://farm:x", "af://farm/jobs",
     "af://me:secret@farm", "af://farm?x=1", "ws://farm", "af:farm", "af://" + "a" * 70],
)  # fmt: skip
def test_unusable_native_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^server "):
        parse_native(url)


@given(st.text())
def test_any_native_url_gives_an_address_or_a_config_error(text: str) -> None:
    try:
        parse_native(text)
    except ConfigError:
        return
    assert is_native(text)
