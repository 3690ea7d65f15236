import pytest

from dsacap.config.experiment import parse_config
from dsacap.reporting.page.board import Cell, Column, board
from dsacap.reporting.page.table_board import board_of, reported
from dsacap.reporting.table import write_tables
from dsacap.reporting.table_file import Table, load_table

CIDER, LIKENESS = Column("CIDEr", "CIDEr"), Column("mBLEU-4", "mBLEU-4", 3, False)


def row(system: str, decoding: str = "greedy", **cells: Cell) -> tuple[dict, dict]:
    names = {"system": system, "label": system.title(), "decoding": decoding, "first": True}
    return names, {name.replace("_", "-"): cell for name, cell in cells.items()}


def test_rows_are_in_the_order_of_the_first_column_and_those_without_a_score_last():
    made = board(
        [row("c", mBLEU_4=Cell(0.1)), row("a", CIDEr=Cell(90)), row("b", CIDEr=Cell(91.5))],
        [CIDER, LIKENESS],
    )
    assert [one["system"] for one in made["rows"]] == ["b", "a", "c"]
    assert [cell and cell["value"] for cell in made["rows"][2]["cells"]] == [None, 0.1]


def test_the_best_and_those_within_its_interval_are_marked():
    cells = (Cell(100, 95, 104), Cell(95, 80, 110), Cell(94.9, 90, 99))
    made = board([row(str(cell.value), CIDEr=cell) for cell in cells], [CIDER])
    assert [one["cells"][0]["mark"] for one in made["rows"]] == ["best", "tie", ""]
    without = board([row("a", CIDEr=Cell(2)), row("b", CIDEr=Cell(1.99))], [CIDER])
    assert [one["cells"][0]["mark"] for one in without["rows"]] == ["best", ""]
    lower = board([row("a", mBLEU_4=Cell(0.5)), row("b", mBLEU_4=Cell(0.3, 0.2, 0.6))], [LIKENESS])
    assert [(one["system"], one["cells"][0]["mark"]) for one in lower["rows"]] == [
        ("b", "best"),
        ("a", "tie"),
    ]


def test_the_best_decoding_of_each_system_is_known():
    cells = {("a", "x"): 1, ("a", "y"): 3, ("b", "x"): 2}
    made = board([row(*names, CIDEr=Cell(value)) for names, value in cells.items()], [CIDER])
    assert [(one["decoding"], one["best"]) for one in made["rows"]] == [
        ("y", True),
        ("x", True),
        ("x", False),
    ]


def test_columns_without_scores_are_left_out_and_so_is_a_board_without_columns():
    made = board([row("a", CIDEr=Cell(1))], [LIKENESS, CIDER])
    assert [column["metric"] for column in made["columns"]] == ["CIDEr"]
    assert board([row("a")], [CIDER]) is None


def test_the_board_of_a_table_has_its_means_intervals_and_notes(layout):
    write_tables(layout)
    made = board_of(load_table(layout.table.with_suffix(".json")))
    assert [column["title"] for column in made["columns"]] == ["CIDEr", "BLEU-4", "ms per image ↓"]
    by_name = {(one["system"], one["decoding"]): one for one in made["rows"]}
    assert by_name["ar", "greedy"]["first"] and not by_name["ar", "T=1"]["first"]
    cider, _, ms = by_name["dsacap", "K=1"]["cells"]
    assert [cider[key] for key in ("value", "low", "high")] == pytest.approx([105, 90, 110])
    assert (ms["value"], ms["low"], ms["mark"]) == (2.0, None, "best")
    assert "human" not in {one["system"] for one in made["rows"]}
    assert len(made["notes"]) == 1 and made["notes"][0].startswith("†")


def test_figures_of_others_are_apart_and_say_where_they_were_read(layout, tmp_path):
    write_tables(layout)
    table = load_table(layout.table.with_suffix(".json"))
    assert reported(table) is None
    head = "dataset,group,model,encoder,passes,rl,BLEU-4,METEOR,ROUGE-L,CIDEr,SPICE"
    (tmp_path / "published.csv").write_text(
        f"{head},verified,source,note\ntiny,diffusion,Other,CLIP,1,no,,,,99.5,,S,a paper,\n"
    )
    config = {**table.config, "published": str(tmp_path / "published.csv")}
    parsed = parse_config(config, "test")
    found = reported(Table(table.path, table.numbers, {}, config, {}, parsed))
    assert found == {
        "columns": ["Model", "Source", "Read", "CIDEr"],
        "rows": [["Other", "a paper", "second-hand", "99.5"]],
    }
