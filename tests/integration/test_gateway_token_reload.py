"""A gateway's tokens file that could not be read for a moment: no token stays valid for that."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from trio_afrender.config.settings import Token
from trio_afrender.errors import ConfigError
from trio_afrender.gateway import token_reload
from trio_afrender.gateway.counters import GatewayCounters
from trio_afrender.gateway.token_reload import TokenReload
from trio_afrender.transport.tokens import TokenTable, make_token, read_tokens_file


def write(path: Path, token: Token) -> None:
    path.write_text(f"* {token.secret}\n")
    set_mode(path, 0o600)


def set_mode(path: Path, mode: int) -> None:
    path.chmod(mode)


def accepts(table: TokenTable, token: Token) -> bool:
    return bool(table.find(token).patterns)


async def begin_reload(path: Path, token: Token) -> tuple[TokenReload, TokenTable, GatewayCounters]:
    """Write a tokens file, and look at it for the first time."""
    write(path, token)
    table, counters = read_tokens_file(path), GatewayCounters()
    reload = TokenReload(path, table, counters)
    await reload.check()
    return reload, table, counters


async def test_a_revocation_counts_although_no_descriptor_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, old, new = tmp_path / "tokens", make_token(), make_token()
    reload, table, counters = await begin_reload(path, old)

    def fail(path: Path) -> TokenTable:
        error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        raise ConfigError(f"token file {path}: {error.strerror}") from error

    write(path, new)
    with monkeypatch.context() as patch:
        patch.setattr(token_reload, "read_tokens_file", fail)
        for _ in range(3):
            await reload.check()
    assert accepts(table, old)
    assert caplog.text.count("the tokens that were read before stay valid") == 1
    assert counters.token_files_refused == 1
    with caplog.at_level(logging.INFO):
        await reload.check()
    assert (accepts(table, old), accepts(table, new)) == (False, True)
    assert (counters.token_files_read, counters.token_files_refused) == (1, 1)
    assert "it has changed and was read" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes of folders are Unix's")
async def test_a_file_is_read_when_its_folder_is_safe_again(tmp_path: Path) -> None:
    """The change of the folder does not show at the file."""
    path, old, new = tmp_path / "tokens", make_token(), make_token()
    reload, table, counters = await begin_reload(path, old)
    set_mode(tmp_path, 0o777)
    write(path, new)
    await reload.check()
    assert (accepts(table, old), counters.token_files_refused) == (True, 1)
    set_mode(tmp_path, 0o700)
    await reload.check()
    assert (accepts(table, old), accepts(table, new)) == (False, True)


async def test_two_changes_within_a_tick_of_the_clock_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is looked at between them, and has the same time and size after both."""
    path, old, new = tmp_path / "tokens", make_token(), make_token()
    reload, table, counters = await begin_reload(path, old)
    first, look = path.stat(), Path.stat

    def look_again(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        return first if self == path else look(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", look_again)
    write(path, new)
    for _ in range(3):
        await reload.check()
    assert (accepts(table, old), accepts(table, new)) == (False, True)
    assert counters.token_files_read == 1
