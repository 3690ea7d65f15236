from pathlib import Path

import pytest

from dsacap.cli.main import main
from dsacap.common.errors import UserError
from dsacap.reporting.table_file import load_table

RESULTS = Path(__file__).resolve().parents[2] / "results"


def test_a_folder_a_csv_a_json_and_a_page_are_the_same_table(made, tmp_path):
    made().write(tmp_path)
    (tmp_path / "table.md").write_text("# tiny\n")
    tables = [load_table(tmp_path / name) for name in ("", "table.csv", "table.json", "table.md")]
    assert all(table.numbers.value.tolist() == tables[0].numbers.value.tolist() for table in tables)
    assert (
        tables[0].name == "tiny"
        and tables[0].label("human") == "Human"
        and tables[0].signature("held_out_CIDEr").startswith("CIDEr-D")
    )
    assert tables[0].rows("ar", "greedy", "CIDEr").seed.tolist() == [0]


@pytest.mark.parametrize("name", ["scenes", "flickr8k", "scenes-long"])
def test_committed_tables_are_read(name):
    table = load_table(RESULTS / name)
    assert table.name == table.config["name"] == name and "data" in table.manifests
    assert "tok:PTB-3.4.1@sha256:" in table.signature("CIDEr")


def test_a_csv_is_read_to_the_last_digit(made, tmp_path):
    made().write(tmp_path)
    values = [number / 3**at for at, number in enumerate(load_table(tmp_path).numbers.value, 1)]
    (tmp_path / "table.json").unlink()
    table = load_table(tmp_path / "table.csv").numbers.assign(value=values)
    table.to_csv(tmp_path / "table.csv", index=False)
    assert load_table(tmp_path / "table.csv").numbers.value.tolist() == values


def test_numbers_without_manifests_are_a_table_too(made, tmp_path):
    made().write(tmp_path)
    (tmp_path / "table.json").unlink()
    assert load_table(tmp_path).manifests == {}


def test_what_is_not_a_table_is_refused(made, tmp_path):
    with pytest.raises(UserError, match=r"contains no table.csv or table.json \(empty\)"):
        load_table(tmp_path)
    with pytest.raises(UserError, match=r"no such file or folder; did you mean .*results/scenes\?"):
        load_table(RESULTS / "scene")
    (tmp_path / "table.json").write_text('{"scores": 1}')
    with pytest.raises(UserError, match="has no rows and manifests"):
        load_table(tmp_path / "table.json")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has no column 'dataset'"):
        load_table(tmp_path / "other.csv")
    (tmp_path / "table.txt").touch()
    with pytest.raises(UserError, match="not a table"):
        load_table(tmp_path / "table.txt")
    with pytest.raises(UserError, match="no such file"):
        load_table(tmp_path / "absent.csv")


def test_a_csv_that_was_edited_is_noticed(made, tmp_path):
    made().write(tmp_path)
    csv = tmp_path / "table.csv"
    csv.write_text(csv.read_text().replace("90.0,85.0", "99.0,85.0"))
    with pytest.raises(UserError, match=r"its numbers differ from those of table.json"):
        load_table(csv)
    assert load_table(tmp_path / "table.json").rows("dsacap", "K=1", "CIDEr").value.item() == 90


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ar,greedy", "ar,greedy,0", "another number of fields"),
        ("100.0,", "a lot,", "not in the form in which `dsacap report` writes"),
        ("100.0,", ",", "a row without a value"),
        ("ar,T=1", "ar,greedy", "two rows for the same number"),
        (",CIDEr,", ",,", "a row without metric"),
    ],
)
def test_a_malformed_csv_is_refused(made, tmp_path, old, new, message):
    made().write(tmp_path)
    (tmp_path / "table.json").unlink()
    file = tmp_path / "table.csv"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        load_table(file)
    file.write_text(made().write(tmp_path).joinpath("table.csv").read_text()[:-3])
    (tmp_path / "table.json").unlink()
    with pytest.raises(UserError, match="its last line has no end"):
        load_table(file)


def test_manifests_of_another_shape_are_refused(made, tmp_path, capsys):
    table = made()
    table.manifests["train ar seed 0"]["code"]["commit"] = "--output=/tmp/x"
    with pytest.raises(UserError, match=r"table\.json: .*is not a commit"):
        load_table(table.write(tmp_path))
    table = made()
    del table.manifests["train ar seed 0"]["host"]
    table.write(tmp_path)
    assert (
        main(
            [
                "explain",
                str(tmp_path),
                "--system",
                "ar",
                "--decoding",
                "greedy",
                "--metric",
                "CIDEr",
            ]
        )
        == 1
    )
    assert "writes a table (KeyError: 'host'); make the table again" in capsys.readouterr().err
