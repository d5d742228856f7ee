"""Every system call in the source of the agent, the supervisor and the task supervisors, by `ast`.

Each call that leaves Python is in one of three tables: it may fail with these errnos, it is of a kind that
cannot fail or whose error means nothing, or its module is no part of these programs. A call in none of them
fails the gate (tests/integration/test_system_calls.py), so does a site that no workload reaches.
"""

from __future__ import annotations

import ast
import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from support.fault_seam import THREAD, place_of

__all__ = ("Site", "find_sites", "find_unknown")

ROOT: Final = Path(__file__).parents[2] / "trio_afrender"
PARTS: Final = (
    "supervisor", "process", "tasklog", "hostinfo", "task", "agent", "transport", "plugins",
    "safe_files.py", "private_folder.py", "message_framing.py", "async_helpers.py",
)  # fmt: skip
OTHER_PROGRAMS: Final = {
    "process/windows": "Windows",
    "plugins/host/spawned_host.py": "Windows",
    "plugins/host/spawned_host_main.py": "Windows",
    "supervisor/user_spawn.py": "a child of a task supervisor before its program: test_supervisor_users.py",
    "plugins/compat": "runs in plugin hosts",
    "plugins/host/host_main.py": "runs in plugin hosts",
    "plugins/host/forkserver_main.py": "runs in the fork server",
    "plugins/task_worker.py": "runs in plugin hosts",
    "plugins/loader.py": "runs in plugin hosts",
    "plugins/lookup.py": "runs in plugin hosts",
    "plugins/module_search.py": "runs in plugin hosts",
    "plugins/error_rules.py": "runs in plugin hosts",
    "plugins/diagnostics.py": "runs in plugin hosts",
    "plugins/log_chunks.py": "runs in plugin hosts",
    "plugins/meter_worker.py": "runs in plugin hosts",
    "plugins/in_process.py": "for tests and embedding",
    "plugins/meters": "their plugin host and its calls are those of plugins/host",
    "transport/websocket_server.py": "runs in gateways and farms",
    "transport/waiting_listener.py": "runs in gateways and farms: tests/simulated/test_transport_waiting_listener.py",
    "transport/bound_port.py": "runs before a server is ready, which it then does not become",
    "transport/socket_owner.py": "runs in farms and pages",
}

_OPEN = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EIO)
_READ = (errno.ENOMEM, errno.EIO)
_WRITE = (errno.ENOSPC, errno.ENOMEM, errno.EIO)
_CHANGE = (errno.ENOSPC, errno.ENOMEM, errno.EIO)
_LIST = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
_MEMORY = (errno.ENOMEM,)
_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_PROCESS = (errno.EAGAIN, errno.ENOMEM)
_PROGRAM = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_SEND = (errno.EAGAIN, errno.ENOMEM)

