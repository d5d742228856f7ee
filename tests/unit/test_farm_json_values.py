"""The JSON of requests, the two languages of masks, files by path, owners of sockets."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from trio_afrender.farm.json_interface.answers import encode_json
from trio_afrender.farm.json_interface.http_head import HttpRefused
from trio_afrender.farm.json_interface.name_masks import MaskError, by_beginnings, by_pattern
from trio_afrender.farm.json_interface.node_fields import describe_address
from trio_afrender.farm.json_interface.request_body import (
    BadJson,
    numbers_at,
    object_at,
    parse_root,
    text_at,
    texts_at,
)
from trio_afrender.farm.json_interface.served_files import GuiFolder, make_policy, serve_task_file
from trio_afrender.farm.json_interface.task_binary import encode_task
from trio_afrender.transport.socket_owner import (
    ask_kernel,
    find_listener,
    find_owner,
    format_address,
    read_owner,
)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"get":{"type":"users",}}', "at character 23 of 25"),
        (b'{"a":1} // x', "Extra data .at character 8 of 12."),
        (b'{"a":1', "at character 6 of 6"),
        (b'{"a":"\xff"}', "not UTF-8 .at byte 6"),
        (b'{"a":NaN}', "NaN is not a JSON number"),
        (b'{"a":-Infinity}', "-Infinity is not a JSON number"),
        (b'{"a":1,"b":2,"a":3}', 'the key "a" stands twice'),
        (b"[1]", "expected a JSON object, found"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a":"line\nfeed"}', "Invalid control character"),
    ],
)
def test_bad_json_names_the_place(body: bytes, problem: str) -> None:
    with pytest.raises(BadJson, match=problem):
        parse_root(body)


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse_root(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


def test_values_of_the_wrong_type_count_as_absent() -> None:
    asked: dict[str, object] = {"a": "1", "b": 5, "c": [1, "2", True, 3.5, -4], "d": {"e": 1}}
    assert text_at(asked, "b") == text_at(asked, "x") == ""
    assert numbers_at(asked, "a") == numbers_at(asked, "x") == []
    assert numbers_at(asked, "c") == [1, -4]
    assert texts_at(asked, "c") == ["2"]
    assert texts_at(asked, "a") == []
    assert object_at(asked, "c") is None
    assert object_at(asked, "d") == {"e": 1}


@pytest.mark.parametrize(
    ("mask", "name", "selected"),
    [
        ("ho", "host1", True),
        ("zz ho", "host1", True),
        ("zz|ho;x,y:", "host1", True),
        ("ost", "host1", False),
        ("HO", "host1", False),
        ("host.*", "host1", False),
        ("", "host1", False),
        (" ;", "host1", False),
    ],
)
def test_words_select_by_the_beginning(mask: str, name: str, *, selected: bool) -> None:
    assert by_beginnings(mask)(name) is selected


@pytest.mark.parametrize(
    ("mask", "selected"),
    [("host.", True), ("host", False), ("(a|host1)", True), ("HOST1", False), ("", False)],
)
def test_patterns_select_by_the_whole_name(mask: str, *, selected: bool) -> None:
    assert by_pattern(mask)("host1") is selected


def test_a_bad_pattern_is_named() -> None:
    with pytest.raises(MaskError, match=r'the mask "\[" is not a regular expression: unterminated'):
        by_pattern("[")
    with pytest.raises(MaskError, match="at most 10,000"):
        by_pattern("x" * 10_001)


def test_answers_are_json_whatever_texts_they_have() -> None:
    text = 'q"\\\n\x08\x1f é \udcff'
    data = encode_json({"a": text})
    assert parse_root(data) == {"a": 'q"\\\n\x08\x1f é ?'}
    assert "é".encode() in data


@pytest.mark.parametrize(
    ("text", "ip", "family"),
    [
        ("127.0.0.1", "127.0.0.1", 4),
        ("127.0.0.1:51000", "127.0.0.1", 4),
        ("::1", "::1", 6),
        ("[::1]:51000", "::1", 6),
        ("", "0.0.0.0", 4),  # noqa: S104 - shown, not bound
        ("a name", "0.0.0.0", 4),  # noqa: S104 - the same
    ],
)
def test_addresses(text: str, ip: str, family: int) -> None:
    assert describe_address(text) == {"family": family, "ip": ip, "port": 0}


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    folder = tmp_path / "cgru"
    for name, text in (
        ("afanasy/browser/index.html", "page"),
        ("afanasy/browser/network.js", "script"),
        ("afanasy/browser/empty.css", ""),
        ("icons/b.png", "image"),
        ("icons/a.PNG", "image"),
        ("icons/.hidden", "x"),
        ("config_default.json", "{}"),
        ("docs/index.html", "docs"),
        ("notes", "text"),
        (".git/config", "secret"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "inside.txt").symlink_to(folder / "notes")
    (folder / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.txt")
    return folder


@pytest.mark.parametrize(
    ("target", "kind", "max_age"),
    [
        ("/", "text/html; charset=UTF-8", 0),
        ("/afanasy/browser/", "text/html; charset=UTF-8", 0),
        ("/docs", "text/html; charset=UTF-8", 0),
        ("/afanasy/browser/network.js", "text/javascript", 3600),
        ("/afanasy/browser/empty.css", "text/css", 3600),
        ("/icons/a.PNG", "image/png", 3600),
    ],
)
def test_files_of_the_page(studio: Path, target: str, kind: str, max_age: int) -> None:
    answer = GuiFolder(studio).serve(target)
    assert (answer.status, answer.kind, answer.max_age) == (200, kind, max_age)
    assert (b"Content-Security-Policy: " in answer.encode()) is kind.startswith("text/html")


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/icons/../../secret.txt",
        "//secret.txt",
        "/..%2fsecret.txt",
        "/link.txt",
        "/inside.txt",
        "/up/secret.txt",
        "/pipe.txt",
        "/icons/.hidden",
        "/.git/config",
        "/config_default.json",
        "/icons/b.png?v=1",
        "/no.such",
        "/icons\\b.png",
        "/icons/b.png\x00",
        "relative.txt",
        "",
    ],
)
def test_nothing_else_is_served(studio: Path, target: str) -> None:
    with pytest.raises(HttpRefused) as caught:
        GuiFolder(studio).serve(target)
    assert caught.value.status == 404
    # The answer does not repeat the name: a browser would show it as a part of the page.
    assert target.strip("/") not in caught.value.text or not target.strip("/")


def test_lists_of_names_are_sorted(studio: Path) -> None:
    gui = GuiFolder(studio)
    assert gui.list_names("icons") == ["a.PNG", "b.png"]
    for path in ("../x", "/etc", "C:x", "up", "no", "icons/b.png", ".git"):
        assert gui.list_names(path) == []


def test_a_page_runs_its_own_handlers_alone() -> None:
    page = b"""<body onload="start()"><p onclick='a(&quot;b&quot;)'><b ONCLICK = "start()">"""
    scripts = make_policy(page).split("; ")[1]
    # printf 'start()' | openssl dgst -sha256 -binary | base64, and so on
    assert scripts.split() == [
        "script-src",
        "'self'",
        "'unsafe-hashes'",
        "'sha256-zF6vm1In/h+PvgDmJ16jlpnzzHU7YQzvZRzlN+64ZL8='",
        "'sha256-DIm7WJS6ZKDYe5qFLPy+h4JFI9Bol5QmYC57mt3Fb00='",
    ]
    assert "script-src 'self'; " in make_policy(b"<body>")
    assert "frame-ancestors 'none'" in make_policy(b"")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "image/jpeg"),
        ("a.exr.PNG", "image/png"),
        ("a.html", "text/plain; charset=UTF-8"),
        ("a.svg", "text/plain; charset=UTF-8"),
        ("a.js", "text/plain; charset=UTF-8"),
        ("a", "text/plain; charset=UTF-8"),
    ],
)
def test_files_of_tasks_are_images_or_text(name: str, kind: str) -> None:
    assert serve_task_file(name, b"x").kind == kind


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:C738 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 111 1
   1: 0100007F:9C40 0100007F:C738 01 00000000:00000000 00:00000000 00000000  1001        0 222 1
   2: 0100007F:C738 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 333 1
   3: 0100007F:9C41 0100007F:C738 06 00000000:00000000 00:00000000 00000000     0        0 0 1
"""


