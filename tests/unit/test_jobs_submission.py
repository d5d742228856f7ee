"""The message that submits a job to an afserver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trio_afrender.errors import JobError
from trio_afrender.jobs.job_file import parse_job, unwrap
from trio_afrender.jobs.submission import make_submission, prefixed


def send(job: dict[str, Any], **keywords: object) -> dict[str, Any]:
    data = {"job": job}
    spec = parse_job(data, folder=Path("/jobs"))
    names = {"user_name": "me", "host_name": "here", **keywords}
    sent: dict[str, Any] = make_submission(unwrap(data), spec, **names)["job"]  # type: ignore[arg-type] # keywords are the function's own
    return sent


def block(raw: dict[str, Any], **keywords: object) -> dict[str, Any]:
    sent: dict[str, Any] = send({"name": "j", "blocks": [raw]}, **keywords)["blocks"][0]
    return sent


def test_keys_that_only_a_server_knows_are_sent_unchanged() -> None:
    sent = send(
        {
            "branch": "/a",
            "offline": True,
            "pools": {"/": 5},
            "blocks": [{"tasks": [{"x": 1}], "tickets": {"L": 1}, "need_power": 3}],
        }
    )
    assert (sent["branch"], sent["offline"], sent["pools"]) == ("/a", True, {"/": 5})
    [found] = sent["blocks"]
    assert (found["tickets"], found["need_power"], found["tasks"][0]["x"]) == ({"L": 1}, 3, 1)


def test_a_job_without_names_gets_them() -> None:
    sent = send({"blocks": [{"tasks": [{}]}]})
    assert (sent["name"], sent["user_name"], sent["host_name"]) == ("job", "me", "here")
    assert send({"user_name": "ann", "blocks": [{"tasks": [{}]}]})["user_name"] == "ann"


@pytest.mark.parametrize("name", ["n" * 240, "\u00e4" * 120])
def test_a_name_that_would_end_an_afserver_is_refused(name: str) -> None:
    """Its folder could not be made: tried with afserver 3.4.1."""
    blocks: list[dict[str, Any]] = [{"tasks": [{}]}]
    assert send({"name": name, "blocks": blocks})["name"] == name
    with pytest.raises(JobError, match="240 would end an afserver"):
        send({"name": f"{name}x", "blocks": blocks})
    assert send({"name": f"{name}x", "blocks": blocks}, own_farm=True)["name"] == f"{name}x"


def test_a_saved_job_is_sent_without_its_state() -> None:
    saved = {
        "id": 5, "serial": 9, "st": 16, "state": " DON", "time_creation": 1, "time_started": 2, "time_done": 3,
        "user_list_order": 0, "user_name": "joe", "host_name": "ws1", "priority": 7,
        "blocks": [
            {
                "name": "b", "flags": 1, "frame_first": 1, "frame_last": 2, "st": 16, "state": " DON", "job_id": 5,
                "block_num": 0, "tasks_num": 2, "p_percentage": 100, "srv_info": "x", "time_done": 3, "cmd_pre": "pre",
                "frames_per_task": 1, "frames_inc": 1,
            }
        ],
    }  # fmt: skip
    sent = send(saved)
    assert set(sent) == {"name", "user_name", "host_name", "priority", "blocks"}
    [found] = sent["blocks"]
    assert not {"st", "state", "job_id", "block_num", "tasks_num", "p_percentage", "srv_info"} & set(found)  # fmt: skip
    assert found["command_pre"] == "pre"


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        ({"frame_first": 1, "frame_last": 9}, {"flags": 1, "frame_first": 1, "frame_last": 9}),
        ({"numeric": True, "frame_first": 1, "frame_last": 9, "tasks": [{}]}, {"flags": 1, "tasks": None, "numeric": None}),
        ({"tasks": [{}], "non_sequential": True}, {"sequential": 0, "flags": 0}),
        ({"tasks": [{}], "tasks_max_run_time": 5}, {"task_max_run_time": 5}),
        ({"tasks": [{}], "files": "a;b"}, {"files": ["a", "b"]}),
        ({"tasks": [{}], "capacity_coeff_max": 4}, {"flags": 2, "capacity_coeff_max": 4}),
        ({"tasks": [{"files": "a;b"}]}, {"tasks": [{"name": "", "command": "", "files": ["a", "b"], "environment": {}}]}),
        ({"tasks": [{}]}, {"service": "generic", "name": "block", "capacity": None}),
    ],
)  # fmt: skip
def test_older_keys_are_sent_in_the_current_form(raw: dict[str, Any], sent: dict[str, Any]) -> None:
    found = block(raw)
    assert {key: found.get(key) for key in sent} == sent


def test_a_folder_relative_to_the_file_is_mapped_and_no_other() -> None:
    def to_server(path: str) -> str:
        return path.replace("\\", "/").replace("/jobs", "/srv")

    relative = {"tasks": [{}], "working_directory": "scene"}
    assert block(relative, to_server=to_server)["working_directory"] == "/srv/scene"
    full = {"tasks": [{}], "working_directory": "/jobs/scene"}
    assert block(full, to_server=to_server)["working_directory"] == "/jobs/scene"


def test_the_prefix_is_added_to_a_command_once() -> None:
    assert prefixed("nice ", "render") == "nice render"
    assert prefixed("nice ", "nice render") == "nice render"
    assert prefixed("nice ", "") == ""
    assert prefixed("", "render") == "render"
    listed = block({"tasks": [{"command": "one"}]}, prefix="nice ")
    assert (listed["command"], listed["tasks"][0]["command"]) == ("", "one")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({"errors_avoid_host": 128}, "blocks[0].errors_avoid_host: 128 is more than"),
        ({"need_memory": 2**31}, "blocks[0].need_memory: 2147483648 is more than"),
    ],
)
def test_numbers_that_a_server_would_read_wrongly_are_refused(
    raw: dict[str, Any], path: str
) -> None:
    with pytest.raises(JobError) as caught:
        block({"tasks": [{}], **raw})
    assert str(caught.value).startswith(path)


def test_frames_may_be_large() -> None:
    assert block({"flags": 1, "frame_first": 2**40, "frame_last": 2**40})["frame_first"] == 2**40
