"""`trio_afrender run` in a process of its own, with real tasks."""

from __future__ import annotations

import json
import os
import signal
from hashlib import shake_128
from pathlib import Path

import pytest
import trio
from support.agent_program import write_job
from support.cli import make_gate, open_command, open_gate, pass_gate, run_command

_SHORT_GRACE = {"cgru_config": {"trio_afrender": {"timing": {"grace": 0.2}}}}


def states(report: Path) -> list[tuple[str, int]]:
    return [(t["state"], t["attempts"]) for t in json.loads(report.read_text())["tasks"]]


async def test_a_good_job_ends_with_0_and_leaves_no_files(tmp_path: Path) -> None:
    job = write_job(tmp_path, "echo one", "echo two")
    code, out, err = await run_command("run", job, home=tmp_path)
    assert (code, out) == (0, "")
    assert "[2/2] b / t1: done in" in err
    assert 'job "j": done in' in err
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_a_mask_that_a_later_python_may_read_differently_gives_no_warning(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path, "echo one", hosts_mask="[[a]|.*", depend_mask="[[x]")
    code, _out, err = await run_command("run", job, home=tmp_path)
    assert code == 0
    assert "Warning" not in err


async def test_commands_get_the_prefix_of_the_site(tmp_path: Path) -> None:
    job = write_job(tmp_path, "one", command="-n @#@")
    report = tmp_path / "report.json"
    words = ("run", job, "--report", report, "--af_cmdprefix", "echo ")
    assert (await run_command(*words, home=tmp_path))[0] == 0
    assert json.loads(report.read_text())["tasks"][0]["output"] == "one"


async def test_a_failed_task_ends_with_1_and_a_reason(tmp_path: Path) -> None:
    job = write_job(tmp_path, "echo no licence; exit 5", "echo fine")
    code, out, err = await run_command("run", job, "--retries", "2", home=tmp_path)
    assert (code, out) == (1, "")
    quoted = '"no licence" (line 1 of the output)'
    assert f"failed: b / t0: licence: {quoted}; exit code 5, 3 tries\n" in err
    assert "    | no licence\n" in err
    assert "tasks: 1 done, 1 error" in err
    assert "--keep keeps them" in err


async def test_the_report_has_every_task(tmp_path: Path) -> None:
    job = write_job(tmp_path, "echo one", "exit 7")
    report = tmp_path / "report.json"
    words = ("run", job, "--report", report, "--retries", "0", "--no-progress", "--store", "kept")
    code, out, err = await run_command(*words, home=tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith('job "j": error in ')
    data = json.loads(report.read_text())
    assert (data["job"], data["state"]) == ("j", "error")
    assert data["started"] <= data["finished"]
    good, bad = data["tasks"]
    assert set(good) == {
        "job", "block", "task", "number", "run", "name", "block_name", "render", "state", "outcome", "status",
        "exit_code", "started", "finished", "attempts", "percent", "frame", "frame_first", "frame_last", "frames_done", "activity", "report", "resources", "usage", "log", "output", "files", "why",
    }  # fmt: skip
    assert (good["state"], good["status"], good["exit_code"], good["output"]) == (
        "done",
        5,
        0,
        "one\n",
    )
    assert (bad["state"], bad["status"], bad["exit_code"], bad["attempts"]) == ("error", 6, 7, 1)
    [directory] = (tmp_path / "kept").iterdir()
    assert sorted(path.name for path in directory.iterdir()) == ["farm"]
    assert f"thumbnails: {directory}/farm/" in err
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_a_report_is_all_of_stdout(tmp_path: Path) -> None:
    job = write_job(tmp_path, "echo one")
    code, out, _ = await run_command("run", job, "--report", "-", home=tmp_path)
    assert code == 0
    assert json.loads(out)["state"] == "done"


async def test_keep_keeps_the_folders_of_tasks(tmp_path: Path) -> None:
    job = write_job(tmp_path, "echo rendered > image.txt")
    store = tmp_path / "kept"
    code, _, err = await run_command("run", job, "--keep", "--store", store, home=tmp_path)
    assert code == 0
    [image] = store.rglob("image.txt")
    assert image.read_text() == "rendered\n"
    [directory] = store.iterdir()
    assert f"folders of tasks: {directory}/store" in err


async def test_several_agents_share_a_job(tmp_path: Path) -> None:
    first, second = make_gate(tmp_path / "first"), make_gate(tmp_path / "second")
    # Each task waits for the other: one agent, which takes one at a time, would never end.
    job = write_job(
        tmp_path, f"echo a > {first}; read x < {second}", f"read x < {first}; echo b > {second}"
    )
    report = tmp_path / "r.json"
    code, _, _ = await run_command("run", job, "--agents", "2", "--report", report, home=tmp_path)
    assert code == 0
    renders = {task["render"] for task in json.loads(report.read_text())["tasks"]}
    assert len(renders) == 2


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"tasks": [{"name": "t0", "command": ""}]}, "empty"),
        ({"working_directory": "/no/such/folder"}, "/no/such/folder"),
        ({"tasks": [{"name": "t0", "command": "no-such-renderer"}]}, "the shell did not find the command"),
        ({"tasks": [{"name": "t0", "command": "kill -9 $$"}]}, "ended by signal 9"),
    ],
)  # fmt: skip
async def test_a_task_that_cannot_run_is_explained(
    tmp_path: Path, keys: dict[str, object], reason: str
) -> None:
    job = write_job(tmp_path, "true", **keys)
    code, out, err = await run_command("run", job, "--retries", "0", home=tmp_path)
    assert (code, out) == (1, "")
    assert "failed: b / t0" in err
    assert reason in err


