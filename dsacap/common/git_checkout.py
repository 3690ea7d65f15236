"""The git checkout that this package runs from, as git itself reports it.

Where git cannot answer, the result is None, never a guess.
"""

import ast
import re
import subprocess
from pathlib import Path

from dsacap.common.files import sha256

ROOT = Path(__file__).resolve().parents[2]
LOCK = "requirements.lock"
_STAGES = "dsacap/runs/stage_table.py"
_LAYOUTS = ("dsacap/runs/layout.py", "dsacap/layout.py")  # where the versions of stages were before
_VERSIONS = re.compile(r"^VERSIONS = (\{.*?\})", re.MULTILINE | re.DOTALL)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def git(*arguments: str) -> str | None:
    """Run git in the checkout, never in one of somebody else that the package is installed in.

    Args:
        arguments: The command line of git.

    Returns:
        What git prints; None where there is no git, no checkout, or no such object.
    """
    if not (ROOT / ".git").exists():
        return None
    try:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def stage_versions(commit: str | None) -> dict[str, int] | None:
    """Return the versions of the stages, which are raised where results were meant to change.

    Args:
        commit: A commit; None for the files as they are here.

    Returns:
        Stage -> version; None if git cannot tell.
    """
    if (table := file_at(commit, _STAGES)) is not None:
        return _versions_in_table(table)
    texts = (file_at(commit, name) for name in _LAYOUTS)
    found = _VERSIONS.search(next((text for text in texts if text is not None), ""))
    return ast.literal_eval(found[1]) if found else None


def _versions_in_table(source: str) -> dict[str, int]:
    """The first two arguments of each `Stage(verb, version, ...)`."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    stages = (c.args[:2] for c in calls if ast.unparse(c.func) == "Stage" and len(c.args) > 1)
    pairs = ((ast.literal_eval(verb), ast.literal_eval(version)) for verb, version in stages)
    return {verb: version for verb, version in pairs if version is not None}


def pins(commit: str | None) -> dict[str, str] | None:
    """Return the pinned versions of packages from the lock file.

    Args:
        commit: A commit; None for the working tree.

    Returns:
        The version of each package; None where git does not know the commit.
    """
    text = file_at(commit, LOCK)
    return None if text is None else dict(_PIN.findall(text))


def lock_hash() -> str | None:
    """Return the hash of the lock file; None for an installed package, which has none."""
    lock = ROOT / LOCK
    return sha256(lock) if lock.exists() else None


def file_at(commit: str | None, name: str) -> str | None:
    """Return the text of a file at a commit (None: in the working tree); None if it is absent."""
    if commit is None:
        path = ROOT / name
        return path.read_text(encoding="utf-8") if path.exists() else None
    return git("show", f"{commit}:{name}") if is_commit(commit) else None


def files_at(commit: str | None) -> list[str] | None:
    """List the files of a commit.

    Args:
        commit: A commit; None for the working tree, without what git ignores.

    Returns:
        Paths relative to the root of the checkout; None where git cannot tell.
    """
    if commit is None:
        listing = git("ls-files", "--cached", "--others", "--exclude-standard")
    elif is_commit(commit):
        listing = git("ls-tree", "-r", "--name-only", "--full-tree", commit)
    else:
        listing = None
    return None if listing is None else listing.splitlines()


def is_commit(name: str) -> bool:
    """Return whether a name is a hash.

    A table may hold anything in place of a commit, and git would take `--output=FILE` as an option
    and write that file.
    """
    return bool(re.fullmatch(r"[0-9a-f]{7,64}", name))
