"""Measure the structure of a package: sizes, complexity, comments, docstrings, names.

    python docs/reports/house.py [PACKAGE_DIR ...]

prints a Markdown table with one column for each folder (without one: `trio_afrender`).
`--helpers` lists the private helpers that are used exactly once, `--comments` the comment lines of
each package and file. Only the standard library is needed; nothing is imported from the package.

How each figure is defined:

* A function is every `def`, also a method or a nested function. Its lines run from `def` to its
  end, docstring included. Parameters leave out `self` and `cls`.
* Nesting is the deepest level of `if`, loops, `try`, `with` and `match` in a function. `elif` does
  not nest, nested functions and classes count for themselves.
* Cyclomatic complexity is McCabe's number as ruff's rule C901 counts it: statements, with those of
  nested functions. A second row counts as radon does: also boolean operators, conditional
  expressions, comprehensions and assertions, without nested functions.
* A comment line is a line with a comment on it. Docstring lines include the strings below
  attributes and constants.
* A private helper is a function or method whose name begins with exactly one underscore. Its uses
  are the references in its own module, the imports of its name, and the references and overrides
  in subclasses of its class in other modules. The same name in an unrelated module is no use.
* Percentiles take the nearest value.
"""

from __future__ import annotations

import argparse
import ast
import io
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Loop = ast.For | ast.AsyncFor | ast.While
Try = ast.Try | ast.TryStar
Block = ast.If | Loop | Try | ast.With | ast.AsyncWith | ast.Match

COMMENT_AIM = 5.0
"""Percent of lines, for the packages below."""
COMMENTED_PACKAGES = (
    "supervisor",
    "process",
    "task",
    "task/monitors",
    "plugins/host",
    "afserver",
)
REPEATABLE_NAMES = {"__init__", "__main__", "interfaces", "settings"}
"""Module base names that may stand in several packages."""
COMMANDS = "cli/commands"
"""Modules of this folder are named after commands and may share names with others."""


@dataclass(frozen=True, slots=True)
class Use:
    """One reference to a helper."""

    module: str
    line: int
    caller: str
    how: str  # "call", or "value" if the helper is passed on, decorated with or overridden


@dataclass(frozen=True, slots=True)
class Helper:
    """A private function or method and where it is used."""

    module: str
    line: int
    name: str  # qualified by its class
    body_lines: int  # without the docstring
    uses: tuple[Use, ...]


class Module:
    """One parsed source file."""

    def __init__(self, path: Path, root: Path) -> None:
        self.source = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.source)
        self.name = path.relative_to(root).as_posix()
        self.stem = path.stem
        self.package = path.relative_to(root).parent.as_posix()
        self.lines = len(self.source.splitlines())

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    @cached_property
    def comment_lines(self) -> int:
        tokens = tokenize.generate_tokens(io.StringIO(self.source).readline)
        return sum(token.type == tokenize.COMMENT for token in tokens)

    @cached_property
    def docstring_lines(self) -> int:
        return sum(_line_count(node) for node in ast.walk(self.tree) if _is_docstring(node))

    @cached_property
    def imports(self) -> set[str]:
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add("." * node.level + (node.module or ""))
        return found - {"__future__"}

    @cached_property
    def public_definitions(self) -> list[Definition]:
        """Public classes, functions and methods; no nested functions."""
        return [node for node in _walk_definitions(self.tree) if not node.name.startswith("_")]

    @cached_property
    def public_classes(self) -> list[str]:
        return [
            node.name
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        ]


