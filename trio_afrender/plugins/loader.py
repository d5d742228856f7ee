"""Loads plugin files under private names, so that two folders may hold the same one.

A plugin file says ``from parsers import parser`` or ``from services import blender``. Which file
that means depends on the folder the sentence stands in: its own first, then the built-in
packages; the base classes are always ours. It also imports CGRU's helper modules, which are ours
here, and the studio's own, which lie in the folder. So each plugin module gets an ``__import__`` of
its own (a module's ``__builtins__`` are looked up per module); nothing of the process's own import
system is changed, and no other code sees these names.

A loaded module stays valid as long as its file, and the files it imported this way, are
unchanged. After that the next `load_file` makes a new module; who has the old one keeps it.
There are no locks: two threads that load one file at once get two modules, which does no harm,
while a lock would let one module that never ends its import block all the others.
"""

from __future__ import annotations

import builtins
import errno
import importlib
import importlib.util
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from zlib import crc32

import attrs

import trio_afrender
from trio_afrender.plugins import compat
from trio_afrender.plugins.module_search import ModuleFiles, find_chain, find_module, is_shadowable

__all__ = (
    "BASES",
    "PACKAGES",
    "PluginFolder",
    "builtin_folder",
    "claim_packages",
    "has_builtin",
    "import_builtin",
    "load_file",
)

PACKAGES = {"service": "services", "parser": "parsers", "meter": "resmeters"}
"""The import name of each kind's package."""
BASES = {"service": "service", "parser": "parser", "meter": "resbase"}
"""The base class of each kind, always the built-in one."""
_FOLDERS = {"service": ("services",), "parser": ("parsers",), "meter": ("resources", "resmeters")}
_KINDS = {"services": "service", "parsers": "parser", "resmeters": "meter", "resources": "meter"}

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF)

_ROOT = Path(trio_afrender.__file__).resolve().parents[1]
_PREFIX = "_trio_afrender_plugin_"


@attrs.frozen
class PluginFolder:
    """A folder of plugins: with a sub-folder for each kind, or with the modules right in it."""

    path: Path

    def find(self, kind: str, name: str) -> Path | None:
        """The file of a plugin, None when there is none. `name` is a checked identifier."""
        # By texts, and the files before the folders they may stand in: each task asks twice.
        root, file = str(self.path), f"{name}.py"
        for sub in _FOLDERS[kind]:
            if _is_there(inner := f"{root}/{sub}/{file}", stat.S_ISREG):
                return Path(inner)
        flat = f"{root}/{file}"
        if _is_there(flat, stat.S_ISREG) and not self._has_folders():
            return Path(flat)
        return None

    def names(self, kind: str) -> Iterator[str]:
        """Names of the modules that stand where plugins of this kind are looked for."""
        for place in self.places(kind):
            for file in place.glob("*.py"):
                if file.stem.isidentifier() and not file.stem.startswith("_"):
                    yield file.stem

    def places(self, kind: str) -> tuple[Path, ...]:
        subs = [self.path / sub for sub in _FOLDERS[kind] if (self.path / sub).is_dir()]
        if subs:
            return tuple(subs)
        return () if self._has_folders() else (self.path,)

    def _has_folders(self) -> bool:
        """Whether there is a sub-folder for any kind: then nothing right in it is a plugin."""
        return any(_is_there(f"{self.path}/{sub}", stat.S_ISDIR) for sub in _KINDS)


def _is_there(path: str, kind: Callable[[int], bool]) -> bool:
    """Whether there is such a thing. Raises `OSError` where nobody can tell."""
    try:
        return kind(os.stat(path).st_mode)  # noqa: PTH116 - a Path takes longer than the system
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise


builtin_folder = PluginFolder(_ROOT)


@attrs.frozen(eq=False)
class _Loaded:
    """A module, and the files whose state it was made from."""

    module: ModuleType
    stamps: dict[Path, tuple[int, int]]

    def adopt(self, name: str, inner: _Loaded) -> None:
        """Make a module an attribute of this package, which is no fresher than that."""
        setattr(self.module, name, inner.module)
        self.stamps.update(inner.stamps)

    def fresh(self) -> bool:
        # A copy: an import inside a function of another thread may add to them.
        return all(_stamp(path) == stamp for path, stamp in self.stamps.copy().items())


