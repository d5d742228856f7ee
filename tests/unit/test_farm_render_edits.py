"""Parameters and operations of renders and of the pool: effects, refusals, logs, restarts."""

from __future__ import annotations

import json
import re

import attrs
import cattrs
import pytest
from support.farm import FakeRender, FarmHarness, listed

from trio_afrender.errors import EditRefused
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.render_edits import (
    StoredRender,
    edit_pool,
    edit_render,
    operate_render,
    restore_pool,
    restore_render,
    store_render,
)
from trio_afrender.farm.render_parameters import PoolParameters, RenderOverrides
from trio_afrender.farm.render_states import RenderBit
from trio_afrender.protocol.messages import NetIF, TaskStatus
from trio_afrender.text import show_json

ANN = Actor(user_name="ann", host_name="ws1", address="127.0.0.1")
ADMIN = Actor(user_name="root", host_name="ws1", admin=True)
NETIFS = (NetIF(name="eth0", mac="02:00:00:00:00:01"), NetIF(name="eth1", mac="02:00:00:00:00:02"))


def edit(render: FakeRender, actor: Actor = ANN, /, **params: object) -> None:
    farm = render.farm
    edit_render(farm.state, render.state, params, actor, farm.now)
    farm.assign()


def operate(render: FakeRender, kind: str, actor: Actor = ANN, /, **values: object) -> str:
    farm = render.farm
    answer = operate_render(farm.state, render.state, {"type": kind, **values}, actor, farm.now)
    farm.assign()
    return answer


def own_render(farm: FarmHarness, name: str = "a", **fields: object) -> FakeRender:
    return farm.render(name, user_name="ann", netifs=NETIFS, **fields)


# Parameters


@pytest.mark.parametrize(
    ("key", "value", "effective"),
    [
        ("priority", 7, {"priority": 7}),
        ("capacity_host", 3000, {"capacity": 3000}),
        ("max_tasks_host", 2, {"max_tasks": 2}),
        ("power_host", 9, {"power": 9}),
        ("properties_host", "fast ssd", {"properties": "fast ssd"}),
        ("services", ["nuke", "nuke", "blender"], {"services": ("nuke", "blender")}),
        ("services_disabled", ["nuke"], {"services_disabled": ("nuke",)}),
        ("annotation", "hello", {}),
        ("custom_data", "x", {}),
        ("hidden", True, {}),
    ],
)
def test_parameters_take_effect(key: str, value: object, effective: dict[str, object]) -> None:
    farm = FarmHarness()
    render = own_render(farm)
    edit(render, **{key: value})
    for name, expected in effective.items():
        assert getattr(render.state.effective, name) == expected
    kept = getattr(render.state.overrides, key)
    assert list(kept) == list(dict.fromkeys(value)) if isinstance(value, list) else kept == value
    assert render.state.node_log.lines[-1].endswith(
        f'ann@ws1 127.0.0.1: renders params: a: "{key}" set to {show_json(kept)}'
    )


def test_a_new_limit_counts_for_the_next_task() -> None:
    farm = FarmHarness()
    farm.job(listed(9, capacity=500))
    render = own_render(farm, max_tasks=1)
    assert len(render.take()) == 1
    edit(render, max_tasks_host=3)
    assert len(render.take()) == 1, "its capacity is 1000"
    edit(render, capacity_host=5000)
    (task,) = render.take()
    assert task.data_integers["render_capacity_total"] == 5000
    assert RenderBit.DRT in render.state.bits
    edit(render, capacity_host=-1, max_tasks_host=-1)
    assert RenderBit.DRT not in render.state.bits
    assert render.state.effective.capacity == 1000


def test_an_empty_list_of_services_means_all() -> None:
    farm = FarmHarness()
    farm.job(listed(2, service="nuke"))
    render = own_render(farm, services=("blender",))
    assert not render.take()
    edit(render, services=[])
    assert len(render.take()) == 2


