"""Changes of nodes over the JSON interface: what a server ignores or changes beside is noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.json_farm import open_json_farm
from support.scripted_farm import (
    DONE_TEXT,
    ScriptedFarm,
    make_remote_farm,
    open_scripted_farm,
    options,
)

from trio_afrender.afserver.apply_changes import ChangeReport, apply_change
from trio_afrender.afserver.editable_parameters import parse_settings
from trio_afrender.afserver.node_changes import TASK_CHANGES, VERBS
from trio_afrender.afserver.remote_nodes import read_job
from trio_afrender.cli import steering
from trio_afrender.cli.commands import set as set_command
from trio_afrender.cli.commands.steer import _change
from trio_afrender.cli.confirmation import Declined
from trio_afrender.cli.steering import change_tasks
from trio_afrender.errors import ConfigError, JobGone, LinkRefused, ProtocolError

ONLINE, OWNER, NO_JOBS, FALLING, SLEEPING, PAUSED = (1 << bit for bit in (0, 1, 2, 5, 6, 8))
READY, RUNNING, DONE, ERROR, SKIPPED, OFF = (1 << bit for bit in (0, 1, 4, 5, 8, 9))


def render(number: int = 1, **more: object) -> dict[str, Any]:
    return {"id": number, "name": f"r{number}", "st": ONLINE, "netifs": [{"name": "e"}], **more}


def job(number: int = 2, **more: object) -> dict[str, Any]:
    block = {"name": "b", "tasks_num": 2, "flags": 1, "frame_first": 1, "frame_last": 2, "st": 1}
    fields = {"id": number, "serial": number, "name": f"j{number}", "user_name": "ann", "st": 1}
    return {**fields, "blocks": [block], **more}


def apply_params(server: ScriptedFarm, action: dict[str, Any]) -> object:
    """As a real server: any parameter shows a hidden node again."""
    for number in action["ids"]:
        node = server.find(action["type"], number)
        node.pop("hidden", None)
        node.update(action.get("params", {}))
    return DONE_TEXT


def set_bits(kind: str, bits: int) -> Callable[[ScriptedFarm, dict[str, Any]], object]:
    def change(server: ScriptedFarm, action: dict[str, Any]) -> object:
        for number in action["ids"]:
            server.find(kind, number)["st"] = bits
        return DONE_TEXT

    return change


async def set_nodes(farm: Any, kind: str, names: list[str], *words: str) -> ChangeReport:  # noqa: ANN401 - a client
    report = ChangeReport()
    given = options(*names, kind=kind)
    await set_command._set_parameters(farm, given, report, params=parse_settings(kind, words))
    return report


async def test_a_later_job_with_the_same_id_and_name_has_not_taken_it() -> None:
    def replace(server: ScriptedFarm, action: dict[str, Any]) -> object:
        server.find("jobs", 2).update(action["params"], serial=99)
        return DONE_TEXT

    async with open_scripted_farm(nodes={"jobs": [job(2)]}, change=replace) as (_, farm):
        report = await set_nodes(farm, "job", ["2"], "priority=77")
    assert report.done == []
    assert report.problems == ['job 2 "j2": it is gone meanwhile']


async def test_what_the_server_ignores_is_a_problem() -> None:
    async with open_scripted_farm(nodes={"renders": [render()], "pools": []}) as (_, farm):
        report = await set_nodes(farm, "render", ["r1"], "priority=77", "annotation=x")
    assert report.done == []
    assert report.problems == [
        'render r1: the server did not take it: priority is 0, not 77, annotation is "", not "x"'
    ]


async def test_what_it_has_taken_is_done() -> None:
    nodes = {"renders": [render(1), render(2)], "pools": []}
    async with open_scripted_farm(nodes=nodes, change=apply_params) as (server, farm):
        report = await set_nodes(farm, "render", ["r*"], "priority=77", "services=b,a")
    assert report.problems == []
    assert report.names == {"set priority, services of": ["render r1", "render r2"]}
    [action] = server.actions
    assert (action["ids"], action["user_name"], action["host_name"]) == ([1, 2], "ann", "ws1")


async def test_a_hidden_node_stays_hidden() -> None:
    nodes = {"jobs": [job(2, hidden=True), job(3)]}
    async with open_scripted_farm(nodes=nodes, change=apply_params) as (server, farm):
        report = await set_nodes(farm, "job", ["j*"], "priority=7")
        assert server.find("jobs", 2)["hidden"] is True
        await set_nodes(farm, "job", ["j2"], "hidden=false")
        assert server.find("jobs", 2)["hidden"] is False
    assert report.problems == []
    assert {each["ids"][0]: each["params"] for each in server.actions[:2]} == {
        2: {"hidden": True, "priority": 7},
        3: {"priority": 7},
    }


async def test_parameters_of_a_block_leave_its_job_as_it_was() -> None:
    def hit_the_job_too(server: ScriptedFarm, action: dict[str, Any]) -> object:
        node = server.find("jobs", 2)
        if "block_ids" in action:
            node["blocks"][0].update(action["params"])
        return apply_params(server, action)

    nodes = {"jobs": [job(2, hidden=True, custom_data="mine")]}
    async with open_scripted_farm(nodes=nodes, change=hit_the_job_too) as (server, farm):
        report = await set_nodes(farm, "block", ["2.b"], "custom_data=x", "capacity=5")
        assert (server.find("jobs", 2)["custom_data"], server.find("jobs", 2)["hidden"]) == (
            "mine",
            True,
        )
    assert report.names == {"set custom_data, capacity of": ['block 2.0 "b"']}


async def test_a_refusal_is_the_problem_of_its_node() -> None:
    def refuse(_server: ScriptedFarm, _action: dict[str, Any]) -> object:
        return {"info": {"kind": "error", "text": "User does not exist: bob"}}

    async with open_scripted_farm(nodes={"jobs": [job()]}, change=refuse) as (_, farm):
        report = await set_nodes(farm, "job", ["2"], "user_name=bob")
    assert report.problems == ['job 2 "j2": refused: User does not exist: bob']


async def test_a_refusal_that_no_node_shows_is_the_problem_of_all() -> None:
    """No answer shows the coefficient of a parser; and a change before this one had a problem."""

    def refuse(_server: ScriptedFarm, _action: dict[str, Any]) -> object:
        return {"info": {"kind": "error", "text": "not yours"}}

    two = job(blocks=[job()["blocks"][0], {**job()["blocks"][0], "name": "c"}])
    nodes = {"jobs": [two, job(3)], "renders": [render(), render(2)]}
    async with open_scripted_farm(nodes=nodes, change=refuse) as (_, farm):
        report = await set_nodes(farm, "block", ["2.b", "2.c"], "parser_coeff=3")
        assert report.done == []
        assert [each.endswith("refused: not yours") for each in report.problems] == [True] * 2
        report = await set_nodes(farm, "job", ["j*"], "annotation=")
        assert len(report.problems) == 2
        report = ChangeReport(problems=["something before"])
        change = VERBS["free"]["render"]
        await apply_change(farm, "render", await farm.renders(), change, report)
        assert report.problems[1:] == ["refused: not yours"]


async def test_a_mask_that_is_no_expression_is_not_sent() -> None:
    nodes = {"jobs": [job(hosts_mask_type="regex")]}
    async with open_scripted_farm(nodes=nodes) as (server, farm):
        with pytest.raises(ConfigError, match=r"hosts_mask: .* is not a regular expression"):
            await set_nodes(farm, "job", ["2"], "hosts_mask=a(")
        await set_nodes(farm, "job", ["2"], "hosts_mask=a(", "hosts_mask_type=find")
    assert len(server.actions) == 1


async def steer(farm: Any, verb: str, *names: str, **more: object) -> ChangeReport:  # noqa: ANN401 - a client
    report = ChangeReport()
    await _change(farm, options(*names, command=verb, keep_mine=False, **more), report)
    return report


@pytest.mark.parametrize(
    ("verb", "bits", "sent"),
    [
        ("nimby", ONLINE | OWNER, {"params": {"nimby": True}}),
        ("NIMBY", ONLINE | NO_JOBS, {"params": {"NIMBY": True}}),
        ("free", ONLINE, {"params": {"nimby": False}}),
        ("sleep", ONLINE | FALLING, {"operation": {"type": "wol_sleep"}}),
        ("eject", ONLINE, {"operation": {"type": "eject_tasks"}}),
        ("exit", 0, {"operation": {"type": "exit"}}),
        ("recover", ONLINE, {"operation": {"type": "heal_sick"}}),
    ],
)
async def test_changes_of_renders(verb: str, bits: int, sent: dict[str, Any]) -> None:
    nodes = {"renders": [render()], "pools": []}
    change = set_bits("renders", bits)
    async with open_scripted_farm(nodes=nodes, change=change) as (server, farm):
        report = await steer(farm, verb, "r1")
    assert report.problems == []
    assert [each["id"] for each in report.done] == [1]
    [action] = server.actions
    assert {key: action[key] for key in ("params", "operation") if key in action} == sent


@pytest.mark.parametrize(
    ("verb", "state", "problem"),
    [
        ("nimby", {}, "it has no nimby"),
        ("free", {"st": ONLINE | NO_JOBS}, "it still has nimby"),
        ("sleep", {"st": 0}, "it is offline"),
        ("sleep", {"tasks": [{}]}, "it runs 1 task"),
        ("sleep", {"netifs": []}, "no network interface"),
        ("sleep", {}, "it does not sleep: `log render` tells why"),
        ("wake", {}, "it is not asleep"),
        ("exit", {"st": 0}, "it is offline: nothing can be sent to it"),
        ("recover", {"st": ONLINE | 1 << 9}, "it is still sick"),
    ],
)
async def test_a_change_that_does_not_take_is_a_problem(
    verb: str, state: dict[str, Any], problem: str
) -> None:
    async with open_scripted_farm(nodes={"renders": [render(**state)], "pools": []}) as (_, farm):
        report = await steer(farm, verb, "r1")
    assert report.done == []
    [sentence] = report.problems
    assert sentence.startswith("render r1: ")
    assert problem in sentence


async def test_a_hidden_render_stays_hidden_with_nimby() -> None:
    nodes = {"renders": [render(1, hidden=True), render(2)], "pools": []}
    change = set_bits("renders", ONLINE | OWNER)
    async with open_scripted_farm(nodes=nodes, change=change) as (server, farm):
        report = await steer(farm, "nimby", "r*")
    assert [each["id"] for each in report.done] == [1, 2]
    assert [(each["ids"], each["params"]) for each in server.actions] == [
        ([2], {"nimby": True}),
        ([1], {"hidden": True, "nimby": True}),
    ]


async def test_an_online_render_is_not_deleted() -> None:
    async with open_scripted_farm(nodes={"renders": [render()], "pools": []}) as (server, farm):
        report = await steer(farm, "delete", "render", "r1")
    assert report.problems == ["render r1: it is online: `exit` ends it first"]
    assert server.actions == []


async def test_a_job_that_is_being_deleted_is_done_with_a_hint() -> None:
    def lock(server: ScriptedFarm, _action: dict[str, Any]) -> object:
        server.find("jobs", 2)["locked"] = True
        return DONE_TEXT

    async with open_scripted_farm(nodes={"jobs": [job()]}, change=lock) as (_, farm):
        report = await steer(farm, "delete", "j2")
    assert report.problems == []
    assert report.hints == ["job 2 is deleted when its running tasks are closed"]


async def test_a_user_with_jobs_is_not_deleted_silently() -> None:
    nodes = {"users": [{"id": 3, "name": "bob", "jobs_num": 2}], "jobs": []}
    async with open_scripted_farm(nodes=nodes) as (server, farm):
        report = await steer(farm, "delete", "user", "bob")
    assert report.problems == ["user bob: it has 2 jobs: delete these first"]
    assert server.actions == []


async def test_the_servers_own_job_stays() -> None:
    system = job(1, name="afanasy", user_name="afadmin")
    async with open_scripted_farm(nodes={"jobs": [system]}) as (server, farm):
        report = await steer(farm, "delete", "afanasy", "*")
    assert report.problems == [
        'no job matches "*"; there are 0',
        'job 1 "afanasy": it is the server\'s own job',
    ]
    assert server.actions == []


async def test_a_later_job_with_the_same_id_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the question and the answer the job ends, and its id is used again."""
    async with open_scripted_farm(nodes={"jobs": [job(2), job(3)]}) as (server, farm):

        def answer_late(_question: str, *, yes: bool) -> None:
            assert not yes
            server.find("jobs", 2)["serial"] = 99

        monkeypatch.setattr(steering, "confirm", answer_late)
        report = ChangeReport()
        asked = options("j*", command="stop", keep_mine=False)
        asked.yes = False
        await _change(farm, asked, report)
    [action] = server.actions
    assert action["ids"] == [3]
    assert 'job 2 "j2" is gone meanwhile' in report.problems


