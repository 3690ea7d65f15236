"""This module tells which code differs between two commits, wherever its files were.

Definitions are compared, not files. A definition is a top-level statement of a module. Two of them are the same if
their syntax trees are, without docstrings and messages of exceptions, with local variables numbered, and with every
imported name replaced by what it refers to. So comments, format, wording, the order of definitions and the place that
they are imported from do not count; moved_names.py lists what became of files that were moved or divided.
"""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from itertools import chain
from pathlib import Path

from dsacap.audit.moved_names import FILES, NAMES
from dsacap.common import git_checkout
from dsacap.common.git_checkout import is_commit

_BEFORE_THE_MOVE = "dsacap/layout.py"  # only code of before the move has this file
_PACKAGES = ("dsacap", "baselines")
_MODULE = re.compile(r"(?:dsacap|baselines)(?:\.\w+)+(?::\w+)?")


def files_changed(old: str, new: str | None, paths: Sequence[str]) -> list[str] | None:
    """Return those of `paths` whose code differs between two commits.

    Args:
        old: A commit.
        new: Another commit; None for the files as they are here.
        paths: Files by their present names.

    Returns:
        The files, those with most changed lines first; None where git does not know a commit.
    """
    sides = [_code_at(commit) for commit in (old, new)]
    if None in sides:
        return None
    lines = {path: _lines_changed(*sides, path) for path in paths}
    return sorted((path for path in paths if lines[path]), key=lambda path: -lines[path])


def _lines_changed(old: "_Code", new: "_Code", path: str) -> int:
    if (
        not _is_moved(path)
        and old.source(path) == new.source(path)
        and old.imports(path) == new.imports(path)
    ):
        return 0
    before, now = old.definitions(path), new.definitions(path)
    return sum(text.count("\n") + 1 for text in ((before - now) + (now - before)).elements())


def _is_moved(path: str) -> bool:
    names = (_module_of_name(name) for name in chain(NAMES, NAMES.values()))
    return path in FILES or path in FILES.values() or _module_of(path) in names