def test_services_from_the_render_up_to_the_pool() -> None:
    farm = FarmHarness()
    render = own_render(farm)

    def offers(service: str) -> bool:
        return render.state.effective.offers(service)

    assert offers("nuke")
    edit_pool(farm.state, {"services": ["nuke"]}, ADMIN, 0.0)
    assert offers("nuke")
    assert not offers("blender"), "a level lists services, and none lists this one"
    edit(render, services=["blender"])
    assert offers("blender")
    assert offers("nuke")
    edit(render, services_disabled=["nuke"])
    assert not offers("nuke"), "the render comes before the pool"
    edit_pool(farm.state, {"services_disabled": ["blender"]}, ADMIN, 0.0)
    assert offers("blender"), "the render comes before the pool"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"nimby": True}, " ONL NbY"),
        ({"NIMBY": True}, " ONL NBY"),
        ({"nimby": True, "NIMBY": True}, " ONL NBY"),
        ({"NIMBY": True, "nimby": True}, " ONL NbY"),
        ({"NIMBY": True, "nimby": False}, " ONL"),
        ({"paused": True}, " ONL PAU"),
    ],
)
def test_parameters_that_are_states(params: dict[str, object], words: str) -> None:
    farm = FarmHarness()
    render = own_render(farm)
    edit(render, **params)
    assert render.state.states.words == words
    edit(render, NIMBY=False, paused=False)
    assert render.state.states.words == " ONL"


def test_nimby_of_a_render_lets_its_owner_in() -> None:
    farm = FarmHarness()
    render = own_render(farm)
    edit(render, nimby=True)
    other = farm.job(user_name="joe")
    farm.job(user_name="ann")
    farm.job(user_name="joe", ignore_nimby=True)
    assert len(render.take()) == 2
    assert farm.why_waiting(other) == (
        'block "b", render "a": it takes jobs of its user "ann" only (nimby)',
    )
    edit(render, ADMIN, user_name="joe")
    assert [task.job for task in render.take()] == [other]


def test_a_paused_render_takes_jobs_that_ignore_it() -> None:
    farm = FarmHarness()
    render = own_render(farm)
    edit(render, paused=True)
    waiting = farm.job()
    farm.job(ignore_paused=True)
    assert len(render.take()) == 1
    assert farm.why_waiting(waiting) == ('block "b", render "a": it is paused',)


def test_what_a_user_sets_wins_over_what_the_render_reported_before() -> None:
    farm = FarmHarness()
    render = own_render(farm, state=5)
    assert render.state.states.words == " ONL NBY"
    edit(render, nimby=False)
    assert render.state.states.words == " ONL"
    render.cut()
    render.register()
    assert render.state.states.words == " ONL", "the same report counts once"
    render.send(state=1)
    render.send(state=5)
    assert render.state.states.words == " ONL NBY"
    edit(render, NIMBY=True)
    render.send(state=1)
    assert render.state.states.words == " ONL NBY", "a user set it, a user clears it"


def test_a_render_that_reports_nimby_takes_not_even_maintenance() -> None:
    farm = FarmHarness()
    render = own_render(farm, state=5)
    job = farm.job(ignore_nimby=True)
    assert not render.take()
    assert farm.why_waiting(job) == (
        'block "b", render "a": it takes no jobs, as it reports itself (NIMBY)',
    )


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"priority": 256}, "priority: 256 is not within 0 to 255"),
        ({"priority": -1}, "priority: -1 is not within 0 to 255"),
        ({"capacity_host": -2}, "capacity_host: -2 is not within -1 to"),
        ({"nimby": 1}, "nimby: expected true or false, found 1"),
        ({"services": "nuke"}, "services: expected a list of strings"),
        ({"services": [""]}, "services: a service has a name"),
        ({"services": [str(i) for i in range(1001)]}, "services: 1,001 services, more than 1,000"),
        ({"capacity": 5}, 'a render has no parameter "capacity", did you mean "capacity_host"?'),
        ({"user_name": "joe"}, 'user_name of render "a" is for administrators to set'),
        ({"tickets_host": {"X": 1}}, "tickets_host: this farm counts no tickets"),
    ],
)
def test_a_refused_parameter_changes_nothing(params: dict[str, object], sentence: str) -> None:
    farm = FarmHarness()
    render = own_render(farm)
    before, lines = render.state.overrides, render.state.node_log.lines
    with pytest.raises(EditRefused, match=re.escape(sentence)):
        edit(render, annotation="new", paused=True, **params)
    assert (render.state.overrides, render.state.states.words) == (before, " ONL")
    assert render.state.node_log.lines == lines