async def test_without_a_terminal_a_dangerous_change_needs_yes() -> None:
    tasks = [{"job_id": 2}, {"job_id": 2}]
    nodes = {"renders": [render(tasks=tasks)], "pools": []}
    async with open_scripted_farm(nodes=nodes) as (server, farm):
        asked = options("r1", command="eject", keep_mine=False)
        asked.yes = False
        with pytest.raises(ConfigError) as caught:
            await _change(farm, asked, ChangeReport())
    assert str(caught.value) == (
        "eject render r1 on af://farm:51000: 2 running tasks, to start again from the"
        " beginning: give --yes to do it"
    )
    assert server.actions == []


async def test_no_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def decline(_question: str, *, yes: bool) -> None:
        raise Declined

    monkeypatch.setattr(steering, "confirm", decline)
    async with open_scripted_farm(nodes={"jobs": [job()]}) as (server, farm):
        with pytest.raises(Declined):
            await steer(farm, "stop", "j2")
        assert server.actions == []


async def test_of_several_nodes_those_that_took_it_are_done() -> None:
    def only_first(server: ScriptedFarm, _action: dict[str, Any]) -> object:
        server.find("jobs", 2)["st"] = OFF
        return {"info": {"kind": "error", "text": "Action node ID not found: 3."}}

    async with open_scripted_farm(nodes={"jobs": [job(2), job(3)]}, change=only_first) as (_, farm):
        report = await steer(farm, "pause", "j2", "j3", "zzz")
    assert [each["id"] for each in report.done] == [2]
    assert report.problems == [
        'no job "zzz"',
        'job 3 "j3": refused: Action node ID not found: 3.',
    ]


