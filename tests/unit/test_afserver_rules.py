"""The rules of the link to an afserver: settings, polling, the server's view, identity, messages."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_afrender.afserver.link_state import Identity, LinkState
from trio_afrender.afserver.pacing import NEVER, PollSchedule, resolve
from trio_afrender.afserver.run_ids import RunIds
from trio_afrender.afserver.server_view import (
    RegistrationStatus,
    ServerView,
    ask_by_id,
    ask_by_name,
    check_registration,
    find,
    make_action,
    read_server_view,
)
from trio_afrender.afserver.task_updates import (
    give_back,
    make_heartbeat,
    make_register,
    make_update,
)
from trio_afrender.config import Timing
from trio_afrender.protocol.afanasy import RenderEvents, RenderUpdate, decode, encode
from trio_afrender.protocol.afanasy.clamp import encode_fitted, fit, strip_json_breakers
from trio_afrender.protocol.messages import (
    AskedOutput,
    FilesEntry,
    HostResources,
    ListenedEntry,
    LogEntry,
    NetIF,
    Register,
    TaskExec,
    TaskFile,
    TaskKey,
    TaskStatus,
    TaskUpdate,
    Update,
)

KEY = TaskKey(2, 0, 7)
TASK = TaskExec(run="r1", **KEY._asdict(), time_start=1000)

# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "heartbeat", "period", "zombie", "no_task"),
    [(0, 0, 0, 0, 0), (-1, 2.0, 7, 20.0, NEVER), (30, 30.0, 30, 30.0, 30.0)],
)
def test_a_setting_is_a_number_the_default_or_unchanged(
    number: int, heartbeat: float, period: int, zombie: float, no_task: float
) -> None:
    answer = RenderEvents(
        id=3,
        heartbeat_sec=number,
        resources_update_period=number,
        zombie_time=number,
        exit_no_task_time=number,
    )
    assert resolve(answer, Timing(heartbeat=2.0, resources_period=7, zombie=20.0)) == {
        "heartbeat_sec": heartbeat,
        "resources_update_period": period,
        "zombie_time": zombie,
        "exit_no_task_time": no_task,
    }


@pytest.mark.parametrize("number", [0, -1, -2, -(2**31)])
def test_settings_without_a_valid_id_are_ignored(number: int) -> None:
    answer = RenderEvents(id=number, heartbeat_sec=32745, zombie_time=-1, exit_no_task_time=51)
    assert not any(resolve(answer, Timing()).values())


def test_a_setting_is_at_most_a_day() -> None:
    answer = RenderEvents(id=1, heartbeat_sec=2**31 - 1)
    assert resolve(answer, Timing())["heartbeat_sec"] == 86_400


# -- polling -------------------------------------------------------------------------------------


def test_the_next_exchange_is_one_heartbeat_later() -> None:
    pace = PollSchedule(heartbeat=2.0, zombie=16.0)
    pace.exchanged(10.0)
    assert pace.next == 12.0


def test_the_interval_is_at_most_a_quarter_of_the_zombie_time() -> None:
    pace = PollSchedule(heartbeat=60.0, zombie=16.0)
    pace.exchanged(10.0)
    assert pace.next == 14.0


def test_after_an_outcome_the_server_is_polled_fast_for_one_cycle() -> None:
    pace = PollSchedule(heartbeat=1.0, zombie=16.0)
    pace.exchanged(10.0)
    pace.ended(10.0)
    times = [10.0]
    while pace.next < 14.0:
        times.append(pace.next)
        pace.exchanged(pace.next)
    assert len([at for at in times if at < 11.2]) >= 11
    assert [round(b - a, 6) for a, b in zip(times[-2:], [*times[-1:], pace.next], strict=True)] == [
        1.0,
        1.0,
    ]


def test_a_new_task_ends_the_fast_polling() -> None:
    pace = PollSchedule(heartbeat=1.0, zombie=16.0)
    pace.ended(10.0)
    pace.begun()
    pace.exchanged(10.1)
    assert pace.next == 11.1


# -- the server's view ---------------------------------------------------------------------------

RENDER = """{"renders":[
{"tasks_percents":[
-1
],"name":"n1",
"id":5,
"st":9,
"time_launch":1000,
"tasks":[{"name":"frame 1","service":"generic","time_start":1700,"job_id":2,"block_num":0,"task_num":7}],
"hw_info":"tab	inside"}]}"""


def test_a_view_is_parsed_leniently() -> None:
    views = read_server_view(RENDER.encode())
    assert views == (ServerView(id=5, name="n1", online=True, time_launch=1000, tasks={KEY: 1700}),)


def test_bytes_that_are_not_utf8_spoil_nothing() -> None:
    views = read_server_view(RENDER.encode().replace(b"frame 1", b"\xff\xfe"))
    assert views is not None
    assert views[0].tasks == {KEY: 1700}


def test_a_task_name_that_breaks_the_json_spoils_only_the_tasks() -> None:
    """The server does not escape the name."""
    views = read_server_view(RENDER.encode().replace(b"frame 1", b'the "big" one'))
    assert views == (ServerView(id=5, name="n1", online=True, time_launch=1000, tasks=None),)


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"7", b'{"info":{"kind":"error","text":"Invalid ID"}}', b'{"renders":7}',
     b'{"renders": "tasks":[', b'{"renders":[{"id":1', b"\xff\xff"],
)  # fmt: skip
def test_another_answer_is_no_list_of_renders(answer: bytes) -> None:
    assert read_server_view(answer) is None


def test_an_empty_list_of_renders_is_valid() -> None:
    assert read_server_view(b'{"renders":[\n\n]}') == ()


@pytest.mark.parametrize(
    "tasks",
    ["7", "[7]", "[{}]", '[{"time_start":"x","job_id":1,"block_num":0,"task_num":0}]'],
)
def test_an_unreadable_list_of_tasks_is_unknown_not_empty(tasks: str) -> None:
    text = f'{{"renders":[{{"id":1,"name":"n1","st":1,"tasks":{tasks}}}]}}'
    views = read_server_view(text.encode())
    assert views is not None
    assert views[0].tasks is None


@given(st.binary(max_size=80))
def test_any_answer_can_be_parsed(answer: bytes) -> None:
    read_server_view(answer)
    read_server_view(b'{"renders":[' + answer + b"]}")


@pytest.mark.parametrize(
    ("view", "number", "launched", "status"),
    [
        (None, 5, 1000, RegistrationStatus.UNKNOWN),
        (ServerView(id=5, name="n1", online=False), 5, 1000, RegistrationStatus.OFFLINE),
        (
            ServerView(id=5, name="n1", online=True, time_launch=1000),
            5,
            1000,
            RegistrationStatus.OURS,
        ),
        (
            ServerView(id=5, name="n1", online=True, time_launch=1001),
            5,
            1000,
            RegistrationStatus.TAKEN,
        ),
        (
            ServerView(id=6, name="n1", online=True, time_launch=1000),
            5,
            1000,
            RegistrationStatus.TAKEN,
        ),
        # The answer to the register was lost, so the id is not known yet.
        (
            ServerView(id=6, name="n1", online=True, time_launch=1000),
            0,
            1000,
            RegistrationStatus.OURS,
        ),
        # This render has never registered.
        (ServerView(id=6, name="n1", online=True, time_launch=0), 0, 0, RegistrationStatus.TAKEN),
    ],
)
def test_a_render_is_recognized_by_name_id_and_launch_time(
    view: ServerView | None, number: int, launched: int, status: RegistrationStatus
) -> None:
    assert check_registration(view, number, launched) is status


def test_a_longer_name_is_another_render() -> None:
    """The server answers with all renders whose names contain the requested one."""
    views = (ServerView(id=1, name="n10", online=True), ServerView(id=2, name="n1", online=True))
    found = find(views, "n1")
    assert found is not None
    assert found.id == 2
    assert find(views, "n") is None


def test_requests_and_actions() -> None:
    assert json.loads(ask_by_id(5).body) == {"get": {"type": "renders", "ids": [5]}}
    assert json.loads(ask_by_name("n1").body) == {"get": {"type": "renders", "mask": "n1"}}
    action = json.loads(make_action(5, {"paused": True}, user="", host="").body)["action"]
    assert action == {
        "user_name": "render",  # The server refuses an empty one.
        "host_name": "render",
        "type": "renders",
        "ids": [5],
        "params": {"paused": True},
    }


# -- identity ------------------------------------------------------------------------------------


def test_an_identity_is_read_as_it_was_written() -> None:
    identity = Identity(server="af://farm:51000", name="n1", id=5, time_launch=1000, paused=True)
    assert Identity.read(identity.write(), server="af://farm:51000", name="n1") == identity


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"id": 5}', "\0",
     Identity(server="af://other:51000", name="n1", id=5).write(),
     Identity(server="af://farm:51000", name="n2", id=5).write(),
     json.dumps({"server": "af://farm:51000", "name": "n1", "id": "5", "time_launch": 0, "paused": 0})],
)  # fmt: skip
def test_another_identity_becomes_a_blank_one(text: str) -> None:
    blank = Identity(server="af://farm:51000", name="n1")
    assert Identity.read(text, server=blank.server, name=blank.name) == blank


# -- messages to the server ----------------------------------------------------------------------


def make_runs(*running: TaskExec) -> RunIds:
    runs = RunIds(lambda task: f"new-{task.task}")
    runs.take(Register(name="n1", running=running))
    return runs


def make_task_update(status: TaskStatus = TaskStatus.Percent, **fields: object) -> TaskUpdate:
    update = TaskUpdate(run="r1", **KEY._asdict(), status=status)
    return attrs.evolve(update, **fields)  # type: ignore[arg-type]  # each test says which


def make_message(update: Update, state: LinkState | None = None) -> RenderUpdate:
    message = make_update(5, update, make_runs(TASK), state or LinkState())
    assert decode(encode(message)) == message
    return message


def test_everything_about_a_task_goes_into_one_task_up() -> None:
    message = make_message(
        Update(
            seq=1,
            tasks=(
                make_task_update(TaskStatus.FinishedError, output="out\udcff", percent=50, frame=7),
            ),
            log=(LogEntry(run="r1", n=1, text="a\n"), LogEntry(run="r1", n=2, text="b\n")),
            listened=(ListenedEntry(run="r1", n=3, text="listened"),),
            files=(FilesEntry(run="r1", n=4, files=(TaskFile(name="t.jpg", data=b"x"),)),),
        )
    )
    (up,) = message.taskups
    assert (up.client_id, up.key, up.status, up.percent, up.frame) == (5, KEY, 6, 50, 7)
    assert (up.log, up.listened, up.data) == ("a\nb\n", "listened", b"out\xff")
    assert up.files == (TaskFile(name="t.jpg", data=b"x"),)


def test_a_log_without_progress_carries_the_last_progress() -> None:
    state = LinkState()
    make_message(Update(seq=1, tasks=(make_task_update(percent=40),)), state)
    (up,) = make_message(Update(seq=2, log=(LogEntry(run="r1", n=1, text="a"),)), state).taskups
    assert (up.status, up.percent, up.log) == (3, 40, "a")


def test_a_log_before_any_progress_has_the_status_started() -> None:
    (up,) = make_message(Update(seq=1, log=(LogEntry(run="r1", n=1, text="a"),))).taskups
    assert up.status == TaskStatus.Started


def test_a_closed_run_is_left_out() -> None:
    other = attrs.evolve(make_task_update(), run="gone")
    message = make_message(
        Update(seq=1, tasks=(other,), log=(LogEntry(run="gone", n=1, text="a"),))
    )
    assert message.taskups == ()


@pytest.mark.parametrize("status", list(TaskStatus))
def test_statuses_for_the_servers_own_use_are_replaced(status: TaskStatus) -> None:
    (up,) = make_message(Update(seq=1, tasks=(make_task_update(status),))).taskups
    own_use = {14, 16}  # The server sets these itself. A give-back is 15.
    assert up.status == (15 if status in own_use else status)


def test_an_asked_output_is_never_empty() -> None:
    asked = AskedOutput(run="x", job=9, block=0, task=0, output="")
    (output,) = make_message(Update(seq=1, outputs=(asked,))).outputs
    assert (output.key, output.text) == (TaskKey(9, 0, 0), "\n")


def test_texts_that_would_break_the_servers_json_are_cleaned() -> None:
    (up,) = make_message(
        Update(seq=1, tasks=(make_task_update(activity='"a"\n', resources="b\\"),))
    ).taskups
    assert (up.activity, up.resources) == ("'a' ", "b/")


def test_percents_are_limited_to_a_hundred() -> None:
    (up,) = make_message(
        Update(seq=1, tasks=(make_task_update(percent=700, percentframe=-3),))
    ).taskups
    assert (up.percent, up.percentframe) == (100, 0)


def test_a_heartbeat_repeats_progress_and_unclosed_outcomes() -> None:
    state, runs = LinkState(), make_runs(TASK, attrs.evolve(TASK, run="r2", task=8))
    make_update(5, Update(seq=1, tasks=(make_task_update(percent=40),)), runs, state)
    outcome = make_update(
        5,
        Update(
            seq=2,
            tasks=(attrs.evolve(make_task_update(TaskStatus.FinishedSuccess), run="r2", task=8),),
        ),
        runs,
        state,
    ).taskups
    heartbeat = make_heartbeat(6, runs, state, outcome, [up.key for up in outcome])
    assert [(up.client_id, up.task, up.status) for up in heartbeat.taskups] == [
        (6, 8, 5),
        (6, 7, 3),
    ]
    assert heartbeat.taskups[1].percent == 40


def test_a_heartbeat_contains_runs_without_progress() -> None:
    """Their numbers are those that the server has at a start."""
    (up,) = make_heartbeat(6, make_runs(TASK), LinkState(), (), ()).taskups
    assert (up.status, up.percent, up.frame, up.percentframe) == (3, -1, -1, -1)


def test_a_warning_is_sent_once() -> None:
    """For a job that is gone the server closes plain progress alone."""
    state, runs = LinkState(), make_runs(TASK)
    make_update(5, Update(seq=1, tasks=(make_task_update(TaskStatus.Warning),)), runs, state)
    assert [up.status for up in make_heartbeat(6, runs, state, (), ()).taskups] == [3]


def test_a_give_back_has_no_contents() -> None:
    (up,) = give_back(5, {KEY: TaskStatus.GiveBack})
    assert (up.client_id, up.key, up.status, up.log, up.data) == (5, KEY, 15, "", b"")


# -- a register ----------------------------------------------------------------------------------


def test_interfaces_that_can_wake_a_host_are_listed() -> None:
    netifs = (
        NetIF(name="lo", mac="00:00:00:00:00:00", addresses=("127.0.0.1",)),
        NetIF(name="eth0", mac="02:FC:00:00:00:01", addresses=("10.1.4.27", "fe80::1%eth0", "x")),
        NetIF(name="tun0"),
        NetIF(name="odd", mac="zz:fc:00:00:00:01"),
    )
    made = make_register(Register(name="n1", netifs=netifs), ())
    (netif,) = made.netifs
    assert (netif.name, netif.mac.hex()) == ("eth0", "02fc00000001")
    assert [(a.family, a.packed.hex()) for a in netif.addresses] == [
        (0, "0a01041b" + "00" * 12),
        (1, "fe80000000000000" + "0000000000000001"),
    ]


def test_at_most_127_interfaces_are_listed() -> None:
    netifs = tuple(NetIF(name=f"e{n}", mac=f"02:00:00:00:00:{n:02x}") for n in range(200))
    made = make_register(Register(name="n1", netifs=netifs), ())
    assert len(made.netifs) == 127
    encode(made)


def test_tasks_are_listed_as_they_were_received() -> None:
    task = attrs.evolve(TASK, environment={"b": "2", "a": "\udcff"}, data_strings={"x": '"'})
    (made,) = make_register(Register(name="n1"), (task,)).tasks
    assert made == task


# -- values that do not fit ----------------------------------------------------------------------


def test_figures_out_of_range_are_clamped() -> None:
    wild = HostResources(
        cpu_num=2**40, cpu_loadavg=(-1, 256, 7), cpu_user=300, hdd_busy=200, gpu_gpu_temp=-200
    )
    message = RenderUpdate(id=1, resources=wild)
    fitted = decode(encode_fitted(message))
    assert isinstance(fitted, RenderUpdate)
    assert fitted.resources is not None
    assert fitted.resources.cpu_num == 2**31 - 1
    assert fitted.resources.cpu_loadavg == (0, 255, 7)
    assert (fitted.resources.cpu_user, fitted.resources.hdd_busy) == (255, 127)
    assert fitted.resources.gpu_gpu_temp == -128


def test_values_in_range_are_unchanged() -> None:
    message = RenderUpdate(id=1, resources=HostResources(hw_info="a\udcffb\0c"))
    assert fit(message) == message
    assert encode_fitted(message) == encode(message)


def test_half_a_surrogate_is_replaced() -> None:
    message = make_message(Update(seq=1, tasks=(make_task_update(),)))
    odd = attrs.evolve(message, taskups=(attrs.evolve(message.taskups[0], report="a\ud800b"),))
    fitted = decode(encode_fitted(odd))
    assert isinstance(fitted, RenderUpdate)
    assert fitted.taskups[0].report == "a\ufffdb"


@given(st.text())
def test_a_cleaned_text_is_one_json_string(text: str) -> None:
    assert json.loads(f'"{strip_json_breakers(text)}"') == strip_json_breakers(text)
    assert len(strip_json_breakers(text)) == len(text)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), None])
async def test_an_identity_that_could_not_be_stored_is_stored_the_next_time(
    error: OSError | None, autojump_clock: MockClock
) -> None:
    """None: the attempt was cancelled, as a gateway does after a while."""
    stored: list[str] = []
    failing = True

    async def save(text: str) -> None:
        await trio.lowlevel.checkpoint()
        if failing and error is not None:
            raise error
        if failing:
            await trio.sleep_forever()
        stored.append(text)

    state = LinkState(identity=Identity(server="af://farm:51000", name="n1"), save=save)
    with trio.move_on_after(1):
        await state.save_identity(id=7, paused=True)
    failing = False
    for _ in range(2):
        await state.save_identity(id=7, paused=True)
    assert stored == [state.identity.write()]
    await state.save_identity(paused=False)
    assert len(stored) == 2
