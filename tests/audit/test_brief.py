"""The two lines that `make table` ends with."""

import os
import subprocess
from pathlib import Path

from dsacap.audit.brief import render_brief
from dsacap.audit.compare import compare
from dsacap.cli.main import main
from dsacap.reporting.table_file import load_table

ROOT = Path(__file__).resolve().parents[2]


def test_counts_by_interval_and_causes_by_kind(made, tmp_path):
    old, new = made(), made()
    new.set_value("ar", "greedy", 104.0).set_value("ar", "T=1", 70.0)
    new.set_value("human", "references", 71.0, "held_out_CIDEr")
    new.set_value("dsacap", "K=1", 9.0, "latency_median_ms_batch_1")  # no score
    new.set_config(lambda config: config["training"].update(steps=99))
    for manifest in new.manifests.values():
        manifest["host"] |= {"cpu": "loom", "packages": {"torch": "2.1"}}
    tables = [load_table(of.write(tmp_path / name)) for of, name in ((old, "a"), (new, "b"))]
    first, second = render_brief(compare(*tables)).split("\nCauses: ")
    assert " ".join(first.split()) == (
        f"Compared with {tmp_path}/a: 2 of 5 quality cells are equal, 1 differ within both "
        "intervals, 1 differ beyond both intervals, 1 differ and have no interval."
    )
    assert " ".join(second.split()) == (
        "processor (abacus -> loom), versions (torch 2.0 -> 2.1), configuration (training.steps). "
        f"For the full comparison, run `dsacap diff {tmp_path}/a {tmp_path}/b`."
    )


def test_cells_within_one_interval_and_cells_of_one_table_are_counted(made, tmp_path):
    old, new = made(), made()
    new.set_value("ar", "greedy", 104.0)
    row = next(row for row in new.rows if row["metric"] == "CIDEr")
    row |= {"ci_low": 103.0, "ci_high": 105.0}
    new.rows = [row for row in new.rows if row["system"] != "dsacap-rl"]
    tables = [load_table(of.write(tmp_path / name)) for of, name in ((old, "a"), (new, "b"))]
    text = " ".join(render_brief(compare(*tables)).split())
    assert "3 of 4 quality cells are equal, 1 differ within one of the two intervals." in text
    assert "1 more are in one table only." in text


def test_one_table_is_compared_with_the_committed_one_of_its_configuration(made, tmp_path, capsys):
    made().write(tmp_path)
    assert main(["diff", "--brief", str(tmp_path)]) == 0
    assert "no table of the same configuration is committed in" in capsys.readouterr().out
    made().write(tmp_path / "tiny")
    assert main(["diff", "--brief", str(tmp_path / "table.json")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    expected = f"Compared with {tmp_path}/tiny: 5 of 5 quality cells are equal. No score differs."
    assert expected in out
    made().set_value("ar", "greedy", 104.0).write(tmp_path)
    assert main(["diff", "--brief", str(tmp_path)]) == main(["diff", str(tmp_path)]) == 1
    assert "1 changed" in capsys.readouterr().out


def test_make_table_ends_with_it_and_does_not_fail_by_it():
    command = ["make", "--dry-run", "table"]
    environment = {  # without what `make test` itself passes on
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")
    }
    printed = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert printed.splitlines()[-1].endswith("/dsacap diff --brief results || true")
