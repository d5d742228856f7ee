"""The tables of settings in docs/command-line.md are those that the declarations give."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from support.settings_tables import PAGE, make_table

from trio_afrender.config.settings import CGRU, OURS, SettingSpec


@pytest.mark.parametrize("specs", [CGRU, OURS])
def test_the_page_has_the_table_of_the_declarations(specs: Mapping[str, SettingSpec]) -> None:
    assert make_table(specs.values()) in PAGE.read_text()