async def test_binary_output_is_cleaned_of_control_characters(tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    # Always the same bytes: of others one in sixty has the word "oom", which would be the reason.
    noise.write_bytes(shake_128(b"noise").digest(300_000))
    command = f"cat {noise}; printf '\\033]0;owned\\007\\377\\000'; exit 3"
    job = write_job(tmp_path, command)
    code, _, err = await run_command("run", job, "--retries", "0", home=tmp_path)
    assert code == 1
    assert "failed: b / t0: exit code 3" in err
    assert not set(err) & {chr(c) for c in (*range(10), *range(11, 32), 127, *range(128, 160))}


async def test_keys_without_effect_are_named(tmp_path: Path) -> None:
    job = write_job(tmp_path, "true", tickets={"nuke": 1}, depend_mask="nobody")
    code, _, err = await run_command("run", job, home=tmp_path)
    assert code == 0
    assert "warning: blocks[0].tickets has no effect here\n" in err
    assert 'warning: blocks[0].depend_mask: "nobody" matches no other block\n' in err


async def test_an_unknown_parser_is_a_warning(tmp_path: Path) -> None:
    job = write_job(tmp_path, "echo one", parser="genric")
    code, _, err = await run_command("run", job, home=tmp_path)
    assert code == 0
    assert 'blocks[0].parser: no parser "genric", did you mean "generic"?' in err


async def test_a_parser_that_raises_leaves_the_task_running(tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "parsers"
    folder.mkdir(parents=True)
    (folder / "broken.py").write_text(
        "from parsers import parser\n\n\nclass broken(parser.parser):\n"
        "    def do(self, args):\n        raise RuntimeError('cannot read this')\n"
    )
    job = write_job(tmp_path, "echo one", parser="broken")
    report = tmp_path / "r.json"
    words = ("run", job, "--plugins", tmp_path / "plugins", "--report", report)
    code, _, _ = await run_command(*words, home=tmp_path)
    assert code == 0
    [task] = json.loads(report.read_text())["tasks"]
    assert task["output"] == "one\n"
    assert "cannot read this" in task["log"]


@pytest.mark.parametrize(
    ("needs", "reason", "quiet"),
    [
        ({"hosts_mask": "render-.*"}, "its name does not match hosts_mask of the block", False),
        ({"need_memory": 10**9}, "a task needs 1000000000 MiB of free memory", True),
    ],
)
async def test_what_can_never_run_ends_the_job_with_the_reason(
    tmp_path: Path, needs: dict[str, object], reason: str, *, quiet: bool
) -> None:
    never = {"name": "never", **needs, "tasks": [{"command": "true"}]}
    after = {"name": "after", "depend_mask": "never", "tasks": [{"command": "true"}]}
    good = {"name": "good", "tasks": [{"command": "true"}]}
    path, report = tmp_path / "job.json", tmp_path / "r.json"
    path.write_text(json.dumps({"job": {"name": "j", "blocks": [never, after, good]}}))
    words = ("--no-progress",) if quiet else ()
    code, _, err = await run_command("run", path, "--report", report, *words, home=tmp_path)
    assert code == 1
    assert err.index("can never run here: ") < err.index("nothing runs: ")
    assert err.count(reason) == 2
    assert states(report) == [("killed", 0), ("killed", 0), ("done", 1)]
    assert "tasks: 1 done, 2 not run" in err
    tasks = json.loads(report.read_text())["tasks"]
    assert reason in tasks[0]["why"][-1]["text"]


@pytest.mark.usefixtures("plain_hangup")
@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")],
)
async def test_the_first_signal_lets_running_tasks_finish(
    tmp_path: Path, number: int, name: str
) -> None:
    up, hold = make_gate(tmp_path / "up"), make_gate(tmp_path / "hold")
    job = write_job(tmp_path, f"echo up > {up}; read x < {hold}; echo finished", "echo never")
    report = tmp_path / "r.json"
    async with open_command("run", job, "--report", report, home=tmp_path) as command:
        assert await pass_gate(up) == "up\n"
        command.process.send_signal(number)
        await command.says(f"{name}: running tasks finish, no others start")
        await open_gate(hold)
        assert await command.wait() == 1
    assert states(report) == [("done", 1), ("killed", 0)]
    assert "tasks: 1 done, 1 not run" in command.err
    outcomes = [task["outcome"] for task in json.loads(report.read_text())["tasks"]]
    assert outcomes == ["done", "not run"]
    assert json.loads(report.read_text())["tasks"][0]["output"] == "finished\n"


@pytest.mark.parametrize("presses", [2, 3])
async def test_a_second_signal_stops_tasks_and_no_process_stays(
    tmp_path: Path, presses: int
) -> None:
    up = make_gate(tmp_path / "up")
    config = tmp_path / "short_grace.json"
    config.write_text(json.dumps(_SHORT_GRACE))
    stubborn = f"trap '' TERM; (setsid sleep 1000 &); echo up > {up}; sleep 1000; sleep 1000"
    job = write_job(tmp_path, stubborn, "echo never")
    report = tmp_path / "r.json"
    words = ("run", job, "--report", report, "--config", config)
    async with open_command(*words, home=tmp_path) as command:
        await pass_gate(up)
        assert len(command.strays()) >= 4
        command.process.send_signal(signal.SIGINT)
        await command.says("no others start")
        command.process.send_signal(signal.SIGINT)
        await command.says("Ctrl-C: stopping the running tasks")
        if presses == 3:
            command.process.send_signal(signal.SIGINT)
        assert await command.wait() == 1
    assert json.loads(report.read_text())["tasks"][1]["attempts"] == 0
    assert 'job "j": ' in command.err
    if presses == 2:
        assert states(report) == [("killed", 1), ("killed", 0)]
        assert "tasks: 1 killed, 1 not run" in command.err


async def test_a_terminal_shows_bars_and_no_control_sequences_of_tasks(tmp_path: Path) -> None:
    up, hold = make_gate(tmp_path / "up"), make_gate(tmp_path / "hold")
    bad = "printf '\\033]0;owned\\007 [bold]\\n'; exit 3"
    command_line = f"echo 'PROGRESS: 40%'; echo 'ACTIVITY: [red]' ; echo up > {up}; read x < {hold}"
    job = write_job(tmp_path, f"{command_line}; {bad}", parser="generic")
    async with open_command(
        "run", job, "--retries", "0", home=tmp_path, terminal=True, TERM="xterm-256color"
    ) as command:
        await pass_gate(up)
        await command.says("40%")
        await open_gate(hold)
        assert await command.wait() == 1
    assert "━" in command.err
    assert "\\x1b]0;owned\\x07 [bold]" in command.err
    assert "\x1b]0;" not in command.err
    assert "\x07" not in command.err


async def test_without_rich_a_terminal_gets_plain_lines(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\n\nsys.modules['rich'] = None\n")
    job = write_job(tmp_path, "true")
    async with open_command(
        "run", job, home=tmp_path, terminal=True, PYTHONPATH=str(tmp_path)
    ) as command:
        assert await command.wait() == 0
    assert 'for bars and colours, install the extra "cli"' in command.err
    assert "[1/1] b / t0: done" in command.err
    assert "\x1b" not in command.err


async def test_a_report_that_cannot_be_written_is_an_error_after_the_summary(
    tmp_path: Path,
) -> None:
    up, hold = make_gate(tmp_path / "up"), make_gate(tmp_path / "hold")
    (tmp_path / "out").mkdir()
    job = write_job(tmp_path, f"echo up > {up}; read x < {hold}")
    words = ("run", job, "--report", tmp_path / "out" / "r.json")
    async with open_command(*words, home=tmp_path) as command:
        await pass_gate(up)
        (tmp_path / "out").rmdir()
        await open_gate(hold)
        assert await command.wait() == 2
    assert 'job "j": done' in command.err
    assert (
        f"trio_afrender: report {tmp_path}/out/r.json: No such file or directory\n" in command.err
    )


async def test_a_closed_stdout_gives_no_traceback(tmp_path: Path) -> None:
    hold = make_gate(tmp_path / "hold")
    # A report that is written before the reader leaves would be in the pipe.
    job = write_job(tmp_path, f"read x < {hold}; echo one")
    async with open_command("run", job, "--report", "-", home=tmp_path) as command:
        assert command.process.stdout is not None
        await command.process.stdout.aclose()
        await open_gate(hold)
        assert await command.wait() == 141
    assert 'job "j": done' in command.err
    assert "Traceback" not in command.err
    assert "Exception ignored" not in command.err


async def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    """A shell's ``nohup`` starts the program with SIGHUP ignored."""
    up, hold = make_gate(tmp_path / "up"), make_gate(tmp_path / "hold")
    job = write_job(tmp_path, f"echo up > {up}; read x < {hold}; echo finished")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with open_command("run", job, home=tmp_path) as command:
            assert await pass_gate(up) == "up\n"
            command.process.send_signal(signal.SIGHUP)
            await open_gate(hold)
            assert await command.wait() == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "tasks: 1 done" in command.err


async def test_each_end_has_its_own_count(tmp_path: Path) -> None:
    job = write_job(tmp_path, *["true"] * 6, capacity=100)
    code, _, err = await run_command("run", job, home=tmp_path)
    assert code == 0
    counts = [line.partition("]")[0] for line in err.splitlines() if line.startswith("[")]
    assert counts == [f"[{number}/6" for number in range(1, 7)]


async def test_a_large_block_lets_no_more_tasks_of_others_run_at_once(tmp_path: Path) -> None:
    """Were the render's capacity that of the large block, its small tasks would meet each other."""
    busy = tmp_path / "busy"
    alone = f"mkdir {busy} && echo one && rmdir {busy}"
    small = {"name": "small", "tasks": [{"command": alone}] * 4}
    large = {"name": "large", "capacity": 5000, "tasks": [{"command": alone}]}
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"job": {"name": "j", "blocks": [small, large]}}))
    code, _, err = await run_command("run", path, "--retries", "0", home=tmp_path)
    assert code == 0
    assert "blocks[1].capacity: a task needs 5000, a render here has 1100" in err


