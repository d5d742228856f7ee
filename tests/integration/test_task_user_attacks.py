"""An agent as root whose tasks are other users': what they get, and what they attack in vain."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from support.agent_program import open_agent, open_server, write_token
from support.cli import Command, open_command
from support.other_users import NEEDS_ROOT, get_user, open_place
from support.polling import until
from support.process import PROGRAMS, lives

from trio_afrender.farm.farm import Farm, FarmSettings
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.jobs.views import TaskView
from trio_afrender.task.image_worker import ImageProblem, open_image_workers
from trio_afrender.user_switch import CAPABILITIES

pytestmark = NEEDS_ROOT

PYTHON = Path("/usr/bin/python3")
"""One that every user may run; that of the tests may be in a folder of root."""
USERS = ("--trio_afrender.tasks.user", "job")
TABLE = ("--trio_afrender.tasks.users", '{"alice": "nobody", "*": "daemon"}')
ROOM = ("--trio_afrender.capacity", "4000")
LONG_ZOMBIE_TIME = FarmSettings(zombie_time=600.0)
SLEEP = f"sleep {9_000_000 + os.getpid()}"
"""A command that no other run of the tests on this host has started."""


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place() as opened:
        yield opened


def submit_as(farm: Farm, user: str, command: str, **block: object) -> int:
    blocks = [{"name": "b", "tasks": [{"name": "t", "command": command}], **block}]
    return farm.submit(parse_job({"job": {"name": "j", "user_name": user, "blocks": blocks}}))


async def end(agent: Command) -> None:
    agent.process.send_signal(signal.SIGTERM)
    assert await agent.wait() == 0


def explain(task: TaskView) -> str:
    return "\n".join(reason.text for reason in task.why)


def read_files(task: TaskView) -> list[str]:
    """Return the contents of the files of a task that the farm has got."""
    return [path.read_text() for path in task.files]


def find_state(place: Path) -> Path:
    return place / "store" / "trio_afrender" / "render-1"


def find_folders(place: Path) -> list[Path]:
    return sorted((place / "store" / "trio_afrender_tasks" / "render-1").iterdir())


async def wait_running(place: Path, job: int) -> psutil.Process:
    """Wait until the only task of a job runs; return its task supervisor, which has its name."""
    found: list[psutil.Process] = []

    def find() -> bool:
        folders = (find_state(place) / "runs").glob(f"{job}.*")
        names = {f"af:{folder.name}"[:15] for folder in folders}
        with suppress(psutil.Error):
            found[:] = (
                each for each in psutil.process_iter() if each.name() in names and each.children()
            )
        return bool(found)

    await until(find)
    return found[0]


WHO = """
id -u; id -un; umask; echo $HOME; pwd; stat -c '%a %U' . ../files "$(dirname "$PWD")"
echo result > ../files/result.txt; echo $AF_STOP_FILE; echo err > /dev/stderr
"""


async def test_the_user_of_a_task_is_that_of_the_jobs_row(place: Path) -> None:
    async with (
        open_server(place, store=place / "farm") as (farm, url),
        open_agent(place, url, *USERS, *TABLE, "--trio_afrender.tasks.umask", "007") as agent,
    ):
        for job_user, user in (("alice", get_user("nobody")), ("bob", get_user("daemon"))):
            (task,) = (await farm.wait(submit_as(farm, job_user, WHO))).tasks
            assert task.state == "done", task.why
            uid, name, umask, home, folder, own, files, run, stop_file, err = (
                task.output.splitlines()
            )
            assert (uid, name, umask, home) == (str(user.ids.uid), user.name, "0007", user.home)
            assert "trio_afrender_tasks/render-1/" in folder
            assert own == files == f"700 {user.name}"
            assert run == "710 root"
            assert stop_file == str(Path(folder).with_name("stop.json"))
            assert err == "err"
            assert read_files(task) == ["result\n"]
        await until(lambda: not find_folders(place))  # removed with those of their runs
        await end(agent)


async def test_a_job_without_a_row_fails_with_the_reason(place: Path) -> None:
    table = ("--trio_afrender.tasks.users", '{"alice": "nobody"}')
    async with (
        open_server(place, store=place / "farm") as (farm, url),
        open_agent(place, url, *USERS, *table) as agent,
    ):
        (task,) = (await farm.wait(submit_as(farm, "bob", "id"))).tasks
        assert (task.state, task.status) == ("error", 23)
        assert 'the job\'s user "bob" has no row in tasks.users of this host' in explain(task)
        (task,) = (await farm.wait(submit_as(farm, "alice", "id -un"))).tasks
        assert task.output == "nobody\n"
        await end(agent)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("no-such-user",), 'tasks.user: this host has no user "no-such-user"'),
        (("root",), 'tasks.user: the user "root" is root'),
        (("job",), "tasks.users has no row"),
        (("nobody", *TABLE), 'tasks.users counts only with "job"'),
    ],
)
async def test_an_agent_ends_for_users_that_cannot_be(
    place: Path, words: tuple[str, ...], text: str
) -> None:
    write_token(place / "token", "t" * 40)
    async with open_agent(place, "ws://127.0.0.1:1", USERS[0], *words) as agent:
        assert await agent.wait() == 2
        assert text in agent.err
        assert "Traceback" not in agent.err


async def test_an_agent_ends_for_a_store_that_the_user_cannot_reach(place: Path) -> None:
    (place / "store").mkdir(mode=0o700)
    write_token(place / "token", "t" * 40)
    async with open_agent(place, "ws://127.0.0.1:1", USERS[0], "nobody") as agent:
        assert await agent.wait() == 2
        assert f'no task can run as user "nobody": it cannot enter {place}/store' in agent.err


async def test_a_task_of_another_user_can_read_why_it_is_stopped(place: Path) -> None:
    script = "trap 'cat $AF_STOP_FILE; stat -c %a:%U $AF_STOP_FILE; exit 0' TERM; sleep 1000 & wait"
    async with (
        open_server(place, store=place / "farm") as (farm, url),
        open_agent(place, url, USERS[0], "nobody") as agent,
    ):
        job = submit_as(farm, "", script)
        task_supervisor = await wait_running(place, job)
        await until(lambda: len(task_supervisor.children(recursive=True)) == 2)
        farm.stop_job(job)
        (task,) = (await farm.wait(job)).tasks
        assert task.state == "killed"
        stop, facts = task.output.splitlines()[-1].rsplit("}", 1)
        assert "server" in json.loads(f"{stop}}}")["reason"]
        assert facts == f"400:{get_user().name}"
        await end(agent)


async def test_a_thumbnail_command_runs_as_the_user_of_its_run(place: Path) -> None:
    (place / "image.png").touch()
    command = ("--af_thumbnail_cmd", "id -un > %(thumbnail)s; : %(image)s")
    async with (
        open_server(place, store=place / "farm") as (farm, url),
        open_agent(place, url, USERS[0], "nobody", *command) as agent,
    ):
        job = submit_as(farm, "", "true", files=[str(place / "image.png")])
        (task,) = (await farm.wait(job)).tasks
        assert read_files(task) == [f"{get_user().name}\n"], task.log
        await end(agent)


async def test_root_is_a_user_of_tasks_if_named_on_purpose(place: Path) -> None:
    words = (USERS[0], "root", "--trio_afrender.tasks.privileged", "true")
    async with (
        open_server(place, store=place / "farm") as (farm, url),
        open_agent(place, url, *words) as agent,
    ):
        (task,) = (await farm.wait(submit_as(farm, "", "id -u; pwd"))).tasks
        uid, folder = task.output.split()
        assert (uid, "trio_afrender_tasks" in folder) == ("0", False)
        await end(agent)


async def test_a_working_folder_that_the_user_cannot_enter_is_named(place: Path) -> None:
    (place / "shut").mkdir(mode=0o700)
    async with (
        open_server(place, store=place / "farm") as (farm, url),
        open_agent(place, url, USERS[0], "nobody") as agent,
    ):
        job = submit_as(farm, "", "id", working_directory=str(place / "shut"))
        (task,) = (await farm.wait(job)).tasks
        assert task.status == 23
        assert f'"{place}/shut" may not be entered by user "nobody"' in explain(task)
        await end(agent)


@pytest.mark.skipif(not os.access(PYTHON, os.X_OK), reason="no Python that every user may run")
async def test_attacks_of_a_task_fail(place: Path) -> None:
    """Against the agent, its helpers, a neighbour of another user and one of the same user."""
    attack = place / "attack.json"
    escape = f"(setsid env -i /bin/sh -c '{SLEEP} & {SLEEP}' > /dev/null 2>&1 &)"
    script = (
        f"{escape}; while [ ! -e {attack} ]; do sleep 0.02; done;"
        f" exec {PYTHON} -I -S {place}/attack.py {attack}"
    )
    # The programs of the tests may be in a folder of root, too.
    (place / "attack.py").write_bytes((PROGRAMS / "attack_as_task.py").read_bytes())
    secret = place / "secret.txt"
    secret.write_text("secret")
    secret.chmod(0o600)
    async with (
        open_server(place, store=place / "farm") as (farm, url),
        open_agent(place, url, *USERS, *TABLE, *ROOM) as agent,
    ):
        waiting = "sleep 1000"
        neighbours = [submit_as(farm, "alice", waiting), submit_as(farm, "bob", waiting)]
        runs = find_state(place) / "runs"
        job = submit_as(farm, "alice", script)
        supervisors = [await wait_running(place, each) for each in (*neighbours, job)]
        own_run = next(each for each in runs.iterdir() if each.name.startswith(f"{job}."))
        own = next(each for each in find_folders(place) if each.name == own_run.name)
        plugin_hosts = find_plugin_hosts(agent.process.pid)
        assert len(plugin_hosts) == 3, "each run has one of its own"
        protected = [
            agent.process.pid,
            supervisors[0].ppid(),
            *(each.pid for each in supervisors),
        ]
        other = next(
            each for each in find_folders(place) if each.name.startswith(f"{neighbours[1]}.")
        )
        # What a task can reach of its own folder.
        (own / "files" / "linked.txt").symlink_to(secret)
        os.link(secret, own / "files" / "hard.txt")  # where fs.protected_hardlinks is 0
        os.mkfifo(own / "files" / "fifo.txt")
        attack.with_suffix(".part").write_text(
            json.dumps(
                {
                    "read": [
                        *map(str, (place / "token", secret, find_state(place), runs, own_run)),
                        *map(str, find_state(place).iterdir()),
                        *map(str, runs.glob("*/log/*")),
                        *map(str, (other / "work", other / "files", own.parent, own)),
                    ],
                    "connect": [
                        *map(str, find_state(place).glob("*.sock")),
                        *map(str, runs.glob("*/*.sock")),
                    ],
                    "signal": protected,
                    "trace": [*protected, *plugin_hosts],
                    "look_into": [*protected, *plugin_hosts],
                    "write": [
                        *map(str, (own, own.parent, own_run, runs, find_state(place))),
                        *map(str, (other, other / "work", other / "files")),
                    ],
                    "replace": [
                        *map(str, (own / "stop.json", own / "work", own / "files")),
                        str(own_run / "task.end"),
                    ],
                    "become": [0, get_user("daemon").ids.uid],
                }
            )
        )
        attack.with_suffix(".part").replace(attack)
        (task,) = (await farm.wait(job)).tasks
        assert task.output == "attacks done\n"
        assert task.state == "done", task.why
        assert not any("secret" in text for text in read_files(task))
        assert "files of other users were not sent" in explain(task)
        assert not [each for each in psutil.process_iter() if is_escaped(each)]
        for neighbour in neighbours:
            farm.stop_job(neighbour)
            (task,) = (await farm.wait(neighbour)).tasks
            assert task.state == "killed"
        assert (await farm.wait(submit_as(farm, "alice", "echo next"))).tasks[0].output == "next\n"
        await end(agent)
    assert "internal error" not in agent.err


def find_plugin_hosts(agent: int) -> list[int]:
    """Return the pids of the plugin hosts of runs, which are their users' and not the agent's."""
    (fork_server,) = (
        child
        for child in psutil.Process(agent).children()
        if "forkserver_main" in " ".join(child.cmdline())
    )
    return [host.pid for host in fork_server.children() if host.uids().real != 0]


def is_escaped(process: psutil.Process) -> bool:
    try:
        return process.cmdline() == SLEEP.split() and lives(process.pid)
    except psutil.Error:
        return False


FOREIGN = """
import os
from services import service