async def test_retry_lets_avoided_renders_take_the_tasks_again() -> None:
    async with open_scripted_farm(nodes={"jobs": [job()]}) as (server, farm):
        await steer(farm, "retry", "j2")
        await steer(farm, "retry", "2.0.1")
    sent = [(each.get("block_ids"), each["operation"]) for each in server.actions]
    assert sent == [
        (None, {"type": "restart_errors"}),
        (None, {"type": "reset_error_hosts"}),
        ([0], {"type": "restart_errors", "task_ids": [1]}),
        ([0], {"type": "reset_error_hosts", "task_ids": [1]}),
    ]


async def test_tasks_that_were_not_skipped_are_named() -> None:
    progress = [[{"st": DONE | SKIPPED}, {"st": READY}]]
    async with open_scripted_farm(nodes={"jobs": [job()]}, progress=progress) as (server, farm):
        report = await steer(farm, "skip", "2.0.0", "2.0.1", "2.0.7")
    assert report.names == {"skipped": ["2.0.0"]}
    assert report.problems == [
        '2.0.7: block 0 "b" has 2 tasks, from 0',
        "2.0.1: it is not skipped",
    ]
    assert [each["operation"]["task_ids"] for each in server.actions] == [[0], [1]]


async def test_a_restart_of_done_tasks_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(steering, "confirm", lambda question, **_: asked.append(question))
    progress = [[{"st": DONE}, {"st": READY}]]
    async with open_scripted_farm(nodes={"jobs": [job()]}, progress=progress) as (_, farm):
        await steer(farm, "restart", "2.0.0-1")
        await steer(farm, "restart", "2.0.0-1", errors=True)
    assert asked == ["restart 2.0.0-1 on af://farm:51000: 1 done task"]