@pytest.mark.parametrize("kind", ["link", "mode", "device", "full", "stdout"])
async def test_a_report_leaves_what_it_is_written_to_as_it_is(tmp_path: Path, kind: str) -> None:
    job = write_job(tmp_path, "echo one")
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("older")
    target.chmod(0o600)
    link.symlink_to(target)
    names: dict[str, str | Path] = {"link": link, "mode": target, "device": "/dev/null"}
    name = names.get(kind, f"/dev/{kind}")
    code, out, err = await run_command("run", job, "--report", name, home=tmp_path)
    assert code == (2 if kind == "full" else 0)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    if kind in ("link", "mode"):
        assert json.loads(target.read_text())["state"] == "done"
    if kind == "full":
        assert "trio_afrender: report /dev/full: No space left on device\n" in err
    assert bool(out) == (kind == "stdout")


async def test_a_report_is_a_page(tmp_path: Path) -> None:
    job, page = write_job(tmp_path, "echo '<b>no seat</b>'; exit 4"), tmp_path / "r.html"
    code, _, err = await run_command("run", job, "--report", page, "--retries", "0", home=tmp_path)
    assert (code, f"report: {page}\n" in err) == (1, True)
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert "&lt;b&gt;no seat&lt;/b&gt;" in text


async def test_a_report_has_the_frames_of_tasks(tmp_path: Path) -> None:
    frames = {"flags": 1, "frame_first": 5, "frame_last": 8, "frames_per_task": 3}
    job, report = write_job(tmp_path, "", command="true", **frames), tmp_path / "r.json"
    code, _, _ = await run_command("run", job, "--report", report, home=tmp_path)
    assert code == 0
    tasks = json.loads(report.read_text())["tasks"]
    keys = ("block_name", "outcome", "frame_first", "frame_last", "frame", "frames_done")
    assert [[task[key] for key in keys] for task in tasks] == [
        ["b", "done", 5, 7, 7, 0],
        ["b", "done", 8, 8, 8, 0],
    ]


async def test_of_two_reports_the_good_one_is_written(tmp_path: Path) -> None:
    job = write_job(tmp_path, "echo one")
    good = tmp_path / "good.json"
    words = ("--report", "/dev/full", "--report", "-", "--report", good)
    code, out, err = await run_command("run", job, *words, home=tmp_path)
    assert code == 2
    assert json.loads(good.read_text()) == json.loads(out)
    assert "report /dev/full: No space left" in err


async def test_two_runs_write_one_report(tmp_path: Path) -> None:
    job = write_job(tmp_path, "echo one")
    report = tmp_path / "r.json"
    codes = []

    async def run_once() -> None:
        codes.append((await run_command("run", job, "--report", report, home=tmp_path))[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_once)
        nursery.start_soon(run_once)
    assert codes == [0, 0]
    assert json.loads(report.read_text())["state"] == "done"
    assert not any(name.startswith(".") for name in os.listdir(tmp_path))  # noqa: PTH208 - short
