"""Mutants of the code that computes numbers: `make mutants`.

mutmut changes one operator, number, argument, ... at a time and runs the tests that reach the
function; a change that no test notices survives. `[tool.mutmut]` in pyproject.toml lists the
modules and tests.

mutmut skips decorated functions, and here these are the sums over paths. So it works on a copy of
the tree in which

    @exact                              def passage(...): ...
    def passage(...): ...   becomes     passage = exact(passage)

The result is tests/faults/mutants.md. A mutant that survives needs a reason in survivors.toml; the
run fails without one, and if less than 90 % of a module's mutants are killed. mutmut keeps its
results in work/mutants, and repeats those whose code has changed. If only tests have changed, name
the mutants to repeat: `make mutants ONLY='dsacap.scoring.metrics.bleu*'`. Remove the folder to
start again.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import libcst as cst
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from tabulate import tabulate

from dsacap.common.files import write_text

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "work" / "mutants"
REASONS = Path(__file__).with_name("survivors.toml")
LEAST = 0.9  # of the mutants of each module
MODULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]["only_mutate"]


class _DecoratorsBelow(cst.CSTTransformer):
    def leave_FunctionDef(self, original_node, updated_node):
        if not updated_node.decorators:
            return updated_node
        value = updated_node.name
        for decorator in reversed(updated_node.decorators):
            value = cst.Call(decorator.decorator, [cst.Arg(value)])
        assignment = cst.SimpleStatementLine(
            [cst.Assign([cst.AssignTarget(updated_node.name)], value)]
        )
        return cst.FlattenSentinel([updated_node.with_changes(decorators=[]), assignment])


def copy_tree(folder: Path) -> None:
    """Copy what mutmut needs.

    Unchanged files keep their modification time, by which mutmut knows what it has already done.
    """
    for name in ("dsacap", "dsacap/baselines", "tests"):  # a link is not followed
        for source in (ROOT / name).rglob("*"):
            if source.is_file() and "__pycache__" not in source.parts:
                text = source.read_bytes()
                if source.relative_to(ROOT).as_posix() in MODULES:
                    text = cst.parse_module(text).visit(_DecoratorsBelow()).bytes
                _write_if_new(folder / source.relative_to(ROOT), text)
    _write_if_new(folder / "pyproject.toml", (ROOT / "pyproject.toml").read_bytes())


def _write_if_new(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


HEAD = """# Mutants

What if the code that computes numbers were wrong by one sign, one index, one argument?
[mutmut](https://mutmut.readthedocs.io) makes each such change in turn and runs the quick tests that
reach the function. A change is *killed* if a test fails or hangs; the share is that of the mutants
tried. `make mutants` writes this page. It fails if less than 90 % are killed in any module, or if a
survivor has no reason in `tests/faults/survivors.toml`.

mutmut changes functions only. The constants of modules (sigma of CIDEr, beta of ROUGE, ...) were
changed by hand, 23 of them. Tests notice all of these changes except those of the two constants
that set how much is processed at a time (`_FITS_CACHE`, `_PAIRS`).
"""


@dataclass(frozen=True)
class Survivor:
    function: str  # with its module
    before: str
    after: str

    def __str__(self) -> str:
        """Return the change, with a little of the line around it."""
        before, after = (re.findall(r"\w+|\W", text) for text in (self.before, self.after))
        same = _alike(before, after)
        end = _alike(before[same:][::-1], after[same:][::-1])
        old, new = ("".join(words[same : len(words) - end]) for words in (before, after))
        left, right = "".join(before[:same])[-30:], "".join(before[len(before) - end :])[:20]
        return f"`{self.function}`: `{left}⟦{old} → {new}⟧{right}`"


def _alike(before: list[str], after: list[str]) -> int:
    """Return how many words both lists begin with."""
    differ = (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    return next(differ, min(len(before), len(after)))


def outcome(folder: Path) -> tuple[dict[str, list[str]], list[Survivor]]:
    """Return the status of each module's mutants, and the mutants that no test noticed."""
    status, survivors = {}, []
    for module in MODULES:
        codes = json.loads((folder / "mutants" / f"{module}.meta").read_text())["exit_code_by_key"]
        status[module] = [status_by_exit_code[code] for code in codes.values()]
        for name in (
            name
            for name, code in codes.items()
            if status_by_exit_code[code] in ("survived", "no tests")
        ):
            lines = get_diff_for_mutant(name, path=module).splitlines()[3:]
            before, after = (
                " ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+"
            )
            function = re.sub(
                r"\.xǁ(\w+)ǁ|\.x_", r".\1.", name.removeprefix("dsacap.").rpartition("__mutmut_")[0]
            ).replace("..", ".")
            survivors.append(Survivor(function, before, after))
    return status, survivors


def report(status: dict[str, list[str]], survivors: list[Survivor]) -> tuple[str, list[str]]:
    """Return the page, and a message for each problem."""
    rows, wrong = [], []
    for module, found in [*status.items(), ("all", list(chain(*status.values())))]:
        tried, killed = (
            sum(one != "not checked" for one in found),
            sum(one in ("killed", "timeout") for one in found),
        )
        rows.append((module, len(found), tried, killed, f"{100 * killed / max(1, tried):.1f} %"))
        if tried < len(found):
            wrong.append(
                f"{module}: {len(found) - tried} of its mutants were not tried; run this again"
            )
        if killed < LEAST * tried:
            wrong.append(
                f"{module}: {rows[-1][-1]} of its mutants are killed, less than {LEAST:.0%}"
            )
    rules = tomllib.loads(REASONS.read_text())["reason"]
    of_reason = defaultdict(list)
    for survivor in survivors:
        reason = next(
            (
                rule["because"]
                for rule in rules
                if any(re.search(mutant, str(survivor)) for mutant in rule["mutants"])
            ),
            None,
        )
        of_reason[reason].append(survivor)
        if reason is None:
            wrong.append(f"no test notices, and survivors.toml does not explain: {survivor}")
    table = tabulate(
        rows,
        ("module", "mutants", "tried", "killed", "share"),
        "github",
        colalign=("left", *["right"] * 4),
    )
    lines = [
        HEAD,
        table,
        f"\n## Survivors\n\n{len(survivors)} in all. Each has its function and the changed part of"
        " the line as ⟦original → mutant⟧.\n",
    ]
    for because in (*(rule["because"] for rule in rules), None):
        if group := of_reason[because]:
            lines += [
                f"**{because or 'Not explained yet.'}** ({len(group)})\n",
                *(f"- {survivor}" for survivor in group),
                "",
            ]
    return "\n".join(lines), wrong


def main() -> None:
    copy_tree(FOLDER)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "OMP_NUM_THREADS": "1"
    }
    mutmut = shutil.which("mutmut", path=Path(sys.executable).parent)
    subprocess.run(
        [mutmut, "run", "--max-children", "1", *sys.argv[1:]],
        cwd=FOLDER,
        env=environment,
        check=True,
    )
    os.chdir(FOLDER)  # mutmut looks for its files from here
    page, wrong = report(*outcome(FOLDER))
    write_text(ROOT / "tests" / "faults" / "mutants.md", page)
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main()