class Package:
    """All modules below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        paths = sorted(p for p in root.rglob("*.py") if "__pycache__" not in p.parts)
        if not paths:
            raise SystemExit(f"house.py: no Python files below {root}")
        self.modules = [Module(path, root) for path in paths]
        self.lines = sum(module.lines for module in self.modules)

    @cached_property
    def functions(self) -> list[Function]:
        return [function for module in self.modules for function in module.functions]

    @cached_property
    def helpers(self) -> list[Helper]:
        return find_helpers(self.modules)

    @cached_property
    def used_once(self) -> list[Helper]:
        return [helper for helper in self.helpers if len(helper.uses) == 1]

    @cached_property
    def packages(self) -> dict[str, list[Module]]:
        """The modules of each folder, without those of folders below it."""
        found: dict[str, list[Module]] = defaultdict(list)
        for module in self.modules:
            found[module.package].append(module)
        return dict(sorted(found.items()))


def _line_count(node: ast.AST) -> int:
    start, end = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
    return int(end) - int(start) + 1


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _walk_definitions(node: ast.AST) -> Iterator[Definition]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            yield child
        if not isinstance(child, Function):
            yield from _walk_definitions(child)


def _statement_lists(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The statement lists inside a compound statement, `else` of `if` left out."""
    if isinstance(node, ast.Match):
        yield from (case.body for case in node.cases)
        return
    yield getattr(node, "body", [])
    if not isinstance(node, ast.If):
        yield getattr(node, "orelse", [])
    yield from (handler.body for handler in getattr(node, "handlers", []))
    yield getattr(node, "finalbody", [])


def measure_nesting(body: Sequence[ast.stmt], level: int = 0) -> int:
    """The deepest nesting of statements; functions and classes inside count for themselves."""
    deepest = level
    for node in body:
        if not isinstance(node, Block):
            continue
        deepest = max(deepest, level + 1)
        for statements in _statement_lists(node):
            deepest = max(deepest, measure_nesting(statements, level + 1))
        if isinstance(node, ast.If) and node.orelse:
            is_elif = len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)
            deepest = max(deepest, measure_nesting(node.orelse, level if is_elif else level + 1))
    return deepest


def _is_catch_all(case: ast.match_case) -> bool:
    pattern = case.pattern
    if isinstance(pattern, ast.MatchOr):
        pattern = pattern.patterns[-1]
    return case.guard is None and isinstance(pattern, ast.MatchAs) and pattern.pattern is None


def _count_branches(body: Iterable[ast.stmt]) -> int:
    """Decisions in statements as ruff's C901 counts them; nested functions included."""
    count = 0
    for node in body:
        if isinstance(node, ast.If):
            count += 1 + _count_branches(node.body) + _count_branches(node.orelse)
        elif isinstance(node, Try):
            count += bool(node.orelse) + len(node.handlers)
            count += sum(_count_branches(part) for part in _statement_lists(node))
        elif isinstance(node, Loop):
            count += 1 + _count_branches(node.body) + _count_branches(node.orelse)
        elif isinstance(node, ast.Match):
            count += len(node.cases) - _is_catch_all(node.cases[-1])
            count += sum(_count_branches(case.body) for case in node.cases)
        elif isinstance(node, ast.With | ast.AsyncWith):
            count += _count_branches(node.body)
        elif isinstance(node, Function):
            count += 1 + _count_branches(node.body)
        elif isinstance(node, ast.ClassDef):
            methods = [method for method in node.body if isinstance(method, Function)]
            count += sum(1 + _count_branches(method.body) for method in methods)
    return count


def measure_complexity(function: Function) -> int:
    """McCabe's number, equal to that of ruff's C901."""
    return 1 + _count_branches(function.body)


def _count_decisions(node: ast.AST) -> int:
    """Decisions in a statement or expression as radon counts them, nested definitions left out."""
    if isinstance(node, Definition):
        return 0
    if isinstance(node, ast.Assert):
        return 1
    count = 0
    if isinstance(node, ast.If | ast.IfExp):
        count = 1
    elif isinstance(node, ast.BoolOp):
        count = len(node.values) - 1
    elif isinstance(node, ast.comprehension):
        count = 1 + len(node.ifs)
    elif isinstance(node, Loop):
        count = 1 + bool(node.orelse)
    elif isinstance(node, ast.Try):  # radon does not count `except*`
        count = len(node.handlers) + bool(node.orelse)
    elif isinstance(node, ast.Match):
        patterns = [case.pattern for case in node.cases]
        catch_all = any(isinstance(p, ast.MatchAs) and p.pattern is None for p in patterns)
        count = len(patterns) - catch_all
    return count + sum(_count_decisions(child) for child in ast.iter_child_nodes(node))


