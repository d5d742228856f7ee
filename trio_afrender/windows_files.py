"""Files on Windows: opens that do not keep others from deleting, replaces that wait, locks, access lists.

Every function calls the system, so none works elsewhere; `safe_files` and `private_folder` choose.
Standard library alone. All of it blocks.

Windows refuses to delete or replace a file that another process has open, unless that one has allowed it
at its open. Ours are opened so. Virus scanners and indexers open files for a moment after each write, so a
replace or a removal that is refused is tried again for `WAIT` seconds.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = (
    "close_to_others",
    "explain_owner",
    "find_reserved_name",
    "lock_handle",
    "long_path",
    "open_shared",
    "remove_tree",
    "retry_shared",
)

WAIT = 2.0
"""Seconds in which a scanner has closed a file."""
PAUSE = 0.02
SHARING_VIOLATIONS = (5, 32, 33)
"""Windows' codes: access denied (also for a file that is being deleted), sharing and lock violation."""
LOCK_OFFSET = 1 << 62
"""The byte that a lock covers: others may read the bytes of the file meanwhile."""
MAX_PLAIN_PATH = 240
"""Characters of a path that every call takes; a longer one needs the prefix. The limit of a folder is 248."""
RESERVED_NAMES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"}
    | {f"{device}{digit}" for device in ("com", "lpt") for digit in "0123456789\u00b9\u00b2\u00b3"}
)
SYSTEM_OWNERS = ("S-1-5-18", "S-1-5-32-544")
"""The system, and the group of administrators, to which what an administrator makes belongs."""

_GENERIC_READ, _GENERIC_WRITE, _FILE_APPEND = 0x80000000, 0x40000000, 0x4
_SHARE_ALL = 0x7  # to read, to write, to delete
_CREATE_NEW, _CREATE_ALWAYS, _OPEN_EXISTING, _OPEN_ALWAYS, _TRUNCATE_EXISTING = 1, 2, 3, 4, 5
_NO_LINK = 0x00200000  # FILE_FLAG_OPEN_REPARSE_POINT
_NORMAL = 0x80
_REPARSE_POINT = 0x400
_INVALID = ctypes.c_void_p(-1).value
_LOCK_NOW, _LOCK_EXCLUSIVE = 1, 2
_OWNER, _ACCESS_LIST, _PROTECTED = 0x1, 0x4, 0x80000000
_FILE_OBJECT = 1
_TOKEN_QUERY, _TOKEN_USER = 0x8, 1


def _dll(name: str) -> Any:  # noqa: ANN401 - a library without types
    return vars(ctypes)["WinDLL"](name, use_last_error=True)


def _error(path: str | Path = "") -> OSError:
    failed: OSError = vars(ctypes)["WinError"](vars(ctypes)["get_last_error"]())
    if path:
        failed.filename = str(path)
    return failed


def long_path(path: str | Path, *, exact: bool = False) -> str:
    """Return a path that may have more than 260 characters, as the calls of Windows take it.

    With `exact`, a short one as well: of names that are added to it Windows changes nothing (``a.``, ``NUL``).
    """
    text = str(path)
    if (len(text) < MAX_PLAIN_PATH and not exact) or text.startswith("\\\\?\\"):
        return text
    # Only whole paths with backslashes can have the prefix: Windows changes nothing in them.
    whole = os.path.abspath(text)  # noqa: PTH100 - a text
    return f"\\\\?\\UNC\\{whole[2:]}" if whole.startswith("\\\\") else f"\\\\?\\{whole}"


def find_reserved_name(name: str) -> str:
    """Explain why a file of this name cannot be made on Windows; empty if it can."""
    if name.split(".")[0].rstrip(" ").lower() in RESERVED_NAMES:
        return "is the name of a device on Windows"
    if name != name.rstrip(" ."):
        return "ends with a space or a dot, which Windows drops"
    if wrong := sorted({c for c in name if c in '<>:"/\\|?*' or ord(c) < 32}):
        return f"contains {' '.join(map(repr, wrong))}, which Windows does not allow"
    return ""


