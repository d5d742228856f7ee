"""Trees of another user: what they are, may and may not, and how they end."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from support.other_users import NEEDS_ROOT, get_user, open_place
from support.polling import until
from support.process import RealTrees, is_suspended, lives, make_launch, make_shell, open_trees
from support.process_contract import GUARD, KILL

from trio_afrender.errors import SpawnError
from trio_afrender.process.interfaces import Launch, TreeSignal
from trio_afrender.process.leftover_processes import kill_leftovers
from trio_afrender.process.supervised_tree import SupervisedTree
from trio_afrender.process.task_user import TaskUser
from trio_afrender.supervisor import user_spawn
from trio_afrender.supervisor.process_tree import list_children
from trio_afrender.user_switch import UserIds

pytestmark = NEEDS_ROOT


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place() as opened:
        yield opened


@pytest.fixture
async def trees(tmp_path: Path) -> AsyncIterator[RealTrees]:
    async with open_trees(tmp_path) as opened:
        yield opened


def as_user(launch: Launch, name: str = "nobody", **changes: Any) -> Launch:  # noqa: ANN401 - fields by name
    return attrs.evolve(launch, user=get_user(name), **changes)


async def run_shell(trees: RealTrees, script: str, launch: Launch | None = None) -> str:
    """Run a script to its end as another user; return what it prints before ``up``."""
    launch = launch or as_user(make_shell(""))
    launch = attrs.evolve(launch, argv=("/bin/sh", "-c", f"{script}\necho up"))
    async with trees.run(launch) as started:
        await started.ended.wait()
        return started.printed.decode().rpartition("up\n")[0]


async def test_a_tree_is_its_users_and_has_no_rights_of_ours(trees: RealTrees) -> None:
    user = get_user()
    script = "cat /proc/self/status; id -G; umask; cat /proc/self/oom_score_adj"
    launch = as_user(make_shell(""), umask=0o027)
    text = await run_shell(trees, script, launch)
    facts = {
        name: value.split() for name, _, value in (x.partition(":") for x in text.splitlines())
    }
    assert facts["Uid"] == [str(user.ids.uid)] * 4
    assert facts["Gid"] == [str(user.ids.gid)] * 4
    assert {int(group) for group in facts["Groups"]} == set(user.ids.groups)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "SigBlk"):
        assert facts[name] == ["0" * 16], name
    # But for glibc's own two, 32 and 33: `make` leaves them ignored, and no program can name them.
    assert int(facts["SigIgn"][0], 16) & ~(0b11 << 31) == 0
    groups, umask, score = text.splitlines()[-3:]
    assert {int(group) for group in groups.split()} == set(user.ids.groups)
    assert umask == "0027"
    assert int(score) >= 0


KEYRING = """
import ctypes
print(ctypes.CDLL(None).syscall({number}, 0, -3, 0))  # KEYCTL_GET_KEYRING_ID of the session
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of keyctl is of x86_64")
@pytest.mark.skipif(not Path("/proc/keys").exists(), reason="a kernel without keys")
@pytest.mark.skipif(not os.access("/usr/bin/python3", os.X_OK), reason="no Python for all users")
async def test_the_keys_of_the_agents_session_stay_with_it(trees: RealTrees) -> None:
    code = KEYRING.format(number=250)
    printed = await run_shell(trees, f"/usr/bin/python3 -I -S -c '{code}'")
    own = ctypes.CDLL(None).syscall(250, 0, -3, 0)
    assert int(printed) not in (own, -1)


async def test_supplementary_groups_are_set(trees: RealTrees) -> None:
    ids = UserIds(65534, 65534, (1, 2, 65534))
    launch = attrs.evolve(make_shell(""), user=TaskUser(name="n", ids=ids))
    assert set((await run_shell(trees, "id -G", launch)).split()) == {"1", "2", "65534"}


async def test_a_tree_of_another_user_can_be_in_a_session_of_its_own(trees: RealTrees) -> None:
    script = (
        'test "$(ps -o sid= -p $$ | tr -d " ")" = $$ && echo leader; set -- /proc/$$/fd/*; echo $#'
    )
    # With the descriptor by which the shell lists the folder.
    assert (await run_shell(trees, script)).split() == ["leader", "4"]


async def test_its_output_can_be_opened_again(trees: RealTrees) -> None:
    text = await run_shell(
        trees, "echo one > /dev/stderr; echo two >> /proc/self/fd/1; head -c1 <&0"
    )
    assert text == "one\ntwo\n"


async def test_nice_and_limits_are_those_of_the_launch(trees: RealTrees) -> None:
    base = os.nice(0)
    launch = as_user(make_shell(""), nice=7, processes=77, files=88)
    text = await run_shell(trees, "nice; ulimit -Hn; ulimit -Sn", launch)
    assert text.split() == [str(base + 7), "88", "88"]


async def test_a_tree_of_another_user_has_its_cgroup_from_the_first_instruction(
    trees: RealTrees,
) -> None:
    script = "grep ^0:: /proc/self/cgroup"
    async with trees.run(as_user(make_shell(f"{script}; echo up; read x"))) as started:
        assert isinstance(started.tree, SupervisedTree)
        cgroup = started.tree.state.cgroup
        if not cgroup:
            pytest.skip("no cgroups of version 2 here")
        assert started.printed.decode().split()[0].endswith("/".join(cgroup.split("/")[-2:]))


