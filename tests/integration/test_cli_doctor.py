"""`trio_afrender doctor` on this host, in good order and with faults made on purpose."""

from __future__ import annotations

import json
import os
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trustme
from support.agent_program import open_server, write_token
from support.cli import run_command

from trio_afrender.cli.commands.doctor import _probe_mounts, _run_check
from trio_afrender.cli.doctor import files, machine, network
from trio_afrender.cli.doctor.finding import Finding
from trio_afrender.config import Config
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_server import BoundAddress, serve_websocket

CONFIG = Config(name="n1")


async def examine(tmp_path: Path, *words: str | Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the doctor; return the exit code, and the worst finding of each check."""
    store = tmp_path / "store"
    code, out, _ = await run_command("doctor", "--json", "--store", store, *words, home=tmp_path)
    report = json.loads(out)
    found: dict[str, dict[str, Any]] = {}
    for each in sorted(
        report["findings"], key=lambda each: ("ok", "warning", "error").index(each["level"])
    ):
        found[each["check"]] = each
    levels = [each["level"] for each in report["findings"]]
    assert {level: levels.count(level) for level in ("error", "warning", "ok")} == {
        level: report[level] for level in ("error", "warning", "ok")
    }
    return code, found


async def test_a_host_that_is_ready(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (farm, url):
        code, found = await examine(
            tmp_path, "--server", url, "--token-file", "token", "--name", "render-1"
        )
        assert farm.renders == ()
    assert code == 0, [each for each in found.values() if each["level"] == "error"]
    for check in ("config", "python", "kernel", "store", "plugins", "token", "server", "mount"):
        assert found[check]["level"] == "ok", found[check]
        assert found[check]["mend"] == ""
    assert not (tmp_path / "store").exists(), "the doctor creates nothing"


async def test_every_fault_is_an_error_with_a_command(tmp_path: Path) -> None:
    write_token(tmp_path / "token", "secret", 0o644)
    (tmp_path / "studio" / "parsers").mkdir(parents=True)
    (tmp_path / "studio" / "parsers" / "moth.py").write_text("def (:\n")
    (tmp_path / "store" / "trio_afrender").mkdir(parents=True)
    (tmp_path / "store" / "trio_afrender" / "n1").write_text("a file")
    settings = {"pathsmap": [["/nowhere/at/all", "/p"]], "af_render_nise": 3}
    (tmp_path / "c.json").write_text(json.dumps({"cgru_config": settings}))
    code, found = await examine(
        tmp_path, "--server", "ws://127.0.0.1:1", "--token-file", "token", "--name", "n1",
        "--plugins", "studio", "--plugins", "gone", "--config", "c.json",
    )  # fmt: skip
    assert code == 1
    for check, text, fix in (
        ("server", "cannot connect to 127.0.0.1:1", "nc -vz 127.0.0.1 1"),
        ("token", "can be read by others (mode 644)", f"chmod 600 {tmp_path}/token"),
        ("store", "is a link or a file", "mv "),
        ("mount", "/nowhere/at/all", "mount /nowhere/at/all"),
    ):
        assert found[check]["level"] == "error"
        assert text in found[check]["text"]
        assert fix in found[check]["mend"]
    assert found["config"]["level"] == "warning"
    assert 'did you mean "af_render_nice"' in found["config"]["text"]
    assert found["plugins"]["level"] == "error"
    code, out, _ = await run_command(
        "doctor", "--plugins", "studio", "--plugins", "gone", "--store", "store2", home=tmp_path
    )
    assert code == 1
    assert f"the plugin folder {tmp_path}/gone does not exist" in out
    assert "parser moth: SyntaxError" in out
    assert f"see: trio_afrender check --plugins {tmp_path}/studio" in out
    assert out.splitlines()[-1].startswith("2 error")


async def test_unusable_settings_are_an_error_and_the_other_checks_run(
    tmp_path: Path,
) -> None:
    (tmp_path / "c.json").write_text('{"cgru_config": {"trio_afrender": {"max_task": 3}}}')
    code, out, _ = await run_command("doctor", "--config", "c.json", home=tmp_path)
    assert code == 1
    assert 'no setting "max_task" in trio_afrender, did you mean "max_tasks"?' in out
    assert "python" in out
    code, _, err = await run_command("doctor", "--jsn", home=tmp_path)
    assert code == 2
    assert 'did you mean "--json"?' in err


# -- single probes --------------------------------------------------------------------------------


async def test_a_check_that_hangs_or_breaks_is_a_finding() -> None:
    release = threading.Event()

    def hangs() -> tuple[Finding, ...]:
        release.wait()
        return ()

    def breaks() -> tuple[Finding, ...]:
        raise RuntimeError("what now")

    [late] = await _run_check("x", hangs, 0.05)
    release.set()
    assert (late.level, late.text) == ("error", "no answer in 0.05 s: what this check reads hangs")
    [broken] = await _run_check("x", breaks)
    assert "the check itself failed: RuntimeError: what now" in broken.text


@pytest.mark.parametrize("kind", ["date", "none", "garbage", "silent"])
async def test_the_clock_is_compared_with_the_date_of_the_answer(kind: str) -> None:
    then = datetime.now(UTC) - timedelta(seconds=300)
    date = then.strftime("%a, %d %b %Y %H:%M:%S GMT")
    answers = {
        "date": f"HTTP/1.1 400 Bad\r\nDate: {date}\r\n\r\n",
        "none": "HTTP/1.1 400 Bad\r\n\r\n",
        "garbage": "SSH-2.0-OpenSSH\r\n\r\n",
        "silent": "",
    }

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            if answers[kind]:
                await stream.receive_some()
                await stream.send_all(answers[kind].encode())

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    config = attrs.evolve(CONFIG, server=f"ws://127.0.0.1:{port}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        with trio.fail_after(30):
            finding, skew = await trio.to_thread.run_sync(network.probe_server, config)
        nursery.cancel_scope.cancel()
    assert skew == (pytest.approx(300, abs=5) if kind == "date" else None)
    if kind in ("date", "none"):
        assert (finding.level, finding.text) == ("ok", f"{config.server} answers")
    else:
        assert "does not answer an HTTP request" in finding.text
        assert (finding.level, finding.fix) == ("error", f"curl -v http://127.0.0.1:{port}")


async def test_an_afserver_needs_to_accept_connections_only() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    config = attrs.evolve(CONFIG, server=f"af://127.0.0.1:{listener.socket.getsockname()[1]}")
    async with listener:
        finding, skew = await trio.to_thread.run_sync(network.probe_server, config)
    assert (finding.level, finding.text) == ("ok", f"{config.server} accepts connections")
    assert skew is None


@pytest.mark.parametrize(
    ("server", "level", "text", "fix"),
    [
        ("", "warning", "no server is set", "trio_afrender doctor --server wss://HOST:PORT"),
        ("http://x", "error", 'server "http://x"', "trio_afrender config | grep server"),
        ("ws://elsewhere.example:1", "error", "readable", "trio_afrender config | grep server"),
        ("wss://nowhere.invalid:1", "error", '"nowhere.invalid" of the server cannot be resolved', "getent hosts nowhere.invalid"),
        ("ws://127.0.0.1:1", "error", "cannot connect to 127.0.0.1:1 (127.0.0.1): Connection refused", "nc -vz 127.0.0.1 1"),
    ],
)  # fmt: skip
def test_servers_that_cannot_be_reached(server: str, level: str, text: str, fix: str) -> None:
    finding, skew = network.probe_server(attrs.evolve(CONFIG, server=server))
    assert (finding.level, finding.fix, skew) == (level, fix, None)
    assert text in finding.text


def test_an_agent_that_uses_the_store_is_found(tmp_path: Path) -> None:
    from trio_afrender.agent.state_dir import open_state_dir

    config = attrs.evolve(CONFIG, store=tmp_path / "s")
    with open_state_dir(config.store, config.name):
        [used, *_] = files.check_store(config)
    assert used.text.endswith(f"in use by the agent with pid {os.getpid()}")
    [free, space, *_] = files.check_store(config)
    assert free.text.endswith("can be written, synced and locked")
    assert (free.level, space.check) == ("ok", "space")


def test_a_folder_of_the_paths_map(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert files.probe_mount(str(tmp_path)) == ""
    assert files.probe_mount(str(tmp_path / "file")) == "missing"
    assert files.probe_mount(str(tmp_path / "gone")) == "missing"


async def test_a_mount_for_which_no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("trio.to_thread.run_sync", refuse)
    assert await _probe_mounts(["/p"]) == {"/p": "can't start new thread"}


def test_control_groups_are_examined_and_not_changed(tmp_path: Path) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/a.slice/b.service\n")
    mounts = "26 1 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    (tmp_path / "proc" / "self" / "mountinfo").write_text(mounts)
    (tmp_path / "sys" / "fs" / "cgroup" / "a.slice" / "b.service").mkdir(parents=True)
    [finding] = machine.check_cgroup(tmp_path / "proc", tmp_path)
    assert "control groups lack cgroup.kill and the freezer" in finding.text
    assert [*tmp_path.rglob("trio_afrender*")] == []


def test_device_files_of_gpus_are_found(tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidia-modeset").touch()
    (tmp_path / "dri").mkdir()
    (tmp_path / "dri" / "renderD128").touch()
    config = attrs.evolve(CONFIG, gpu_command="echo 'no driver' >&2; exit 9")
    [finding] = machine.check_gpus(config, tmp_path)
    assert finding.text.startswith(f"{tmp_path}/nvidia0 exists, but ")
    (tmp_path / "nvidia0").unlink()
    [finding] = machine.check_gpus(CONFIG, tmp_path)
    assert finding.text.startswith(f"{tmp_path}/dri/renderD128: usable")


def test_limits_pipes_clocks_and_debuggers_of_this_host_can_be_read() -> None:
    assert [each.check for each in machine.check_limits(CONFIG)] == ["nofile", "nproc", "memlock"]
    assert [each.check for each in machine.check_pipes(CONFIG)] == ["pipes"]
    [stacks] = machine.check_debuggers(lambda name: name if name == "gdb" else None)
    assert stacks.text.startswith("gdb ")
    [server, clock, *_] = network.check_server(CONFIG)
    assert (server.check, clock.check, clock.level) == ("server", "clock", "ok")


FAKE_SYSTEMCTL = """#!/bin/sh
[ "$1" = --user ] && exit 1
echo LoadState=loaded; echo KillMode=control-group; echo Delegate=yes; echo WatchdogUSec=1min
"""


def test_the_unit_is_read_from_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "systemctl").write_text(FAKE_SYSTEMCTL)
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    [wrong] = network.check_unit(CONFIG, "mine.service", {})
    assert wrong.text.startswith("mine.service has KillMode=control-group: ")
    assert "mkdir -p /etc/systemd/system/mine.service.d" in wrong.fix
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho Failed to connect to bus >&2; exit 1\n")
    [silent] = network.check_unit(CONFIG, "mine.service", {})
    assert silent.level == "warning"
    assert silent.text == "systemctl cannot query mine.service: Failed to connect to bus"
    assert silent.fix == "sudo systemctl status mine.service"
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho LoadState=not-found\n")
    [gone] = network.check_unit(CONFIG, "mine.service", {})
    assert (gone.level, gone.text) == ("error", "systemd has no unit mine.service")
    assert gone.fix == "systemctl status mine.service"
    [none] = network.check_unit(CONFIG, "", {})
    assert (none.level, none.text) == ("ok", "no systemd unit runs an agent here")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    [unable] = network.check_unit(CONFIG, "mine.service", {})
    assert "systemctl" in unable.text


@pytest.mark.parametrize(("trusted", "problem"), [(True, ""), (False, "unknown CA")])
async def test_certificates_are_checked(trusted: bool, problem: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (other := trustme.CA()).cert_pem.write_to_path(tmp_path / "other.pem")
    assert other is not authority
    config = attrs.evolve(CONFIG, ca_file=tmp_path / ("ca.pem" if trusted else "other.pem"))
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[BoundAddress]) -> None:
            await serve_websocket(
                lambda link: link.aclose(),
                tokens=TokenTable.single(make_token()),
                ssl_context=context,
                task_status=task_status,
            )

        bound: BoundAddress = await nursery.start(serve)
        config = attrs.evolve(config, server=bound.url)
        with trio.fail_after(30):
            finding, _ = await trio.to_thread.run_sync(network.probe_server, config)
        nursery.cancel_scope.cancel()
    assert problem in finding.text
    assert (finding.level == "ok") == trusted
    fix = f"openssl s_client -connect 127.0.0.1:{bound.port} -servername 127.0.0.1"
    assert finding.fix == ("" if trusted else fix)
