"""The rules for busy and idle hosts: figures, times, and what they do with a render of a farm."""

from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.farm import FakeRender, FarmHarness, listed, make_update, with_fields

from trio_afrender.farm.auto_nimby import (
    AutoAction,
    AutoTimes,
    LoadLimits,
    LoadWatch,
    decide,
    next_check,
    observe,
)
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.render_edits import edit_pool
from trio_afrender.protocol.messages import HostResources, NetIF, TaskStatus

ADMIN = Actor(user_name="root", admin=True)
QUIET = HostResources(cpu_idle=100, mem_total_mb=100, mem_free_mb=100, hdd_free_gb=100)
LOUD = with_fields(QUIET, {"cpu_idle": 5})
NETIFS = (NetIF(name="eth0", mac="02:00:00:00:00:01"),)


@pytest.mark.parametrize(
    ("limits", "load", "reached"),
    [
        ({}, {"cpu_idle": 0}, ""),
        ({"cpu": 80}, {"cpu_idle": 20}, "cpu 80 of 80"),
        ({"cpu": 80}, {"cpu_idle": 21}, ""),
        ({"cpu": 0}, {"cpu_idle": 0}, ""),
        ({"mem": 50}, {"mem_free_mb": 50}, "mem 50 of 50"),
        ({"mem": 50}, {"mem_total_mb": 0, "mem_free_mb": 0}, ""),
        ({"swp": 10}, {"swap_total_mb": 200, "swap_used_mb": 20}, "swp 10 of 10"),
        ({"swp": 10}, {"swap_total_mb": 0, "swap_used_mb": 0}, ""),
        ({"hddio": 5}, {"hdd_busy": 6}, "hddio 6 of 5"),
        ({"netmbs": 2}, {"net_recv_kbsec": 1024, "net_send_kbsec": 1024}, "netmbs 2 of 2"),
        ({"netmbs": 2}, {"net_recv_kbsec": 1024, "net_send_kbsec": 1023}, ""),
        ({"hddgb": 10}, {"hdd_free_gb": 10}, "hddgb 10 of 10"),
        ({"hddgb": 10}, {"hdd_free_gb": 11}, ""),
    ],
)
def test_which_figure_reaches_its_limit(
    limits: dict[str, int], load: dict[str, int], reached: str
) -> None:
    assert LoadLimits(**limits).reached(with_fields(QUIET, load)) == reached


def test_a_figure_at_its_limit_is_not_beyond_it() -> None:
    load = with_fields(QUIET, {"cpu_idle": 20})
    assert LoadLimits(cpu=80).reached(load)
    assert not LoadLimits(cpu=80).reached(load, beyond=True)
    assert LoadLimits(cpu=79).reached(load, beyond=True)


@pytest.mark.parametrize(
    ("load", "reserved", "has_tasks", "idle", "busy"),
    [
        (QUIET, False, False, True, False),
        (QUIET, True, False, True, False),
        (QUIET, False, True, False, False),
        (LOUD, False, False, False, True),
        (LOUD, True, False, False, False),
        (LOUD, False, True, False, False),
    ],
)
def test_who_is_idle_and_busy(
    load: HostResources, reserved: bool, has_tasks: bool, idle: bool, busy: bool
) -> None:
    look = partial(
        observe,
        idle=LoadLimits(cpu=10),
        busy=LoadLimits(cpu=90),
        reserved=reserved,
        has_tasks=has_tasks,
    )
    begun = look(LoadWatch(), load, 5.0)
    assert begun == LoadWatch(5.0 if idle else None, 5.0 if busy else None)
    assert look(begun, load, 9.0) == begun, "the time of the first counts"


def test_without_limits_no_host_is_idle() -> None:
    watch = observe(
        LoadWatch(1.0, 1.0), QUIET, 2.0, idle=LoadLimits(), busy=LoadLimits(),
        reserved=False, has_tasks=False,
    )  # fmt: skip
    assert watch == LoadWatch()