@pytest.mark.parametrize("words", ["stay", "setsid stay", "daemon stay", "quiet daemon"])
async def test_what_a_tree_of_another_user_leaves_behind_is_killed(
    trees: RealTrees, words: str
) -> None:
    script = Path(__file__).parents[1] / "programs" / "leave_orphans.py"
    if not os.access("/usr/bin/python3", os.X_OK):
        pytest.skip("no Python that every user may run")
    launch = as_user(make_launch("/usr/bin/python3", "-I", "-S", str(script), *words.split()))
    async with trees.run(launch) as started:
        pids = await started.tree.signal_tree(KILL)
        assert set(started.members) <= set(pids)
        assert await started.tree.kill_until_empty(GUARD) == ()


async def test_a_tree_of_another_user_is_suspended_and_resumed(trees: RealTrees) -> None:
    ticking = "(setsid sleep 1000) & echo up; while :; do echo tick; sleep 0.01; done"
    async with trees.run(as_user(make_shell(ticking))) as started:
        assert started.tree.pid in await started.tree.signal_tree(TreeSignal.SUSPEND)
        await until(lambda: is_suspended(started.tree.pid))  # the kernel freezes asynchronously
        size = started.log.size
        await started.tree.signal_tree(TreeSignal.RESUME)
        with trio.fail_after(GUARD):
            await started.log.wait_beyond(size)


async def test_leftovers_of_another_user_are_found_by_their_token(trees: RealTrees) -> None:
    launch = as_user(make_shell("(exec setsid sleep 1000) & echo up; wait"))
    token = launch.environment["AF_TASK_TOKEN"]
    async with trees.run(launch) as started:
        found, left = await kill_leftovers(token, 0.1, GUARD)
        assert started.tree.pid in found
        assert len(found) == 2
        assert left == ()


async def test_killed_supervisors_leave_nothing_of_another_user(tmp_path: Path) -> None:
    async with open_trees(tmp_path) as trees:
        tree = await trees.spawn(as_user(make_shell("(setsid sleep 1000) & exec sleep 1000")))
        members = await tree.members()
        supervisor = int(str(trees._supervisor.facts["pid"]))
        for pid in (supervisor, tree.state.parent):
            os.kill(pid, signal.SIGKILL)
        await until(lambda: tree.lost)
        assert await tree.kill_until_empty(GUARD) == ()
        assert not any(map(lives, members))
        await tree.reap()


@pytest.mark.parametrize(
    ("launch", "text"),
    [
        (make_launch("no-such-shell"), 'there is no program "no-such-shell"'),
        (make_launch("/etc/passwd"), '"/etc/passwd" may not be executed by user "nobody"'),
        (make_launch("/bin/sh", cwd="/no/such"), 'folder "/no/such" does not exist'),
        (make_launch("/bin/sh", "-c", "x" * 3_000_000), "bytes of command and environment"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
async def test_a_failed_start_is_explained(trees: RealTrees, launch: Launch, text: str) -> None:
    with pytest.raises(SpawnError, match=text):
        await trees.spawn(as_user(launch))


async def test_a_folder_that_the_user_may_not_enter_is_named(trees: RealTrees, place: Path) -> None:
    (place / "shut").mkdir(mode=0o700)
    launch = as_user(make_launch("/bin/true", cwd=str(place / "shut")))
    with pytest.raises(SpawnError, match=f'"{place}/shut" may not be entered by user "nobody"'):
        await trees.spawn(launch)


async def test_a_supervisor_without_capabilities_starts_nothing(trees: RealTrees) -> None:
    for facts, text in (
        ({"lacking": ["CAP_SETUID"]}, "the supervisor lacks CAP_SETUID$"),
        ({"lacking": None}, "the supervisor lacks CAP_CHOWN, "),  # one of an earlier version
    ):
        trees._supervisor.facts.update(facts)
        with pytest.raises(SpawnError, match=f'as user "nobody": {text}'):
            await trees.spawn(as_user(make_shell("id")))


def test_a_leader_stopped_before_its_program_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour of the same user may stop it as soon as it is that user's."""
    monkeypatch.setattr(user_spawn, "CONTINUE_INTERVAL", 10)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os.write(writing, b"continued")
        os._exit(0)
    os.close(writing)
    assert user_spawn._read_to_end(reading, pid) == b"continued"
    os.close(reading)
    os.waitpid(pid, 0)


async def test_a_task_supervisor_is_never_its_tasks_users(trees: RealTrees) -> None:
    async with trees.run(as_user(make_shell("echo up; exec sleep 1000"))) as started:
        assert isinstance(started.tree, SupervisedTree)
        parent = started.tree.state.parent
        status = await trio.Path(f"/proc/{parent}/status").read_text()
        assert "Uid:\t0\t0\t0\t0\n" in status
        assert list_children(parent) == [started.tree.pid]
