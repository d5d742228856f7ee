"""Requests of the JSON interface as bytes: text frames, binary frames, HTTP, and what is refused."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.farm.json_interface.http_head import (
    MAX_HEAD,
    HttpAnswer,
    HttpHead,
    HttpRefused,
    find_foreign,
    parse_head,
)
from trio_afrender.farm.json_interface.request_reader import (
    FramedRequest,
    FrameKind,
    RequestReader,
    RequestRefused,
    frame_answer,
)
from trio_afrender.protocol.afanasy import MAX_BODY

BODY = b'{"get":{"type":"users"}}'
MISMATCH = bytes.fromhex("000000510000000100000001")


def post(*headers: str, body: bytes = BODY, end: str = "\r\n") -> bytes:
    return end.join(("POST / HTTP/1.1", *headers, "", "")).encode() + body


FRAMES = {
    "text": (b"AFANASY 24 JSON" + BODY, FrameKind.TEXT),
    "text, lower case and blanks": (b"afanasy 24 JSON  \n" + BODY, FrameKind.TEXT),
    "binary 24": (bytes.fromhex("000000510000001800000018") + BODY, FrameKind.BINARY),
    "binary 23": (bytes.fromhex("000000510000001700000018") + BODY, FrameKind.TEXT),
    "HTTP": (post("Content-Length: 24", "AFANASY: 24"), FrameKind.HTTP),
    "HTTP, bare line feeds": (post("AFANASY: 24", end="\n"), FrameKind.HTTP),
    "HTTP, Content-Length alone": (post("content-length:24"), FrameKind.HTTP),
    # The browser page of CGRU counts UTF-16 units.
    "HTTP, AFANASY too small": (post("AFANASY: 20", "Content-Length: 24"), FrameKind.HTTP),
}


@pytest.mark.parametrize("name", FRAMES)
def test_each_kind_of_frame(name: str) -> None:
    data, kind = FRAMES[name]
    request = RequestReader().feed(data + b"   ")
    assert request is not None
    assert (request.kind, request.body) == (kind, BODY)


@given(st.sampled_from(sorted(FRAMES)), st.lists(st.integers(0, 100), max_size=6))
def test_chunks_of_any_size_make_the_same_request(name: str, cuts: list[int]) -> None:
    data, kind = FRAMES[name]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = RequestReader()
    found: list[FramedRequest | None] = []
    for begin, end in pairwise(edges):
        if begin < end:
            found.append(reader.feed(data[begin:end]))
    whole = RequestReader().feed(data)
    assert whole is not None
    assert (whole.kind, whole.body) == (kind, BODY)
    assert found.pop() == whole
    assert not any(found)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"hello world hello world", MISMATCH),
        (b"OPTIONS / HTTP/1.1\r\nOrigin: http://example.org\r\n\r\n", MISMATCH),
        (b"HEAD / HTTP/1.1\r\n\r\n", MISMATCH),
        (bytes.fromhex("000000500000001800000018") + BODY, MISMATCH),
        (bytes.fromhex("000000510000003300000018") + BODY, b""),
        (b"AFANASY 24 XXXX" + BODY, b""),
        (b"AFANASY x JSON" + BODY, b""),
        (b"AFANASY 24 JSON" + b" " * 300, b""),
    ],
)
def test_bytes_that_are_no_request(data: bytes, answer: bytes) -> None:
    with pytest.raises(RequestRefused) as caught:
        RequestReader().feed(data)
    assert caught.value.answer == answer


@pytest.mark.parametrize("length", [0, -5, MAX_BODY + 1])
def test_a_length_that_is_not_allowed_is_named(length: int) -> None:
    text = b"AFANASY %d JSON" % length + BODY
    binary = b"\0\0\0\x51\0\0\0\x18" + length.to_bytes(4, "big", signed=True) + BODY
    for data, head in ((text, b"AFANASY "), (binary, b"\0\0\0\x51\0\0\0\x18")):
        with pytest.raises(RequestRefused, match="expected 1 to 67,108,852") as caught:
            RequestReader().feed(data)
        assert caught.value.answer.startswith(head)
        body = caught.value.answer[caught.value.answer.index(b"{") :]
        assert json.loads(body)["info"]["kind"] == "error"


def test_an_announced_length_takes_no_memory() -> None:
    reader = RequestReader()
    assert reader.feed(b"AFANASY 67000000 JSON{") is None
    assert len(reader._data) < 100


def test_half_a_frame_is_no_request() -> None:
    for data, _ in FRAMES.values():
        assert RequestReader().feed(data[:-1]) is None


def test_a_smaller_limit() -> None:
    with pytest.raises(RequestRefused, match="1 to 10"):
        RequestReader(limit=10).feed(b"AFANASY 24 JSON" + BODY)
    with pytest.raises(RequestRefused, match="at most 10 are allowed") as caught:
        RequestReader(limit=10).feed(post("Content-Length: 24"))
    assert caught.value.answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (post(), 411, "neither Content-Length nor AFANASY"),
        (post("AFANASY: 0"), 400, "empty body"),
        (post("Content-Length: -1"), 400, "not a length in bytes"),
        (post("Content-Length: 1_0"), 400, "not a length in bytes"),
        (post("Content-Length: 24", "Content-Length: 2"), 400, "stands twice"),
        (post("Content-Length: 24", "Transfer-Encoding: chunked"), 411, "Transfer-Encoding"),
        (post("Content-Length: 24", " folded"), 400, "not a header"),
        (post("Content Length: 24"), 400, "not a header"),
        (post(*[f"X-{i}: 1" for i in range(101)]), 400, "at most 100"),
        (b"POST / HTTP/2.0\r\n\r\n", 400, "not a request line"),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400, "not a request line"),
        (b"GET / HTTP/1.1\r\n" + b"x" * MAX_HEAD, 400, "more than 16,384 bytes"),
    ],
)
def test_a_bad_head_gets_an_http_answer(data: bytes, status: int, reason: str) -> None:
    with pytest.raises(RequestRefused, match=reason) as caught:
        RequestReader().feed(data)
    answer = caught.value.answer
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Content-Type: text/plain" in answer
    assert b"nosniff" in answer


def test_a_header_in_the_body_is_none() -> None:
    """The real server takes this request, which any web page can send, for a command."""
    body = b"x=\nAFANASY: 24\n\n" + BODY
    with pytest.raises(RequestRefused, match="neither Content-Length nor AFANASY"):
        RequestReader().feed(post("Content-Type: text/plain", body=body))


def test_get_has_no_body() -> None:
    request = RequestReader().feed(b"GET /a.png HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert request is not None
    assert request.head == HttpHead(method="GET", target="/a.png", headers={"host": "localhost"})
    assert request.body == b""


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "127.0.0.1:51000"},
        {"host": "localhost"},
        {"host": "[::1]:51000", "origin": "http://[::1]:51000"},
        {"host": "localhost:8080", "origin": "http://localhost:8080"},
        {"host": "localhost", "sec-fetch-site": "none"},
        {"host": "localhost", "sec-fetch-site": "same-origin"},
    ],
)
def test_own_pages_and_programs_may_ask(headers: dict[str, str]) -> None:
    assert find_foreign(HttpHead(method="POST", target="/", headers=headers)) == ""


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"host": "example.org"}, "Host"),
        ({"host": "localhost.example.org:51000"}, "Host"),
        ({"host": "192.0.2.1"}, "Host"),
        ({"origin": "http://example.org"}, "Origin"),
        ({"origin": "null", "host": "localhost"}, "Origin"),
        ({"origin": "http://localhost:3000", "host": "localhost:51000"}, "Origin"),
        ({"origin": "https://localhost", "host": "localhost"}, "Origin"),
        ({"host": "localhost", "sec-fetch-site": "cross-site"}, "Sec-Fetch-Site"),
        ({"host": "localhost", "sec-fetch-site": "same-site"}, "Sec-Fetch-Site"),
    ],
)
def test_pages_of_others_may_not(headers: dict[str, str], why: str) -> None:
    assert why in find_foreign(HttpHead(method="POST", target="/", headers=headers))


def test_heads_repeat_no_control_characters() -> None:
    with pytest.raises(HttpRefused) as caught:
        parse_head(b"GET / HTTP/1.1\r\nbad\x1b[2J\r\x00")
    assert caught.value.text.isprintable()


def test_answers_go_back_as_requests_came() -> None:
    assert frame_answer(FrameKind.TEXT, b"{}") == b"AFANASY 2 JSON{}"
    assert (
        frame_answer(FrameKind.BINARY, b"{}") == bytes.fromhex("000000510000001800000002") + b"{}"
    )
    http = frame_answer(FrameKind.HTTP, b"{}")
    assert http.startswith(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n")
    assert http.endswith(b"\r\n\r\n{}")
    refused = HttpAnswer(status=401, kind="text/plain", body=b"").encode()
    assert b"\r\nWWW-Authenticate: Bearer\r\n" in refused
