"""Loads plugin files as modules with private names, so that several folders may have files of one name.

A plugin file has imports such as ``from parsers import parser`` or ``from services import blender``.
The folder of the importing file decides which file that means: one in the same plugin folder first,
then the built-in one; the base classes are always the built-in ones. Plugin files also import CGRU's
helper modules (the built-in ones, package `compat`) and a studio's own modules of the plugin folder.
Therefore each plugin module gets its own ``__import__``: Python looks ``__builtins__`` up in the
module's globals. The import system of the process is not changed, and no other code can import
these names.

A loaded module is reused while its file and the files that it imported this way are unchanged. After a
change the next `load_file` creates a new module; objects of the old one stay usable. There are no
locks: two threads that load one file at the same time get two modules, which is harmless, while a
lock would let one module whose import never ends block all other imports.
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

from trio_afrender.plugins import compat
from trio_afrender.plugins.module_search import ModuleFiles, find_chain, find_module

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
"""The module and base class of each kind, always the built-in one."""
_FOLDERS = {"service": ("services",), "parser": ("parsers",), "meter": ("resources", "resmeters")}
_KINDS = {"services": "service", "parsers": "parser", "resmeters": "meter", "resources": "meter"}

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF)

_ROOT = Path(__file__).resolve().parents[2]
_PREFIX = "_trio_afrender_plugin_"


@attrs.frozen
class PluginFolder:
    """A folder of plugins: with a sub-folder for each kind, or flat, with the modules directly in it."""

    path: Path

    def find(self, kind: str, name: str) -> Path | None:
        """The file of a plugin, None if there is none. `name` must be an identifier. Raises `OSError`."""
        # Plain strings, and files before their folders, because this runs twice for each task: a hit in
        # a sub-folder costs one or two stat calls and no Path.
        root, file = str(self.path), f"{name}.py"
        for sub in _FOLDERS[kind]:
            if _is_there(inner := f"{root}/{sub}/{file}", stat.S_ISREG):
                return Path(inner)
        flat = f"{root}/{file}"
        if _is_there(flat, stat.S_ISREG) and not self._has_folders():
            return Path(flat)
        return None

    def names(self, kind: str) -> Iterator[str]:
        """Names of the modules in the folders that are searched for this kind."""
        for folder in self.search_folders(kind):
            for file in folder.glob("*.py"):
                if file.stem.isidentifier() and not file.stem.startswith("_"):
                    yield file.stem

    def search_folders(self, kind: str) -> tuple[Path, ...]:
        """The folders whose modules are plugins of this kind."""
        subs = [self.path / sub for sub in _FOLDERS[kind] if (self.path / sub).is_dir()]
        if subs:
            return tuple(subs)
        return () if self._has_folders() else (self.path,)

    def _has_folders(self) -> bool:
        """Whether there is a sub-folder for any kind: then no module directly in it is a plugin."""
        return any(_is_there(f"{self.path}/{sub}", stat.S_ISDIR) for sub in _KINDS)


def _is_there(path: str, kind: Callable[[int], bool]) -> bool:
    """Whether the path exists and is of that kind. Raises `OSError` if that cannot be determined."""
    try:
        return kind(os.stat(path).st_mode)  # noqa: PTH116 - creating a Path takes longer than the call
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise


builtin_folder: PluginFolder = PluginFolder(_ROOT)


@attrs.frozen(eq=False)
class _Loaded:
    """A module, and the files that it was made from, each with its stamp at that time."""

    module: ModuleType
    stamps: dict[Path, tuple[int, int]]

    def adopt(self, name: str, inner: _Loaded) -> None:
        """Make a module an attribute of this package, which depends on its files from now on."""
        setattr(self.module, name, inner.module)
        self.stamps.update(inner.stamps)

    def fresh(self) -> bool:
        # A copy: a function of the module that imports in another thread may add stamps meanwhile.
        return all(_stamp(path) == stamp for path, stamp in self.stamps.copy().items())


_loaded: dict[Path, _Loaded] = {}


class _Thread(threading.local):
    """Modules whose import this thread has started: a circular import gets the unfinished one."""

    def __init__(self) -> None:
        self.started: dict[Path, ModuleType] = {}


_thread = _Thread()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return (0, -1)
    return (state.st_mtime_ns, state.st_size)


def load_file(path: Path, folder: PluginFolder, kind: str) -> ModuleType:
    """Load the module of a plugin file. Raises any exception that its code raises."""
    return _load(path, folder, kind).module


def _load(path: Path, folder: PluginFolder, kind: str) -> _Loaded:
    known = _loaded.get(path)
    if known is not None and known.fresh():
        return known
    if path in _thread.started:
        return _Loaded(_thread.started[path], {})
    stamp = _stamp(path)
    # Each state of each file is a module of its own name: running tasks keep theirs.
    parent = crc32(str(path.parent).encode("utf-8", "surrogateescape"))
    name = f"{_PREFIX}{path.stem}_{parent:08x}_{stamp[0]:x}_{stamp[1]:x}"
    module = ModuleType(name)
    module.__file__ = str(path)
    module.__package__ = ""
    if path.name == "__init__.py":
        module.__path__ = [str(path.parent)]
    module.__spec__ = ModuleSpec(name, None, origin=str(path))
    imports = _Imports(path, folder, kind, {path: stamp})
    # A copy, so that only this module's import statements use `imports`.
    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": imports}
    _thread.started[path] = module
    sys.modules[module.__name__] = module
    try:
        # Without a .pyc file: it is validated by whole seconds of mtime and would hide quick changes.
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - to run plugin code is the purpose
    except BaseException:
        sys.modules.pop(module.__name__, None)
        raise
    finally:
        del _thread.started[path]
    if known is not None and known.module.__name__ != module.__name__:
        sys.modules.pop(known.module.__name__, None)
    made = _Loaded(module, imports.stamps)
    _loaded[path] = made
    return made


class _Imports:
    """The ``__import__`` of one plugin module. `stamps` collects the files that it imports."""

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
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the name in ``builtins.__import__``
        locals: Mapping[str, object] | None = None,  # noqa: A002 - as above
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        wanted = tuple(fromlist or ())
        if level > 0:
            return self._relative(name, wanted, level)
        top, _, sub = name.partition(".")
        # "resources" is a common name of studio modules: it means meters only in meters.
        if top in _KINDS and (top != "resources" or self._kind == "meter"):
            return self._plugin(_KINDS[top], sub, wanted)
        if name in compat.NAMES:
            return compat.serve(name)
        root = self._folder.path
        # Modules of a flat folder are plugins, not helper modules.
        flat = root in self._folder.search_folders(self._kind)
        if not flat and (module := self._helper(root, name, wanted)) is not None:
            return module
        try:
            return builtins.__import__(name, globals, locals, wanted, level)
        except ModuleNotFoundError as error:
            if error.name == top and (module := self._helper(self._path.parent, name, wanted)):
                return module
            raise

    def _plugin(self, kind: str, sub: str, wanted: Sequence[str]) -> ModuleType:
        """``import parsers.sub``, ``from parsers import wanted`` and the like."""
        if sub:
            module = self._import(kind, sub)
            if wanted:
                return module
        # Each module has a package object of its own: reading an attribute of it imports a plugin of
        # the folder that the module is from.
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

    def _relative(self, name: str, wanted: Sequence[str], level: int) -> ModuleType:
        """``from .name import wanted``: of the plugins of this kind, or inside a helper package."""
        folder = self._path.parents[level - 1]
        if level == 1 and folder in self._folder.search_folders(self._kind):
            return self._plugin(self._kind, name, wanted)
        if not folder.is_relative_to(self._folder.path):
            raise ImportError("attempted relative import beyond the plugin folder")
        if name:
            chain = find_chain(folder, name)
            if chain is None:
                raise ModuleNotFoundError(f"No module named {name!r} in {folder}", name=name)
            return self._follow(chain, wanted)
        init = folder / "__init__.py"
        if init.is_file():
            return self._follow(ModuleFiles((folder.name,), (init,)), wanted)
        package = _Loaded(ModuleType(folder.name), {})
        self._add_modules(package, folder, wanted)
        return package.module

    def _helper(self, folder: Path, name: str, wanted: Sequence[str]) -> ModuleType | None:
        """A helper module of that folder, None if there is none."""
        # No helper module may have the name of one of the standard library.
        if name.partition(".")[0] in sys.stdlib_module_names:
            return None
        chain = find_chain(folder, name)
        if chain is None or chain.files[0] == self._path:
            return None
        return self._follow(chain, wanted)

    def _follow(self, chain: ModuleFiles, wanted: Sequence[str]) -> ModuleType:
        """Load the modules of a chain. Return what ``__import__`` returns: with `wanted` the last module,
        else the first."""
        chained = [self._take(file) for file in chain.files]
        for outer, part, inner in zip(chained, chain.parts[1:], chained[1:], strict=False):
            outer.adopt(part, inner)
        last = chained[-1]
        if wanted and (inside := chain.inside) is not None:
            self._add_modules(last, inside, wanted)
        return last.module if wanted else chained[0].module

    def _add_modules(self, package: _Loaded, folder: Path, wanted: Sequence[str]) -> None:
        """Import the wanted names that are no attributes of the package but modules in its folder."""
        if "*" in wanted:
            wanted = getattr(package.module, "__all__", ())
        for name in wanted:
            known = hasattr(package.module, name)
            if not known and (file := find_module(folder, name)) is not None:
                package.adopt(name, self._take(file))

    def _take(self, file: Path) -> _Loaded:
        loaded = _load(file, self._folder, self._kind)
        self.stamps.update(loaded.stamps)
        return loaded

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
"""Modules of the built-in packages, by their full names. Unlike modules of plugin folders they are
loaded once per process."""


def has_builtin(kind: str, name: str) -> bool:
    """Whether there is a built-in module of that kind and name."""
    return f"{PACKAGES[kind]}.{name}" in _imported or builtin_folder.find(kind, name) is not None


def import_builtin(kind: str, name: str) -> ModuleType | None:
    """Import a built-in module; None if there is none of that kind and name."""
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
    # This process has another package of that name (an application that embeds the agent, or CGRU on
    # PYTHONPATH). It keeps its name: the built-in file gets a private one.
    # (test_built_in_plugins_are_found_beside_another_package_of_that_name)
    return load_file(file, builtin_folder, kind)


def _is_ours(package: str) -> bool:
    present = sys.modules.get(package)
    if present is not None:
        folders = list(getattr(present, "__path__", ()))
    else:
        spec = importlib.util.find_spec(package)
        folders = list(spec.submodule_search_locations or ()) if spec else []
    return bool(folders) and Path(folders[0]).resolve() == _ROOT / package


def claim_packages() -> None:
    """Make ``import services`` and the like find the built-in packages in this process.

    Needed where CGRU's setup puts its own ``services`` and ``parsers`` on PYTHONPATH, which precedes
    installed packages. Only for a process of its own, not for one of an embedding application.
    """
    for package in PACKAGES.values():
        folder = _ROOT / package
        init = folder / "__init__.py"
        if not init.is_file() or _is_ours(package):
            continue
        spec = importlib.util.spec_from_file_location(
            package, init, submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            continue
        module = importlib.util.module_from_spec(spec)
        sys.modules[package] = module
        spec.loader.exec_module(module)
