"""What the page reads of one node: values of its parameters, its log."""

from __future__ import annotations

import pytest
from support.json_farm import open_json_farm
from trio.testing import MockClock

from trio_afrender.errors import ConfigError, JobGone
from trio_afrender.farm.json_interface import make_in_process_farm
from trio_afrender.web.node_reads import read_node_log, read_values
from trio_afrender.web.topic_registry import UnknownTopic


async def test_values_and_logs_of_nodes(autojump_clock: MockClock) -> None:
    async with open_json_farm() as json_farm:
        farm = make_in_process_farm(
            json_farm.farm,
            json_farm.server.requests,
            place="own",
            user_name="ann",
            host_name="ws1",
        )
        block = {"name": "b", "tasks": [{"name": "t", "command": "true"}], "capacity": 77}
        job = {"name": "j", "user_name": "ann", "priority": 42, "folders": {"output": "/srv"}}
        await farm.ask({"job": {**job, "blocks": [block]}})
        await json_farm.add_render("r1").register("r1")
        (render,) = await farm.renders()
        await farm.act("renders", [render.id], params={"NIMBY": True, "annotation": "loud"})
        (number,) = [each.id for each in await farm.jobs()]

        values = await read_values(farm, "job", str(number))
        assert (values["priority"], values["folders"]) == (42, {"output": "/srv"})
        assert values["max_running_tasks"] == -1  # an answer leaves it out
        values = await read_values(farm, "block", f"{number}.0")
        assert (values["capacity"], values["command"]) == (77, "")
        values = await read_values(farm, "render", str(render.id))
        assert (values["NIMBY"], values["nimby"], values["annotation"]) == (True, False, "loud")
        assert (await read_values(farm, "pool", "1"))["paused"] is False
        assert (await read_values(farm, "user", str((await farm.users())[0].id)))["priority"] == 99
        assert any("NIMBY" in line for line in await read_node_log(farm, "render", str(render.id)))

        with pytest.raises(JobGone):
            await read_values(farm, "job", "999")
        for kind, node in (("block", f"{number}.9"), ("render", "999"), ("user", "999")):
            with pytest.raises(UnknownTopic, match="no "):
                await read_values(farm, kind, node)
        for kind in ("job", "render", "user"):
            with pytest.raises(UnknownTopic, match="there is no"):
                await read_node_log(farm, kind, "999")
        for kind, node in (("task", "1"), ("job", "-1"), ("job", "1.0"), ("block", "x"), ("", "1")):
            with pytest.raises(ConfigError):
                await read_values(farm, kind, node)