def test_another_user_may_not_change_a_render() -> None:
    farm = FarmHarness()
    render = own_render(farm)
    joe = Actor(user_name="joe")
    with pytest.raises(EditRefused, match='for its user "ann" and administrators'):
        edit(render, joe, paused=True)
    with pytest.raises(EditRefused, match='for its user "ann" and administrators'):
        operate(render, "exit", joe)
    edit(render, ADMIN, paused=True)
    assert RenderBit.PAU in render.state.bits


# Operations


@pytest.mark.parametrize(
    ("kind", "values", "instruction", "command"),
    [
        ("exit", {}, "exit", ""),
        ("reboot", {}, "reboot", ""),
        ("shutdown", {}, "shutdown", ""),
        ("launch_cmd", {"cmd": "true"}, "launch", "true"),
        ("launch_cmd", {"cmd": "true", "exit": True}, "launch_exit", "true"),
    ],
)
def test_instructions(kind: str, values: dict[str, object], instruction: str, command: str) -> None:
    farm = FarmHarness()
    render = own_render(farm)
    operate(render, kind, **values)
    with pytest.raises(EditRefused, match=f'has not read its last instruction, "{instruction}"'):
        operate(render, "exit")
    render.take()
    assert (render.events[-1].instruction, render.events[-1].command) == (instruction, command)
    render.leave()
    with pytest.raises(EditRefused, match='render "a" is offline'):
        operate(render, kind, **values)


def test_eject_tasks() -> None:
    farm = FarmHarness()
    render = own_render(farm)
    mine, other = farm.job(user_name="ann"), farm.job(user_name="joe")
    first, second = render.take()
    assert operate(render, "eject_tasks_keep_my") == "1 task ejected."
    (stop,) = render.stops()
    assert stop.run == second.run
    assert 'ejected from render "a" by ann@ws1' in stop.reason
    edit(render, paused=True)
    render.end(second, TaskStatus.FinishedKilled)
    assert farm.states(other) == ["ready"]
    assert farm.task(other).status != TaskStatus.FinishedError
    assert farm.states(mine) == ["running"]
    assert operate(render, "eject_tasks") == "1 task ejected."
    render.end(first, TaskStatus.FinishedKilled)
    assert farm.states(mine) == ["ready"]


def test_delete() -> None:
    farm = FarmHarness()
    render = own_render(farm)
    job = farm.job()
    task = render.take_one()
    with pytest.raises(EditRefused, match='render "a" is online'):
        operate(render, "delete")
    render.cut()
    with pytest.raises(EditRefused, match='render "a" is online'):
        operate(render, "delete")
    farm.pass_time(20.0)
    number = render.state.id
    operate(render, "delete")
    assert farm.renders() == ()
    render.register(running=[task])
    assert render.state.id > number
    assert farm.states(job) == ["running"]