FAILING: Final = {
    **dict.fromkeys(("os.open", "open"), _OPEN),
    **dict.fromkeys(("os.read", "os.pread", "os.splice", "os.getxattr"), _READ),
    **dict.fromkeys(("os.write", "os.pwrite", "os.fsync", "os.fdatasync", "os.ftruncate"), _WRITE),
    **dict.fromkeys(("os.mkdir", "os.unlink", "os.rmdir", "os.replace", "os.rename", "os.chdir", "os.fchown", "os.chmod"), _CHANGE),
    **dict.fromkeys(("os.listdir", "os.scandir"), _LIST),
    **dict.fromkeys(("os.stat", "os.fstat", "os.fchmod", "os.listxattr"), _READ),
    **dict.fromkeys(("os.pipe", "os.dup", "os.pidfd_open", "select.epoll"), _DESCRIPTOR),
    **dict.fromkeys(("socket.socket", "socket.socketpair"), _DESCRIPTOR),
    **dict.fromkeys(("os.fork", "os.posix_spawn"), _PROCESS),
    **dict.fromkeys(("socket.send_fds", "socket.recv_fds"), _SEND),
    **dict.fromkeys(
        ("trio.run_process", "trio.lowlevel.open_process", "subprocess.run", "subprocess.Popen"), _PROGRAM
    ),
    "trio.to_thread.run_sync": (THREAD,),
    "threading.Thread(target=self._run, daemon=True).start": (THREAD,),
    "fcntl.flock": (errno.EIO, errno.ENOMEM),
    "fcntl.fcntl": _MEMORY,
    "resource.prlimit": _MEMORY,
    **dict.fromkeys(("shutil.copyfile", "shutil.copy2"), _OPEN),
    "shutil.which": _MEMORY,
    "trio.lowlevel.FdStream": _MEMORY,
    "os.sched_getaffinity": _MEMORY,
    "os.nice": _MEMORY,
    "os.setpriority": _MEMORY,
    "os.waitid": _MEMORY,
    "signal.pidfd_send_signal": _MEMORY,
    "socket.gethostname": _MEMORY,
    **dict.fromkeys(
        (
            "psutil.Process", "psutil.cpu_count", "psutil.cpu_times", "psutil.pid_exists",
            "psutil.process_iter", "psutil.getloadavg", "psutil.cpu_freq", "psutil.net_if_addrs",
            "psutil.net_io_counters", "psutil.disk_io_counters", "psutil.virtual_memory",
            "psutil.swap_memory", "psutil.pids", "psutil.disk_usage", "psutil.users",
            "psutil.sensors_temperatures", "pwd.getpwuid", "pwd.getpwnam", "grp.getgrgid",
        ),
        _LIST,
    ),
}  # fmt: skip
"""Functions of modules, and with what they may fail."""
_SOCKET: Final = r"(?:.*\b(?:_?sock|_link|_raw|_control)|probe)$"
FAILING_METHODS: Final = {
    "accept": (r".*_sock$", _DESCRIPTOR),
    "bind": (_SOCKET, (errno.ENOMEM, errno.ENOSPC)),
    "connect": (_SOCKET, (errno.EAGAIN, errno.ENOMEM)),
    "listen": (r"sock$", _MEMORY),
    **dict.fromkeys(("recv", "send", "sendall", "sendmsg"), (_SOCKET, _SEND)),
    "getsockopt": (_SOCKET, _MEMORY),
    "shutdown": (_SOCKET, _MEMORY),
    "receive_some": (r".*(?:stream|stdout|_output)$", _MEMORY),
    "send_all": (r".*(?:stream|stdin)$", _MEMORY),
    "register": (r".*\bself\._poll$", (errno.ENOMEM, errno.ENOSPC)),
    "modify": (r".*_poll$", _MEMORY),
    **dict.fromkeys(("mkdir", "unlink", "rmdir", "rename", "touch", "chmod"), (r".*", _CHANGE)),
    "replace": (r"new$|path(?:\.with_name\(.*\))?$", _CHANGE),
    **dict.fromkeys(("lstat", "stat"), (r".*", _READ)),
    **dict.fromkeys(("iterdir", "glob"), (r".*", _LIST)),
    **dict.fromkeys(("read_text", "read_bytes", "write_text"), (r".*", _OPEN)),
    "open": (r"path$", _OPEN),
    "read": (r"file$", _READ),
    "readinto": (r"file$", _READ),
    "write": (r"file$", _WRITE),
    "resolve": (r".*", _MEMORY),
}
"""Methods by name, with a pattern of the object: other objects have methods of these names too."""
NOT_HERE: Final = {
    (
        "supervisor.signal_pipe",
        "os.read",
    ): "a pipe of this process: at most EAGAIN, which is expected",
}
"""Calls that cannot fail at these places."""
HARMLESS: Final = re.compile(
    r"""
    (?: time | trio(?!\.(?:to_thread|run_process|socket|open_tcp|lowlevel\.(?:open_process|FdStream))) ) \. .*
    | trio\.socket\.from_stdlib_socket | trio\.open_tcp_listeners
    | os\. (?: close | closerange | _exit | get\w+ | environ\.\w+ | fs\w+code | path\.\w+ | sysconf | strerror
        | W[A-Z]+ | waitstatus_to_exitcode | set_\w+ | register_at_fork | kill | killpg | setsid | dup2 | access
        | waitpid | lseek | urandom(?:\(8\)\.hex)? | wait4 | fdopen | cpu_count | umask | chown )
    | shutil\.rmtree | signal\. (?: signal | Signals | set_wakeup_fd | valid_signals )
    | select\.poll | threading\. (?: Lock | get_ident | Thread )
    | resource\. (?: getrlimit | setrlimit | getrusage | is\w+ )
    | ctypes\..* | psutil\.Process\(pid\)\..* | os\.pread\(.*\)\.split
    """,
    re.VERBOSE,
)
"""Functions of these modules that cannot fail where they are used: they ask or change this process alone, or
name a process that may have ended, which the callers expect. A close fails after the descriptor is free."""
_MODULES: Final = frozenset(
    (
        "os",
        "socket",
        "select",
        "fcntl",
        "resource",
        "signal",
        "subprocess",
        "mmap",
        "shutil",
        "tempfile",
        "threading",
        "trio",
        "psutil",
        "ctypes",
        "pwd",
        "grp",
        "time",
        "multiprocessing",
    )
)


