"""JSON answers of an afserver that are broken or of another form than expected."""

from __future__ import annotations

import pytest

from trio_afrender.afserver.link_state import Identity
from trio_afrender.afserver.server_view import read_server_view

HEAD = b'{"renders":[\n{"name":"n1",\n"id":3,\n"st":1,\n"tasks":[{"name":"a"b"}]}]}'


def test_broken_json_is_parsed_up_to_the_tasks() -> None:
    found = read_server_view(HEAD)
    assert found is not None
    (view,) = found
    assert (view.id, view.name, view.online, view.tasks) == (3, "n1", True, None)


@pytest.mark.parametrize(
    "answer",
    [
        b"[" * 5000,
        b'{"a":' * 5000,
        HEAD.replace(b'"id":3', b'"id":' + b"9" * 5000),
        b'{"renders":3}',
    ],
)
def test_another_answer_is_no_list_of_renders(answer: bytes) -> None:
    assert read_server_view(answer) is None


def test_an_unreadable_identity_becomes_a_blank_one() -> None:
    blank = Identity(server="af://s", name="n1")
    for text in ("", "[" * 5000, '{"id": ' + "9" * 5000, "null", '{"id": true}'):
        assert Identity.read(text, server="af://s", name="n1") == blank
