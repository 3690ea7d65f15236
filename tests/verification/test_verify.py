"""Tables that were made by the stages, verified by the verb."""

import shutil
from itertools import chain
from pathlib import Path

import pytest

from dsacap import stages
from dsacap.cli import main
from dsacap.errors import UserError
from dsacap.files import read_json, write_json, write_jsonl
from dsacap.layout import HUMAN, PREDICTIONS, VERSIONS, Layout, manifest_of
from dsacap.reporting.kept import keep_rows
from dsacap.reporting.table import score_rows, write_numbers
from dsacap.verification import scoring
from dsacap.verification.committed import load_committed
from dsacap.verification.run import tables_in
from helpers import borrow, tiny_config

AR = {"ar": {"captioner": "autoregressive", "decodings": {"greedy": {}, "T=1": {"temperature": 1.0}}}}
OTHERS = {"theirs": {"citation": "theirs", "trained_on": "photos"}}


@pytest.fixture(scope="module")
def published(tiny_layout, tmp_path_factory) -> Path:
    """The folder of a table of two decodings, of a row of others and of humans, with captions."""
    work = tmp_path_factory.mktemp("published")
    theirs = {"theirs": {**OTHERS["theirs"], "file": str(work / "theirs.json")}}
    layout = borrow(Layout(tiny_config(work, systems=AR, predictions=theirs)), tiny_layout)
    references = {e.image_id: e.image.captions for e in stages.data.load_examples(layout.data, "test")}
    said = {
        "greedy": {str(i): [captions[0]] for i, captions in references.items()},
        "T=1": {str(i): [*captions[1:3], "a red circle"] for i, captions in references.items()},
    }
    write_json(layout.captions("ar", 0), said)
    write_json(work / "theirs.json", [{"image_id": i, "caption": "a blue square"} for i in references])
    made = {"version": VERSIONS["score"], "code": {"commit": None, "dirty": False}}
    for path in (layout.system("ar", 0), layout.captions("ar", 0)):
        write_json(manifest_of(path), made)
    write_jsonl(layout.system("ar", 0) / "train.jsonl", [])
    for row in (HUMAN, "ar", "theirs"):
        stages.score_system(layout, row, 0)
    rows = list(score_rows(layout, layout.runs))
    folder = layout.published
    write_numbers(rows, folder / "table.md")
    names = ("score human", "score ar seed 0", "score theirs")
    table = {"rows": rows, "manifests": dict.fromkeys(names, made)}
    write_json(folder / "table.json", {**table, "config": layout.config.model_dump(mode="json")})
    assert keep_rows(layout) == ["ar (seed 0)", "theirs"]
    return folder


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def captions_in(folder: Path) -> Path:
    (path,) = (folder / "rows").glob("ar-*/captions-*[0-9a-f].json")
    return path


def test_tables_are_verified_and_a_changed_caption_is_found(published, checkout, capsys, monkeypatch):
    good, bad, bare = (Path(shutil.copytree(published, f"results/{name}")) for name in ("good", "bad", "bare"))
    said = read_json(captions_in(bad))
    said["greedy"] = {image: ["a green ring"] for image in said["greedy"]}
    write_json(captions_in(bad), said)
    shutil.rmtree(bare / "rows")
    assert main(["verify"]) == 1
    of_bad, _, rest = capsys.readouterr().out.partition("results/bare: ")
    of_bare, _, of_good = rest.partition("results/good: ")
    table = load_committed(good)
    total, humans = len(table.cells()), sum(cell.row.system == HUMAN for cell in table.cells())
    assert of_good.startswith(f"of {total} quality cells {total} are equal to the last bit, 0 differ.")
    assert "ar (seed 0), greedy, CIDEr: committed" in of_bad and "T=1" not in of_bad
    assert f"{humans} are equal to the last bit, 0 differ." in of_bare
    assert f"{total - humans} not computed: no captions of their rows are committed." in of_bare
    assert not list(Path("work").rglob("*.zip")) and not list(Path("work").rglob("tmp*"))
    # What was computed is kept, so that a killed run goes on where it stopped.
    monkeypatch.setattr(scoring, "_score", None)
    data = scoring.make_captions(table.layout.config)
    cells = [scoring.score_row(table.layout.config, data, row, None).cells() for row in table.rows()]
    assert dict(chain(*(of.items() for of in cells))) == table.cells()


def test_all_cells_of_a_table_are_looked_for(published):
    """Each row is scored, and each of its numbers compared."""
    table = load_committed(published)
    names = {(row.name.system, row.name.decoding) for row in table.rows()}
    rows = {("human", "references"), ("ar", "greedy"), ("ar", "T=1"), ("theirs", PREDICTIONS)}
    assert names == rows == {cell.row[:2] for cell in table.cells()}
    metrics = {cell.metric for cell in table.cells()}
    assert {"CIDEr", "METEOR", "held_out_BLEU-4", "best_of_3_METEOR", "Self-CIDEr", "in_train", "true"} <= metrics


def test_captions_that_lack_a_decoding_are_an_error(published, checkout, tiny_layout):
    folder = Path(shutil.copytree(published, "results/tiny"))
    write_json(captions_in(folder), {"greedy": read_json(captions_in(folder))["greedy"]})
    rows = {row.name.decoding: row for row in load_committed(folder).rows()}
    assert len(scoring.captions_of(tiny_layout.data, rows["greedy"])[1]) == 6
    with pytest.raises(UserError, match=r"captions-.*no captions by 'T=1'; restore the file"):
        scoring.captions_of(tiny_layout.data, rows["T=1"])


def test_a_table_without_its_data_is_named(published, checkout, capsys):
    """The user's own captions file is not here."""
    folder = Path(shutil.copytree(published, checkout / "results/tiny"))
    table = read_json(folder / "table.json")
    photos = {"kind": "coco", "images": {"photos": "data/photos.zip"}, "karpathy": "data/split.json"}
    config = table["config"] | {"dataset": photos, "encoder": {"name": "local-dir:x"}, "generator": None}
    write_json(folder / "table.json", table | {"config": config})
    assert main(["verify", "results/tiny"]) == 0
    expected = "results/tiny: not checked: data/split.json is missing; put it there and run this again\n"
    assert capsys.readouterr().out == expected


def test_no_tables(checkout):
    with pytest.raises(UserError, match=r"results: no folder with a table.csv"):
        tables_in(Path("results"))
    (checkout / "results/empty").mkdir(parents=True)
    assert main(["verify", "results/empty"]) == 1
