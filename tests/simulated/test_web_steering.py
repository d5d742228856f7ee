"""What the page changes: previews, changes, problems, undo, and the log of who did what."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from support.web_page import WebPage, change_body, open_own_page
from trio.testing import MockClock

from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.errors import LinkLost, LinkRefused
from trio_afrender.web.page_steering import KINDS, describe_actions


def job(count: int = 4, **more: object) -> dict[str, object]:
    tasks = [{"name": f"t{number}", "command": "true"} for number in range(count)]
    return {"blocks": [{"name": "b", "tasks": tasks}], **more}


def task_states(page: WebPage) -> list[str]:
    assert page.json_farm is not None
    return [task.state for task in page.json_farm.farm.view(2).tasks]


async def done(page: WebPage, kind: str, verb: str, *nodes: object, **values: str) -> Any:  # noqa: ANN401 - JSON
    """Make a change that has to succeed."""
    answer = await page.change(kind, verb, *nodes, **values)
    assert answer.status == 200, answer.body
    assert answer.json["problems"] == []
    return answer.json


async def test_a_preview_changes_nothing(autojump_clock: MockClock) -> None:
    async with open_own_page(job(), renders=("r1",)) as page:
        body = change_body("job", "stop", (2, 1))
        shown = (await page.post("/api/preview", body)).json
        assert shown == {
            "text": 'stop job 2 "j": 1 running task, to start again from the beginning',
            "asks": True,
            "count": 1,
            "undo": "start 1 job again",
            "problems": [],
        }
        assert task_states(page)[0] == "running"


@pytest.mark.parametrize(
    ("kind", "node", "verb", "word", "undone"),
    [
        ("job", (2, 1), "pause", "OFF", ""),
        ("job", (2, 1), "stop", "OFF", ""),
        ("render", (1, "r1"), "nimby", "NbY", ""),
        ("render", (1, "r1"), "NIMBY", "NBY", ""),
        ("render", (1, "r1"), "pause", "PAU", ""),
    ],
)
async def test_a_change_and_its_undo(
    kind: str, node: object, verb: str, word: str, undone: str, autojump_clock: MockClock
) -> None:
    async with open_own_page(job(), renders=("r1",)) as page, page.view("log") as viewer:
        watch = page.page.watch
        number = (await done(page, kind, verb, node))["log"]
        nodes: Any = watch.jobs if kind == "job" else watch.renders
        await watch.round.wait()
        assert word in next(iter(nodes.values())).states
        row = await viewer.expect_row("log", number)
        assert row["who"] == "ann on this machine"
        assert row["undo"]
        answer = await page.post("/api/undo", {"id": number})
        assert answer.status == 200
        await watch.round.wait()
        assert word not in next(iter(nodes.values())).states
        await viewer.expect_row("log", number, undone=True)
        again = await page.post("/api/undo", {"id": number})
        assert again.status == 409


async def test_a_change_that_the_farm_may_have_done_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The farm is lost before it has answered."""
    async with open_own_page(job()) as page, page.view("log") as viewer:
        watch = page.page.watch
        farm_type = type(watch.farm)
        act = farm_type.act

        async def act_and_lose(farm: RemoteFarm, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - as `act`
            await act(farm, *arguments, **more)
            raise LinkLost("connection lost")

        with monkeypatch.context() as patch:
            patch.setattr(farm_type, "act", act_and_lose)
            assert (await page.change("job", "pause", (2, 1))).status == 503
        row = await viewer.expect_row("log", 1)
        assert (row["text"], row["who"]) == ('pause job 2 "j"', "ann on this machine")
        assert "whether this is done is not known: connection lost" in row["problems"][0]
        assert (await page.post("/api/undo", {"id": 1})).status == 200
        await watch.round.wait()
        assert "OFF" not in watch.jobs[2].states


async def test_a_change_whose_browser_is_gone_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The connection is closed before the farm has answered."""
    async with open_own_page(job()) as page, page.view("log") as viewer:
        farm_type = type(page.page.watch.farm)
        act = farm_type.act

        async def act_and_stall(farm: RemoteFarm, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - as `act`
            await act(farm, *arguments, **more)
            await trio.sleep_forever()

        with monkeypatch.context() as patch:
            patch.setattr(farm_type, "act", act_and_stall)
            with trio.move_on_after(60) as connection:
                await page.change("job", "pause", (2, 1))
        assert connection.cancelled_caught
        row = await viewer.expect_row("log", 1)
        assert (row["text"], row["who"]) == ('pause job 2 "j"', "ann on this machine")
        assert "before the farm had answered" in row["problems"][0]
        assert (await page.post("/api/undo", {"id": 1})).status == 200


@pytest.mark.parametrize("failing", [1, 2], ids=["at once", "in the middle"])
async def test_an_undo_that_the_farm_interrupts(
    failing: int, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """What it did not do is left to be undone."""
    async with open_own_page(renders=("r1", "r2")) as page, page.view("log") as viewer:
        watch = page.page.watch
        await done(page, "render", "nimby", (1, "r1"))
        number = (await done(page, "render", "NIMBY", (1, "r1"), (2, "r2")))["log"]
        farm_type = type(watch.farm)
        act = farm_type.act
        asked = 0

        async def act_once(farm: RemoteFarm, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - as `act`
            nonlocal asked
            asked += 1
            if asked == failing:
                raise LinkLost("connection lost")
            await act(farm, *arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(farm_type, "act", act_once)
            answer = await page.post("/api/undo", {"id": number})
        if failing == 1:
            assert answer.status == 503
        else:
            assert answer.status == 200
            assert "connection lost" in answer.json["problems"][-1]
            row = await viewer.expect_row("log", answer.json["log"])
            assert ("r1" in row["text"], "r2" in row["text"]) == (True, False)
            assert row["problems"] == answer.json["problems"]
        await viewer.expect_row("log", number, undone=False)
        assert (await page.post("/api/undo", {"id": number})).status == 200
        await viewer.expect_row("log", number, undone=True)
        await watch.round.wait()
        assert "NbY" in watch.renders[1].states
        assert not {"NbY", "NBY"} & {*watch.renders[2].states}
        assert (await page.post("/api/undo", {"id": number})).status == 409


async def test_an_undo_that_does_nothing_may_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with open_own_page(job()) as page:
        number = (await done(page, "job", "pause", (2, 1)))["log"]

        async def refuse(*_: object, **__: object) -> None:
            raise LinkRefused("not now")

        with monkeypatch.context() as patch:
            patch.setattr(type(page.page.watch.farm), "act", refuse)
            answer = await page.post("/api/undo", {"id": number})
        assert (answer.status, "not now" in answer.error) == (409, True)
        assert (await page.post("/api/undo", {"id": number})).status == 200


async def test_undo_restores_what_was_there(autojump_clock: MockClock) -> None:
    """NIMBY over nimby goes back to nimby, not to free."""
    async with open_own_page(renders=("r1",)) as page:
        await done(page, "render", "nimby", (1, "r1"))
        number = (await done(page, "render", "NIMBY", (1, "r1")))["log"]
        await page.post("/api/undo", {"id": number})
        await page.page.watch.round.wait()
        assert "NbY" in page.page.watch.renders[1].states


async def test_tasks_that_were_skipped_already_stay_skipped(autojump_clock: MockClock) -> None:
    async with open_own_page(job()) as page:
        await done(page, "task", "skip", ("2.0.1", 1))
        number = (await done(page, "task", "skip", ("2.0.1", 1), ("2.0.3", 1)))["log"]
        assert task_states(page) == ["ready", "skipped", "ready", "skipped"]
        await page.post("/api/undo", {"id": number})
        assert task_states(page) == ["ready", "skipped", "ready", "ready"]


async def test_a_whole_block(autojump_clock: MockClock) -> None:
    async with open_own_page(job()) as page:
        await done(page, "block", "skip", ("2.0", 1))
        assert task_states(page) == ["skipped"] * 4


async def test_parameters_get_their_earlier_values_back(autojump_clock: MockClock) -> None:
    async with open_own_page(job(annotation="before"), renders=("r1",)) as page:
        made = await done(page, "job", "set", (2, 1), annotation="after", priority="7")
        assert made["text"] == 'set annotation=after, priority=7 of job 2 "j"'
        await page.page.watch.round.wait()
        assert page.page.watch.jobs[2].priority == 7
        await page.post("/api/undo", {"id": made["log"]})
        await page.page.watch.round.wait()
        now = page.page.watch.jobs[2]
        assert (now.priority, now.fields["annotation"]) == (99, "before")
        made = await done(page, "block", "set", ("2.0", 1), capacity="10")
        await page.post("/api/undo", {"id": made["log"]})
        await page.page.watch.round.wait()
        assert page.page.watch.jobs[2].blocks[0].capacity == 1000


async def test_what_cannot_be_undone_has_no_undo(autojump_clock: MockClock) -> None:
    async with open_own_page(job()) as page:
        number = (await done(page, "job", "delete", (2, 1)))["log"]
        answer = await page.post("/api/undo", {"id": number})
        assert answer.status == 409
        assert (await page.post("/api/undo", {"id": "x"})).status == 400


async def test_nodes_that_are_others_now(autojump_clock: MockClock) -> None:
    """Ids are used again: what was shown is what is changed, or nothing."""
    async with open_own_page(job(), renders=("r1",)) as page:
        for kind, node, verb in (
            ("job", (2, 99), "delete"),
            ("task", ("2.0.0", 99), "skip"),
            ("block", ("2.0", 99), "skip"),
            ("render", (1, "other"), "NIMBY"),
            ("job", (77, 76), "pause"),
        ):
            answer = await page.change(kind, verb, node)
            assert answer.status == 409, kind
            assert "is gone" in answer.error
        for missing in ("2.1.0", "2.0.9"):
            assert (await page.change("task", "skip", (missing, 1))).status == 409
        assert "OFF" not in page.page.watch.jobs[2].states


async def test_a_change_that_works_for_some(autojump_clock: MockClock) -> None:
    async with open_own_page(job(), renders=("r1",)) as page:
        answer = await page.change("render", "pause", (1, "r1"), (2, "r2"))
        assert answer.status == 200
        assert answer.json["problems"] == ["render 2 is gone meanwhile"]


async def test_a_refusal_is_a_sentence(autojump_clock: MockClock) -> None:
    async with open_own_page(renders=("r1",)) as page:
        answer = await page.change("render", "delete", (1, "r1"))
        assert answer.status == 409
        assert "online" in answer.error


def test_every_verb_of_the_commands_is_there() -> None:
    found = describe_actions()
    verbs = found["verbs"]
    assert isinstance(verbs, list)
    by_kind = {kind: {v["verb"] for v in verbs if v["kind"] == kind} for kind in KINDS}
    assert {"pause", "start", "stop", "restart", "retry", "delete", "set"} <= by_kind["job"]
    assert {"nimby", "NIMBY", "free", "eject", "eject-others", "sleep", "wake"} <= by_kind["render"]
    assert {"recover", "exit", "reboot", "shutdown", "delete"} <= by_kind["render"]
    assert {"skip", "retry", "restart", "suspend", "continue", "next", "done"} <= by_kind["task"]
    assert all(each["label"] for each in verbs)
    settings = found["settings"]
    assert isinstance(settings, dict)
    assert {each["type"] for kind in settings.values() for each in kind} == {
        "integer",
        "flag",
        "text",
        "names",
        "choice",
        "table",
    }