@attrs.frozen(order=True)
class Site:
    """One call in the source."""

    module: str
    place: tuple[int, int, int, int]
    function: str
    """The function or method that it is in."""
    call: str
    errnos: tuple[int, ...] = attrs.field(order=False)

    def __str__(self) -> str:
        return f"{self.module.removeprefix('trio_afrender.')}:{self.place[0]} {self.function}: {self.call}"


def find_sites() -> list[Site]:
    """Return every call that may fail, in order."""
    return sorted(site for site in _find_all() if site.errnos)


def find_unknown() -> list[str]:
    """Return the calls that are in no table."""
    return [str(site) for site in _find_all() if not site.errnos]


def _find_all() -> Iterator[Site]:
    for part in PARTS:
        path = ROOT / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            name = file.relative_to(ROOT).as_posix()
            if not any(name == other or name.startswith(f"{other}/") for other in OTHER_PROGRAMS):
                module = f"trio_afrender.{name.removesuffix('.py').replace('/', '.')}"
                yield from _find_in(ast.parse(file.read_text()), module, "")


def _find_in(node: ast.AST, module: str, function: str) -> Iterator[Site]:
    for child in ast.iter_child_nodes(node):
        inside = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = f"{function}.{child.name}" if function else child.name
        if isinstance(child, ast.Call) and (errnos := _classify(child)) is not None:
            text = ast.unparse(child.func)
            if (module.removeprefix("trio_afrender."), text) in NOT_HERE:
                continue
            if _is_of_trio(module, child):
                errnos = tuple(one for one in errnos if one != errno.EAGAIN)
            yield Site(module, place_of(child), function, text, errnos)
        yield from _find_in(child, module, inside)


def _is_of_trio(module: str, call: ast.Call) -> bool:
    """Whether a call is of a socket of trio, which never raises EAGAIN."""
    return module.endswith((".supervised_tree", ".supervisor_client")) and (
        ast.unparse(call.func).startswith("self._sock.")
    )


def _classify(call: ast.Call) -> tuple[int, ...] | None:
    """Return the errnos of a call; none for one that is in no table, None for no system call."""
    text = ast.unparse(call.func)
    if any(word.arg == "fileno" for word in call.keywords):
        return None  # an object for a descriptor that exists
    if text in FAILING:
        return FAILING[text]
    if not isinstance(call.func, ast.Attribute):
        return None
    if text.partition(".")[0] in _MODULES:
        if HARMLESS.fullmatch(text) or call.func.attr[:1].isupper():
            return None
        return ()
    pattern, errnos = FAILING_METHODS.get(call.func.attr, ("(?!)", ()))
    return errnos if re.match(pattern, ast.unparse(call.func.value)) else None