def test_the_owner_is_that_of_the_far_end() -> None:
    local = ("127.0.0.1", 0xC738)
    assert read_owner(TABLE, ("127.0.0.1", 0x9C40), local) == 1001
    # A socket that its program has closed has no owner, although the table shows user 0.
    assert read_owner(TABLE, ("127.0.0.1", 0x9C41), local) is None
    assert read_owner(TABLE, ("127.0.0.1", 0x9C42), local) is None


def test_addresses_of_the_table() -> None:
    assert format_address(("127.0.0.1", 80), wide=False) == "0100007F:0050"
    assert format_address(("::ffff:127.0.0.1", 80), wide=False) == "0100007F:0050"
    mapped = "0000000000000000FFFF00000100007F:0050"
    assert format_address(("127.0.0.1", 80), wide=True) == mapped
    assert format_address(("::1", 80), wide=True) == "00000000000000000000000001000000:0050"
    assert format_address(("::1", 80), wide=False) == ""


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_the_owner_of_a_real_connection(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as server, socket.socket(family) as client:
        server.bind((host, 0))
        server.listen()
        client.connect(server.getsockname()[:2])
        accepted, _ = server.accept()
        with accepted:
            ends = accepted.getpeername()[:2], accepted.getsockname()[:2]
            found = [read_owner(table.read_text(), *ends) for table in TABLES]
            assert os.geteuid() in found
            assert find_owner(*ends) == os.geteuid()
            client.close()
            assert find_owner(*ends) is None
            assert [read_owner(table.read_text(), *ends) for table in TABLES] == [None, None]


TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


@pytest.mark.parametrize("netlink", [True, False])
def test_the_owner_without_netlink(monkeypatch: pytest.MonkeyPatch, *, netlink: bool) -> None:
    """Where the kernel does not answer, the tables are read."""
    if netlink:

        def refuse(*arguments: object) -> None:
            raise PermissionError(1, "not permitted")

        monkeypatch.setattr(socket.socket, "sendto", refuse)
    else:
        monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname()[:2])
        accepted, _ = server.accept()
        with accepted:
            ends = accepted.getpeername()[:2], accepted.getsockname()[:2]
            assert find_owner(*ends) == os.geteuid()
            assert find_owner(*ends, folder=Path("/nonexistent")) is None