def test_every_verb_of_a_task_has_its_negation() -> None:
    names = {key.partition("=")[0] for key in TASK_CHANGES if "=" in key}
    assert {f"{name}={on}" for name in names for on in ("true", "false")} <= TASK_CHANGES.keys()


async def test_our_farm_is_steered_the_same_way() -> None:
    async with open_json_farm() as own:

        async def connect(_host: str, _port: int) -> Any:  # noqa: ANN401 - a stream of memory
            return own.connect()

        farm = make_remote_farm(connect)
        block = {"name": "b", "tasks": [{"name": f"t{n}", "command": "true"} for n in range(3)]}
        sent = {"name": "j", "user_name": "ann", "blocks": [block]}
        number = (await farm.ask({"job": sent}))["id"]
        link = own.add_render("r1")
        await link.register("r1")
        for verb, names in (
            ("pause", ["j"]), ("start", ["j"]), ("nimby", ["r1"]), ("NIMBY", ["r1"]),
            ("free", ["r1"]), ("pause", ["render", "r1"]), ("start", ["render", "r1"]),
            ("skip", [f"{number}.0.1"]), ("retry", ["j"]), ("restart", ["j"]), ("stop", ["j"]),
        ):  # fmt: skip
            report = await steer(farm, verb, *names)
            assert report.problems == [], verb
            assert report.done, verb
        for kind, name, words in (
            ("job", "j", ["priority=7", "folders.out=/srv", "hidden=true", "max_running_tasks=2"]),
            ("job", "j", ["annotation=x"]),
            ("block", f"{number}.0", ["capacity=5", "need_memory=-1", "environment.A=b"]),
            ("render", "r1", ["priority=7", "capacity_host=500", "services=generic,x"]),
            ("render", "r1", ["capacity_host=-1", "services="]),
            ("user", "ann", ["priority=7", "max_running_tasks=4"]),
            ("pool", "/", ["busy_cpu=90", "new_nimby=true"]),
        ):
            report = await set_nodes(farm, kind, [name], *words)
            assert report.problems == [], (kind, words)
        report = ChangeReport()
        changes = [TASK_CHANGES["suspended=true"]]
        await change_tasks(farm, options("2.0.2"), report, changes=changes)
        assert report.problems == []
        refused = await set_nodes(farm, "block", ["2.0"], "command_pre=x")
        assert "refused: command_pre: this farm runs no commands" in refused.problems[0]
        report = await steer(farm, "delete", "j")
        assert report.problems == []
        assert report.hints == ["job 2 is deleted when its running tasks are closed"]
        with pytest.raises(JobGone):
            await farm.job(77)