def open_shared(path: str | Path, flags: int) -> int:
    """Open a file so that others may read, write, rename and delete it meanwhile; return a descriptor.

    The flags are those of `os.open`. A link is not followed: it is refused. Raises `OSError`.
    """
    access = _GENERIC_READ if not flags & (os.O_WRONLY | os.O_RDWR) else _GENERIC_WRITE
    if flags & os.O_RDWR:
        access |= _GENERIC_READ
    if flags & os.O_APPEND:
        # Without the right to write elsewhere, the system puts each write at the end.
        access = access & ~_GENERIC_WRITE | _FILE_APPEND
    create, truncate = flags & os.O_CREAT, flags & os.O_TRUNC
    if create and flags & os.O_EXCL:
        how = _CREATE_NEW
    elif create:
        how = _CREATE_ALWAYS if truncate else _OPEN_ALWAYS
    else:
        how = _TRUNCATE_EXISTING if truncate else _OPEN_EXISTING
    kernel = _dll("kernel32")
    kernel.CreateFileW.restype = ctypes.c_void_p
    name = ctypes.c_wchar_p(long_path(path))
    handle = kernel.CreateFileW(name, access, _SHARE_ALL, None, how, _NORMAL | _NO_LINK, None)
    if handle == _INVALID:
        raise _error(path)
    descriptor: int = importlib.import_module("msvcrt").open_osfhandle(
        handle, flags & (os.O_APPEND | os.O_RDWR | os.O_WRONLY) | getattr(os, "O_BINARY", 0)
    )
    if getattr(os.fstat(descriptor), "st_file_attributes", 0) & _REPARSE_POINT:
        os.close(descriptor)
        raise OSError(22, "is a link", str(path))
    return descriptor


