import json

import pandas as pd
import pytest

from dsacap.common.errors import UserError
from dsacap.reporting.latency import write_latency

MACHINE = {"device": "abacus", "cores": 2, "threads": 1, "torch": "2", "governor": None, "kHz": "1"}
INFO = {"length": None, "compiled": False, "precision": "fp32", "machine": MACHINE}


def benchmark(system, decoding, stage, images, seconds, **info):
    return {
        "stats": {"data": seconds, "median": sorted(seconds)[len(seconds) // 2]},
        "extra_info": {
            **INFO,
            "system": system,
            "decoding": decoding,
            "stage": stage,
            "images": images,
            **info,
        },
    }


def report(path, *benchmarks):
    code = {"id": "c0ffee", "dirty": False}
    path.write_text(
        json.dumps(
            {
                "benchmarks": list(benchmarks),
                "datetime": "2026-01-02T03:04:05.678",
                "commit_info": code,
            }
        )
    )
    return path


def row_of(text: str, part: str, *start: str) -> list[str]:
    section = text.split(part)[1].split("\n##")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    return next(row for row in rows if row[: len(start)] == list(start))


@pytest.fixture
def measured(tmp_path):
    cost = {
        "passes": 12,
        "flops": 3_400_000,
        "parameters": 1234,
        "process_mib": 500,
        "top": [["aten::mm", 0.6], ["aten::add", 0.2]],
    }
    theirs = {"stats": {"data": [0.032], "median": 0.032}}
    theirs["extra_info"] = {
        "whose": "transformers",
        "images": 1,
        "compiled": False,
        "words": 16,
        "parameters": 99,
    }
    return report(
        tmp_path / "a.json",
        benchmark("encoder", "", "encode", 1, [0.002]),
        benchmark("ar", "greedy", "decode", 1, [0.010] * 9 + [0.020], **cost),
        benchmark("ar", "greedy", "end_to_end", 1, [0.013]),
        benchmark("ar", "greedy", "decode", 64, [0.064, 0.064]),
        benchmark("ar", "greedy", "decode", 1, [0.005], length=8),
        benchmark("ar", "greedy", "decode", 64, [0.032], length=8),
        benchmark("ar", "greedy", "decode", 1, [0.004], compiled=True),
        theirs,
        {
            "stats": {"data": [1.0], "median": 1.0},
            "extra_info": {},
        },  # another benchmark of the same run
    )


def test_page_and_csv_show_what_was_measured(measured, tmp_path):
    page = tmp_path / "latency.md"
    write_latency([measured], page)
    text = page.read_text()
    assert "## abacus: cores 2, threads 1, torch 2\n" in text
    assert "- measured 2026-01-02T03:04:05 from commit c0ffee\n" in text
    assert "## GPU\n\nnot measured\n" in text
    natural = row_of(text, "natural length (fp32, eager)", "ar", "greedy")
    assert natural[2:] == [
        "10.0",
        "11.0",
        "19.1",
        "13.0",
        "-",
        "1000 (64)",
        "12",
        "3.4",
        "1,234",
        "500",
    ]
    assert row_of(text, "natural length (fp32, eager)", "encoder")[2] == "2.0"
    assert row_of(text, "fixed length (fp32, eager)", "ar")[2:] == ["5.0", "2000 (64)"]
    assert row_of(text, "natural length (fp32, compiled)", "ar")[2] == "4.0"
    assert row_of(text, "generate()", "transformers") == [
        "transformers",
        "eager",
        "1",
        "32.0",
        "2000",
        "99",
    ]
    assert row_of(text, "Where the time goes", "ar") == ["ar", "greedy", "1", "mm 60 %, add 20 %"]
    numbers = pd.read_csv(page.with_suffix(".csv"))
    assert len(numbers) == 7 and numbers.iterations.max() == 10


def test_machines_are_not_mixed(measured, tmp_path):
    h100 = {**MACHINE, "device": "H100", "cuda": "13"}
    other = report(
        tmp_path / "b.json", benchmark("ar", "greedy", "decode", 1, [0.001], machine=h100)
    )
    page = tmp_path / "latency.md"
    write_latency([measured, other], page)
    first, second = page.read_text().split("## H100")
    assert (
        "10.0" in first
        and "10.0" not in second
        and row_of(second, "natural length", "ar")[2] == "1.0"
    )
    assert "not measured" not in first + second


def test_runs_on_one_machine_are_pooled(measured, tmp_path):
    again = report(tmp_path / "b.json", benchmark("ar", "greedy", "decode", 1, [0.030] * 30))
    write_latency([measured, again], tmp_path / "latency.md")
    found = row_of(
        (tmp_path / "latency.md").read_text(), "natural length (fp32, eager)", "ar", "greedy"
    )
    assert found[2] == "30.0" and found[8] == "12"


def test_other_files_are_refused(tmp_path):
    (tmp_path / "other.json").write_text('{"rows": []}')
    with pytest.raises(UserError, match="not a report of pytest-benchmark"):
        write_latency([tmp_path / "other.json"], tmp_path / "latency.md")
    with pytest.raises(UserError, match="no latencies"):
        write_latency([report(tmp_path / "empty.json")], tmp_path / "latency.md")
    assert not (tmp_path / "latency.md").exists()
