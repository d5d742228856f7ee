"""The calls of Windows that process trees need, with their errors as `OSError`. All of them return at once.

The libraries are opened at the first use (`calls`). Handles are plain numbers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from ctypes import wintypes
from functools import lru_cache
from typing import Any

import attrs

__all__ = ("JobUsage", "StartedProcess", "TopWindow", "Win32", "calls", "make_environment_block")

_SIZE = ctypes.c_size_t
_INVALID = ctypes.c_void_p(-1).value

CREATE_SUSPENDED = 0x4
NEW_PROCESS_GROUP = 0x200
UNICODE_ENVIRONMENT = 0x400
EXTENDED_STARTUP = 0x80000
NO_WINDOW = 0x08000000
_USE_STD_HANDLES = 0x100
_HANDLE_LIST = 0x20002

KILL_ON_CLOSE, DIE_ON_EXCEPTION, ACTIVE_LIMIT = 0x2000, 0x400, 0x8
# Neither JOB_OBJECT_LIMIT_BREAKAWAY_OK nor SILENT_BREAKAWAY_OK is ever set, so no member can leave.
_ACCOUNTING, _PROCESS_LIST, _PORT, _EXTENDED_LIMITS = 1, 3, 7, 9
MSG_LIMIT = 3
"""The message of a job at its completion port that a member was refused."""

_MORE_DATA = 234
_STILL_ACTIVE = 259
_SUSPEND_RESUME, _QUERY_LIMITED = 0x800, 0x1000
_PIPE_INBOUND, _OVERLAPPED_IO, _FIRST_INSTANCE = 0x1, 0x40000000, 0x80000
_REJECT_REMOTE = 0x8
_GENERIC_WRITE, _GENERIC_READ, _OPEN_EXISTING, _SHARE_RW = 0x40000000, 0x80000000, 3, 3
_WM_CLOSE, _ABORT_IF_HUNG = 0x10, 0x2
_CTRL_BREAK = 1
_INFINITE = 0xFFFFFFFF
_MAX_TITLE = 512


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("process_time", ctypes.c_longlong),
        ("job_time", ctypes.c_longlong),
        ("flags", wintypes.DWORD),
        ("least_set", _SIZE),
        ("most_set", _SIZE),
        ("processes", wintypes.DWORD),
        ("affinity", _SIZE),
        ("priority", wintypes.DWORD),
        ("scheduling", wintypes.DWORD),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("basic", _BasicLimits),
        ("io", ctypes.c_ulonglong * 6),
        ("process_memory", _SIZE),
        ("job_memory", _SIZE),
        ("peak_process_memory", _SIZE),
        ("peak_job_memory", _SIZE),
    )


class _Accounting(ctypes.Structure):
    _fields_ = (
        ("user", ctypes.c_longlong),
        ("kernel", ctypes.c_longlong),
        ("period_user", ctypes.c_longlong),
        ("period_kernel", ctypes.c_longlong),
        ("page_faults", wintypes.DWORD),
        ("total", wintypes.DWORD),
        ("active", wintypes.DWORD),
        ("terminated", wintypes.DWORD),
    )


class _PortLink(ctypes.Structure):
    _fields_ = (("key", ctypes.c_void_p), ("port", wintypes.HANDLE))


class _Startup(ctypes.Structure):
    _fields_ = (
        ("size", wintypes.DWORD),
        ("reserved", wintypes.LPWSTR),
        ("desktop", wintypes.LPWSTR),
        ("title", wintypes.LPWSTR),
        ("place", wintypes.DWORD * 7),
        ("flags", wintypes.DWORD),
        ("show", wintypes.WORD),
        ("reserved_size", wintypes.WORD),
        ("reserved_data", ctypes.c_void_p),
        ("stdin", wintypes.HANDLE),
        ("stdout", wintypes.HANDLE),
        ("stderr", wintypes.HANDLE),
        ("attributes", ctypes.c_void_p),
    )


class _ProcessInformation(ctypes.Structure):
    _fields_ = (
        ("process", wintypes.HANDLE),
        ("thread", wintypes.HANDLE),
        ("pid", wintypes.DWORD),
        ("thread_id", wintypes.DWORD),
    )


class _SecurityAttributes(ctypes.Structure):
    _fields_ = (
        ("size", wintypes.DWORD),
        ("descriptor", ctypes.c_void_p),
        ("inherit", wintypes.BOOL),
    )


@attrs.frozen(slots=True)
class StartedProcess:
    """A process whose first thread is suspended. The caller closes both handles."""

    pid: int
    process: int
    thread: int


@attrs.frozen(slots=True)
class JobUsage:
    """What all processes of a job have used, and how many live. Zeros under Wine, which counts neither."""

    cpu: float
    """Seconds."""
    peak: int
    """Committed bytes of all members at one moment."""
    active: int


@attrs.frozen(slots=True)
class TopWindow:
    """A top-level window."""

    handle: int
    title: str
    pid: int
    visible: bool


def make_environment_block(environment: Mapping[str, str]) -> str:
    """Return the environment as Windows takes it: sorted, and each name once in whatever case.

    Of names that differ in case alone the last one counts: a task's ``Path`` replaces the ``PATH`` that
    it would inherit.
    """
    named = {name.upper(): (name, value) for name, value in environment.items()}
    lines = (f"{name}={value}\0" for _, (name, value) in sorted(named.items()))
    return "".join(lines) + "\0"


class Win32:
    """The libraries of Windows. One object serves the whole process: use `calls`."""

    def __init__(self) -> None:
        load: Callable[..., Any] = vars(ctypes)["WinDLL"]
        self._kernel = load("kernel32", use_last_error=True)
        self._user = load("user32", use_last_error=True)
        self._nt = load("ntdll")
        handle, kernel = wintypes.HANDLE, self._kernel
        for name in (
            "CreateJobObjectW",
            "CreateIoCompletionPort",
            "CreateNamedPipeW",
            "CreateFileW",
            "OpenProcess",
            "GetStdHandle",
        ):
            getattr(kernel, name).restype = handle
        kernel.CreateIoCompletionPort.argtypes = [handle, handle, _SIZE, wintypes.DWORD]
        kernel.SetInformationJobObject.argtypes = [
            handle,
            ctypes.c_int,
            ctypes.c_void_p,
            wintypes.DWORD,
        ]
        kernel.QueryInformationJobObject.argtypes = [
            handle,
            ctypes.c_int,
            ctypes.c_void_p,
            wintypes.DWORD,
            ctypes.c_void_p,
        ]
        kernel.AssignProcessToJobObject.argtypes = [handle, handle]
        kernel.TerminateJobObject.argtypes = [handle, wintypes.UINT]
        kernel.TerminateProcess.argtypes = [handle, wintypes.UINT]
        kernel.PostQueuedCompletionStatus.argtypes = [
            handle,
            wintypes.DWORD,
            _SIZE,
            ctypes.c_void_p,
        ]
        kernel.GetQueuedCompletionStatus.argtypes = [
            handle,
            ctypes.POINTER(wintypes.DWORD),
            ctypes.POINTER(_SIZE),
            ctypes.POINTER(ctypes.c_void_p),
            wintypes.DWORD,
        ]
        kernel.GetExitCodeProcess.argtypes = [handle, ctypes.POINTER(wintypes.DWORD)]
        kernel.QueryFullProcessImageNameW.argtypes = [
            handle,
            wintypes.DWORD,
            wintypes.LPWSTR,
            ctypes.POINTER(wintypes.DWORD),
        ]
        for call in (kernel.CloseHandle, kernel.ResumeThread, self._nt.NtSuspendProcess):
            call.argtypes = [handle]
        self._nt.NtResumeProcess.argtypes = [handle]
        kernel.ResumeThread.restype = wintypes.DWORD
        self._each_window = vars(ctypes)["WINFUNCTYPE"](
            wintypes.BOOL, wintypes.HWND, wintypes.LPARAM
        )
        self._user.EnumWindows.argtypes = [self._each_window, wintypes.LPARAM]
        self._user.GetWindowTextW.argtypes = [wintypes.HWND, wintypes.LPWSTR, ctypes.c_int]
        self._user.GetWindowThreadProcessId.argtypes = [wintypes.HWND, ctypes.c_void_p]
        self._user.IsWindowVisible.argtypes = [wintypes.HWND]
        self._user.PostMessageW.argtypes = [wintypes.HWND, wintypes.UINT, _SIZE, wintypes.LPARAM]
        self._user.SendMessageTimeoutW.argtypes = [
            wintypes.HWND,
            wintypes.UINT,
            _SIZE,
            wintypes.LPARAM,
            wintypes.UINT,
            wintypes.UINT,
            ctypes.c_void_p,
        ]

    @staticmethod
    def _fail(filename: str = "") -> OSError:
        failed: OSError = vars(ctypes)["WinError"](vars(ctypes)["get_last_error"]())
        if filename:
            failed.filename = filename
        return failed

    def close(self, handle: int) -> None:
        """Close a handle. Raises nothing."""
        self._kernel.CloseHandle(handle)

    # -- jobs -------------------------------------------------------------------------------------

    def create_job(self, *, processes: int = 0) -> int:
        """Make a job whose members end when its last handle is closed, and that none can leave.

        A member that crashes shows no dialog. `processes` is the most at once; 0: no limit.
        """
        job = self._kernel.CreateJobObjectW(None, None)
        if not job:
            raise self._fail()
        limits = _ExtendedLimits()
        limits.basic.flags = KILL_ON_CLOSE | DIE_ON_EXCEPTION
        if processes:
            limits.basic.flags |= ACTIVE_LIMIT
            limits.basic.processes = processes
        size = ctypes.sizeof(limits)
        if not self._kernel.SetInformationJobObject(
            job, _EXTENDED_LIMITS, ctypes.byref(limits), size
        ):
            failed = self._fail()
            self.close(job)
            raise failed
        return int(job)

    def assign(self, job: int, process: int) -> None:
        """Put a process into a job; what it starts from now on is in it, too."""
        if not self._kernel.AssignProcessToJobObject(job, process):
            raise self._fail()

    def terminate_job(self, job: int, code: int) -> None:
        """End all members with an exit code."""
        if not self._kernel.TerminateJobObject(job, code):
            raise self._fail()

    def list_members(self, job: int) -> tuple[int, ...]:
        """Return the pids of the members that live."""
        room = 64
        while True:
            # Two counters, then the pids: a number of the size of a pointer each.
            buffer = (_SIZE * (room + 1))()
            size, kind = ctypes.sizeof(buffer), _PROCESS_LIST
            query = self._kernel.QueryInformationJobObject
            if query(job, kind, buffer, size, None):
                count = ctypes.cast(buffer, ctypes.POINTER(wintypes.DWORD))[1]
                return tuple(buffer[1 : count + 1])
            if vars(ctypes)["get_last_error"]() != _MORE_DATA:
                raise self._fail()
            room *= 4

    def read_usage(self, job: int) -> JobUsage:
        """Return what the members of a job have used, also those that have ended."""
        counted, limits = _Accounting(), _ExtendedLimits()
        for kind, place in ((_ACCOUNTING, counted), (_EXTENDED_LIMITS, limits)):
            size = ctypes.sizeof(place)
            query = self._kernel.QueryInformationJobObject
            if not query(job, kind, ctypes.byref(place), size, None):
                raise self._fail()
        # In units of 100 ns.
        return JobUsage(
            (counted.user + counted.kernel) / 1e7, limits.peak_job_memory, counted.active
        )

    def create_port(self) -> int:
        """Make a completion port."""
        port = self._kernel.CreateIoCompletionPort(_INVALID, None, 0, 1)
        if not port:
            raise self._fail()
        return int(port)

    def link_port(self, job: int, port: int, key: int) -> None:
        """Have the messages of a job queued at a port, under a number."""
        link = _PortLink(key, port)
        size = ctypes.sizeof(link)
        if not self._kernel.SetInformationJobObject(job, _PORT, ctypes.byref(link), size):
            raise self._fail()

    def wait_message(self, port: int) -> tuple[int, int]:
        """Wait for the next message at a port, without a limit: its number, and the job's."""
        message, key, pid = wintypes.DWORD(), _SIZE(), ctypes.c_void_p()
        places = (ctypes.byref(message), ctypes.byref(key), ctypes.byref(pid))
        if not self._kernel.GetQueuedCompletionStatus(port, *places, _INFINITE):
            raise self._fail()
        return message.value, key.value

    def post_message(self, port: int, message: int, key: int) -> None:
        """Queue a message at a port."""
        if not self._kernel.PostQueuedCompletionStatus(port, message, key, None):
            raise self._fail()

    # -- processes --------------------------------------------------------------------------------

    def start(
        self,
        line: str,
        folder: str,
        environment: Mapping[str, str],
        handles: Sequence[int],
        flags: int,
    ) -> StartedProcess:
        """Start a process with its first thread suspended.

        `handles` are its stdin, stdout and stderr; it inherits nothing else.
        """
        startup, started = _Startup(), _ProcessInformation()
        startup.size, startup.flags = ctypes.sizeof(_Startup), _USE_STD_HANDLES
        startup.stdin, startup.stdout, startup.stderr = handles
        flags |= CREATE_SUSPENDED | NEW_PROCESS_GROUP | UNICODE_ENVIRONMENT | EXTENDED_STARTUP
        with self._inheriting(handles) as attributes:
            startup.attributes = attributes
            block = ctypes.create_unicode_buffer(make_environment_block(environment))
            words = ctypes.create_unicode_buffer(line)
            if not self._kernel.CreateProcessW(
                None,
                words,
                None,
                None,
                True,
                flags,
                block,
                ctypes.c_wchar_p(folder),
                ctypes.byref(startup),
                ctypes.byref(started),
            ):
                raise self._fail()
        return StartedProcess(started.pid, started.process, started.thread)

    @contextmanager
    def _inheriting(self, handles: Sequence[int]) -> Iterator[int]:
        """Yield a list of attributes by which a new process inherits these handles alone."""
        unique = tuple(dict.fromkeys(handles))
        listed, size = (wintypes.HANDLE * len(unique))(*unique), _SIZE()
        initialize = self._kernel.InitializeProcThreadAttributeList
        initialize(None, 1, 0, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        if not initialize(buffer, 1, 0, ctypes.byref(size)):
            raise self._fail()
        try:
            place = (ctypes.byref(listed), _SIZE(ctypes.sizeof(listed)))
            update = self._kernel.UpdateProcThreadAttribute
            if not update(buffer, 0, _SIZE(_HANDLE_LIST), *place, None, None):
                raise self._fail()
            yield ctypes.addressof(buffer)
        finally:
            self._kernel.DeleteProcThreadAttributeList(buffer)

    def resume_thread(self, thread: int) -> None:
        """Let the first thread of a new process run."""
        if self._kernel.ResumeThread(thread) == _INFINITE:
            raise self._fail()

    def terminate_process(self, process: int, code: int) -> None:
        """End one process. Raises nothing: it may have ended."""
        self._kernel.TerminateProcess(process, code)

    def exit_code(self, process: int) -> int | None:
        """Return the exit code of a process; None while it runs."""
        code = wintypes.DWORD()
        if not self._kernel.GetExitCodeProcess(process, ctypes.byref(code)):
            raise self._fail()
        if code.value != _STILL_ACTIVE:
            return code.value
        # A process may end with that very code.
        ended = self._kernel.WaitForSingleObject(wintypes.HANDLE(process), 0) == 0
        return _STILL_ACTIVE if ended else None

    def suspend(self, pid: int, *, resume: bool = False) -> None:
        """Suspend or resume all threads of a process. Raises nothing: it may have ended."""
        process = self._kernel.OpenProcess(_SUSPEND_RESUME, False, pid)
        if process:
            (self._nt.NtResumeProcess if resume else self._nt.NtSuspendProcess)(process)
            self.close(process)

    def image_name(self, pid: int) -> str:
        """Return the path of the program of a process; empty if it cannot be read."""
        process = self._kernel.OpenProcess(_QUERY_LIMITED, False, pid)
        if not process:
            return ""
        try:
            size = wintypes.DWORD(1024)
            buffer = ctypes.create_unicode_buffer(size.value)
            query = self._kernel.QueryFullProcessImageNameW
            return buffer.value if query(process, 0, buffer, ctypes.byref(size)) else ""
        finally:
            self.close(process)

    # -- pipes and files --------------------------------------------------------------------------

    def create_pipe(self, name: str, size: int) -> tuple[int, int]:
        """Make a pipe; return its read end, for overlapped reads, and a write end that is inherited."""
        flags = _PIPE_INBOUND | _OVERLAPPED_IO | _FIRST_INSTANCE
        kernel, path = self._kernel, ctypes.c_wchar_p(name)
        reading = kernel.CreateNamedPipeW(path, flags, _REJECT_REMOTE, 1, 0, size, 0, None)
        if reading in (None, _INVALID):
            raise self._fail()
        try:
            return int(reading), self._open_inherited(name, _GENERIC_WRITE)
        except OSError:
            self.close(reading)
            raise

    def open_null(self) -> int:
        """Open the null device for reading; a child may inherit it."""
        return self._open_inherited("NUL", _GENERIC_READ)

    def _open_inherited(self, name: str, access: int) -> int:
        allowed = _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), None, 1)
        place = (ctypes.byref(allowed), _OPEN_EXISTING, 0, None)
        handle = self._kernel.CreateFileW(ctypes.c_wchar_p(name), access, _SHARE_RW, *place)
        if handle in (None, _INVALID):
            raise self._fail()
        return int(handle)

    # -- windows and the console -------------------------------------------------------------------

    @property
    def has_console(self) -> bool:
        """Whether this process has a console, which its children then share."""
        return bool(self._kernel.GetConsoleCP())

    @property
    def output_code_page(self) -> int:
        """The code page of this process's console, or else that of a console that a child gets."""
        return int(self._kernel.GetConsoleOutputCP() or self._kernel.GetOEMCP())

    def list_windows(self) -> list[TopWindow]:
        """Return all top-level windows of this desktop."""
        found: list[TopWindow] = []

        def add(handle: int, _: int) -> bool:
            title, pid = ctypes.create_unicode_buffer(_MAX_TITLE), wintypes.DWORD()
            # For a window of another process the title comes from the system, not from that process.
            self._user.GetWindowTextW(handle, title, _MAX_TITLE)
            self._user.GetWindowThreadProcessId(handle, ctypes.byref(pid))
            visible = bool(self._user.IsWindowVisible(handle))
            found.append(TopWindow(handle, title.value, pid.value, visible))
            return True

        self._user.EnumWindows(self._each_window(add), 0)
        return found

    def post_close(self, window: int) -> None:
        """Ask a window to close, without waiting. Raises nothing: it may be gone."""
        self._user.PostMessageW(window, _WM_CLOSE, 0, 0)

    def send_close(self, window: int, seconds: float) -> bool:
        """Ask a window to close, and wait for its answer; False if it does not answer in time."""
        limit = (_ABORT_IF_HUNG, int(seconds * 1000), None)
        return bool(self._user.SendMessageTimeoutW(window, _WM_CLOSE, 0, 0, *limit))

    def send_break(self, group: int) -> bool:
        """Send CTRL_BREAK to a process group of this console; False where that is not possible."""
        return bool(self._kernel.GenerateConsoleCtrlEvent(_CTRL_BREAK, group))

    def std_handles(self) -> tuple[int, int]:
        """Return the stdout and the stderr of this process, as a child can inherit them."""
        handles = []
        for number in (-11, -12):
            handle = self._kernel.GetStdHandle(wintypes.DWORD(number & 0xFFFFFFFF))
            with suppress(OSError):
                self._kernel.SetHandleInformation(wintypes.HANDLE(handle), 1, 1)
            handles.append(int(handle or 0))
        return handles[0], handles[1]


@lru_cache(maxsize=1)
def calls() -> Win32:
    """Return the libraries of Windows, opened at the first call."""
    return Win32()