_loaded: dict[Path, _Loaded] = {}


class _Thread(threading.local):
    """Modules whose import this thread has begun: a circular import gets the unfinished one."""

    def __init__(self) -> None:
        self.begun: dict[Path, ModuleType] = {}


_thread = _Thread()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return (0, -1)
    return (state.st_mtime_ns, state.st_size)


def load_file(path: Path, folder: PluginFolder, kind: str) -> ModuleType:
    """The module of a plugin file. Raises whatever its code raises."""
    return _load(path, folder, kind).module


def _load(path: Path, folder: PluginFolder, kind: str) -> _Loaded:
    known = _loaded.get(path)
    if known is not None and known.fresh():
        return known
    if path in _thread.begun:
        return _Loaded(_thread.begun[path], {})
    stamp = _stamp(path)
    module = _make_module(path, stamp)
    imports = _Imports(path, folder, kind, {path: stamp})
    # A copy, so that only this module's import statements come to us.
    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": imports}
    _thread.begun[path] = module
    sys.modules[module.__name__] = module
    try:
        # Never by way of a .pyc file: those notice a change only by whole seconds.
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - running the plugin is what we are here for
    except BaseException:
        sys.modules.pop(module.__name__, None)
        raise
    finally:
        del _thread.begun[path]
    if known is not None and known.module.__name__ != module.__name__:
        sys.modules.pop(known.module.__name__, None)
    made = _Loaded(module, imports.stamps)
    _loaded[path] = made
    return made


def _make_module(path: Path, stamp: tuple[int, int]) -> ModuleType:
    where = crc32(str(path.parent).encode("utf-8", "surrogateescape"))
    name = f"{_PREFIX}{path.stem}_{where:08x}_{stamp[0]:x}_{stamp[1]:x}"
    module = ModuleType(name)
    module.__file__ = str(path)
    module.__package__ = ""
    if path.name == "__init__.py":
        module.__path__ = [str(path.parent)]
    module.__spec__ = ModuleSpec(name, None, origin=str(path))
    return module