class whoami(service.service):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        lines = [os.getuid(), os.environ["HOME"], os.getpid()]
        for path in ({token!r}, {state!r}):
            try:
                os.open(path, os.O_RDONLY)
            except OSError as error:
                lines.append(type(error).__name__)
        for call in (lambda: os.setuid(0), lambda: os.setgroups([0]), lambda: os.kill(os.getppid(), 0)):
            try:
                call()
            except OSError as error:
                lines.append(type(error).__name__)
        with open(os.path.join(self.taskInfo["store_dir"], "who.txt"), "w") as file:
            print(*lines, file=file)

    def doPost(self):
        return ["id -un"]
"""


async def test_a_foreign_plugin_runs_as_the_user_of_its_run(place: Path) -> None:
    """It reads the output of its run all the same, and its commands are that user's, too."""
    services = place / "plugins" / "services"
    services.mkdir(parents=True)
    text = FOREIGN.replace("{token!r}", repr(str(place / "token")))
    text = text.replace("{state!r}", repr(str(find_state(place))))
    (services / "whoami.py").write_text(text)
    words = (*USERS, *TABLE, "--plugins", str(place / "plugins"))
    async with (
        open_server(place, store=place / "farm") as (farm, url),
        open_agent(place, url, *words) as agent,
    ):
        job = submit_as(farm, "alice", "echo PROGRESS: 70%", service="whoami", parser="generic")
        (task,) = (await farm.wait(job)).tasks
        assert task.state == "done", task.why
        assert task.output == f"PROGRESS: 70%\n{get_user().name}\n"
        (text,) = read_files(task)
        uid, home, _pid, *errors = text.split()
        assert (uid, home) == (str(get_user().ids.uid), get_user().home)
        assert errors == ["PermissionError"] * 5
        await end(agent)


