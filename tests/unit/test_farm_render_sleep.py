"""Renders that are sent to sleep and woken: orders, refusals, limits, and what wakes them."""

from __future__ import annotations

import json
import re

import pytest
from support.farm import FakeRender, FarmHarness, listed

from trio_afrender.errors import EditRefused
from trio_afrender.farm import HostNeeds
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.render_edits import edit_pool, edit_render, operate_render
from trio_afrender.farm.wake_on_lan import is_mac, make_magic_packet
from trio_afrender.protocol.messages import NetIF, TaskStatus

ADMIN = Actor(user_name="root", admin=True)
NETIFS = (
    NetIF(name="lo", mac="00:00:00:00:00:00"),
    NetIF(name="eth0", mac="02:00:00:00:00:01"),
    NetIF(name="eth1", mac="02-00-00-00-00-02"),
)


def make_render(farm: FarmHarness, name: str = "a", **fields: object) -> FakeRender:
    return farm.render(name, **{"netifs": NETIFS, "address": "192.0.2.10", **fields})


def operate(render: FakeRender, kind: str) -> None:
    operate_render(render.farm.state, render.state, {"type": kind}, ADMIN, render.farm.now)
    render.farm.assign()


def words(render: FakeRender) -> str:
    return render.state.states.words


def last_line(render: FakeRender) -> str:
    return render.state.node_log.lines[-1].partition(": ")[2]


def woken(farm: FarmHarness) -> list[str]:
    return [packets.render for packets in farm.collect().packets]


def put_to_sleep(render: FakeRender) -> None:
    operate(render, "wol_sleep")
    render.farm.pass_time(17.0)
    assert words(render) == " OFF WSL"


def test_from_awake_to_awake() -> None:
    farm = FarmHarness()
    render = make_render(farm)
    operate(render, "wol_sleep")
    assert words(render) == " ONL WFL"
    assert render.state.wol_operation_time == 1_000_000.0
    render.take()
    events = render.events[-1]
    assert events.instruction == "sleep"
    assert json.loads(events.command) == {
        "name": "a",
        "address": {"ip": "192.0.2.10"},
        "netifs": [
            {"name": "eth0", "mac": "02:00:00:00:00:01"},
            {"name": "eth1", "mac": "02-00-00-00-00-02"},
        ],
    }
    job = farm.job()
    assert not render.take(), "it gets no task while it falls asleep"
    assert farm.why_waiting(job) == ('block "b", render "a": it was ordered to sleep',)
    farm.end_job(job, "", stop=True)
    farm.pass_time(17.0)
    assert words(render) == " OFF WSL"
    assert (
        last_line(render)
        == "afanasy: renders: a: Offline after the order to sleep: silent for 16 s."
    )
    operate(render, "wol_wake")
    assert words(render) == " OFF WSL WWK"
    (packets,) = farm.collect().packets
    assert packets.macs == ("02:00:00:00:00:01", "02-00-00-00-00-02")
    farm.pass_time(200.0)
    render.register()
    assert words(render) == " ONL"
    assert last_line(render) == "afanasy: renders: a: Registered."
    farm.pass_time(15.0)
    render.send()
    assert words(render) == " ONL"


def test_a_render_that_leaves_to_sleep_is_asleep_at_once() -> None:
    farm = FarmHarness()
    render = make_render(farm)
    operate(render, "wol_sleep")
    render.leave("SIGTERM")
    assert words(render) == " OFF WSL"


def test_a_render_that_reports_that_it_is_awake() -> None:
    farm = FarmHarness()
    render = make_render(farm)
    operate(render, "wol_sleep")
    render.fields = {**render.fields, "sleep_failed": "the command ended with 1"}
    render.leave("to register anew")
    render.register()
    assert words(render) == " ONL"
    lines = [line.partition(": ")[2] for line in render.state.node_log.lines]
    assert "afanasy: renders wol sleep: a: Not asleep: the command ended with 1" in lines
    farm.job()
    assert render.take()


def test_a_render_that_registers_again_is_awake() -> None:
    farm = FarmHarness()
    render = make_render(farm)
    operate(render, "wol_sleep")
    render.cut()
    render.register()
    assert words(render) == " ONL"
    assert last_line(render) == "afanasy: renders wol sleep: a: Not asleep: it has registered again"


def test_a_render_that_is_still_there_after_the_limit_is_awake() -> None:
    farm = FarmHarness(sleep_limit=60.0)
    render = make_render(farm)
    operate(render, "wol_sleep")
    for _ in range(59):
        farm.pass_time(1.0)
        render.send()
    assert words(render) == " ONL WFL"
    farm.pass_time(1.5)
    assert words(render) == " ONL"
    assert last_line(render).endswith("Not asleep: it is still there 60 s after the order")
    farm.job()
    assert render.take()


def test_a_render_that_does_not_wake_up_is_asleep_again() -> None:
    farm = FarmHarness(wake_limit=100.0)
    render = make_render(farm)
    put_to_sleep(render)
    operate(render, "wol_wake")
    farm.pass_time(50.0)
    operate(render, "wol_wake")
    farm.pass_time(99.0)
    assert words(render) == " OFF WSL WWK", "the limit begins with the last packets"
    farm.pass_time(2.0)
    assert words(render) == " OFF WSL"
    assert last_line(render).endswith("Not woken: it has not registered in 100 s")
    assert woken(farm) == ["a", "a"]