def measure_complexity_with_expressions(function: Function) -> int:
    """McCabe's number, equal to that of radon."""
    return 1 + sum(_count_decisions(node) for node in function.body)


def count_parameters(function: Function) -> int:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if positional and positional[0].arg in {"self", "cls"}:
        positional = positional[1:]
    stars = bool(arguments.vararg) + bool(arguments.kwarg)
    return len(positional) + len(arguments.kwonlyargs) + stars


@dataclass(frozen=True, slots=True)
class _Reference:
    """A name or attribute in the source, with the classes and the definition around it."""

    name: str
    line: int
    caller: str
    how: str
    bases: frozenset[str]  # base classes of the classes around it


@dataclass(frozen=True, slots=True)
class _Found:
    """The private functions of one module, and every reference in it."""

    helpers: list[tuple[str, str, Function]]  # (class or "", qualified name, definition)
    references: dict[str, list[_Reference]]


def _last_name(node: ast.expr) -> str:
    """The last part of a dotted name; subscripts and other expressions give their own."""
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def is_helper(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


class _Collector(ast.NodeVisitor):
    """Collects the private functions of a module and all references, with their callers."""

    def __init__(self) -> None:
        self.helpers: list[tuple[str, str, Function]] = []
        self.references: dict[str, list[_Reference]] = defaultdict(list)
        self._around: list[Definition] = []
        self._called: set[ast.expr] = set()

    def _record(self, name: str, line: int, how: str) -> None:
        classes = [node for node in self._around if isinstance(node, ast.ClassDef)]
        bases = frozenset(_last_name(base) for node in classes for base in node.bases)
        caller = ".".join(node.name for node in self._around) or "(module)"
        self.references[name].append(_Reference(name, line, caller, how, bases))

    def _visit_definition(self, node: Definition) -> None:
        if isinstance(node, Function) and is_helper(node.name):
            self._record(f"def {node.name}", node.lineno, "override")
            name = ".".join([*(each.name for each in self._around), node.name])
            is_method = bool(self._around) and isinstance(self._around[-1], ast.ClassDef)
            self.helpers.append((self._around[-1].name if is_method else "", name, node))
        for decorator in node.decorator_list:
            self.visit(decorator)
        self._around.append(node)
        for child in ast.iter_child_nodes(node):
            if child not in node.decorator_list:
                self.visit(child)
        self._around.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _visit_definition

    def visit_Call(self, node: ast.Call) -> None:
        self._called.add(node.func)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._record(node.id, node.lineno, "call" if node in self._called else "value")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._record(node.attr, node.lineno, "call" if node in self._called else "value")
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._record(f"import {alias.name}", node.lineno, "import")


def _uses(module: Module, owner: str, name: str, found: dict[str, _Found]) -> Iterator[Use]:
    for other, content in found.items():
        for reference in content.references.get(name, ()):
            if other == module.name or (owner and owner in reference.bases):
                yield Use(other, reference.line, reference.caller, reference.how)
        if other == module.name:
            continue
        for reference in content.references.get(f"import {name}", ()):
            yield Use(other, reference.line, reference.caller, reference.how)
        for reference in content.references.get(f"def {name}", ()):
            if owner and owner in reference.bases:
                yield Use(other, reference.line, reference.caller, reference.how)


def find_helpers(modules: Sequence[Module]) -> list[Helper]:
    """All private functions and methods, in the order of files and lines."""
    found: dict[str, _Found] = {}
    for module in modules:
        collector = _Collector()
        collector.visit(module.tree)
        found[module.name] = _Found(collector.helpers, collector.references)
    helpers: list[Helper] = []
    for module in modules:
        for owner, qualified, node in found[module.name].helpers:
            documented = ast.get_docstring(node) is not None and len(node.body) > 1
            first = node.body[1 if documented else 0]
            lines = (node.end_lineno or first.lineno) - first.lineno + 1
            uses = tuple(_uses(module, owner, node.name, found))
            helpers.append(Helper(module.name, node.lineno, qualified, lines, uses))
    return sorted(helpers, key=lambda helper: (helper.module, helper.line))


def find_repeated(names: Iterable[str]) -> dict[str, int]:
    """Names that occur more than once, with their counts."""
    return {name: count for name, count in sorted(Counter(names).items()) if count > 1}


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))]


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.2f}".removesuffix("0")