@pytest.mark.parametrize("later", [(), (USERS[0], "daemon")])
async def test_a_run_keeps_its_user_beyond_its_agent(place: Path, later: tuple[str, ...]) -> None:
    """The agent is killed, and the next one has other settings."""
    go = place / "go"
    script = f"while [ ! -e {go} ]; do sleep 0.02; done; id -un; echo x > ../files/f.txt"
    async with open_server(place, LONG_ZOMBIE_TIME, place / "farm") as (farm, url):
        job = submit_as(farm, "", script)
        async with open_agent(place, url, USERS[0], "nobody", leaves=True) as agent:
            await wait_running(place, job)
            agent.process.kill()
            await agent.wait()
        async with open_agent(place, url, *later) as agent:
            await agent.says("1 tasks of an earlier agent continue")
            go.touch()
            (task,) = (await farm.wait(job)).tasks
            assert (task.state, task.output) == ("done", "nobody\n"), task.why
            assert read_files(task) == ["x\n"]
            (task,) = (await farm.wait(submit_as(farm, "", "id -un"))).tasks
            assert task.output == ("daemon\n" if later else "root\n")
            await end(agent)
    assert not agent.strays()


async def test_without_supervisor_the_tree_of_another_user_ends_with_its_agent(
    place: Path,
) -> None:
    words = (USERS[0], "nobody", "--no-supervisor")
    async with open_server(place, LONG_ZOMBIE_TIME) as (farm, url):
        async with open_agent(place, url, *words, leaves=True) as agent:
            job = submit_as(farm, "", "(setsid sleep 1000) & exec sleep 1000")
            task_supervisor = await wait_running(place, job)
            await until(lambda: len(task_supervisor.children(recursive=True)) >= 2)
            members = task_supervisor.children(recursive=True)
            agent.process.kill()
            await agent.wait()
        await until(lambda: not any(lives(each.pid) for each in members))


