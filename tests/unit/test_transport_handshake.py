"""Upgrade requests are accepted or rejected by their headers alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.config.settings import Token
from trio_afrender.transport.handshake import HandshakeRejected, UpgradeRequest, check_handshake
from trio_afrender.transport.tokens import TokenTable

TOKEN = Token("s3cret-token")
BEARER = (b"authorization", b"Bearer s3cret-token")


def status_of(*headers: tuple[bytes, bytes], host: str = "localhost", local: str = "") -> int:
    """The HTTP status of the answer; 101 if the request is accepted."""
    request = UpgradeRequest(host=host, headers=headers, subprotocols=["afrender.v1"], local=local)
    try:
        grant = check_handshake(request, tokens=TokenTable.single(TOKEN, "n*"), names={"farm"})
    except HandshakeRejected as refusal:
        return refusal.status
    assert grant.patterns == ("n*",)
    return 101


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:80", 101),
        ("127.0.0.1", 101),
        ("[::1]:5", 101),
        ("FARM:51000", 101),
        ("10.1.2.3:51000", 101),
        ("10.1.2.4:51000", 421),
        ("farm.evil.example", 421),
        ("", 421),
    ],
)
def test_only_names_of_this_server_are_accepted(host: str, status: int) -> None:
    assert status_of(BEARER, host=host, local="10.1.2.3") == status


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"s3cret-token",
        b"Basic s3cret-token",
        b"Bearer s3cret-toke",
        b"Bearer s3cret-tokens",
        b"Bearer s3cret-token, s3cret-token",
        b"Bearer \xff\xfe",
    ],
)
def test_anything_but_the_token_is_unauthorized(value: bytes) -> None:
    assert status_of((b"authorization", value)) == 401


@pytest.mark.parametrize("value", [b"Bearer s3cret-token", b"bearer  s3cret-token "])
def test_a_valid_token_is_accepted(value: bytes) -> None:
    assert status_of((b"authorization", value)) == 101


def test_two_tokens_count_as_none() -> None:
    assert status_of(BEARER, BEARER) == 401
    assert status_of() == 401


@pytest.mark.parametrize("origin", [b"", b"null", b"http://localhost", b"https://farm"])
def test_a_browser_is_rejected_before_its_token_is_checked(origin: bytes) -> None:
    assert status_of(BEARER, (b"origin", origin)) == 403
    assert status_of((b"origin", origin)) == 403


def test_a_missing_and_a_wrong_token_are_answered_alike() -> None:
    answers = []
    for headers in ((), ((b"authorization", b"Bearer wrong"),)):
        request = UpgradeRequest(host="localhost", headers=headers, subprotocols=[])
        with pytest.raises(HandshakeRejected) as caught:
            check_handshake(request, tokens=TokenTable.single(TOKEN), names=())
        answers.append((caught.value.status, caught.value.headers))
    assert answers[0] == answers[1] == (401, ((b"WWW-Authenticate", b"Bearer"),))


def test_the_reason_contains_no_secret() -> None:
    request = UpgradeRequest(
        host="x\x1b[2J", headers=((b"authorization", b"Bearer geheim"),), subprotocols=()
    )
    with pytest.raises(HandshakeRejected) as caught:
        check_handshake(request, tokens=TokenTable(), names=())
    assert str(caught.value).isprintable()
    request = UpgradeRequest(host="localhost", headers=request.headers, subprotocols=())
    with pytest.raises(HandshakeRejected) as caught:
        check_handshake(request, tokens=TokenTable(), names=())
    assert "geheim" not in str(caught.value)


def test_the_token_is_checked_before_the_version() -> None:
    request = UpgradeRequest(host="localhost", headers=(BEARER,), subprotocols=("afrender.v2",))
    with pytest.raises(HandshakeRejected) as caught:
        check_handshake(request, tokens=TokenTable.single(TOKEN), names=())
    assert caught.value.status == 426


@given(st.binary(max_size=40), st.text(max_size=20))
def test_any_header_gets_an_answer(value: bytes, host: str) -> None:
    request = UpgradeRequest(host=host, headers=((b"authorization", value),), subprotocols=())
    with pytest.raises(HandshakeRejected):
        check_handshake(request, tokens=TokenTable.single(TOKEN), names=())