def test_the_kernel_knows_no_such_socket() -> None:
    with pytest.raises(OSError, match="No such file"):
        ask_kernel(("127.0.0.1", 1), ("127.0.0.1", 2))


def test_the_program_that_listens_is_named() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert find_listener(port) == ""
        server.listen()
        assert find_listener(port).endswith(f"(process {os.getpid()})")
        comm = Path("/proc/self/comm")
        before = comm.read_bytes()
        try:
            comm.write_bytes(b"any\xff")  # a program may give itself any name
            assert find_listener(port) == f"any\ufffd (process {os.getpid()})"
        finally:
            comm.write_bytes(before.strip())


def test_the_binary_form_of_an_output() -> None:
    """As a real server has sent it to `afcmd`."""
    recorded = bytes.fromhex(
        "000000510000003300000083000000020000000200000000000000000000000000000000000000010000000000"
        "00000000000000000100000000000000006b0c9ac9000000006b0c9add00000006686f7374310000000001"
        "00000000010000000000000000046f6e65000000000262000000000274000000000867656e6572696300000000"
        "01000000000468690a00"
    )  # fmt: skip
    message: dict[str, object] = {
        "type": "TOutput",
        "render_id": 0,
        "job_name": "one",
        "block_name": "b",
        "task_name": "t",
        "service": "generic",
        "parser": "",
        "pos": {"job": 2, "block": 0, "task": 0, "number": 0},
        "progress": {"st": 1, "str": 1, "tst": 0x6B0C9AC9, "tdn": 0x6B0C9ADD, "hst": "host1"},
        "data": "hi\n",
    }
    assert encode_task(message).data == recorded
    # Any number and any text has a form.
    message["pos"] = {"job": 10**30, "block": -(10**30), "task": 0, "number": 0}
    message["progress"] = {"st": 0, "per": 1000}
    message["data"] = "a\0b\udcff\ud800"
    data = encode_task(message).data
    assert data[8:12] == (len(data) - 12).to_bytes(4, "big")
    assert b"a b" in data