class _Imports:
    """The ``__import__`` of one plugin module."""

    def __init__(
        self, path: Path, folder: PluginFolder, kind: str, stamps: dict[Path, tuple[int, int]]
    ) -> None:
        self.stamps = stamps
        self._path = path
        self._folder = folder
        self._kind = kind

    def __call__(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - import's own name for it
        locals: Mapping[str, object] | None = None,  # noqa: A002 - as above
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        wanted = tuple(fromlist or ())
        if level > 0:
            return self._relative(name, wanted, level)
        top, _, sub = name.partition(".")
        # "resources" is many people's word: it means meters only among meters.
        if top in _KINDS and (top != "resources" or self._kind == "meter"):
            return self._plugin(_KINDS[top], sub, wanted)
        if name in compat.NAMES:
            return compat.serve(name)
        root = self._folder.path
        # Without sub-folders what lies in it is a plugin first of all.
        flat = root in self._folder.places(self._kind)
        if not flat and (module := self._helper(root, name, wanted)) is not None:
            return module
        try:
            return builtins.__import__(name, globals, locals, wanted, level)
        except ModuleNotFoundError as error:
            if error.name == top and (module := self._helper(self._path.parent, name, wanted)):
                return module
            raise

    def _plugin(self, kind: str, sub: str, wanted: Sequence[str]) -> ModuleType:
        if sub:
            module = self._import(kind, sub)
            if wanted:
                return module
        return self._package(kind)

    def _relative(self, name: str, wanted: Sequence[str], level: int) -> ModuleType:
        """``from .name import wanted``: the plugins beside a plugin, else a package's modules."""
        place = self._path.parents[level - 1]
        if level == 1 and place in self._folder.places(self._kind):
            return self._plugin(self._kind, name, wanted)
        if not place.is_relative_to(self._folder.path):
            raise ImportError("attempted relative import beyond the plugin folder")
        if name:
            chain = find_chain(place, name)
            if chain is None:
                raise ModuleNotFoundError(f"No module named {name!r} in {place}", name=name)
            return self._follow(chain, wanted)
        start = place / "__init__.py"
        if start.is_file():
            return self._follow(ModuleFiles((place.name,), (start,)), wanted)
        package = _Loaded(ModuleType(place.name), {})
        self._add_modules(package, place, wanted)
        return package.module

    def _helper(self, place: Path, name: str, wanted: Sequence[str]) -> ModuleType | None:
        """A helper module from that folder, None when there is none."""
        if not is_shadowable(name.partition(".")[0]):
            return None
        chain = find_chain(place, name)
        if chain is None or chain.files[0] == self._path:
            return None
        return self._follow(chain, wanted)

    def _follow(self, chain: ModuleFiles, wanted: Sequence[str]) -> ModuleType:
        """Load the modules of a chain; gives what an import statement is given."""
        chained = [self._take(file) for file in chain.files]
        for outer, part, inner in zip(chained, chain.parts[1:], chained[1:], strict=False):
            outer.adopt(part, inner)
        last = chained[-1]
        if wanted and (inside := chain.inside) is not None:
            self._add_modules(last, inside, wanted)
        return last.module if wanted else chained[0].module

    def _add_modules(self, package: _Loaded, place: Path, wanted: Sequence[str]) -> None:
        """Import what a package has no attribute for but a module of that name."""
        if "*" in wanted:
            wanted = getattr(package.module, "__all__", ())
        for name in wanted:
            known = hasattr(package.module, name)
            if not known and (file := find_module(place, name)) is not None:
                package.adopt(name, self._take(file))

    def _take(self, file: Path) -> _Loaded:
        loaded = _load(file, self._folder, self._kind)
        self.stamps.update(loaded.stamps)
        return loaded

    def _package(self, kind: str) -> ModuleType:
        """What ``parsers`` is to this module: an attribute asked for is a module imported."""
        package = ModuleType(PACKAGES[kind])

        def find(name: str) -> ModuleType:
            if name.startswith("__"):
                raise AttributeError(name)
            try:
                return self._import(kind, name)
            except ModuleNotFoundError as error:
                if error.name != f"{PACKAGES[kind]}.{name}":
                    raise
                raise AttributeError(str(error)) from None

        package.__dict__.update(__path__=[], __all__=[], __getattr__=find)
        return package

    def _import(self, kind: str, name: str) -> ModuleType:
        if name != BASES[kind] and (file := self._folder.find(kind, name)) is not None:
            loaded = _load(file, self._folder, kind)
            self.stamps.update(loaded.stamps)
            return loaded.module
        module = import_builtin(kind, name)
        if module is None:
            full = f"{PACKAGES[kind]}.{name}"
            raise ModuleNotFoundError(f"No module named {full!r}", name=full)
        return module


_imported: dict[str, ModuleType] = {}
"""Modules of our own packages, by their full names. They are read once a process, like all of ours:
what changes is looked for in folders of plugins only."""


def has_builtin(kind: str, name: str) -> bool:
    """Whether there is a module of that name in our own packages."""
    return f"{PACKAGES[kind]}.{name}" in _imported or builtin_folder.find(kind, name) is not None


def import_builtin(kind: str, name: str) -> ModuleType | None:
    """A module of our own packages, None when there is none of that name."""
    package = PACKAGES[kind]
    full = f"{package}.{name}"
    known = _imported.get(full)
    if known is not None and sys.modules.get(full) is known:
        return known
    file = builtin_folder.find(kind, name)
    if file is None:
        return None
    if _is_ours(package):
        module = _imported[full] = importlib.import_module(full)
        return module
    # Somebody else's package of that name comes first in this process: leave it its name.
    return load_file(file, builtin_folder, kind)


def _is_ours(package: str) -> bool:
    present = sys.modules.get(package)
    if present is not None:
        places = list(getattr(present, "__path__", ()))
    else:
        spec = importlib.util.find_spec(package)
        places = list(spec.submodule_search_locations or ()) if spec else []
    return bool(places) and Path(places[0]).resolve() == _ROOT / package


def claim_packages() -> None:
    """Make our packages the ones that ``import services`` finds in this process.

    Only for a process that is all ours: CGRU's setup puts its own ``services`` and ``parsers``
    on PYTHONPATH, before ours.
    """
    for package in PACKAGES.values():
        folder = _ROOT / package
        start = folder / "__init__.py"
        if not start.is_file() or _is_ours(package):
            continue
        spec = importlib.util.spec_from_file_location(
            package, start, submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            continue
        module = importlib.util.module_from_spec(spec)
        sys.modules[package] = module
        spec.loader.exec_module(module)
