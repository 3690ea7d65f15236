"""A table as an object and as files: its numbers, and the manifest of every stage behind them.

`write_table` writes table.csv and table.json; `load_table` reads them and checks that they agree.
Pages, LaTeX and BibTeX are rendered from the same `Table`, whether it was just computed or read.
"""

import contextlib
import csv
import difflib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_text, replacing, write_json
from dsacap.common.git_checkout import is_commit
from dsacap.config.experiment import Config, parse_config

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
HELD_OUT = "held_out_"  # before the name of a metric: against all references but one
BEST_OF = "best_of_"  # before k and the name of a metric: of the best of k captions
# Published scores are percentages, CIDEr included; counts and shares keep their own units.
_SIGNATURES = re.compile(r"```\n(.*?\|.*?)\n```", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """The numbers of one run, and how they were made.

    Attributes:
        path: The file or folder that it was read from, or table.csv where it is written.
        numbers: One number per row, in the columns `COLUMNS` (see `numbers_of`).
        manifests: By stage ("data", "train ar seed 0"); empty where there is no table.json.
        config: The configuration of the run as plain data, possibly of another version.
        signatures: The signature of each metric.
        parsed: The configuration as an object, where it is at hand; read `experiment` instead.
    """

    path: Path
    numbers: pd.DataFrame
    manifests: dict[str, dict]
    config: dict[str, Any]
    signatures: dict[str, str]
    parsed: Config | None = None

    @cached_property
    def experiment(self) -> Config:
        """The configuration as an object; UserError if this version cannot read it."""
        return self.parsed or parse_config(self.config, f"{self.path}: its configuration")

    @property
    def name(self) -> str:
        """The name of the data set."""
        return str(self.numbers.dataset.iloc[0])

    def label(self, system: str) -> str:
        """Return the name by which the table shows a system."""
        for section in ("systems", "predictions"):
            if label := (self.config.get(section, {}).get(system) or {}).get("label"):
                return label
        return {"human": "Human", "encoder": "Encoder"}.get(system, system)

    def rows(self, system: str, decoding: str, metric: str) -> pd.DataFrame:
        """Return the numbers of one cell, one per seed."""
        numbers = self.numbers
        return numbers[
            (numbers.system == system) & (numbers.decoding == decoding) & (numbers.metric == metric)
        ]

    def signature(self, metric: str) -> str | None:
        """Return the signature of a metric.

        Held-out and best-of-k variants for which none was recorded have that of the metric itself.
        """
        plain = re.sub(rf"^({HELD_OUT}|{BEST_OF}\d+_)", "", metric)
        return self.signatures.get(metric) or self.signatures.get(plain)


def numbers_of(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table of numbers: `seed` of type Int64, no decoding as an empty string."""
    return _typed(pd.DataFrame(rows, columns=COLUMNS))


def write_csv(numbers: pd.DataFrame, path: Path) -> None:
    """Write numbers as CSV, one number per line."""
    with replacing(path) as temporary:
        _as_in_files(numbers).to_csv(temporary, index=False)


def write_table(table: Table) -> None:
    """Write table.csv, at the table's path, and table.json, which has the manifests too."""
    write_csv(table.numbers, table.path)
    rows = [
        {key: None if pd.isna(value) else value for key, value in row.items()}
        for row in _as_in_files(table.numbers).to_dict("records")
    ]
    head = {"config": table.config, "signatures": table.signatures}
    write_json(
        table.path.with_suffix(".json"), {**head, "rows": rows, "manifests": table.manifests}
    )


def load_table(path: Path) -> Table:
    """Read a finished table.

    Args:
        path: table.csv, table.json or table.md, or the folder that contains them. Manifests,
            configuration and signatures come from the .json next to it, if there is one.

    Raises:
        UserError: There is no such table, it was not written by `dsacap report`, or the .csv and
            the .json disagree.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder{_nearest(path)}")
    file = _file_in(path) if path.is_dir() else path
    if file.suffix == ".md":
        file = file.with_suffix(".csv")
    if file.suffix not in (".csv", ".json"):
        raise UserError(
            f"{path}: not a table; name table.csv, table.json, or the folder that contains them"
        )
    data: dict[str, Any] = {}
    json_file = file.with_suffix(".json")
    if file.suffix == ".json" or json_file.exists():
        data = read_json(json_file)
        if not isinstance(data, dict) or not {"rows", "manifests"} <= set(data):
            raise UserError(
                f"{json_file}: has no rows and manifests, so `dsacap report` did not write it"
            )
    numbers = _checked(_numbers(file), file) if file.suffix == ".csv" else _rows(data, json_file)
    if file.suffix == ".csv" and data and not _same(numbers, _rows(data, json_file)):
        raise UserError(
            f"{file}: its numbers differ from those of {json_file.name} next to it, so one of the"
            f" two was changed; name {json_file.name} to use that file alone"
        )
    manifests = data.get("manifests", {})
    with reporting_malformed(json_file):
        for manifest in manifests.values():
            commit = manifest["code"]["commit"]
            if not (commit is None or is_commit(commit)):
                raise ValueError(f"{commit!r} is not a commit")
        config = data.get("config") or _latest_config(manifests)
    return Table(path, numbers, manifests, config, data.get("signatures") or _signatures(file))


def _nearest(path: Path) -> str:
    """Suggest the file of the same folder whose name is closest."""
    names = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, 1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _file_in(folder: Path) -> Path:
    for name in ("table.csv", "table.json"):
        if (folder / name).exists():
            return folder / name
    found = ", ".join(sorted(file.name for file in folder.iterdir())[:6])
    raise UserError(
        f"{folder}: contains no table.csv or table.json ({f'only {found}' if found else 'empty'});"
        " name results/NAME, or the results of a run of your own"
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
        raise UserError(f"{file}: not CSV, or incomplete: {error}") from None


def _checked(numbers: pd.DataFrame, file: Path) -> pd.DataFrame:
    absent = [column for column in COLUMNS if column not in numbers]
    if absent or numbers.empty:
        raise UserError(
            f"{file}: has no {f'column {absent[0]!r}' if absent else 'rows'},"
            " so `dsacap report` did not write it"
        )
    with reporting_malformed(file):
        numbers = _typed(numbers)
        for column in ("dataset", "system", "metric", "unit"):
            if not numbers[column].map(lambda text: isinstance(text, str)).all():
                raise ValueError(f"a row without {column}")
        if not np.isfinite(numbers.value.astype(float)).all():
            raise ValueError("a row without a value")
        if numbers.duplicated(["system", "decoding", "metric", "seed"]).any():
            raise ValueError("two rows for the same number")
    return numbers


def _typed(numbers: pd.DataFrame) -> pd.DataFrame:
    numbers = numbers.copy()
    numbers["decoding"] = numbers.decoding.fillna("").astype(str)
    numbers["seed"] = pd.array(numbers.seed, dtype="Float64").astype("Int64")
    for column in ("value", "ci_low", "ci_high", "n"):
        numbers[column] = pd.to_numeric(numbers[column])
    return numbers


def _as_in_files(numbers: pd.DataFrame) -> pd.DataFrame:
    """Files have seeds as floats where some rows have none, as pandas' own inference does."""
    return numbers.astype({"seed": float}) if numbers.seed.hasnans else numbers


def _rows(data: dict[str, Any], file: Path) -> pd.DataFrame:
    """The numbers of a table.json."""
    with reporting_malformed(file):
        numbers = pd.DataFrame(data["rows"])
    return _checked(numbers, file)


@contextlib.contextmanager
def reporting_malformed(*tables: Path) -> Iterator[None]:
    """Turn errors about missing or mistyped data into a UserError that names these tables."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(
            f"{' or '.join(map(str, tables))}: not in the form in which `dsacap report` writes"
            f" a table ({reason}); make the table again"
        ) from error


def _same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    keys = ["system", "decoding", "metric"]
    if len(a) != len(b) or not all((a[key].to_numpy() == b[key].to_numpy()).all() for key in keys):
        return False
    return bool(((a.value - b.value).abs() <= 1e-9 * a.value.abs().clip(lower=1)).all())


def _latest_config(manifests: dict[str, dict]) -> dict[str, Any]:
    """The configuration of the last stage, since shared data may have that of another run."""
    with_config = [manifest for manifest in manifests.values() if manifest.get("config")]
    latest = max(with_config, key=lambda manifest: manifest.get("started", ""), default={})
    return latest.get("config", {})


def _signatures(file: Path) -> dict[str, str]:
    """The signatures below table.md; old versions did not write them to table.json."""
    page = file.with_suffix(".md")
    found = _SIGNATURES.search(read_text(page)) if page.exists() else None
    lines = found[1].splitlines() if found else []
    return {
        {"CIDEr-D": "CIDEr"}.get(name, name): line for line in lines if (name := line.split("|")[0])
    }
