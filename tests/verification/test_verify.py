"""`dsacap verify` on tables that were made by the stages."""

import shutil
from concurrent.futures import Future
from itertools import chain
from pathlib import Path

import pytest

from dsacap.cli.main import main
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json, write_jsonl
from dsacap.data.prepared import load_examples
from dsacap.reporting.table import score_rows
from dsacap.reporting.table_file import numbers_of, write_csv
from dsacap.runs.kept_rows import keep_rows
from dsacap.runs.layout import HUMAN, PREDICTIONS, Layout, manifest_of
from dsacap.runs.stage_table import VERSIONS
from dsacap.stages.score import score_system
from dsacap.verification import run, scoring
from dsacap.verification.committed import Committed, Row, RowName, load_committed
from dsacap.verification.run import tables_in
from helpers import borrow, tiny_config

DECODINGS = {"greedy": {}, "T=1": {"temperature": 1.0}}
AR = {"ar": {"captioner": "autoregressive", "decodings": DECODINGS}}
OTHERS = {"theirs": {"citation": "theirs", "trained_on": "photos"}}


@pytest.fixture(scope="module")
def published(tiny_layout, tmp_path_factory) -> Path:
    """A folder with the table and captions of two decodings, a predictions file and humans."""
    work = tmp_path_factory.mktemp("published")
    theirs = {"theirs": {**OTHERS["theirs"], "file": str(work / "theirs.json")}}
    layout = borrow(Layout(tiny_config(work, systems=AR, predictions=theirs)), tiny_layout)
    test_split = load_examples(layout.data, "test")
    references = {example.image_id: example.image.captions for example in test_split}
    predicted = {
        "greedy": {str(i): [captions[0]] for i, captions in references.items()},
        "T=1": {str(i): [*captions[1:3], "a red circle"] for i, captions in references.items()},
    }
    write_json(layout.captions("ar", 0), predicted)
    others = [{"image_id": i, "caption": "a blue square"} for i in references]
    write_json(work / "theirs.json", others)
    made = {"version": VERSIONS["score"], "code": {"commit": None, "dirty": False}}
    for path in (layout.system("ar", 0), layout.captions("ar", 0)):
        write_json(manifest_of(path), made)
    write_jsonl(layout.system("ar", 0) / "train.jsonl", [])
    for row in (HUMAN, "ar", "theirs"):
        score_system(layout, row, 0)
    rows = list(score_rows(layout, layout.runs))
    folder = layout.published
    write_csv(numbers_of(rows), folder / "table.csv")
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


def copied(published: Path, name: str) -> Path:
    return Path(shutil.copytree(published, f"results/{name}"))


def test_a_changed_caption_is_found(published, checkout, capsys, monkeypatch):
    good, bad, bare = (copied(published, name) for name in ("good", "bad", "bare"))
    captions = read_json(captions_in(bad))
    captions["greedy"] = {image: ["a green ring"] for image in captions["greedy"]}
    write_json(captions_in(bad), captions)
    shutil.rmtree(bare / "rows")
    assert main(["verify"]) == 1
    of_bad, _, rest = capsys.readouterr().out.partition("results/bare: ")
    of_bare, _, of_good = rest.partition("results/good: ")
    table = load_committed(good)
    total, humans = len(table.cells()), sum(cell.row.system == HUMAN for cell in table.cells())
    all_equal = f"of {total} quality cells {total} are equal to the last bit, 0 differ."
    assert of_good.startswith(all_equal)
    assert "ar (seed 0), greedy, CIDEr: committed" in of_bad and "T=1" not in of_bad
    assert f"{humans} are equal to the last bit, 0 differ." in of_bare
    assert f"{total - humans} not computed: no captions of their rows are committed." in of_bare
    assert not list(Path("work").rglob("*.zip")) and not list(Path("work").rglob("tmp*"))
    # Computed scores are cached, so that a killed run continues where it stopped.
    monkeypatch.setattr(scoring, "_score", None)
    data = scoring.make_captions(table.layout.config)
    kept = (scoring.score_row(table.layout.config, data, row, None) for row in table.rows())
    assert dict(chain(*(scored.cells().items() for scored in kept))) == table.cells()