def test_services_by_operation() -> None:
    farm = FarmHarness()
    render = own_render(farm, services=("blender", "nuke"))

    def change(mode: str, **values: object) -> str:
        return operate(render, "farm", mode=mode, **values)

    assert change("service_add", name="generic") == 'Service "generic" added.'
    assert tuple(render.state.effective.services) == ("blender", "nuke", "generic")
    assert change("service_disable", mask="gen.*|nuke") == 'Service "nuke", "generic" disabled.'
    assert not render.state.effective.offers("nuke")
    assert change("service_enable", mask="nuke") == 'Service "nuke" enabled.'
    assert change("service_remove", mask="blender") == 'Service "blender" removed.'
    assert not render.state.effective.offers("blender")
    assert change("service_disable", mask="houdini") == 'Service "houdini" disabled.'
    change("clear_services")
    assert tuple(render.state.effective.services) == ("blender", "nuke")
    assert render.state.overrides == RenderOverrides()
    for values, sentence in (
        ({"mode": "service_add", "name": "nuke"}, 'the service "nuke" is already there'),
        ({"mode": "service_add"}, "name is missing"),
        ({"mode": "service_remove", "mask": "zz"}, 'mask: "zz" matches none of these services'),
        ({"mode": "service_disable", "mask": "z+"}, 'mask: "z+" matches none of these services'),
        ({"mode": "service_enable", "mask": ".*"}, "matches none of these services: none"),
        ({"mode": "service_remove", "mask": "("}, "is not a regular expression"),
        ({"mode": "service_remove"}, "mask is missing"),
        ({"mode": "clear_services"}, "there is nothing to clear"),
        ({"mode": "x"}, 'mode: expected one of "service_add", '),
        ({}, 'mode: expected one of "service_add", '),
    ):
        with pytest.raises(EditRefused, match=re.escape(sentence)):
            operate(render, "farm", **values)


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        ("exot", {}, 'a render has no operation "exot", did you mean "exit"?'),
        ("", {}, 'a render has no operation ""'),
        ("exit", {"now": True}, 'the operation "exit" has no parameter "now"'),
        ("launch_cmd", {}, "cmd is missing"),
        ("launch_cmd", {"cmd": " "}, "cmd is missing"),
        ("launch_cmd", {"cmd": 1}, "cmd: expected a string"),
        ("tickets", {"name": "X", "count": 1}, "tickets: this farm counts no tickets"),
        ("set_pool", {"name": "/x"}, 'set_pool: this farm has one pool, "/"'),
        ("wol_wake", {}, 'render "a" is online: only one that is asleep can be woken'),
    ],
)
def test_refused_operations(kind: str, values: dict[str, object], sentence: str) -> None:
    farm = FarmHarness()
    with pytest.raises(EditRefused, match=re.escape(sentence)):
        operate(own_render(farm), kind, **values)


# Sick


def fail(farm: FarmHarness, render: FakeRender, user: str) -> None:
    farm.job(listed(errors_retries=0), user_name=user)
    render.end(render.take_one(), TaskStatus.FinishedError)


def test_errors_of_different_users_make_a_render_sick() -> None:
    farm = FarmHarness()
    edit_pool(farm.state, {"sick_errors_count": 3}, ADMIN, 0.0)
    render = own_render(farm)
    for user in ("ann", "joe", "joe", "ann"):
        fail(farm, render, user)
    assert RenderBit.SIC not in render.state.bits, "two users"
    farm.job()
    render.end(render.take_one())
    fail(farm, render, "joe")
    fail(farm, render, "eve")
    assert RenderBit.SIC not in render.state.bits, "the success came in between"
    fail(farm, render, "ann")
    assert RenderBit.SIC in render.state.bits
    assert "Got sick after errors of 3 users:\njoe - generic" in render.state.node_log.lines[-1]
    job = farm.job()
    assert not render.take()
    assert farm.why_waiting(job) == (
        'block "b", render "a": it is sick: tasks of 3 users failed there',
    )
    assert operate(render, "heal_sick") == "Not sick any more."
    assert len(render.take()) == 1
    assert operate(render, "heal_sick") == "It was not sick."
    assert not render.state.sick_errors


# The pool


def test_parameters_of_the_pool_take_effect() -> None:
    farm = FarmHarness()
    render = own_render(farm)
    farm.job(listed(2, capacity=1500))
    assert not render.take()
    edit_pool(farm.state, {"capacity_host": 4000, "annotation": "p"}, ADMIN, 0.0)
    farm.assign()
    assert len(render.take()) == 2
    edit(render, capacity_host=10)
    assert render.state.effective.capacity == 10, "the render's own limit comes first"
    edit_pool(farm.state, {"paused": True}, ADMIN, 0.0)
    job = farm.job(listed(capacity=1))
    assert farm.why_waiting(job) == ("the pool is paused",)
    assert farm.state.pool_log.lines[-1].endswith('root@ws1: pools params: /: "paused" set to true')