def _names_below(process: psutil.Process) -> list[str]:
    names = []
    for each in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            names.append(each.name())
    return names


SETPRIV = shutil.which("setpriv") or ""


@pytest.mark.skipif(not SETPRIV, reason="no setpriv here")
@pytest.mark.parametrize("missing", ["", "CAP_KILL"])
async def test_an_agent_with_capabilities_needs_not_be_root(place: Path, missing: str) -> None:
    """It reads and removes what its tasks leave, and ends what they start; they get none of these."""
    own = get_user("daemon")
    names = [name.removeprefix("CAP_").lower() for name in CAPABILITIES if name != missing]
    chosen = ",".join(f"+{name}" for name in names)
    wrapper = (
        SETPRIV, "--reuid", str(own.ids.uid), "--regid", str(own.ids.gid), "--clear-groups",
        "--inh-caps", chosen, "--ambient-caps", chosen,
    )  # fmt: skip
    script = "id -un; grep ^Cap[EPA] /proc/self/status; echo x > ../files/f.txt; setsid sleep 1000 & wait"
    async with open_server(place, store=place / "farm") as (farm, url):
        os.chown(place / "token", own.ids.uid, own.ids.gid)
        words = ["--server", url, "--token-file", "token", "--name", "render-1"]
        words += ["--store", "store", USERS[0], "nobody"]
        async with open_command(*words, home=place, wrapper=wrapper) as agent:
            if missing:
                assert await agent.wait() == 2
                assert f"cannot start tasks as other users without {missing};" in agent.err
                return
            job = submit_as(farm, "", script)
            task_supervisor = await wait_running(place, job)
            assert task_supervisor.uids().real == own.ids.uid
            # The last command of the script: what came before has been printed.
            await until(lambda: "sleep" in _names_below(task_supervisor))
            members = task_supervisor.children(recursive=True)
            farm.stop_job(job)
            (task,) = (await farm.wait(job)).tasks
            assert task.state == "killed"
            assert task.output.splitlines() == [
                "nobody",
                *(f"Cap{x}:\t{0:016x}" for x in ("Prm", "Eff", "Amb")),
            ]
            assert read_files(task) == ["x\n"]
            assert not any(lives(each.pid) for each in members)
            await until(lambda: not find_folders(place))
            await end(agent)