def test_all_cells_of_a_table_are_compared(published):
    """Each row is scored, and each of its numbers is compared."""
    table = load_committed(published)
    names = {(row.name.system, row.name.decoding) for row in table.rows()}
    rows = {("human", "references"), ("ar", "greedy"), ("ar", "T=1"), ("theirs", PREDICTIONS)}
    assert names == rows == {cell.row[:2] for cell in table.cells()}
    metrics = {cell.metric for cell in table.cells()}
    assert {"CIDEr", "METEOR", "held_out_BLEU-4", "best_of_3_METEOR"} <= metrics
    assert {"Self-CIDEr", "in_train", "true"} <= metrics


def test_captions_that_lack_a_decoding_are_an_error(published, checkout, tiny_layout):
    folder = copied(published, "tiny")
    write_json(captions_in(folder), {"greedy": read_json(captions_in(folder))["greedy"]})
    rows = {row.name.decoding: row for row in load_committed(folder).rows()}
    assert len(scoring.captions_of(tiny_layout.data, rows["greedy"])[1]) == 6
    with pytest.raises(
        UserError, match=r"captions-.*no captions of decoding 'T=1'; restore the file"
    ):
        scoring.captions_of(tiny_layout.data, rows["T=1"])


def test_a_table_without_its_data_is_named(published, checkout, capsys):
    """The captions file that the user has to provide is missing."""
    folder = copied(published, "tiny")
    table = read_json(folder / "table.json")
    files = {"images": {"photos": "data/photos.zip"}, "karpathy": "data/split.json"}
    photos = {"dataset": {"kind": "coco", **files}, "encoder": {"name": "local-dir:x"}}
    config = table["config"] | photos | {"generator": None}
    write_json(folder / "table.json", table | {"config": config})
    assert main(["verify", "results/tiny"]) == 0
    missing = "files of the data set are missing: data/split.json; add them"
    assert capsys.readouterr().out.startswith(f"results/tiny: not checked: {missing}")


def test_tables_are_found_by_their_folders(checkout):
    with pytest.raises(UserError, match=r"results: no folder with a table.csv"):
        tables_in(Path("results"))
    for folder in ("results/b", "results/a/nested"):
        (checkout / folder).mkdir(parents=True)
        (checkout / folder / "table.csv").touch()
    assert tables_in(Path("results")) == [Path("results/a/nested"), Path("results/b")]
    (checkout / "results/empty").mkdir(parents=True)
    assert main(["verify", "results/empty"]) == 1


def test_captions_for_which_spice_is_left_out_are_not_parsed(tmp_path, monkeypatch):
    systems = {"ar": {**AR["ar"], "decodings": {**DECODINGS, "T=0.5": {"temperature": 0.5}}}}
    dials = {"between": [0.3, 0.8], "spice": False, "dials": {"ar": {"heat": ["T=0.5", "T=1"]}}}
    layout = Layout(tiny_config(tmp_path, systems=systems, diversity=dials))
    rows = [Row(RowName("ar", name, 0), tmp_path / "x.json") for name in systems["ar"]["decodings"]]
    monkeypatch.setattr(Committed, "rows", lambda _: rows)
    parsed = []
    monkeypatch.setattr(run.scoring, "captions_of", lambda data, row: (row.name.decoding, data))
    monkeypatch.setattr(run.scoring, "parsed_by_spice", lambda decoding, _: decoding)
    monkeypatch.setattr(run, "caption_tuples", lambda decoding, download: parsed.append(decoding))
    data = Future()
    data.set_result(tmp_path)
    run._parse([Committed(tmp_path, None, layout)], {tmp_path: data})
    assert parsed == ["greedy"]
