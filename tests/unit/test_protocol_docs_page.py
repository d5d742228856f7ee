"""docs/protocol.md is correct: its examples are messages, and it has every field."""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs
import pytest

from trio_afrender.protocol import json_codec, messages
from trio_afrender.protocol.json_codec import decode_from_render, decode_from_server, encode
from trio_afrender.protocol.messages import TaskStatus, Unknown

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json (render|server)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("side", "text"), EXAMPLES)
def test_an_example_is_a_message_without_unknown_fields(side: str, text: str) -> None:
    message = decode_from_render(text) if side == "render" else decode_from_server(text)
    assert not isinstance(message, Unknown)
    written = json.loads(text)
    sent = json.loads(encode(message))
    for tasks in (written.get("tasks", ()), sent.get("tasks", ())):
        for task in tasks:
            task.pop("command_task", None)  # the page shows its default, which is not encoded
    assert sent == written


def test_every_message_has_an_example() -> None:
    shown = {json.loads(text)["type"] for _, text in EXAMPLES}
    assert shown == set(json_codec._TAGS.values())


def test_every_field_and_status_is_on_the_page() -> None:
    words = set(re.findall(r"\w+", PAGE))
    for name in messages.__all__:
        cls = getattr(messages, name)
        if attrs.has(cls) and cls is not Unknown:
            missing = {field.name for field in attrs.fields(cls)} - words
            assert not missing, f"{name}: {missing}"
    assert {status.name for status in TaskStatus} <= words
    assert all(re.search(rf"\b{int(status)}\b", PAGE) for status in TaskStatus)


def test_the_limits_are_those_of_the_code() -> None:
    assert f"{json_codec.MAX_FRAME:,} bytes" in PAGE
    assert f"fewer than {json_codec.FILE_LIMIT:,} bytes" in PAGE
    assert f"{json_codec.FILES_LIMIT // 1024**2} MiB an update" in PAGE
    assert f"`{json_codec.SUBPROTOCOL}`" in PAGE
