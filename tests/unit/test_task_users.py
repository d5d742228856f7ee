"""The users of tasks by the settings, and whether they can enter a folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from trio_afrender.config import Config, TaskProcesses
from trio_afrender.config.load import load_settings, make_config
from trio_afrender.errors import ConfigError, InvalidSetting
from trio_afrender.process.task_user import TaskUser, find_barrier, find_user, find_user_of
from trio_afrender.task.task_environment import describe_user
from trio_afrender.task.task_users import TaskUserError, TaskUsers, list_names, load_task_users
from trio_afrender.user_switch import UserIds

AGENT = os.geteuid()


def make_user(name: str, uid: int) -> TaskUser:
    return TaskUser(name=name, ids=UserIds(uid, uid, (uid,)), home=f"/home/{name}")


KNOWN = {
    name: make_user(name, uid)
    for name, uid in (("render", 70001), ("alice", 70002), ("admin", 0), ("me", AGENT))
}


def load(settings: TaskProcesses) -> TaskUsers:
    return load_task_users(settings, KNOWN.get)


def by_job(users: Mapping[str, str], *, privileged: bool = False) -> TaskProcesses:
    return TaskProcesses(user="job", users=users, privileged=privileged)


@pytest.mark.parametrize(
    ("settings", "job_user", "uid"),
    [
        (TaskProcesses(), "alice", None),
        (TaskProcesses(user="render"), "alice", 70001),
        (by_job({"alice": "alice", "*": "render"}), "alice", 70002),
        (by_job({"alice": "alice", "*": "render"}), "bob", 70001),
        (by_job({"alice": "alice", "*": "render"}), "", 70001),
        (by_job({"bob": "me"}, privileged=True), "bob", None),
        (TaskProcesses(user="me", privileged=True), "bob", None),
        (TaskProcesses(user="alice", users={}), "*", 70002),
    ],
)
def test_the_row_decides(settings: TaskProcesses, job_user: str, uid: int | None) -> None:
    user = trio.run(load(settings).of_job, job_user)
    assert (user.ids.uid if user is not None else None) == uid


@pytest.mark.parametrize("job_user", ["bob", "", "Alice"])
def test_a_user_without_a_row_is_an_error(job_user: str) -> None:
    users = load(by_job({"alice": "alice"}))
    with pytest.raises(TaskUserError, match=f'"{job_user}" has no row in tasks.users'):
        trio.run(users.of_job, job_user)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (TaskProcesses(user="nemo"), 'tasks.user: this host has no user "nemo"'),
        (by_job({"bob": "nemo"}), r'tasks.users\["bob"\]: this host has no user "nemo"'),
        (TaskProcesses(user="admin"), 'tasks.user: the user "admin" is root'),
        (by_job({"*": "admin"}), r'tasks.users\["\*"\]: the user "admin" is root'),
        (by_job({}), "tasks.users has no row"),
        (TaskProcesses(users={"*": "render"}), "counts only with"),
        (TaskProcesses(user="render", users={"*": "render"}), "counts only with"),
    ],
)
def test_users_that_cannot_be_are_errors(settings: TaskProcesses, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load(settings)


def test_the_agents_own_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: KNOWN["render"].ids.uid)
    with pytest.raises(ConfigError, match="is the agent's own"):
        load(TaskProcesses(user="render"))


def test_each_other_user_counts_once() -> None:
    users = load(by_job({"a": "alice", "b": "alice", "c": "me", "*": "render"}, privileged=True))
    others = {user.name for user in users.others}
    assert others == {"alice", "render"} - ({"alice"} if AGENT == 70002 else set())
    assert list_names(TaskProcesses()) == ()


def test_groups_are_looked_up_again_but_a_failure_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_afrender.task.task_users.LOOKUP_TIMEOUT", 60.0)  # a busy machine
    answers: list[TaskUser | None] = [KNOWN["render"]]
    users = load_task_users(TaskProcesses(user="render"), lambda _name: answers[-1])

    async def ask(later: float) -> TaskUser:
        users._looked_up["render"] = trio.current_time() - later
        user = await users.of_job("")
        assert user is not None
        return user

    answers.append(TaskUser(name="render", ids=UserIds(70001, 70001, (7, 70001))))
    assert trio.run(ask, 1.0).ids.groups == (70001,)
    assert trio.run(ask, 61.0).ids.groups == (7, 70001)
    answers.append(None)  # a directory service that is down
    assert trio.run(ask, 61.0).ids.groups == (7, 70001)
    answers.append(make_user("render", 666))
    assert trio.run(ask, 61.0).ids.uid == 70001, "its folders are those of the other uid"


def test_users_of_this_host_are_found() -> None:
    root = find_user("root")
    assert root is not None
    assert (root.ids.uid, root.ids.gid in root.ids.groups) == (0, True)
    for name in ("no-such-user", "", "a\0b", "root\n"):
        assert find_user(name) is None


def test_the_owner_of_a_folder_is_found(tmp_path: Path) -> None:
    owner = find_user_of(tmp_path)
    assert owner is not None
    assert owner.ids.uid == AGENT
    assert find_user_of(tmp_path / "absent") is None
    (tmp_path / "link").symlink_to(tmp_path)
    assert find_user_of(tmp_path / "link") is None, "a task may have put it there"


def test_the_first_folder_that_cannot_be_entered_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    facts = tmp_path.stat()
    own = UserIds(facts.st_uid, 70001, (70001,))
    group = UserIds(70001, facts.st_gid, (facts.st_gid,))
    other = UserIds(70001, 70001, (70001,))
    for folder in (*reversed(tmp_path.parents[:-2]), tmp_path):
        if folder.stat().st_mode & 0o011 != 0o011 and folder.stat().st_uid != AGENT:
            pytest.skip(f"{folder} belongs to another user here")
    start = find_barrier(tmp_path, other)
    (tmp_path / "a").chmod(0o710)
    (tmp_path / "a" / "b").chmod(0o606)
    assert find_barrier(inner, own) in (start, tmp_path / "a" / "b") or start is None
    if start is None:
        assert find_barrier(inner, group) == tmp_path / "a" / "b"
        assert find_barrier(inner, other) == tmp_path / "a"
        (tmp_path / "a").chmod(0o711)
        assert find_barrier(inner, other) == tmp_path / "a" / "b"
    (tmp_path / "a" / "b").chmod(0o711)
    assert find_barrier(tmp_path / "absent" / "x", other) == start


def test_the_variables_of_another_user_are_its_own() -> None:
    variables = {
        "HOME": "/root",
        "USER": "root",
        "PATH": "/bin",
        "XDG_RUNTIME_DIR": "/run/user/0",
        "SSH_AUTH_SOCK": "/x",
        "SUDO_USER": "x",
        "LICENCE": "kept",
    }
    assert describe_user(KNOWN["alice"], variables) == {
        "HOME": "/home/alice",
        "USER": "alice",
        "LOGNAME": "alice",
        "PATH": "/bin",
        "LICENCE": "kept",
    }


@pytest.mark.parametrize(
    ("text", "mask"), [("", -1), ("022", 0o22), ("0002", 2), ("777", 0o777), ("000", 0)]
)
def test_a_umask_is_octal(text: str, mask: int) -> None:
    assert TaskProcesses(umask=text).file_mask() == mask


@pytest.mark.parametrize("text", ["9", "22", "0o022", "rwx", "00022", "-22"])
def test_a_wrong_umask_is_an_error(text: str) -> None:
    with pytest.raises(InvalidSetting, match="three octal digits"):
        TaskProcesses(umask=text)


@pytest.mark.parametrize(
    "users", [{"": "a"}, {"a": ""}, {"a": 1}, {1: "a"}, [], {"a": "b\0"}, dict.fromkeys(map(str, range(10_001)), "x")]
)  # fmt: skip
def test_a_wrong_table_is_an_error(users: object) -> None:
    with pytest.raises(InvalidSetting):
        TaskProcesses(users=users)  # type: ignore[arg-type]  # that is the test


def test_rows_come_from_files_variables_and_arguments(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(
        '{"cgru_config": {"trio_afrender": {"tasks": {"user": "job", "users": {"a": "b"}}}}}'
    )
    for environment, arguments, users in (
        ({}, {}, {"a": "b"}),
        ({"TRIO_AFRENDER__TASKS__USERS": '{"*": "v"}'}, {}, {"*": "v"}),
        ({}, {"trio_afrender.tasks.users": '{"*": "c"}'}, {"*": "c"}),
    ):
        config = make_config(
            load_settings(environment=environment, files=[path], arguments=arguments)
        )
        assert (config.tasks.user, config.tasks.users) == ("job", users)
    assert hash(Config(name="n")) is not None


def test_a_wrong_row_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"cgru_config": {"trio_afrender": {"tasks": {"users": {"a": 1}}}}}')
    with pytest.raises(ConfigError, match=r"config.json:1:.*tasks.users: expected an object"):
        load_settings(environment={}, files=[path])


def test_a_directory_service_that_hangs_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_afrender.task.task_users.REFRESH_INTERVAL", 0.0)
    monkeypatch.setattr("trio_afrender.task.task_users.LOOKUP_TIMEOUT", 0.02)
    answers, asked, begun = threading.Event(), list[str](), threading.Event()

    def hang(name: str) -> TaskUser:
        asked.append(name)
        begun.set()
        answers.wait(30)
        return KNOWN[name]

    users = TaskUsers(TaskProcesses(user="render"), KNOWN, AGENT, hang)

    async def start_tasks() -> None:
        for _ in range(5):
            assert await users.of_job("bob") == KNOWN["render"]

    try:
        trio.run(start_tasks)
        assert begun.wait(30)
    finally:
        answers.set()
    assert asked == ["render"]
