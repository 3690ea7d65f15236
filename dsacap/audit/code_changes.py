"""Which code differs between two commits, even if its files were moved in between.

Definitions are compared, not files. A definition is a top-level statement of a module. Two
definitions are equal if their syntax trees are, without docstrings and messages of exceptions, with
local variables numbered, and with every imported name replaced by what it refers to
(`common_form.py`). So comments, format, wording, the order of definitions and the module that they
are imported from do not count.
`moved_names.py` lists where the contents of moved and divided files went.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from pathlib import Path

from dsacap.audit.common_form import Module, common_form, names_defined
from dsacap.audit.moved_names import FILES, NAMES
from dsacap.common import git_checkout
from dsacap.common.git_checkout import is_commit

_BEFORE_THE_MOVE = "dsacap/layout.py"  # only commits before the move have this file
_PACKAGES = ("dsacap", "baselines")
_LINK = "dsacap.baselines"  # a link, which git does not follow, to the folder baselines


def files_changed(old: str, new: str | None, paths: Sequence[str]) -> list[str] | None:
    """Return those of `paths` whose code differs between two commits.

    Args:
        old: A commit.
        new: Another commit; None for the working tree.
        paths: Files by their present names.

    Returns:
        The files, those with the most changed lines first; None if git does not know a commit.
    """
    before, now = _code_at(old), _code_at(new)
    if before is None or now is None:
        return None
    lines = {path: _lines_changed(before, now, path) for path in paths}
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
    names = (_module_of_name(name) for name in (*NAMES, *NAMES.values()))
    return path in FILES or path in FILES.values() or _module_of(path) in names


def _code_at(commit: str | None) -> "_Code | None":
    """Return the code of a commit or of the working tree, cached until a file changes."""
    if commit is not None and not is_commit(commit):
        return None
    root = git_checkout.ROOT
    stamps: tuple[tuple[Path, int, int], ...] = ()
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
    """All Python files of a commit or of the working tree."""

    def __init__(self, commit: str | None, files: Iterable[str]) -> None:
        self._commit, self.files = commit, frozenset(file for file in files if file.endswith(".py"))
        self.moved_files, self.moved_names = (
            (FILES, NAMES) if _BEFORE_THE_MOVE in self.files else ({}, {})
        )
        self._sources: dict[str, str | None] = {}
        self._modules: dict[str, Module] = {}

    def source(self, path: str) -> str | None:
        """Return the text of a file, or None if there is no such file."""
        if path not in self._sources:
            self._sources[path] = (
                git_checkout.file_at(self._commit, path) if path in self.files else None
            )
        return self._sources[path]

    def definitions(self, path: str) -> Counter[str]:
        """Return the definitions that belong to a file, in common form.

        Args:
            path: The present name of the file.
        """
        return self._by_file[path] if path in self._by_file else Counter()

    @cached_property
    def _by_file(self) -> "_ByFile":
        return _ByFile(self)

    def present_name(self, path: str) -> str:
        """Return the present name of a file of this commit."""
        return self.moved_files.get(path, path)

    def imports(self, path: str) -> dict[str, str]:
        """Return name -> meaning for everything that a file imports; {} if it cannot be parsed."""
        try:
            return {
                name: self.meaning(target)
                for name, target in self.module(path).imported_anywhere.items()
            }
        except SyntaxError:
            return {}

    def module(self, path: str) -> Module:
        """Return a parsed file. Raises SyntaxError if it is no Python."""
        if path not in self._modules:
            self._modules[path] = Module(_module_of(path), self.source(path) or "")
        return self._modules[path]

    def meaning(self, dotted: str, visited: tuple[str, ...] = ()) -> str:
        """Return the present name of what a dotted name refers to, followed through re-exports."""
        if f"{dotted}.".startswith(f"{_LINK}."):
            dotted = dotted.removeprefix("dsacap.")
        module, path, rest = self._split(dotted)
        if path is None or dotted in visited:
            return dotted
        if not rest:
            return _module_of(self.present_name(path))
        head, *attributes = rest
        if moved := self.moved_names.get(f"{module}.{head}"):
            return ".".join([moved, *attributes])
        parsed = self.module(path)
        if head not in parsed.defined and head in parsed.imported:
            return ".".join([self.meaning(parsed.imported[head], (*visited, dotted)), *attributes])
        return ".".join([_module_of(self.present_name(path)), *rest])

    def _split(self, dotted: str) -> tuple[str, str | None, list[str]]:
        """Return the module that a dotted name begins with, its file, and the rest of the name."""
        parts = dotted.split(".")
        if parts[0] in _PACKAGES:
            for count in range(len(parts), 0, -1):
                place = "/".join(parts[:count])
                for path in (f"{place}.py", f"{place}/__init__.py"):
                    if path in self.files:
                        return ".".join(parts[:count]), path, parts[count:]
        return dotted, None, []


class _ByFile(dict[str, Counter[str]]):
    """Present name of a file -> the definitions that belong to it, read on first use."""

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
                name = next(iter(names_defined(statement)), None)
                place = (
                    self._code.meaning(f"{module.name}.{name}").rpartition(".")[0] if name else None
                )
                if (place or _module_of(self._code.present_name(origin))) == _module_of(path):
                    found[common_form(statement, module, self._code.meaning)] += 1
        self[path] = found
        return found


def _module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _module_of_name(dotted: str) -> str:
    return dotted.rpartition(".")[0]
