"""The form of a definition in which two versions of a module are compared.

It has no docstrings, no imports, no annotations of functions and variables, no assertions and no
messages of exceptions, its local variables are numbered, and every imported name is replaced by
what it refers to. What remains is what a definition computes. Annotations in classes stay, since
they are the fields of dataclasses and of the configuration.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

_MODULE = re.compile(r"(?:dsacap|baselines)(?:\.\w+)+(?::\w+)?")


class Module:
    """A parsed file: its definitions, and what its names refer to.

    Attributes:
        name: The dotted name of the module.
        statements: Its top-level statements, without imports and docstrings.
        defined: The names that these statements define.
        imported: Name -> dotted name, of the imports at the top level.
        imported_anywhere: The same, of all imports, including those in functions.
    """

    def __init__(self, name: str, source: str) -> None:
        """Parse `source`. Raises SyntaxError if it is no Python."""
        self.name = name
        tree = ast.parse(source)
        self.imported_anywhere = dict(_imports(ast.walk(tree)))
        body = list(chain.from_iterable(map(_split_assignment, tree.body)))
        self.statements = [s for s in body if not _is_import(s) and not _is_docstring(s)]
        self.defined = {name for statement in self.statements for name in names_defined(statement)}
        self.imported = dict(_imports(node for s in body if _is_import(s) for node in ast.walk(s)))

    def meaning(self, name: str) -> str | None:
        """Return the dotted name that `name` refers to; None for a builtin or a local name."""
        if name in self.defined:
            return f"{self.name}.{name}"
        return self.imported.get(name)


def common_form(statement: ast.stmt, module: Module, resolve: Callable[[str], str]) -> str:
    """Return a definition in its common form, as source text.

    Args:
        statement: A top-level statement, which is changed.
        module: The module that it belongs to.
        resolve: Maps a dotted name to what it refers to, under its present name.
    """
    if hasattr(statement, "name"):
        statement.name = resolve(f"{module.name}.{statement.name}")
    return ast.unparse(ast.fix_missing_locations(_CommonForm(module, resolve).visit(statement)))


class _CommonForm(ast.NodeTransformer):
    """Drops docstrings, imports and messages, and replaces names by what they refer to."""

    def __init__(self, module: Module, resolve: Callable[[str], str]) -> None:
        self._module, self._resolve = module, resolve
        self._local: list[dict[str, str]] = []  # per enclosing scope: name -> replacement
        self._in_class = False

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self._local.append(self._local_names(node))
        node.body, node.returns = self._body(node.body), None
        self._visit_within(node, in_class=False)
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._local.append({name: name for item in node.body for name in names_defined(item)})
        node.body = self._body(node.body)
        self._visit_within(node, in_class=True)
        return node

    def _visit_within(self, node: ast.AST, in_class: bool) -> None:
        outside, self._in_class = self._in_class, in_class
        self.generic_visit(node)
        self._in_class = outside
        self._local.pop()

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if self._in_class:
            return self.generic_visit(node)
        if node.value is None:
            return None
        return ast.Assign([self.visit(node.target)], self.visit(node.value))

    def visit_Assert(self, node: ast.Assert) -> None:
        return None

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
            return ast.Constant(self._resolve(f"{module}.{name}" if name else module))
        return node

    def _meaning(self, name: str) -> str:
        for local in reversed(self._local):
            if name in local:
                return local[name]
        dotted = self._module.meaning(name)
        return self._resolve(dotted) if dotted else name

    def _local_names(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
        """Return the names bound in a function and in functions within it, and their replacements.

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
        imported = {name: self._resolve(target) for name, target in _imports(nodes)}
        return {name: name for name in kept} | numbered | imported

    def _body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        return [s for s in statements if not _is_import(s) and not _is_docstring(s)] or [ast.Pass()]


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Yield each imported name and the dotted name of what it refers to."""
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


def _split_assignment(statement: ast.stmt) -> list[ast.stmt]:
    """Return `a, b = 1, 2` as two statements, which may belong to different files by now."""
    match statement:
        case ast.Assign([ast.Tuple(targets)], ast.Tuple(values)) if len(targets) == len(values):
            return [
                ast.Assign([target], value) for target, value in zip(targets, values, strict=True)
            ]
    return [statement]


def _is_import(statement: ast.stmt) -> bool:
    """Return whether a statement only imports, including imports for type checkers alone."""
    if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
        return all(map(_is_import, statement.body)) and not statement.orelse
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _is_docstring(statement: ast.stmt) -> bool:
    """Return whether a statement is only a string, such as the text below an attribute."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def names_defined(statement: ast.stmt) -> list[str]:
    """Return the names that a top-level statement defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [
        node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)
    ]
