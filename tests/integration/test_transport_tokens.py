"""Token files with real modes and owners, and the table of tokens."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from trio_afrender.config.settings import Token
from trio_afrender.errors import ConfigError
from trio_afrender.transport.tokens import (
    TokenTable,
    make_token,
    may_use,
    read_token_file,
    read_tokens_file,
)


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_a_token_is_read_from_a_private_file(tmp_path: Path) -> None:
    token = make_token()
    assert read_token_file(write(tmp_path / "token", f"\n{token.secret}\n")) == token
    assert read_token_file(write(tmp_path / "only", token.secret, 0o400)) == token


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o620, 0o700 | 0o1])
def test_a_token_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "token", make_token().secret, mode)
    for read in (read_token_file, read_tokens_file):
        with pytest.raises(ConfigError, match=rf"mode {mode:04o}\): chmod 600 /.*token$") as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_a_token_file_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "token", make_token().secret)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(ConfigError, match="belongs to another user"):
        read_token_file(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("two words", "does not hold one token"),
        ("a\r\nEvil: header", "does not hold one token"),
        ("gr\u00fcn", "more than plain ASCII"),
        (b"\0", "does not hold one token"),
        ("x" * 5000, "does not hold one token"),
    ],
)
def test_an_invalid_token_is_refused_without_repeating_it(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        read_token_file(write(tmp_path / "token", text))
    assert "Evil" not in str(caught.value)


def test_a_missing_or_unsuitable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_token_file(tmp_path / "token")
    with pytest.raises(ConfigError, match=r"Is a directory|not a file"):
        read_token_file(tmp_path)
    with pytest.raises(ConfigError, match="not a file"):
        read_token_file(Path("/dev/null"))
    with pytest.raises(ConfigError, match="larger than"):
        read_token_file(write(tmp_path / "large", "x" * (4 * 1024 * 1024 + 1)))


def test_a_token_is_read_from_a_descriptor(tmp_path: Path) -> None:
    token = make_token()
    read_end, write_end = os.pipe()
    os.write(write_end, token.secret.encode())
    os.close(write_end)
    try:
        assert read_token_file(Path(f"/dev/fd/{read_end}")) == token
    finally:
        os.close(read_end)


def test_a_servers_tokens_are_bound_to_names(tmp_path: Path) -> None:
    one, many, hashed = make_token(), make_token(), make_token()
    digest = hashlib.sha256(hashed.secret.encode()).hexdigest()
    text = f"# farm\n\nn1 {one.secret}\n  r* {many.secret}\nr1 {many.secret}\nh sha256:{digest}\n"
    table = read_tokens_file(write(tmp_path / "tokens", text))
    assert table.find(one).patterns == ("n1",)
    assert table.find(many).patterns == ("r*", "r1")
    assert table.find(hashed).patterns == ("h",)
    assert table.find(Token(f"sha256:{digest}")).patterns == ()
    assert table.find(Token("")).patterns == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("n1", "line 1: expected NAME-OR-PATTERN TOKEN"),
        ("\nn1 a b c", "line 2: expected NAME-OR-PATTERN TOKEN"),
        ("n1 geheim!", "line 1: not a token"),
        ("n1 sha256:abc", "line 1: not a token"),
        (
            f"n1 {'x' * 16}\nn2 geheim",
            r"line 2: holds a token of less than 16 .*trio_afrender token NAME",
        ),
        (f"n1 {'x' * 16} soon", "line 1: expected an expiry like 2027-01-31 or 2027-01-31T18:00Z"),
        (f"n1 {'x' * 16} 2027-02-30", "line 1: expected an expiry"),
        (f"n1 {'x' * 16} 2027-1-3", "line 1: expected an expiry"),
        (f"n1 {'x' * 16} 2027-01-31T18:00", "line 1: expected an expiry"),
        (f"n1 {'x' * 16} 9999-12-31", "line 1: expected an expiry"),
        ("# nothing\n", "holds no token"),
    ],
)
def test_an_invalid_line_is_named_by_its_number(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        read_tokens_file(write(tmp_path / "tokens", text))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("expiry", "last"),
    [
        ("2027-01-31", 1801439999.0),  # the whole day
        ("2027-01-31T18:00Z", 1801418399.0),
        ("2028-02-29", 1835481599.0),
    ],
)
def test_a_token_expires(tmp_path: Path, expiry: str, last: float) -> None:
    """`last` is the last second of its life, in Unix time."""
    now, token, other = last, make_token(), make_token()
    text = f"n* {token.secret} {expiry}\nn1 {other.secret}\n"
    table = TokenTable(clock=lambda: now)
    table.replace(read_tokens_file(write(tmp_path / "tokens", text)))
    grant = table.find(token)
    assert (grant.patterns, grant.expired) == (("n*",), False)
    assert grant.digest in table.patterns_by_digest()
    now += 1
    grant = table.find(token)
    assert (grant.patterns, grant.expired) == ((), True)
    assert list(table.patterns_by_digest().values()) == [["n1"]]
    assert table.find(make_token()).expired is False


def test_a_short_token_is_refused_with_the_command_for_a_good_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"less than 16 characters.*trio_afrender token NAME"):
        read_token_file(write(tmp_path / "token", "x" * 15))
    assert read_token_file(write(tmp_path / "token", "x" * 16)) == Token("x" * 16)


def test_a_token_is_never_printed() -> None:
    token = make_token()
    assert len(token.secret) >= 43
    assert token.secret not in f"{token!r} {token} {TokenTable.single(token)!r}"
    assert make_token() != token


@pytest.mark.parametrize(
    ("patterns", "name", "allowed"),
    [
        (("*",), "n1", True),
        (("n1",), "n1", True),
        (("n1",), "N1", False),
        (("n1",), "n10", False),
        (("r[0-9]*",), "r12", True),
        (("r[0-9]*",), "ra", False),
        (("a", "b"), "b", True),
        ((), "n1", False),
    ],
)
def test_patterns_match_names(patterns: tuple[str, ...], name: str, allowed: bool) -> None:
    assert may_use(patterns, name) is allowed


def test_a_token_file_that_another_user_could_exchange_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    path = folder / "token"
    path.write_text("a-secret-of-this-test")
    path.chmod(0o600)
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=r"exchange it, because .*open can be written by others"):
        read_token_file(path)
    # A link does not hide the folder that counts, and one in a safe folder is as good as its file.
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ConfigError, match=r"exchange it, because .*open can be written by others"):
        read_token_file(tmp_path / "link")
    folder.chmod(0o755)
    assert read_token_file(tmp_path / "link") == read_token_file(path)
    (tmp_path / "way").symlink_to(folder)
    assert read_token_file(tmp_path / "way" / "token") == read_token_file(path)


def test_a_token_is_read_from_an_inherited_file(tmp_path: Path) -> None:
    path = write(tmp_path / "token", make_token().secret)
    with path.open() as file:
        assert read_token_file(Path(f"/dev/fd/{file.fileno()}")) == read_token_file(path)