def retry_shared(
    action: Callable[[], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Do what Windows refuses while another process has the file open, for `WAIT` seconds at most.

    Raises the last `OSError`.
    """
    until = clock() + WAIT
    while True:
        try:
            return action()
        except OSError as error:
            if getattr(error, "winerror", None) not in SHARING_VIOLATIONS or clock() >= until:
                raise
        sleep(PAUSE)


def remove_tree(
    folder: str | Path,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Remove a folder with all that is in it, whatever the names, the depth and the attributes.

    Links are removed and not followed. What others have open is tried again for `WAIT` seconds; what is
    left then stays, without an error.
    """
    whole, until = long_path(folder, exact=True), clock() + WAIT
    _remove_once(whole)
    while os.path.lexists(whole) and clock() < until:
        sleep(PAUSE)
        _remove_once(whole)


def _remove_once(folder: str) -> None:
    # Not `rmtree`: it calls itself for each level, and leaves files that are read-only.
    waiting, folders = [folder], list[str]()
    while waiting:
        place = waiting.pop()
        folders.append(place)
        with suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                attributes = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
                if attributes & _REPARSE_POINT or not entry.is_dir(follow_symlinks=False):
                    _remove_entry(entry.path)
                else:
                    waiting.append(entry.path)
    for place in reversed(folders):
        _remove_entry(place)


def _remove_entry(path: str) -> None:
    """Remove a file, a link or an empty folder, if it can be."""
    for _ in range(2):
        for remove in (os.unlink, os.rmdir):
            with suppress(OSError):
                remove(path)
                return
        with suppress(OSError):
            os.chmod(path, stat.S_IWRITE)  # noqa: PTH101 - a text; it may have the attribute "read-only"


class _Overlapped(ctypes.Structure):
    _fields_ = (
        ("internal", ctypes.c_void_p),
        ("internal_high", ctypes.c_void_p),
        ("offset", ctypes.c_uint32),
        ("offset_high", ctypes.c_uint32),
        ("event", ctypes.c_void_p),
    )


def lock_handle(descriptor: int, *, exclusive: bool) -> bool:
    """Lock an open file until it is closed; False if another process has the lock."""
    handle = importlib.import_module("msvcrt").get_osfhandle(descriptor)
    place = _Overlapped(offset=LOCK_OFFSET & 0xFFFFFFFF, offset_high=LOCK_OFFSET >> 32)
    flags = _LOCK_NOW | (_LOCK_EXCLUSIVE if exclusive else 0)
    lock = _dll("kernel32").LockFileEx
    return bool(lock(ctypes.c_void_p(handle), flags, 0, 1, 0, ctypes.byref(place)))


# -- owners and access lists ---------------------------------------------------------------------


def close_to_others(folder: Path, access: Any = None) -> None:  # noqa: ANN401 - a fake in tests
    """Give this user, the system and administrators all rights to a folder, and no other user any.

    What is in it inherits that; what it would inherit from above it does not. Raises `OSError`.
    """
    calls = access or AccessCalls()
    user = calls.user()
    rights = "".join(f"(A;OICI;FA;;;{sid})" for sid in (user, *SYSTEM_OWNERS))
    calls.set_access_list(folder, f"D:P{rights}")


def explain_owner(folder: Path, access: Any = None) -> str:  # noqa: ANN401 - a fake in tests
    """Explain why others own a folder; empty if this user, the system or administrators do."""
    calls = access or AccessCalls()
    owner = calls.owner(folder)
    return "" if owner in (calls.user(), *SYSTEM_OWNERS) else f"belongs to user {owner};"


class AccessCalls:
    """The calls of Windows about owners and access lists. A user is named by the text of its SID."""

    def __init__(self) -> None:
        self._security, self._kernel = _dll("advapi32"), _dll("kernel32")
        self._kernel.GetCurrentProcess.restype = ctypes.c_void_p
        self._kernel.LocalFree.argtypes = [ctypes.c_void_p]

    def user(self) -> str:
        """Return the user of this process. Raises `OSError`."""
        token = ctypes.c_void_p()
        process = ctypes.c_void_p(self._kernel.GetCurrentProcess())
        if not self._security.OpenProcessToken(process, _TOKEN_QUERY, ctypes.byref(token)):
            raise _error()
        try:
            buffer, size = ctypes.create_string_buffer(256), ctypes.c_uint32()
            query = self._security.GetTokenInformation
            if not query(token, _TOKEN_USER, buffer, len(buffer), ctypes.byref(size)):
                raise _error()
            # The structure begins with a pointer to the SID.
            return self._name(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_void_p))[0])
        finally:
            self._kernel.CloseHandle(token)

    def owner(self, path: Path) -> str:
        """Return the owner of a file or folder. Raises `OSError`."""
        sid, descriptor = ctypes.c_void_p(), ctypes.c_void_p()
        name = ctypes.c_wchar_p(long_path(path))
        found = (ctypes.byref(sid), None, None, None, ctypes.byref(descriptor))
        code = self._security.GetNamedSecurityInfoW(name, _FILE_OBJECT, _OWNER, *found)
        if code:
            raise _explain(code, path)
        try:
            return self._name(sid.value)
        finally:
            self._kernel.LocalFree(descriptor)

    def set_access_list(self, path: Path, text: str) -> None:
        """Replace the access list by one in the security descriptor's text form. Raises `OSError`."""
        descriptor, size = ctypes.c_void_p(), ctypes.c_uint32()
        convert = self._security.ConvertStringSecurityDescriptorToSecurityDescriptorW
        if not convert(ctypes.c_wchar_p(text), 1, ctypes.byref(descriptor), ctypes.byref(size)):
            raise _error(path)
        try:
            present, defaulted = ctypes.c_int(), ctypes.c_int()
            entries = ctypes.c_void_p()
            get = self._security.GetSecurityDescriptorDacl
            found = (ctypes.byref(present), ctypes.byref(entries), ctypes.byref(defaulted))
            if not get(descriptor, *found):
                raise _error(path)
            what = _ACCESS_LIST | _PROTECTED
            name = ctypes.c_wchar_p(long_path(path))
            put = self._security.SetNamedSecurityInfoW
            if code := put(name, _FILE_OBJECT, what, None, None, entries, None):
                raise _explain(code, path)
        finally:
            self._kernel.LocalFree(descriptor)

    def _name(self, sid: int | None) -> str:
        text = ctypes.c_void_p()
        if not self._security.ConvertSidToStringSidW(ctypes.c_void_p(sid), ctypes.byref(text)):
            raise _error()
        try:
            return ctypes.wstring_at(text.value or 0)
        finally:
            self._kernel.LocalFree(text)


def _explain(code: int, path: Path) -> OSError:
    failed: OSError = vars(ctypes)["WinError"](code)
    failed.filename = str(path)
    return failed
