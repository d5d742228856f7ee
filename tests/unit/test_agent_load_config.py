"""The settings of an embedded agent, as the command line reads them."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from trio_afrender import ConfigError, load_config

TOKEN = "t" * 40


def test_layers(tmp_path: Path) -> None:
    site = tmp_path / "site.json"
    site.write_text('{"cgru_config": {"af_servername": "farm", "trio_afrender": {"max_tasks": 7}}}')
    environment = {"HOME": str(tmp_path), "AF_HOSTNAME": "r1", "CGRU_AF_RENDER_NICE": "3"}
    config = load_config(files=[site], environment=environment, keys={"af_serverport": "5100"})
    assert (config.server, config.name, config.nice) == ("af://farm:5100", "r1", 3)
    assert config.max_tasks == 7
    assert config.token is None


def test_the_token_is_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    keys = {"trio_afrender.token_file": str(file)}
    config = load_config(environment={"HOME": str(tmp_path)}, keys=keys)
    assert config.token is not None
    assert TOKEN not in repr(config)
    if sys.platform == "win32":  # has no modes
        return
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="token"):
        load_config(environment={"HOME": str(tmp_path)}, keys=keys)


def test_what_is_ignored_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_config(environment={"HOME": str(tmp_path), "CGRU_LOCATION": str(tmp_path / "no")})
    assert "config_default.json does not exist" in caplog.text


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"trio_afrender.max_task": "2"}, "did you mean"),
        ({"trio_afrender.max_tasks": "many"}, "many"),
        ({"trio_afrender.max_tasks": "0"}, "at least"),
    ],
)
def test_bad_values(keys: dict[str, str], problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_config(environment={"HOME": str(tmp_path)}, keys=keys)
