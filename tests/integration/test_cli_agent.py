"""`trio_afrender agent` against a farm on loopback."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from support.agent_program import open_agent, open_server, submit, write_token
from support.cli import make_gate, open_command, open_gate, pass_gate, run_command
from support.polling import until

from trio_afrender.agent.state_dir import open_state_dir
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.transport.tokens import make_token


async def test_an_agent_runs_tasks_and_ends_on_a_signal(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (farm, url):
        async with open_agent(tmp_path, url) as command:
            job = await farm.wait(submit(farm, "echo one", "exit 3"))
            assert [task.state for task in job.tasks] == ["done", "error"]
            assert job.tasks[0].output == "one\n"
            assert [render.name for render in farm.renders] == ["render-1"]
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
        assert farm.renders[0].state == "offline"
    assert command.out == ""
    assert "registered as render" in command.err
    assert "SIGTERM: no new tasks" in command.err


async def test_a_drain_lets_the_running_task_finish(tmp_path: Path) -> None:
    up, hold = make_gate(tmp_path / "up"), make_gate(tmp_path / "hold")
    async with open_server(tmp_path) as (farm, url):
        async with open_agent(tmp_path, url) as command:
            job = submit(farm, f"echo up > {up}; read x < {hold}; echo finished", "echo never")
            await pass_gate(up)
            command.process.send_signal(signal.SIGTERM)
            await command.says("no new tasks")
            await open_gate(hold)
            assert await command.wait() == 0
        first, second = farm.view(job).tasks
        assert (first.state, second.attempts) == ("done", 0)


async def test_a_second_signal_gives_tasks_back_and_no_process_stays(tmp_path: Path) -> None:
    up = make_gate(tmp_path / "up")
    async with open_server(tmp_path) as (farm, url):
        async with open_agent(tmp_path, url) as command:
            job = submit(farm, f"(setsid sleep 1000 &); echo up > {up}; sleep 1000")
            await pass_gate(up)
            command.process.send_signal(signal.SIGINT)
            await command.says("no new tasks")
            command.process.send_signal(signal.SIGINT)
            assert await command.wait() == 0
        [task] = farm.view(job).tasks
        assert task.state == "ready"


async def test_an_agent_can_register_as_nimby(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (farm, url), open_agent(tmp_path, url, "NIMBY") as command:
        await command.says("registered as render")
        assert farm.renders[0].nimby == "NIMBY"
        command.process.send_signal(signal.SIGTERM)


async def test_without_redirection_tasks_print_on_the_agents_console(tmp_path: Path) -> None:
    (tmp_path / "site.json").write_text(
        '{"cgru_config": {"trio_afrender": {"limits": {"no_output": 0.05}}}}'
    )
    async with open_server(tmp_path) as (farm, url):
        async with open_agent(tmp_path, url, "-nor", "--config", "site.json") as command:
            tasks = [
                {
                    "name": "t",
                    "command": "echo PROGRESS: 50%; echo to stderr >&2; sleep 0.2; exit 3",
                }
            ]
            block = {"name": "b", "parser": "generic", "errors_retries": 0, "tasks": tasks}
            job = farm.submit(parse_job({"job": {"name": "j", "blocks": [block]}}))
            [task] = (await farm.wait(job)).tasks
            # The output was not parsed, and the limit on missing output did not apply.
            assert (task.state, task.exit_code, task.percent) == ("error", 3, 0)
            assert "without redirection (-nor): the output is on its console" in task.output
            await command.says("to stderr\n")
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
    assert command.out == "PROGRESS: 50%\n"


async def test_the_log_can_be_without_times(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (_, url):
        async with open_agent(tmp_path, url, "-log_nodate") as command:
            await command.says("registered as render")
            command.process.send_signal(signal.SIGTERM)
    assert "\nINFO registered as render" in "\n" + command.err


async def test_a_single_command_is_run_in_the_environment_of_tasks(tmp_path: Path) -> None:
    # -u: the shell fails for a variable that is not set, which it is for no task.
    words = ("-cmd", "echo $NOTIFY_SOCKET", "--cmd_shell", "/bin/sh -u -c")
    async with open_command(*words, home=tmp_path, NOTIFY_SOCKET="/no") as command:
        assert await command.wait() == 2
    words_of_two = ("-cmd", "echo one; echo err >&2; exit 7")
    assert await run_command(*words_of_two, home=tmp_path) == (7, "one\n", "err\n")
    code, _, err = await run_command("-cmd", "true", "--cmd_shell", "/no/such/sh -c", home=tmp_path)
    assert code == 1
    assert err == (
        'trio_afrender: cmd_shell: cannot start "/no/such/sh": No such file or directory\n'
    )


async def test_a_wrong_token_and_a_wrong_name_for_it_end_with_3(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (_, url):
        async with open_agent(tmp_path, url, name="other-1") as command:
            assert await command.wait() == 3
        assert "refused by the server: unauthorized" in command.err
        write_token(tmp_path / "token", make_token().secret)
        async with open_agent(tmp_path, url) as command:
            assert await command.wait() == 3
        assert "refused by the server: unauthorized" in command.err
        assert (tmp_path / "token").read_text() not in command.err
        async with open_command("--server", url, "--name", "render-1", "--store", "s", home=tmp_path) as command:  # fmt: skip
            assert await command.wait() == 3
        assert "unauthorized" in command.err


async def test_a_second_agent_of_one_name_ends_with_3(tmp_path: Path) -> None:
    write_token(tmp_path / "token", make_token().secret)
    with open_state_dir(tmp_path / "store", "render-1"):
        async with open_agent(tmp_path, "ws://127.0.0.1:1") as command:
            assert await command.wait() == 3
    assert "another agent of that name runs here" in command.err


async def test_an_agent_waits_for_a_name_that_is_taken(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (_, url), open_agent(tmp_path, url) as first:
        await first.says("registered as render")
        words = ("--server", url, "--token-file", "token", "--name", "render-1", "--store", "other")
        async with open_command(*words, home=tmp_path) as second:
            await second.says('name-taken (a render "render-1" is online from')
            first.process.send_signal(signal.SIGTERM)
            await second.says("registered as render")
            second.process.send_signal(signal.SIGTERM)
            assert await second.wait() == 0


async def test_an_agent_waits_for_an_absent_server(tmp_path: Path) -> None:
    write_token(tmp_path / "token", make_token().secret)
    async with open_agent(tmp_path, "ws://127.0.0.1:1") as command:
        await command.says("no link to the server")
        command.process.send_signal(signal.SIGINT)
        assert await command.wait() == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--token-file", "open"], "can be read by others (mode 0644)"),
        (["--token-file", "none"], "none: No such file or directory"),
        (["--token-file", "empty"], "empty is empty"),
        (["--ca-file", "none"], "none"),
        (["--name", "a/b"], 'name "a/b" cannot be a folder'),
        (["--store", "token"], "store folder"),
        (["--plugins", "none"], "none does not exist"),
    ],
)
async def test_options_that_cannot_work_end_with_2(
    tmp_path: Path, words: list[str], sentence: str
) -> None:
    write_token(tmp_path / "token", make_token().secret)
    write_token(tmp_path / "open", make_token().secret, 0o644)
    write_token(tmp_path / "empty", "")
    given = ["--server", "wss://127.0.0.1:1", "--store", "store", *words]
    code, out, err = await run_command("agent", *given, home=tmp_path)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


async def test_a_store_that_is_a_link_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "store" / "trio_afrender").mkdir(parents=True)
    (tmp_path / "store" / "trio_afrender" / "render-1").symlink_to(elsewhere)
    words = ("--server", "wss://127.0.0.1:1", "--name", "render-1", "--store", "store")
    code, _, err = await run_command(*words, home=tmp_path)
    assert code == 2
    assert "is a link or a file" in err
    assert list(elsewhere.iterdir()) == []


async def test_settings_of_the_agent_come_from_a_file(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (farm, url):
        ours = {"server": url, "token_file": "token", "name": "render-7", "max_tasks": 3}
        config = {"cgru_config": {"af_store_folder": "store", "trio_afrender": ours}}
        (tmp_path / "site.json").write_text(json.dumps(config))
        words = ("agent", "--config", "site.json", "nimby", "--af_priority", "5")
        async with open_command(*words, home=tmp_path, CGRU_AF_STORE_FOLDER="") as command:
            await command.says("registered as render")
            [render] = farm.renders
            assert (render.name, render.max_tasks, render.nimby) == ("render-7", 3, "nimby")
            command.process.send_signal(signal.SIGTERM)
    assert (tmp_path / "store" / "trio_afrender" / "render-7").is_dir()


async def test_without_supervisor_tasks_end_when_their_agent_is_killed(tmp_path: Path) -> None:
    up, hold = make_gate(tmp_path / "up"), make_gate(tmp_path / "hold")
    async with open_server(tmp_path) as (farm, url):
        job = submit(farm, f"setsid sleep 1000 & echo first; echo up > {up}; read x < {hold}")
        async with open_agent(tmp_path, url, "--no-supervisor") as command:
            await pass_gate(up)
            command.process.kill()
            await command.wait()
            await until(lambda: not command.strays())  # Their task supervisor ends them.
            # The next agent with the same store gives the task back, which starts again.
            async with open_agent(tmp_path, url, "--no-supervisor") as second:
                await pass_gate(up)
                await open_gate(hold)
                [task] = (await farm.wait(job)).tasks
                assert (task.state, task.attempts) == ("done", 2)
                assert "stopped: its agent disconnected" in task.log
                second.process.send_signal(signal.SIGTERM)
                assert await second.wait() == 0


async def test_a_farm_gets_the_usage_of_a_running_and_an_ended_task(tmp_path: Path) -> None:
    hold = make_gate(tmp_path / "hold")
    script = f"x = bytearray(64 << 20); open({str(hold)!r}).read()"
    config = tmp_path / "often.json"
    timing = {"heartbeat": 0.1, "resources_period": 1}
    config.write_text(json.dumps({"cgru_config": {"trio_afrender": {"timing": timing}}}))
    async with open_server(tmp_path) as (farm, url):
        async with open_agent(tmp_path, url, "--config", str(config)) as command:
            job = submit(farm, f'{sys.executable} -I -S -c "{script}"')
            seen, resident = 0, 0
            while resident < 64 * 1024**2:
                seen = await farm.changed(seen)
                usage = farm.view(job).tasks[0].usage
                resident = usage.resident if usage is not None else 0
            await open_gate(hold)
            [task] = (await farm.wait(job)).tasks
            assert task.state == "done"
            assert task.usage is not None
            assert task.usage.resident_peak >= resident
            assert task.usage.cpu_seconds > 0
            assert "task_mem_peak_mb:" in task.resources
            assert "\nUsed at most: " in task.log
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