def _spread(values: Sequence[float], middle: Callable[[Sequence[float]], float]) -> str:
    figures = (middle(values), _percentile(values, 0.9), max(values))
    return " / ".join(_number(figure) for figure in figures)


def _comment_percent(modules: Sequence[Module]) -> float:
    comments = sum(module.comment_lines for module in modules)
    return _percent(comments, sum(module.lines for module in modules))


def _measure_sizes(package: Package) -> dict[str, str]:
    modules, functions = package.modules, package.functions
    lengths = [_line_count(function) for function in functions]
    parameters = [count_parameters(function) for function in functions]
    module_lines = [module.lines for module in modules]
    long_functions = sum(length > 40 for length in lengths)
    return {
        "modules": _number(len(modules)),
        "lines": _number(package.lines),
        "module lines median / p90 / max": _spread(module_lines, statistics.median),
        "function lines median / p90 / max": _spread(lengths, statistics.median),
        "functions over 40 lines, %": f"{_percent(long_functions, len(functions)):.1f}",
        "functions a module": f"{len(functions) / len(modules):.1f}",
        "parameters mean / p90 / max": _spread(parameters, statistics.fmean),
    }


def _measure_structure(package: Package) -> dict[str, str]:
    functions = package.functions
    nesting = [measure_nesting(function.body) for function in functions]
    mccabe = [measure_complexity(function) for function in functions]
    radon = [measure_complexity_with_expressions(function) for function in functions]
    over = sum(complexity > 12 for complexity in mccabe)
    imports = [len(module.imports) for module in package.modules]
    return {
        "nesting mean / p90 / max": _spread(nesting, statistics.fmean),
        "cyclomatic (ruff C901) mean / p90 / max": _spread(mccabe, statistics.fmean),
        "cyclomatic (ruff C901) over 12, functions": _number(over),
        "cyclomatic (radon) mean / p90 / max": _spread(radon, statistics.fmean),
        "imports a module mean / max": f"{statistics.fmean(imports):.1f} / {max(imports)}",
    }


def _measure_text(package: Package) -> dict[str, str]:
    modules = package.modules
    public = [node for module in modules for node in module.public_definitions]
    documented = sum(ast.get_docstring(node) is not None for node in public)
    annotated = sum(function.returns is not None for function in package.functions)
    docstrings = sum(module.docstring_lines for module in modules)
    return {
        "comment lines, %": f"{_comment_percent(modules):.1f}",
        "docstring lines, %": f"{_percent(docstrings, package.lines):.1f}",
        "public definitions with docstring, %": f"{_percent(documented, len(public)):.0f}",
        "return annotations, %": f"{_percent(annotated, len(package.functions)):.0f}",
    }