@pytest.mark.parametrize(
    ("watch", "times", "reserved", "may_sleep", "action"),
    [
        (LoadWatch(None, 0.0), {"busy_nimby": 10}, False, True, AutoAction.NIMBY),
        (LoadWatch(None, 0.0), {"busy_nimby": 11}, False, True, None),
        (LoadWatch(None, 0.0), {"busy_nimby": 0}, False, True, None),
        (LoadWatch(None, 0.0), {"busy_nimby": 10}, True, True, None),
        (LoadWatch(0.0, None), {"idle_free": 10}, True, True, AutoAction.FREE),
        (LoadWatch(0.0, None), {"idle_free": 10}, False, True, None),
        (LoadWatch(0.0, None), {"idle_sleep": 10}, False, True, AutoAction.SLEEP),
        (LoadWatch(0.0, None), {"idle_sleep": 10}, False, False, None),
        (LoadWatch(0.0, None), {"idle_sleep": 10, "idle_free": 10}, True, True, AutoAction.FREE),
    ],
)
def test_what_is_done_after_ten_seconds(
    watch: LoadWatch,
    times: dict[str, float],
    reserved: bool,
    may_sleep: bool,
    action: AutoAction | None,
) -> None:
    facts = {"reserved": reserved, "may_sleep": may_sleep}
    assert decide(watch, AutoTimes(**times), 10.0, **facts) is action


@given(
    watch=st.builds(
        LoadWatch,
        st.none() | st.floats(0, 100),
        st.none() | st.floats(0, 100),
    ),
    times=st.builds(
        AutoTimes,
        busy_nimby=st.integers(-1, 9),
        idle_free=st.integers(-1, 9),
        idle_sleep=st.integers(-1, 9),
    ),
    reserved=st.booleans(),
    may_sleep=st.booleans(),
)
def test_the_next_check_is_when_something_is_done(
    watch: LoadWatch, times: AutoTimes, reserved: bool, may_sleep: bool
) -> None:
    facts = {"reserved": reserved, "may_sleep": may_sleep}
    when = next_check(watch, times, **facts)
    if math.isfinite(when):
        assert decide(watch, times, when, **facts) is not None
        assert decide(watch, times, math.nextafter(when, -math.inf), **facts) is None
    else:
        assert decide(watch, times, 1e9, **facts) is None


# In a farm


def measure(farm: FarmHarness, render: FakeRender, load: HostResources, seconds: int) -> None:
    """Let the render report the same load every second."""
    for _ in range(seconds):
        render.send(resources=load)
        farm.pass_time(1.0)


def change_pool(farm: FarmHarness, **params: object) -> None:
    edit_pool(farm.state, params, ADMIN, farm.now)


def test_a_busy_host_gets_nimby_and_an_idle_one_is_freed() -> None:
    farm = FarmHarness()
    change_pool(farm, busy_cpu=90, busy_nimby_time=5, idle_cpu=10, idle_free_time=7)
    render = farm.render()
    measure(farm, render, LOUD, 4)
    assert farm.renders()[0].nimby == ""
    measure(farm, render, LOUD, 3)
    assert farm.renders()[0].nimby == "NIMBY"
    job = farm.job(listed())
    assert not render.take()
    assert farm.why_waiting(job) == ('block "b", render "a": it takes no jobs (NIMBY)',)
    measure(farm, render, QUIET, 9)
    assert farm.renders()[0].nimby == ""
    assert render.take()
    assert [line.partition(": ")[2] for line in render.state.node_log.lines][-2:] == [
        "afanasy: renders auto nimby: a: Busy for 5 s.",
        "afanasy: renders auto nimby free: a: Idle for 7 s.",
    ]


def test_the_load_of_own_tasks_does_not_count() -> None:
    farm = FarmHarness()
    change_pool(farm, busy_cpu=90, busy_nimby_time=5)
    render = farm.render()
    farm.job(listed())
    task = render.take_one()
    measure(farm, render, LOUD, 9)
    assert farm.renders()[0].nimby == ""
    render.end(task)
    measure(farm, render, LOUD, 3)
    assert farm.renders()[0].nimby == "", "the time begins with the end of the task"
    measure(farm, render, LOUD, 5)
    assert farm.renders()[0].nimby == "NIMBY"


def test_an_idle_host_is_sent_to_sleep_and_woken_for_a_task() -> None:
    farm = FarmHarness()
    change_pool(farm, idle_cpu=10, idle_wolsleep_time=30)
    render = farm.render(netifs=NETIFS)
    measure(farm, render, QUIET, 32)
    assert render.state.states.words == " ONL WFL"
    render.take()
    assert render.events[-1].instruction == "sleep"
    farm.pass_time(20.0)  # its host sleeps, so it is silent
    assert render.state.states.words == " OFF WSL"
    job = farm.job(listed())
    assert render.state.states.words == " OFF WSL WWK"
    assert [packets.macs for packets in farm.collect().packets] == [("02:00:00:00:00:01",)]
    render.register()
    assert render.state.states.words == " ONL RUN"
    render.send(make_update(render.take_one(), TaskStatus.FinishedSuccess))
    assert farm.view(job).state == "done"
