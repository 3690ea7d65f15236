from pathlib import Path

import pytest

from dsacap.common.errors import UserError
from dsacap.reporting.readme import update_readme
from dsacap.reporting.table import write_tables

ROOT = Path(__file__).resolve().parents[2]
PLACE = """before
<!-- tiny: written by make publish
columns: BLEU-4, CIDEr, ms, CPU-s
row: dsacap, K=1
row: ar, T=1
-->
old
<!-- end -->
after
"""


def test_chosen_columns_and_rows_are_shown(layout, tmp_path):
    write_tables(layout)
    readme = tmp_path / "README.md"
    readme.write_text(PLACE)
    for _ in range(2):  # twice gives the same
        update_readme("tiny", layout.table.parent, readme)
        begin, shown = readme.read_text().split("-->\n", 1)
        assert begin == PLACE.split("-->\n", 1)[0] and "old" not in shown
        assert shown.endswith(" rewarded it.\n\n<!-- end -->\nafter\n")
        lines = [
            [cell.strip() for cell in line.split("|")[1:-1]]
            for line in shown.splitlines()
            if line.startswith("| ")
        ]
        assert lines == [
            ["System", "Decoding", "BLEU-4", "CIDEr", "ms", "CPU-s"],
            ["dsacap", "K=1", "25.0 (sd 0.0)", "105.0 ± 10.0 (sd 7.1)", "2.0", "9 (sd 0)"],
            ["ar †", "T=1", "25.0 (sd 0.0)", "105.0 ± 10.0 (sd 7.1)", "-", "9 (sd 0)"],
        ]
        assert "*ms*: median time to decode one image, on abacus (2 cores), 1 thread;\n" in shown


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ar, T=1", "ar, T=2", "has no row 'ar, T=2'; choose from: human, references; ar, greedy"),
        ("CIDEr", "cider", "has no column 'cider'; choose from: CIDEr; true"),
    ],
)
def test_a_column_or_row_that_the_table_lacks_is_named(layout, tmp_path, old, new, message):
    write_tables(layout)
    readme = tmp_path / "README.md"
    readme.write_text(PLACE.replace(old, new))
    with pytest.raises(UserError, match=message):
        update_readme("tiny", layout.table.parent, readme)
    assert "old" in readme.read_text()


def test_the_readme_shows_the_committed_table(tmp_path):
    committed, copy = (ROOT / "README.md").read_text(), tmp_path / "README.md"
    begin, end = committed.index("-->\n\n| System"), committed.index("<!-- end -->")
    copy.write_text(committed[:begin] + "-->\n" + committed[end:])
    update_readme("scenes", ROOT / "results/scenes", copy)
    assert copy.read_text() == committed, "run: python -m dsacap.reporting.readme results/scenes"
