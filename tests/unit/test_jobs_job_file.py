"""Afanasy's job JSON, as submitters send it and servers answer and save it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.errors import JobError
from trio_afrender.jobs.job_file import load_job, parse_job
from trio_afrender.protocol.messages import BlockFlags

JOBS = Path(__file__).parent.parent / "data" / "jobs"


def block(**fields: object) -> dict[str, object]:
    return {"name": "b", "tasks": [{"command": "x"}], **fields}


def numeric(**fields: object) -> dict[str, object]:
    return {"flags": 1, "frame_first": 1, "frame_last": 4, "command": "x", **fields}


def job(*blocks: object, **fields: object) -> dict[str, object]:
    return {"job": {"name": "j", "blocks": list(blocks), **fields}}


def test_a_submitted_job() -> None:
    spec = load_job(JOBS / "submitted.json")
    render, movie = spec.blocks
    assert (spec.name, spec.user_name, spec.priority) == ("shot_010", "joe", 50)
    assert render.numeric
    assert render.task_count == 4
    assert [render.frames(i) for i in range(4)] == [(1, 3, 3), (4, 6, 3), (7, 9, 3), (10, 10, 1)]
    assert [render.task_name(i) for i in (0, 3)] == ["frame 1-3", "frame 10"]
    assert render.environment == {"PROJECT": "demo", "EMPTY": ""}
    assert render.errors_retries == 1
    assert not movie.numeric
    assert [task.name for task in movie.tasks] == ["preview", "master"]
    assert movie.tasks[0].environment == {"Q": "1"}
    assert movie.depend_mask == "render"
    assert spec.unhonoured == ()
    assert spec.notes == ()


def test_a_job_in_the_answer_of_a_server() -> None:
    spec = load_job(JOBS / "answered.json")
    (listed,) = spec.blocks
    assert spec.name == "saved"
    assert [listed.task_name(i) for i in range(2)] == ["part a", "part b"]
    assert listed.tasks[1].command == "echo 'two\ttabs'"
    assert listed.custom_data == '{"k": 1}'
    assert listed.frames_inc == 1
    assert listed.needs.need_memory == 1024
    assert spec.unhonoured == ()


def test_a_job_of_an_older_version() -> None:
    frames, bare = load_job(JOBS / "old.json").blocks
    assert frames.numeric
    assert frames.sequential == 0
    assert frames.files == ("a.@##@.exr", "b.@##@.exr")
    assert frames.task_max_run_time == 600
    assert frames.task_name(0) == "frame -2"
    assert bare.numeric
    assert bare.task_count == 2


def test_tasks_that_the_server_stores_in_another_file() -> None:
    with pytest.raises(JobError, match=r"blocks\[0\]\.tasks: missing: the server stores them"):
        load_job(JOBS / "stored.json")


def test_fields_without_effect_are_listed() -> None:
    spec = load_job(JOBS / "unhonoured.json")
    assert spec.unhonoured == (
        "pools",
        "command_post",
        "blocks[0].tickets",
        "blocks[0].flags (MULTIHOST)",
        "blocks[0].flags (DEPENDSUBTASK)",
        "blocks[0].tasks",
        "blocks[1].tasks[].depend_mask",
    )
    assert spec.notes == ('blocks[0].depend_mask: "nothing_of_the_kind" matches no other block',)
    assert (spec.needs.max_running_tasks, spec.needs.need_os) == (20, "linux")
    assert spec.time_wait == 10
    assert (spec.offline, spec.time_life, spec.needs.need_properties) == (True, 3600, "cuda")
    assert spec.blocks[0].needs.need_power == 10


def test_a_job_without_a_user_to_steer_it() -> None:
    spec = load_job(JOBS / "unhonoured.json")
    alone = spec.unattended()
    off = ("offline", "time_life", "need_properties", "blocks[0].need_power")
    assert alone.unhonoured == (*off[:2], *spec.unhonoured, *off[2:])
    assert (alone.offline, alone.time_life, alone.time_wait) == (False, -1, 10)
    assert alone.needs.need_properties == ""
    assert alone.blocks[0].needs.need_power == -1
    assert alone.unattended() == alone
    never = parse_job(job(block(), priority=0, max_tasks_per_second=0)).unattended()
    assert never.unhonoured == ("priority", "max_tasks_per_second")
    assert (never.priority, never.needs.max_tasks_per_second) == (99, -1)


def test_a_job_for_renders_of_one_capacity() -> None:
    blocks = [block(), block(capacity=5000), block(capacity=500, capacity_coeff_min=3)]
    spec = parse_job(job(*blocks)).within(1100)
    assert [(each.capacity, each.capacity_coeff_min) for each in spec.blocks] == [
        (1000, 0),
        (1100, 0),
        (1100, 0),
    ]
    assert [note.partition(":")[0] for note in spec.notes] == [
        "blocks[1].capacity",
        "blocks[2].capacity",
    ]


def test_texts_and_flags_of_a_job() -> None:
    texts = {"annotation": "a", "description": "d", "custom_data": "{}", "srv_info": "s"}
    texts |= {"project": "p", "department": "e", "host_name": "w1"}
    flags = {"hidden": True, "ppa": True, "maintenance": True}
    given = {**texts, **flags, "ignorenimby": True, "ignorepaused": True}
    spec = parse_job(job(block(srv_info="w2"), **given, folders={"output": "/out"}))
    assert {name: getattr(spec, name) for name in texts} == texts
    assert {name: getattr(spec, name) for name in flags} == flags
    assert (spec.ignore_nimby, spec.ignore_paused) == (True, True)
    assert spec.folders == {"output": "/out"}
    assert spec.blocks[0].srv_info == "w2"
    assert spec.unhonoured == ()


def test_the_language_of_masks() -> None:
    default = parse_job(job(block(hosts_mask="a.*")))
    assert default.hosts_mask_type == "regex"
    wire = parse_job(job(block(hosts_mask="(")), hosts_mask_type="find")
    assert (wire.hosts_mask_type, wire.blocks[0].needs.hosts_mask) == ("find", "(")
    given = parse_job(job(block(need_os="("), hosts_mask_type="find"))
    assert given.hosts_mask_type == "find"
    with pytest.raises(JobError, match=r"need_os: not a regular"):
        parse_job(job(block(need_os="("), hosts_mask_type="regex"), hosts_mask_type="find")
    with pytest.raises(JobError, match='hosts_mask_type: expected "regex" or "find", found "glob"'):
        parse_job(job(block(), hosts_mask_type="glob"))


@pytest.mark.parametrize(
    ("data", "path", "problem"),
    [
        ([], "", "not a job: expected an object"),
        ({}, "job", "missing"),
        ({"job": 3}, "job", "expected an object, found 3"),
        ({"jobs": []}, "jobs", "expected a list of one job, found 0"),
        ({"jobs": [{}, {}]}, "jobs", "found 2"),
        ({"job": {}}, "blocks", "missing"),
        (job(), "blocks", "empty"),
        ({"job": {"blocks": {}}}, "blocks", "expected a list, found {}"),
        (job(7), "blocks[0]", "expected an object, found 7"),
        (job(block(), name=3), "name", "expected a text, found 3"),
        (job(block(), priority="high"), "priority", 'expected an integer, found "high"'),
        (
            job(block(), user_name="a\x1b[31m"),
            "user_name",
            "expected 1 to 255 printable characters",
        ),
        (job(block(), user_name="a" * 256), "user_name", "expected 1 to 255 printable characters"),
        (job(block(), offline=1), "offline", "expected true or false, found 1"),
        (job(block(), folders={"output": 1}), "folders.output", "expected a text, found 1"),
        (job(block(), tickets=1, pools="x"), None, ""),
        (job(block(), ignorenimby=1), "ignorenimby", "expected true or false, found 1"),
        (
            job(block(), numeric(frames_per_task="abc")),
            "blocks[1].frames_per_task",
            'expected an integer, found "abc"',
        ),
        (job(numeric(frames_per_task=2.0)), "blocks[0].frames_per_task", "found 2.0"),
        (job(numeric(frames_per_task=True)), "blocks[0].frames_per_task", "found true"),
        (job(numeric(frames_per_task=None)), "blocks[0].frames_per_task", "found null"),
        (job(numeric(frames_per_task=0)), "blocks[0].frames_per_task", "1 or more, found 0"),
        (job(numeric(frames_inc=0)), "blocks[0].frames_inc", "expected 1 or more, found 0"),
        (job(numeric(frame_last=0)), "blocks[0].frame_last", "0 is before frame_first, 1"),
        (job(numeric(frame_last=10**30)), "blocks[0].frame_last", "too large"),
        (job(numeric(frame_last=10**9)), "blocks", "1,000,000,000 tasks, more than 200,000"),
        (job({"flags": 1, "frame_first": 1}), "blocks[0].frame_last", "missing"),
        (job({"command": "x"}), "blocks[0].tasks", "missing: a block needs tasks, or frame_first"),
        (job(block(tasks=[])), "blocks[0].tasks", "empty"),
        (job(block(tasks={})), "blocks[0].tasks", "expected a list"),
        (job(block(tasks=["x"])), "blocks[0].tasks[0]", "expected an object"),
        (job(block(tasks=[{"command": 1}])), "blocks[0].tasks[0].command", "expected a text"),
        (job(block(files=["a", 2])), "blocks[0].files[1]", "expected a text, found 2"),
        (job(block(environment=[])), "blocks[0].environment", "expected an object"),
        (job(block(environment={"A": 1})), "blocks[0].environment.A", "expected a text, found 1"),
        (job(block(command="a\0b")), "blocks[0].command", "NUL"),
        (job(block(flags=-1)), "blocks[0].flags", "expected bits, found -1"),
        (job(block(hosts_mask="(")), "blocks[0].hosts_mask", "not a regular expression"),
        (job(block(), depend_mask="*"), "depend_mask", "not a regular expression"),
        (job(block(command="x" * 3_000_000)), "blocks[0]", "more than fit into one message"),
        (
            job(block(tasks=[{"command": "x"}, {"command": "é" * 500_000}])),
            "blocks[0].tasks[1]",
            "too large for one message",
        ),
        (
            job(block(name="a", depend_mask="b"), block(name="b", tasks_depend_mask="a")),
            "blocks[0].depend_mask",
            'blocks wait for each other: "a" -> "b" -> "a"',
        ),
    ],
)
def test_an_error_names_the_path(data: object, path: str | None, problem: str) -> None:
    if path is None:  # The type of a field without effect is not checked.
        assert parse_job(data).unhonoured == ("pools",)
        return
    with pytest.raises(JobError) as caught:
        parse_job(data)
    assert caught.value.path == path
    assert problem in str(caught.value)


def test_an_empty_command_is_valid() -> None:
    spec = parse_job(job(numeric(command=""), block(tasks=[{}])))
    assert [b.command for b in spec.blocks] == ["", ""]
    assert spec.blocks[1].task_name(0) == "task 0"


def test_a_block_never_depends_on_itself() -> None:
    spec = parse_job(job(block(name="a"), block(name="b", depend_mask=".*")))
    assert spec.notes == ()


def test_frames_of_a_list() -> None:
    several = parse_job(job(block(tasks=[{}] * 3, frames_per_task=2))).blocks[0]
    assert [several.frames(i) for i in range(3)] == [(0, 1, 2), (2, 3, 2), (4, 5, 2)]
    parts = parse_job(job(block(tasks=[{}] * 4, frames_per_task=-2))).blocks[0]
    assert [parts.frames(i) for i in range(4)] == [(0, 0, -2), (0, 0, -2), (1, 1, -2), (1, 1, -2)]
    assert parse_job(job(block(frames_per_task=0))).blocks[0].frames_per_task == 1


def test_variable_capacity_needs_no_flag() -> None:
    spec = parse_job(job(block(capacity_coeff_min=1, capacity_coeff_max=4, capacity=-5)))
    assert spec.blocks[0].flags == BlockFlags.VARCAPACITY
    assert spec.blocks[0].capacity == 1


def test_relative_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    names = ["scenes", ".", "/abs", "C:/x", "C:x", r"\\host\share", "//host/share", "~/x", "$P", ""]
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job(*(block(working_directory=name) for name in names))))
    found = [b.working_directory for b in load_job(path).blocks]
    assert found == [str(tmp_path / "scenes"), str(tmp_path), *names[2:]]
    assert parse_job(job(block(working_directory="x"))).blocks[0].working_directory == "x"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "not JSON"),
        (b'{"job":\n {"name" "x"}}', "(line 2, column 10)"),
        (b'{"job": {"priority": NaN}}', "NaN is not a JSON number"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"job": {"priority": ' + b"9" * 5000 + b"}}", "not JSON"),
        (b"\x00\x01", "not JSON"),
        (b'{"job": {"name": "a", "name": "b"}}', 'the key "name" stands twice in an object'),
    ],
)
def test_files_that_are_not_json(tmp_path: Path, raw: bytes, problem: str) -> None:
    path = tmp_path / "job.json"
    path.write_bytes(raw)
    with pytest.raises(JobError) as caught:
        load_job(path)
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)


def test_files_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="No such file"):
        load_job(tmp_path / "none.json")
    with pytest.raises(JobError, match=r"Is a directory|Permission denied"):
        load_job(tmp_path)


def test_bytes_as_servers_write_them(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_bytes(b'\xef\xbb\xbf{"job":{"name":"a\tb\xff","blocks":[{"tasks":[{}]}]}}')
    assert load_job(path).name == "a\tb\udcff"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
KEYS = [
    "name", "command", "flags", "tasks", "files", "environment", "frame_first", "frame_last",
    "frames_per_task", "frames_inc", "depend_mask", "capacity", "sequential", "tasks_num",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), json_values), st.dictionaries(st.text(), json_values))
def test_any_json_is_read_or_refused(fields: dict[str, object], top: dict[str, object]) -> None:
    try:
        spec = parse_job({"job": {**top, "blocks": [fields]}})
    except JobError:
        return
    assert spec.blocks[0].task_count > 0
    assert spec.blocks[0].task_name(spec.blocks[0].task_count - 1)