def _code_at(commit: str | None) -> "_Code | None":
    """The code of a commit, or of now; what was read is kept until a file changes."""
    if commit is not None and not is_commit(commit):
        return None
    root, stamps = git_checkout.ROOT, ()
    if commit is None:
        files = [root / file for file in git_checkout.files_at(None) or () if file.endswith(".py")]
        stamps = tuple(
            (file, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.exists()
        )
    return _code_of(commit, root, stamps)


@cache
def _code_of(commit: str | None, _root: Path, _stamps: tuple) -> "_Code | None":
    files = git_checkout.files_at(commit)
    return None if files is None else _Code(commit, files)


class _Code:
    """All Python files of a commit, or of now."""

    def __init__(self, commit: str | None, files: Iterable[str]) -> None:
        self._commit, self.files = commit, frozenset(file for file in files if file.endswith(".py"))
        self.moved_files, self.moved_names = (
            (FILES, NAMES) if _BEFORE_THE_MOVE in self.files else ({}, {})
        )
        self._sources: dict[str, str | None] = {}
        self._modules: dict[str, _Module] = {}

    def source(self, path: str) -> str | None:
        """Return the text of a file; None if there is none."""
        if path not in self._sources:
            self._sources[path] = (
                git_checkout.file_at(self._commit, path) if path in self.files else None
            )
        return self._sources[path]

    def definitions(self, path: str) -> Counter[str]:
        """Return the definitions, in a common form, that belong to a file by its present name."""
        return self._by_file[path] if path in self._by_file else Counter()

    @cached_property
    def _by_file(self) -> "_ByFile":
        return _ByFile(self)

    def present_name(self, path: str) -> str:
        """Return the name that a file of this commit has today."""
        return self.moved_files.get(path, path)

    def imports(self, path: str) -> dict[str, str]:
        """Return what the names stand for that a file imports anywhere; nothing of a file that cannot be parsed."""
        try:
            return {
                name: self.meaning(target)
                for name, target in self.module(path).imported_anywhere.items()
            }
        except SyntaxError:
            return {}

    def module(self, path: str) -> "_Module":
        """Return a file, parsed."""
        if path not in self._modules:
            self._modules[path] = _Module(_module_of(path), self.source(path) or "")
        return self._modules[path]

    def meaning(self, dotted: str, seen: tuple[str, ...] = ()) -> str:
        """Return what a name stands for, by present names: followed through modules that only hand it on."""
        module, path, rest = self._split(dotted)
        if path is None or dotted in seen:
            return dotted
        if not rest:
            return _module_of(self.present_name(path))
        head, *attributes = rest
        if moved := self.moved_names.get(f"{module}.{head}"):
            return ".".join([moved, *attributes])
        parsed = self.module(path)
        if head not in parsed.defined and head in parsed.imported:
            return ".".join([self.meaning(parsed.imported[head], (*seen, dotted)), *attributes])
        return ".".join([_module_of(self.present_name(path)), *rest])

    def _split(self, dotted: str) -> tuple[str, str | None, list[str]]:
        """The module that a dotted name begins with, its file, and what follows."""
        parts = dotted.split(".")
        if parts[0] in _PACKAGES:
            for count in range(len(parts), 0, -1):
                place = "/".join(parts[:count])
                for path in (f"{place}.py", f"{place}/__init__.py"):
                    if path in self.files:
                        return ".".join(parts[:count]), path, parts[count:]
        return dotted, None, []


class _ByFile(dict):
    """File by its present name -> the definitions that belong to it; read when they are asked for."""

    def __init__(self, code: _Code) -> None:
        self._code = code
        self._origins: dict[str, set[str]] = defaultdict(set)
        for path in code.files:
            self._origins[code.present_name(path)].add(path)
        for old, new in code.moved_names.items():
            origin = _module_of_name(old)
            for path in (
                f"{origin.replace('.', '/')}.py",
                f"{origin.replace('.', '/')}/__init__.py",
            ):
                if path in code.files:
                    self._origins[f"{_module_of_name(new).replace('.', '/')}.py"].add(path)

    def __contains__(self, path: object) -> bool:
        return path in self._origins

    def __missing__(self, path: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for origin in self._origins[path]:
            try:
                module = self._code.module(origin)
            except SyntaxError:
                found[self._code.source(origin) or ""] += 1
                continue
            for statement in module.statements:
                name = next(iter(_names(statement)), None)
                place = (
                    self._code.meaning(f"{module.name}.{name}").rpartition(".")[0] if name else None
                )
                if (place or _module_of(self._code.present_name(origin))) == _module_of(path):
                    found[_common_form(statement, module, self._code)] += 1
        self[path] = found
        return found


class _Module:
    """A parsed file: its definitions, and what its names stand for."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        tree = ast.parse(source)
        self.imported_anywhere = dict(_imports(ast.walk(tree)))
        body = list(chain.from_iterable(map(_divided, tree.body)))
        self.statements = [s for s in body if not _is_import(s) and not _is_docstring(s)]
        self.defined = {defined for statement in self.statements for defined in _names(statement)}
        self.imported = dict(_imports(node for s in body if _is_import(s) for node in ast.walk(s)))

    def meaning(self, name: str) -> str | None:
        """Return the dotted name that a name of this module stands for; None for a builtin or a local one."""
        if name in self.defined:
            return f"{self.name}.{name}"
        return self.imported.get(name)


class _CommonForm(ast.NodeTransformer):
    """Leaves out docstrings, imports and messages, and replaces names by what they refer to."""

    def __init__(self, module: _Module, code: _Code) -> None:
        self._module, self._code = module, code
        self._local: list[dict[str, str]] = []  # of each function around: name -> its replacement

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self._local.append(self._local_names(node))
        node.body = self._body(node.body)
        node = self.generic_visit(node)
        self._local.pop()
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._local.append({name: name for statement in node.body for name in _names(statement)})
        node.body = self._body(node.body)
        node = self.generic_visit(node)
        self._local.pop()
        return node

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(self.visit(kind) if kind else None, None)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._meaning(node.id), node.ctx)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and _MODULE.fullmatch(node.value):
            module, _, name = node.value.partition(":")
            return ast.Constant(self._code.meaning(f"{module}.{name}" if name else module))
        return node

    def _meaning(self, name: str) -> str:
        for local in reversed(self._local):
            if name in local:
                return local[name]
        meant = self._module.meaning(name)
        return self._code.meaning(meant) if meant else name

    def _local_names(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
        """The names that are bound in a function, in those within it too, and their replacements.

        Variables are numbered in the order in which they are bound. Parameters keep their names,
        since callers use them, and so do inner functions.
        """
        nodes = list(ast.walk(function))
        kept = {node.arg for node in nodes if isinstance(node, ast.arg)}
        inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        kept |= {node.name for node in nodes if isinstance(node, inner) and node is not function}
        declared = (node.names for node in nodes if isinstance(node, ast.Global | ast.Nonlocal))
        bound = (n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load))
        variables = dict.fromkeys(name for name in bound if name not in kept)
        for name in chain.from_iterable(declared):
            variables.pop(name, None)
        depth = len(self._local)
        numbered = {name: f"_{depth}_{number}" for number, name in enumerate(variables)}
        imported = {name: self._code.meaning(target) for name, target in _imports(nodes)}
        return {name: name for name in kept} | numbered | imported

    def _body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        return [s for s in statements if not _is_import(s) and not _is_docstring(s)] or [ast.Pass()]


def _common_form(statement: ast.stmt, module: _Module, code: _Code) -> str:
    if hasattr(statement, "name"):
        statement.name = code.meaning(f"{module.name}.{statement.name}")
    return ast.unparse(ast.fix_missing_locations(_CommonForm(module, code).visit(statement)))


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Name -> the dotted name of what it is imported as."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                (alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names
            )
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield (
                    (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
                )


def _divided(statement: ast.stmt) -> list[ast.stmt]:
    """`a, b = 1, 2` as two statements, which may belong to different files by now."""
    match statement:
        case ast.Assign([ast.Tuple(targets)], ast.Tuple(values)) if len(targets) == len(values):
            return [
                ast.Assign([target], value) for target, value in zip(targets, values, strict=True)
            ]
    return [statement]


def _is_import(statement: ast.stmt) -> bool:
    """Whether a statement only imports, for type checkers alone too."""
    if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
        return all(map(_is_import, statement.body)) and not statement.orelse
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _is_docstring(statement: ast.stmt) -> bool:
    """Whether a statement is a mere string, as below an attribute too."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _names(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = (
        statement.targets
        if isinstance(statement, ast.Assign)
        else [getattr(statement, "target", None)]
    )
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return []
    return [
        node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)
    ]


def _module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _module_of_name(dotted: str) -> str:
    return dotted.rpartition(".")[0]