def _measure_names(package: Package) -> dict[str, str]:
    modules = package.modules
    thousands = package.lines / 1000
    helpers, once = len(package.helpers), len(package.used_once)
    classes = [name for module in modules for name in module.public_classes]
    entries = {"__init__", "__main__"}
    stems = find_repeated(module.stem for module in modules if module.stem not in entries)
    guarded = find_repeated(
        module.stem
        for module in modules
        if module.stem not in REPEATABLE_NAMES and module.package != COMMANDS
    )
    return {
        "private helpers": f"{helpers:,} ({once:,} used once)",
        "private helpers per 1,000 lines (used once)": (
            f"{helpers / thousands:.1f} ({once / thousands:.1f})"
        ),
        "public class names used more than once": (
            f"{len(find_repeated(classes))} of {len(set(classes))}"
        ),
        "module base names used more than once": f"{len(stems)} ({sum(stems.values())} files)",
        "... but for `interfaces`, `settings` and commands": (
            f"{len(guarded)} ({sum(guarded.values())} files)"
        ),
    }


def measure(package: Package) -> dict[str, str]:
    """All figures of the table in the order of its rows."""
    figures = _measure_sizes(package)
    figures |= _measure_structure(package)
    figures |= _measure_text(package)
    figures |= _measure_names(package)
    for name, modules in package.packages.items():
        aim = f" (aim {COMMENT_AIM:g})" if name in COMMENTED_PACKAGES else ""
        figures[f"comment lines in `{name}`{aim}, %"] = f"{_comment_percent(modules):.1f}"
    return figures


def format_table(packages: Sequence[Package]) -> Iterator[str]:
    columns = [measure(package) for package in packages]
    names = [package.root.name for package in packages]
    if len(set(names)) < len(names):
        names = [package.root.as_posix() for package in packages]
    rows = dict.fromkeys(row for column in columns for row in column)
    yield f"| | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for row in rows:
        yield f"| {row} | {' | '.join(column.get(row, '-') for column in columns)} |"


def list_helpers(package: Package) -> Iterator[str]:
    """One line for each helper that is used once: place, name, length of its body, its caller.

    A helper that is passed on as a value cannot be inlined as it stands, one with a decorator
    (`property`, `contextmanager`) seldom.
    """
    yield f"{len(package.used_once)} of {len(package.helpers)} private helpers are used once"
    for helper in package.used_once:
        [use] = helper.uses
        place = f"{package.root.name}/{helper.module}:{helper.line}"
        other = "" if use.module == helper.module else f"{use.module}:"
        caller = f"{other}{use.caller}:{use.line}"
        unit = "line" if helper.body_lines == 1 else "lines"
        yield f"{place}  {helper.name}  {helper.body_lines} {unit}  {use.how} in {caller}"


def list_comments(package: Package) -> Iterator[str]:
    """The comment lines of each folder, and below it of its files, fewest first."""
    yield "| package or file | lines | comment lines | % |"
    yield "|---|---|---|---|"
    for name, modules in package.packages.items():
        aim = f" (aim {COMMENT_AIM:g} %)" if name in COMMENTED_PACKAGES else ""
        lines = sum(module.lines for module in modules)
        comments = sum(module.comment_lines for module in modules)
        share = _comment_percent(modules)
        yield f"| **{name}**{aim} | **{lines}** | **{comments}** | **{share:.1f}** |"
        for module in sorted(modules, key=lambda each: _comment_percent([each])):
            share = _comment_percent([module])
            yield f"| {module.name} | {module.lines} | {module.comment_lines} | {share:.1f} |"


def main() -> None:
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="PACKAGE_DIR",
        default=[root / "trio_afrender"],
        help="folder of a package (default: trio_afrender)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--helpers", action="store_true", help="list the helpers that are used once")
    what.add_argument("--comments", action="store_true", help="list comment lines by file")
    options = parser.parse_args()
    packages = [Package(folder.resolve()) for folder in options.folders]
    if options.helpers or options.comments:
        write = list_helpers if options.helpers else list_comments
        lines: Iterable[str] = (line for package in packages for line in write(package))
    else:
        lines = format_table(packages)
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
