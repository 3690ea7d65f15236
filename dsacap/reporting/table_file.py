"""A table that somebody has: its numbers, and the manifest of every stage behind them, by the names that a reader calls them."""

import contextlib
import csv
import difflib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_text
from dsacap.common.git_checkout import is_commit

COLUMNS = (
    "dataset",
    "system",
    "decoding",
    "steps",
    "seed",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "unit",
)
_SIGNATURES = re.compile(r"```\n(.*?\|.*?)\n```", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """`manifests` are by stage ("data", "train ar seed 0"), empty where none lies beside the numbers; `config` is the run's, as plain data;
    `signatures` are by metric."""

    path: Path
    numbers: pd.DataFrame
    manifests: dict[str, dict]
    config: dict[str, Any]
    signatures: dict[str, str]

    @property
    def name(self) -> str:
        return str(self.numbers.dataset.iloc[0])

    def label(self, system: str) -> str:
        """What the table calls a system."""
        for section in ("systems", "predictions"):
            if label := (self.config.get(section, {}).get(system) or {}).get("label"):
                return label
        return {"human": "Human", "encoder": "Encoder"}.get(system, system)

    def rows(self, system: str, decoding: str, metric: str) -> pd.DataFrame:
        """A cell's rows, one a seed."""
        numbers = self.numbers
        return numbers[
            (numbers.system == system) & (numbers.decoding == decoding) & (numbers.metric == metric)
        ]

    def signature(self, metric: str) -> str | None:
        """Of the metric itself, where none was recorded for it against fewer references or as the best of several."""
        plain = re.sub(r"^(held_out_|best_of_\d+_)", "", metric)
        return self.signatures.get(metric) or self.signatures.get(plain)


def load_table(path: Path) -> Table:
    """From table.csv, .json or .md, or the folder that holds them; manifests come from the .json beside.

    Raises UserError where there is no such table, it is not one of ours, or the .csv and the .json beside it do not say the same.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder{_nearest(path)}")
    file = _file_in(path) if path.is_dir() else path
    if file.suffix == ".md":
        file = file.with_suffix(".csv")
    if file.suffix not in (".csv", ".json"):
        raise UserError(
            f"{path}: not a table; give table.csv, table.json, or the folder that holds them"
        )
    data, beside = {}, file.with_suffix(".json")
    if file.suffix == ".json" or beside.exists():
        data = read_json(beside)
        if not isinstance(data, dict) or not {"rows", "manifests"} <= set(data):
            raise UserError(
                f"{beside}: has no rows and manifests, so it is not a table that `dsacap report` wrote"
            )
    numbers = _checked(_numbers(file), file) if file.suffix == ".csv" else _rows(data, beside)
    if file.suffix == ".csv" and data and not _same(numbers, _rows(data, beside)):
        raise UserError(
            f"{file}: not the numbers of {beside.name} beside it; one of them was changed. Name the .json to read that one alone"
        )
    manifests = data.get("manifests", {})
    with of_ours(beside):
        for manifest in manifests.values():
            commit = manifest["code"]["commit"]
            if not (commit is None or is_commit(commit)):
                raise ValueError(f"{commit!r} is no commit")
        config = data.get("config") or _latest_config(manifests)
    return Table(path, numbers, manifests, config, data.get("signatures") or _signatures(file))


def _nearest(path: Path) -> str:
    """What may have been meant, among what lies beside."""
    there = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, 1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _file_in(folder: Path) -> Path:
    for name in ("table.csv", "table.json"):
        if (folder / name).exists():
            return folder / name
    held = ", ".join(sorted(file.name for file in folder.iterdir())[:6]) or "nothing"
    raise UserError(
        f"{folder}: holds no table.csv or table.json (but {held}); give results/NAME, or results of a run of your own"
    )


def _numbers(file: Path) -> pd.DataFrame:
    text = read_text(file)
    try:
        lines = list(csv.reader(io.StringIO(text), strict=True))
        if odd := [at for at, fields in enumerate(lines, 1) if len(fields) != len(lines[0])]:
            raise ValueError(f"row {odd[0]} has another number of fields than the first")
        if not text.endswith("\n"):
            raise ValueError("its last line has no end, so more may be missing")
        return pd.read_csv(io.StringIO(text))
    except (ValueError, csv.Error) as error:
        raise UserError(f"{file}: not CSV, or torn: {error}") from None


def _checked(numbers: pd.DataFrame, file: Path) -> pd.DataFrame:
    absent = [column for column in COLUMNS if column not in numbers]
    if absent or numbers.empty:
        raise UserError(
            f"{file}: {f'has no column {absent[0]!r}' if absent else 'has no rows'}, so it is not a table that `dsacap report` wrote"
        )
    numbers = numbers.copy()
    with of_ours(file):
        numbers["decoding"] = numbers.decoding.fillna("").astype(str)
        numbers["seed"] = pd.array(numbers.seed, dtype="Float64").astype("Int64")
        for column in ("value", "ci_low", "ci_high", "n"):
            numbers[column] = pd.to_numeric(numbers[column])
        for column in ("dataset", "system", "metric", "unit"):
            if not numbers[column].map(lambda text: isinstance(text, str)).all():
                raise ValueError(f"a row without {column}")
        if not np.isfinite(numbers.value.astype(float)).all():
            raise ValueError("a row without a value")
        if numbers.duplicated(["system", "decoding", "metric", "seed"]).any():
            raise ValueError("a number that stands twice")
    return numbers


def _rows(data: dict[str, Any], file: Path) -> pd.DataFrame:
    """Of a table.json."""
    with of_ours(file):
        numbers = pd.DataFrame(data["rows"])
    return _checked(numbers, file)


@contextlib.contextmanager
def of_ours(*tables: Path) -> Iterator[None]:
    """Within it, what is not there, or of another type than `dsacap report` writes, is said of these tables."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(
            f"{' or '.join(map(str, tables))}: not as `dsacap report` writes a table ({said}); make it anew"
        ) from error


def _same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    keys = ["system", "decoding", "metric"]
    if len(a) != len(b) or not all((a[key].to_numpy() == b[key].to_numpy()).all() for key in keys):
        return False
    return bool(((a.value - b.value).abs() <= 1e-9 * a.value.abs().clip(lower=1)).all())


def _latest_config(manifests: dict[str, dict]) -> dict[str, Any]:
    """Of the stage that ran last. (Runs that share their data have that from another's configuration.)"""
    of_stages = [manifest for manifest in manifests.values() if manifest.get("config")]
    return (
        max(of_stages, key=lambda manifest: manifest.get("started", ""))["config"]
        if of_stages
        else {}
    )


def _signatures(file: Path) -> dict[str, str]:
    """Tables of before signatures were written to table.json have them in their page alone."""
    page = file.with_suffix(".md")
    found = _SIGNATURES.search(read_text(page)) if page.exists() else None
    lines = found[1].splitlines() if found else []
    return {
        {"CIDEr-D": "CIDEr"}.get(name, name): line for line in lines if (name := line.split("|")[0])
    }
