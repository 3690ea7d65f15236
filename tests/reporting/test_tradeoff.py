import pandas as pd

from dsacap.reporting.table_file import COLUMNS
from dsacap.reporting.tradeoff import (
    checkpoints,
    of_seed,
    on_front,
    points,
    tradeoff_section,
)

LABELS = {"ar": "Autoregressive", "dsacap": "DSACap"}


def test_a_point_on_the_front_is_beaten_by_none():
    assert on_front([1, 2, 3, 3, 0.5], [5, 9, 9, 10, 1]) == [True, True, False, True, True]
    assert on_front([1, 1], [2, 2]) == [True, True]  # equals do not beat each other


def test_points_are_means_over_seeds_with_their_steps(numbers):
    found = points(numbers, 1).set_index(["system", "decoding"])
    assert found.quality.to_dict() == {
        ("ar", "greedy"): 101,
        ("ar", "beam=3"): 111,
        ("dsacap", "K=1"): 99.5,
        ("dsacap", "K=4"): 98.5,
    }
    assert (
        found.front.to_list() == [True, True, True, False]
        and found.loc[("dsacap", "K=4")].steps == 4
    )
    assert points(numbers, 32).empty


def test_a_row_is_of_one_checkpoint(numbers):
    more = [
        ("tiny", "dsacap", "K=1", 1, 0, "unique", 2.5, None, None, 5, "captions"),
        ("tiny", "dsacap", "K=1", 1, 1, "unique", 4.5, None, None, 5, "captions"),
        ("tiny", "dsacap", "", None, None, "memory_process_mib", 700, None, None, None, "MiB"),
        ("tiny", "dsacap", "K=4", 4, None, "memory_allocated_mib", 30, None, None, None, "MiB"),
        *(
            (
                "tiny",
                "dsacap",
                "",
                None,
                seed,
                "train_cpu_seconds",
                1234.0 + seed,
                None,
                None,
                None,
                "s",
            )
            for seed in (0, 1)
        ),
        ("tiny", "human", "references", None, None, "unique", 5, None, None, 5, "captions"),
    ]
    numbers = of_seed(pd.concat([numbers, pd.DataFrame(more, columns=COLUMNS)]), 0)
    table = checkpoints(numbers, list(LABELS), [1, 32]).set_index(["system", "decoding"])
    assert list(table.index) == [
        ("dsacap", "K=1"),
        ("dsacap", "K=4"),
        ("ar", "greedy"),
        ("ar", "beam=3"),
    ]  # from fast to slow, no humans
    assert table.CIDEr.to_list() == [99, 98, 100, 110] and table.unique.fillna(-1).to_list() == [
        2.5,
        -1,
        -1,
        -1,
    ]
    assert table.loc["dsacap"].train_cpu_seconds.to_list() == [1234, 1234] and table.loc[
        "dsacap"
    ].memory_process_mib.to_list() == [
        700,
        700,
    ]

    text = tradeoff_section(
        numbers, LABELS, {"ar": None, "dsacap": "0123456789abcdef"}, [1, 32], "table.svg"
    )
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    assert lines[0] == [
        "System",
        "Decoding",
        "weights",
        "CIDEr",
        "mBLEU-4",
        "batch 1: ms",
        "GPU MiB",
        "process MiB",
        "parameters",
        "CPU seconds",
    ]
    assert lines[1] == [
        *("DSACap", "K=1", "01234567", "99.0", "-", "2.0 *", "-", "700", "-", "1,234"),
    ]
    assert [[line[2], line[5]] for line in lines[2:]] == [
        ["01234567", "7.0"],
        ["-", "8.0 *"],
        ["-", "16.0 *"],
    ]
    assert "![Quality against latency](table.svg)" in text


def test_without_latency_the_rest_is_shown_and_no_plot(numbers):
    text = tradeoff_section(
        of_seed(numbers[numbers.metric == "CIDEr"], 0),
        LABELS,
        dict.fromkeys(LABELS),
        [1],
        "table.svg",
    )
    assert "| DSACap " in text and "99.0" in text and "ms |" not in text and "table.svg" not in text