async def test_a_list_that_is_none_is_an_error() -> None:
    async with open_scripted_farm(constant={"other": []}) as (_, farm):
        with pytest.raises(ProtocolError, match="answered with no list of jobs"):
            await farm.jobs()
        with pytest.raises(ProtocolError, match="no progress of job 2"):
            await farm.tasks(read_job(job()))
        with pytest.raises(ProtocolError, match="registered no monitor"):
            async with farm.open_monitor():
                pass


async def test_refusals_are_raised_with_the_servers_text() -> None:
    def refuse(_server: ScriptedFarm, _action: dict[str, Any]) -> object:
        return {"info": {"kind": "error", "text": "No."}}

    async with open_scripted_farm(nodes={"jobs": [job()]}, change=refuse) as (_, farm):
        with pytest.raises(LinkRefused, match=r"No\."):
            await farm.act("jobs", [2], operation={"type": "pause"})


async def test_verbs_are_for_their_kinds_only() -> None:
    assert {kind for kinds in VERBS.values() for kind in kinds} == {"render", "job", "user", "pool"}
    # A job may have the name of a kind.
    nodes = {"jobs": [job(2, name="render")]}
    async with open_scripted_farm(nodes=nodes, change=set_bits("jobs", OFF)) as (_, farm):
        report = await steer(farm, "pause", "render")
    assert report.names == {"paused": ['job 2 "render"']}
