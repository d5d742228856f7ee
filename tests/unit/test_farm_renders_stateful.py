"""Any order of edits, sleeps, errors and loads: states stay legal, and no task waits for nothing."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.farm import FakeRender, FarmHarness, listed, make_update

from trio_afrender.errors import EditRefused
from trio_afrender.farm import HostNeeds
from trio_afrender.farm.model import RenderState, TaskState
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.placement import (
    why_avoided_by_block,
    why_job_rests,
    why_not_for_block,
    why_not_for_job,
    why_not_for_task,
    why_unavailable,
)
from trio_afrender.farm.render_edits import edit_pool, edit_render, operate_render
from trio_afrender.farm.render_states import Presence, RenderBit
from trio_afrender.farm.why_waiting import explain_job
from trio_afrender.protocol.messages import HostResources, NetIF, Registered, TaskStatus

ADMIN = Actor(user_name="root", admin=True)
NAMES = ("a", "b", "c")
USERS = ("ann", "joe", "eve")
NETIFS = (NetIF(name="eth0", mac="02:00:00:00:00:01"),)
WEIGHTS = (100, 400)

names = st.sampled_from(NAMES)
render_params = st.fixed_dictionaries(
    {},
    optional={
        "nimby": st.booleans(),
        "NIMBY": st.booleans(),
        "paused": st.booleans(),
        "priority": st.sampled_from([0, 1, 99]),
        "capacity_host": st.sampled_from([-1, 100, 500]),
        "max_tasks_host": st.sampled_from([-1, 0, 1, 3]),
        "services": st.sampled_from([[], ["nuke"], ["generic", "nuke"]]),
        "services_disabled": st.sampled_from([[], ["nuke"]]),
        "user_name": st.sampled_from(USERS),
    },
)
pool_params = st.fixed_dictionaries(
    {},
    optional={
        "paused": st.booleans(),
        "sick_errors_count": st.sampled_from([-1, 1, 2]),
        "capacity_host": st.sampled_from([-1, 300]),
        "idle_cpu": st.sampled_from([-1, 20]),
        "idle_free_time": st.sampled_from([-1, 3]),
        "idle_wolsleep_time": st.sampled_from([-1, 5]),
        "busy_cpu": st.sampled_from([-1, 80]),
        "busy_nimby_time": st.sampled_from([-1, 2]),
        "services": st.sampled_from([[], ["generic"]]),
    },
)
operations = st.sampled_from(
    ["eject_tasks", "eject_tasks_keep_my", "heal_sick", "wol_sleep", "wol_wake", "delete", "exit"]
)
blocks = st.builds(
    lambda count, **fields: listed(count, **fields),
    count=st.integers(1, 4),
    capacity=st.sampled_from(WEIGHTS),
    service=st.sampled_from(["generic", "nuke"]),
    errors_retries=st.integers(0, 3),
    errors_avoid_host=st.integers(0, 2),
    errors_task_same_host=st.integers(0, 2),
    errors_forgive_time=st.sampled_from([0, 5]),
    needs=st.builds(
        HostNeeds,
        hosts_mask=st.sampled_from(["", "", "a|b"]),
        max_running_tasks=st.sampled_from([-1, -1, 1]),
        max_running_tasks_per_host=st.sampled_from([-1, -1, 1]),
        need_memory=st.sampled_from([0, 0, 50]),
    ),
)


class RendersMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.farm = FarmHarness(zombie_time=10.0, sleep_limit=20.0, wake_limit=30.0)
        self.renders = {
            name: FakeRender(self.farm, name, {"netifs": NETIFS, "user_name": "ann"})
            for name in NAMES
        }
        self.online: set[str] = set()
        for name in NAMES[:2]:
            self.register(name)

    def known(self, name: str) -> RenderState | None:
        return self.farm.state.renders.get(name)

    @rule(name=names)
    def register(self, name: str) -> None:
        """A render comes, or comes again, without its tasks."""
        if name not in self.online:
            self.renders[name].tasks.clear()
            assert isinstance(self.renders[name].register(), Registered)
            self.online.add(name)

    @rule(name=names, cut=st.booleans())
    def lose(self, name: str, cut: bool) -> None:
        if name in self.online:
            self.online.remove(name)
            if cut:
                self.renders[name].cut()
            else:
                self.renders[name].leave()

    @rule(name=names, params=render_params)
    def edit(self, name: str, params: dict[str, object]) -> None:
        if (render := self.known(name)) is not None:
            edit_render(self.farm.state, render, params, ADMIN, self.farm.now)
            self.farm.assign()

    @rule(params=pool_params)
    def edit_pool(self, params: dict[str, object]) -> None:
        edit_pool(self.farm.state, params, ADMIN, self.farm.now)
        self.farm.assign()

    @rule(name=names, kind=operations)
    def operate(self, name: str, kind: str) -> None:
        render = self.known(name)
        if render is None:
            return
        before = render.states
        try:
            operate_render(self.farm.state, render, {"type": kind}, ADMIN, self.farm.now)
        except EditRefused:
            assert render.states == before
        self.farm.assign()

    @rule(
        block=blocks,
        user=st.sampled_from(USERS),
        ignore_nimby=st.booleans(),
        ignore_paused=st.booleans(),
    )
    def submit(self, block: object, user: str, ignore_nimby: bool, ignore_paused: bool) -> None:
        self.farm.job(
            block,  # type: ignore[arg-type]  # what `blocks` makes
            user_name=user,
            ignore_nimby=ignore_nimby,
            ignore_paused=ignore_paused,
        )

    @rule(
        name=names,
        status=st.sampled_from(
            [
                TaskStatus.FinishedSuccess,
                TaskStatus.FinishedError,
                TaskStatus.FinishedError,
                TaskStatus.GiveBack,
            ]
        ),
    )
    def end_task(self, name: str, status: TaskStatus) -> None:
        if name in self.online:
            render = self.renders[name]
            render.take()
            if render.tasks:
                task = render.tasks.pop(next(iter(render.tasks)))
                render.send(make_update(task, status))

    @rule(
        name=names,
        idle=st.sampled_from([5, 100]),
        memory=st.sampled_from([10, 100]),
        bits=st.sampled_from([None, None, 1, 3, 5]),
    )
    def report(self, name: str, idle: int, memory: int, bits: int | None) -> None:
        if name in self.online:
            load = HostResources(cpu_idle=idle, mem_free_mb=memory, mem_total_mb=100)
            self.renders[name].send(resources=load, state=bits)

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0]), alive=st.booleans())
    def pass_time(self, seconds: float, alive: bool) -> None:
        if alive:
            for name in self.online:
                self.renders[name].send()
        self.farm.pass_time(seconds)
        for session in self.farm.collect().drop_sessions:
            self.online -= {name for name in NAMES if self.renders[name].session == session}

    @invariant()
    def states_are_legal(self) -> None:
        for name in NAMES:
            render = self.known(name)
            if render is None:
                assert name not in self.online
                continue
            bits = render.bits
            assert (RenderBit.RUN in bits) == (
                bool(render.running) and render.states.presence.online
            )
            assert render.online <= (RenderBit.ONL in bits)
            own = render.overrides.own_limits
            assert (RenderBit.DRT in bits) == own
            waiting = render.states.presence in (Presence.FALLING, Presence.WAKING)
            assert (render.wol_deadline is not None) == waiting
            assert (name in self.farm.state.asleep) == (render.states.presence is Presence.ASLEEP)

    @invariant()
    def no_task_waits_for_nothing(self) -> None:
        """What the rules allow has been done: the scheduler passes over much without asking."""
        state, now = self.farm.state, self.farm.now
        for render in state.renders.values():
            if why_unavailable(state, render, now):
                continue
            for job in state.order:
                if why_job_rests(job, now) or why_not_for_job(render, job):
                    continue
                for block in job.blocks:
                    if why_not_for_block(render, block):
                        continue
                    if why_avoided_by_block(state, render, block, now):
                        continue
                    for task in block.tasks:
                        assert task.state is not TaskState.READY or why_not_for_task(
                            state, render, task, now
                        ), f"{task.key} could run on {render.name}"

    @invariant()
    def every_waiting_task_has_a_reason(self) -> None:
        for job in self.farm.state.order:
            for answer in explain_job(self.farm.state, job, self.farm.now):
                assert answer.sentences
                assert all("it comes next" not in text for text in answer.sentences)


RendersMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40)
TestRenders = RendersMachine.TestCase