@pytest.mark.parametrize(
    ("prepare", "kind", "sentence"),
    [
        ("tasks", "wol_sleep", 'render "a" is not sent to sleep: it has 1 task'),
        ("left", "wol_sleep", "it is offline"),
        ("cut", "wol_sleep", "its link is lost"),
        ("asleep", "wol_sleep", "it is asleep"),
        ("twice", "wol_sleep", "it is falling asleep"),
        ("instruction", "wol_sleep", 'the instruction "exit" waits to be sent'),
        ("no netif", "wol_sleep", "it has no network interface with a MAC address"),
        ("left", "wol_wake", 'render "a" is offline: only one that is asleep can be woken'),
        ("", "wol_wake", 'render "a" is online: only one that is asleep can be woken'),
    ],
)
def test_refusals(prepare: str, kind: str, sentence: str) -> None:
    farm = FarmHarness()
    render = make_render(farm, netifs=NETIFS[:1] if prepare == "no netif" else NETIFS)
    match prepare:
        case "tasks":
            farm.job()
        case "left":
            render.leave()
        case "cut":
            render.cut()
        case "asleep":
            put_to_sleep(render)
        case "twice":
            operate(render, "wol_sleep")
            render.take()
        case "instruction":
            operate(render, "exit")
    before = words(render)
    with pytest.raises(EditRefused, match=re.escape(sentence)):
        operate(render, kind)
    assert words(render) == before


def test_renders_are_woken_one_after_the_other_for_tasks_they_could_run() -> None:
    farm = FarmHarness(wake_interval=10.0)
    renders = [make_render(farm, name) for name in ("a", "b", "c")]
    renders.append(make_render(farm, "small", capacity=10))
    for render in renders:
        operate(render, "wol_sleep")
        render.leave()
    edit_render(farm.state, renders[1].state, {"paused": True}, ADMIN, farm.now)
    sick = make_render(farm, "sick")
    edit_pool(farm.state, {"sick_errors_count": 1}, ADMIN, farm.now)
    farm.job(listed(errors_retries=0))
    sick.end(sick.take_one(), TaskStatus.FinishedError)
    operate(sick, "wol_sleep")
    sick.leave()
    assert woken(farm) == [], "nothing waits"
    job = farm.job(listed(40))
    assert woken(farm) == ["a"]
    farm.pass_time(9.0)
    assert woken(farm) == ["a"]
    farm.pass_time(2.0)
    assert woken(farm) == ["a", "c"]
    farm.pass_time(40.0)
    assert woken(farm) == ["a", "c"], "the others could not run these tasks"
    assert farm.why_waiting(job) == (
        'block "b", each of 2 renders ("a", "c"): it is asleep, and packets to wake it were sent',
        'block "b", render "b": it is asleep; it is paused',
        'block "b", render "small": it is asleep; a task needs 100 of capacity, 10 of 10 are free',
        'block "b", render "sick": it is asleep; it is sick: tasks of 1 user failed there',
    )


def test_a_render_that_drained_before_it_slept_is_woken_for_tasks() -> None:
    farm = FarmHarness()
    render = make_render(farm)
    operate(render, "wol_sleep")
    render.send(state=1 | 4)
    assert words(render) == " ONL NBY WFL"
    render.leave()
    assert words(render) == " OFF WSL"
    farm.job()
    assert woken(farm) == ["a"]


def test_a_render_that_has_left_shows_what_users_have_set_alone() -> None:
    farm = FarmHarness()
    render = make_render(farm)
    edit_render(farm.state, render.state, {"nimby": True}, ADMIN, farm.now)
    render.send(state=1 | 4)
    assert words(render) == " ONL NBY"
    render.leave()
    assert words(render) == " OFF NbY"


def test_no_render_is_woken_for_tasks_that_another_one_takes() -> None:
    farm = FarmHarness()
    asleep = make_render(farm)
    put_to_sleep(asleep)
    awake = make_render(farm, "b")
    farm.job()
    farm.job(needs=HostNeeds(hosts_mask="b"))
    farm.job(needs=HostNeeds(hosts_mask="c"))
    for _ in range(30):
        farm.pass_time(1.0)
        awake.send()
    assert woken(farm) == []
    farm.job(listed(2), needs=HostNeeds(max_running_tasks=1))
    assert woken(farm) == [], "it may not run two at once"


# Packets


@pytest.mark.parametrize("mac", ["02:00:00:00:00:a1", "02-00-00-00-00-A1", "0200000000a1"])
def test_the_bytes_of_a_packet(mac: str) -> None:
    packet = make_magic_packet(mac)
    assert packet == b"\xff" * 6 + bytes([2, 0, 0, 0, 0, 0xA1]) * 16
    assert len(packet) == 102


@pytest.mark.parametrize(
    "mac", ["", "lo", "02:00:00:00:00", "02:00:00:00:00:0g", "00:00:00:00:00:00"]
)
def test_what_is_no_mac_address(mac: str) -> None:
    assert not is_mac(mac)
    with pytest.raises(ValueError, match="not a MAC address"):
        make_magic_packet(mac)