@pytest.mark.skipif(find_spec("OpenImageIO") is None, reason="OpenImageIO is not installed")
async def test_images_are_read_as_the_user_of_a_run(place: Path) -> None:
    """Neither what only root may read, nor into a place where only root may write."""
    user, image = get_user(), place / "image.png"
    import OpenImageIO as oiio

    buffer = oiio.ImageBuf(oiio.ImageSpec(64, 64, 3, "uint8"))
    buffer.write(str(image))
    image.chmod(0o644)
    (place / "own").mkdir(mode=0o700)
    os.chown(place / "own", user.ids.uid, user.ids.gid)
    (place / "own" / "link.jpg").symlink_to(place / "planted.jpg")
    async with open_image_workers() as workers:
        worker = workers.of(user)
        assert workers.of(user) is worker
        await worker.thumbnail(str(image), str(place / "own" / "thumb.jpg"), 16, 60.0)
        assert (place / "own" / "thumb.jpg").stat().st_uid == user.ids.uid
        assert psutil.Process(worker.pid).uids().real == user.ids.uid
        with suppress(ImageProblem):  # or the link is replaced
            await worker.thumbnail(str(image), str(place / "own" / "link.jpg"), 16, 60.0)
        assert not (place / "planted.jpg").exists()
        image.chmod(0o600)
        with pytest.raises(ImageProblem):
            await worker.thumbnail(str(image), str(place / "own" / "other.jpg"), 16, 60.0)
        await workers.own.thumbnail(str(image), str(place / "thumb.jpg"), 16, 60.0)