def test_times_of_the_pool_are_sent_to_renders() -> None:
    farm = FarmHarness()
    render = own_render(farm)
    edit_pool(
        farm.state,
        {"heartbeat_sec": 2, "zombie_time": 20, "exit_no_task_time": 60},
        ADMIN,
        0.0,
    )
    render.take()
    events = render.events[-1]
    assert (events.heartbeat_sec, events.zombie_time, events.exit_no_task_time) == (2, 20, 60)
    assert farm.state.settings.zombie_time == 20
    edit_pool(farm.state, {"zombie_time": -1, "exit_no_task_time": -1}, ADMIN, 0.0)
    render.take()
    assert (render.events[-1].zombie_time, render.events[-1].exit_no_task_time) == (16, -1)


def test_new_renders_of_the_pool() -> None:
    farm = FarmHarness()
    edit_pool(farm.state, {"new_nimby": True, "new_paused": True}, ADMIN, 0.0)
    render = own_render(farm)
    assert render.state.states.words == " ONL NBY PAU"
    edit(render, NIMBY=False, paused=False)
    render.leave()
    render.register()
    assert render.state.states.words == " ONL", "it is not new any more"


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"busy_cpu": 101}, "busy_cpu: 101 is not within -1 to 100"),
        ({"zombie_time": 86_401}, "zombie_time: 86401 is not within -1 to 86400"),
        ({"zombie_time": 0}, "zombie_time: 0 is not within 1 to 86400"),
        ({"pattern": ".*"}, "pattern: a pattern chooses renders for a pool"),
        ({"no_task_event_time": 5}, "no_task_event_time: this farm has no jobs for events"),
        ({"sick_errors_cout": 1}, 'did you mean "sick_errors_count"?'),
    ],
)
def test_refused_parameters_of_the_pool(params: dict[str, object], sentence: str) -> None:
    farm = FarmHarness()
    with pytest.raises(EditRefused, match=re.escape(sentence)):
        edit_pool(farm.state, {"paused": True, **params}, ADMIN, 0.0)
    with pytest.raises(EditRefused, match='the pool "/" is for administrators'):
        edit_pool(farm.state, {"paused": True}, ANN, 0.0)
    assert farm.state.pool == PoolParameters()


# A restart


def test_what_is_edited_survives_a_restart_of_the_farm() -> None:
    farm = FarmHarness()
    edit_pool(farm.state, {"capacity_host": 500, "zombie_time": 30}, ADMIN, 0.0)
    farm.render("first").leave()
    render = own_render(farm)
    edit(render, ADMIN, user_name="joe", priority=3, services=["nuke"], NIMBY=True, paused=True)
    other = own_render(farm, "z")
    fail(farm, other, "ann")
    operate(other, "wol_sleep")
    other.leave()
    stored = [store_render(each) for each in farm.state.renders.values()]
    # As a database keeps them: as JSON.
    text = json.dumps([cattrs.unstructure(each) for each in stored])
    pool = cattrs.structure(json.loads(json.dumps(attrs.asdict(farm.state.pool))), PoolParameters)

    fresh = FarmHarness()
    restore_pool(fresh.state, pool)
    for each in json.loads(text):
        restore_render(fresh.state, cattrs.structure(each, StoredRender))
    again = fresh.state.renders["a"]
    assert again.states.words == " OFF NBY PAU"
    assert again.id == render.state.id
    assert again.effective == render.state.effective
    assert again.node_log.lines == render.state.node_log.lines
    assert fresh.state.renders["z"].sick_errors == other.state.sick_errors
    assert fresh.state.renders["z"].states.words == " OFF WSL"
    job = fresh.job()
    assert [packets.render for packets in fresh.collect().packets] == ["z"]
    fresh.end_job(job, "", stop=True)
    assert fresh.state.settings.zombie_time == 30
    # The render has kept running; its agent may have been started anew as well.
    render.farm = fresh
    render.register()
    assert again.states.words == " ONL NBY PAU"
    assert (again.effective.user_name, again.effective.priority) == ("joe", 3)
    assert fresh.render("new").state.id > again.id
