"""Two agents of one name: the second one is refused, and the first one is not disturbed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.loopback_farm import SHORT_TIMING, Gated, block, open_agent, open_loopback_farm, stored

from trio_afrender import Config, run_agent
from trio_afrender.agent import session
from trio_afrender.errors import LinkRefused


async def test_on_one_host_the_lock_of_the_store_refuses_the_second(tmp_path: Path) -> None:
    gate = Gated.make(tmp_path)
    async with (
        open_loopback_farm(tmp_path) as loopback,
        open_agent(tmp_path, loopback.server) as first,
    ):
        job = loopback.submit(block(gate.command(before="echo before; echo kept > work.txt")))
        await gate.is_up()
        async with open_agent(tmp_path, loopback.server) as second:
            assert await second.wait() == 3
        store = tmp_path / "store" / "trio_afrender" / "render-1"
        assert second.out == ""
        assert second.err == (
            f"trio_afrender: store folder {store}: another agent of that name runs here; "
            "stop it or use another --name\n"
        )
        assert len(list(store.rglob("work.txt"))) == 1
        await gate.release()
        [task] = (await loopback.farm.wait(job)).tasks
        assert (task.state, task.attempts) == ("done", 1)
        assert stored(tmp_path / "farm", task) == b"before\nfinished\n"
        first.process.send_signal(signal.SIGTERM)
        assert await first.wait() == 0
    assert "name" not in first.err


async def test_on_the_farm_the_server_refuses_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It retries for a while: the render that is online might be its own old session."""
    # Not by a short zombie time, in which each message of the server would have to come.
    monkeypatch.setattr(session, "NAME_TAKEN_RETRIES", 0.1)
    gate = Gated.make(tmp_path)
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent()
        job = loopback.submit(block(gate.command()))
        await gate.is_up()
        peer = loopback.farm.renders[0].peer
        second = Config(
            name="render-1",
            server=loopback.server.url,
            token=loopback.server.token,
            store=tmp_path / "elsewhere",
            timing=SHORT_TIMING,
        )
        with pytest.raises(LinkRefused) as refused:
            await run_agent(second)
        refusal = f'refused by the server: name-taken (a render "render-1" is online from {peer})'
        assert str(refused.value) == refusal
        assert f"{refusal}: trying again" in caplog.messages
        assert [(render.state, render.peer) for render in loopback.farm.renders] == [
            ("online", peer)
        ]
        await gate.release()
        [task] = (await loopback.farm.wait(job)).tasks
        assert (task.state, task.attempts, task.output) == ("done", 1, "finished\n")
        await loopback.check_alive()
    assert "no link" not in caplog.text
