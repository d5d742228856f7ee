"""The settings of an agent for a program that embeds it, read as the command line reads them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from trio_afrender.config import Config
from trio_afrender.config.load import load_settings, make_config
from trio_afrender.transport.tokens import read_token_file

__all__ = ("load_config",)

logger: Final = logging.getLogger(__name__)


def load_config(
    *,
    files: Sequence[Path | str] = (),
    environment: Mapping[str, str] | None = None,
    keys: Mapping[str, str] | None = None,
) -> Config:
    """Return the settings of this host: CGRU's files, then `files`, the environment, `keys`.

    `keys` are texts by key, as on the command line: ``{"trio_afrender.max_tasks": "2"}``. The token
    is read from the file that the settings name. Blocking. Logs what is ignored; raises
    `ConfigError`.
    """
    settings = load_settings(
        environment=os.environ if environment is None else environment,
        files=tuple(map(Path, files)),
        arguments=keys,
    )
    for problem in settings.problems:
        logger.warning("%s", problem)
    config = make_config(settings)
    token_file = str(settings["trio_afrender.token_file"])
    return attrs.evolve(config, token=read_token_file(Path(token_file))) if token_file else config
