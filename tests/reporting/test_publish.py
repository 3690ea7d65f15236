import pytest

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, sha256, write_json, write_jsonl, write_text
from dsacap.reporting.page.content import title_of
from dsacap.reporting.publish import publish
from dsacap.reporting.readme import summarise
from dsacap.runs.layout import Layout, diversity_plot_of, manifest_of
from helpers import tiny_config

TABLE = """# Benchmark

## Quality

| System | CIDEr |
|:--|--:|
| A | 1.0 |

- a note

## Quality against latency

| System | ms |
|:--|--:|
| A | 7.0 |

## Training

| System | Steps |
|:--|--:|
| A | 3 |
"""
README = "before\n<!-- tiny: written by make publish -->\nold\n<!-- end -->\nafter\n"


@pytest.fixture
def layout(tmp_path, monkeypatch) -> Layout:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "README.md", README)
    return Layout(tiny_config(tmp_path))


def finish(layout: Layout, dirty: bool) -> None:
    write_text(layout.table, TABLE)
    write_text(layout.table.with_suffix(".csv"), "dataset\n")
    write_text(layout.caption_page, "# tiny: the captions\n")
    write_json(
        layout.table.with_suffix(".json"), {"manifests": {"train": {"code": {"dirty": dirty}}}}
    )


def test_a_finished_run_is_copied_and_shown(layout, tmp_path):
    finish(layout, dirty=False)
    for _ in range(2):  # twice gives the same
        published = publish(layout)
        assert published.folder == layout.published == tmp_path / "results/tiny"
        assert (published.kept, published.without_captions) == ([], [])
        assert (tmp_path / "results/tiny/table.md").read_text() == TABLE
        assert read_json(tmp_path / "results/tiny/table.json")["manifests"]
        assert (tmp_path / "results/tiny/captions.md").read_text() == "# tiny: the captions\n"
        readme = (tmp_path / "README.md").read_text()
        assert readme.startswith("before\n<!-- tiny") and readme.endswith("<!-- end -->\nafter\n")
        assert (
            "| A | 1.0 |" in readme
            and "old" not in readme
            and "a note" not in readme
            and "Steps" not in readme
            and "7.0" not in readme
        )


def test_plots_of_diversity_are_copied_and_those_of_an_earlier_run_are_not_left(layout, tmp_path):
    finish(layout, dirty=False)
    write_text(layout.ablation_table, "# tiny: ablation\n")
    plots = [diversity_plot_of(page) for page in (layout.table, layout.ablation_table)]
    for plot in plots:
        write_text(plot, f"<svg>{plot.name}</svg>")
    folder = publish(layout).folder
    assert all((folder / plot.name).read_text() == plot.read_text() for plot in plots)
    plots[0].unlink()
    publish(layout)
    assert [(folder / plot.name).exists() for plot in plots] == [False, True]


def test_captions_are_copied_and_missing_ones_are_named(layout, tmp_path):
    finish(layout, dirty=False)
    for system in ("ar", "dsacap"):
        write_json(layout.scores(system, 0), {})
        for path in (layout.system(system, 0), layout.captions(system, 0)):
            write_json(manifest_of(path), {"code": {"dirty": False}})
        write_jsonl(layout.system(system, 0) / "train.jsonl", [])
    write_json(layout.captions("ar", 0), {"greedy": {"1": ["a dog"]}})
    published = publish(layout)
    assert (published.kept, published.without_captions) == (["ar (seed 0)"], ["dsacap (seed 0)"])
    kept = (
        tmp_path / "results/tiny/rows" / layout.system("ar", 0).name / layout.captions("ar", 0).name
    )
    assert read_json(kept) == {"greedy": {"1": ["a dog"]}}
    assert not (tmp_path / "results/tiny/rows" / layout.system("dsacap", 0).name).exists()


def test_results_of_another_folder_are_published_there(tmp_path, monkeypatch):
    """Whatever the working directory is."""
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "README.md", README)
    layout = Layout(tiny_config(tmp_path, results=str(tmp_path / "elsewhere")))
    finish(layout, dirty=False)
    assert (
        publish(layout).folder == tmp_path / "elsewhere/tiny"
        and (tmp_path / "elsewhere/tiny/table.md").exists()
    )
    assert not (tmp_path / "results").exists()


def test_no_table_or_uncommitted_code_is_refused(layout):
    with pytest.raises(UserError, match="no finished table"):
        publish(layout)
    finish(layout, dirty=True)
    with pytest.raises(UserError, match=r"uncommitted code \(train\)"):
        publish(layout)


def test_a_page_of_captions_of_another_data_set_is_not_copied(layout, tmp_path):
    finish(layout, dirty=False)
    write_text(layout.caption_page, "# other: the captions\n")
    publish(layout)
    assert not (tmp_path / "results/tiny/captions.md").exists()


def test_a_run_that_writes_to_its_own_place_has_nothing_to_copy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout = Layout(tiny_config(tmp_path, results="results/tiny"))
    finish(layout, dirty=False)
    with pytest.raises(UserError, match="are already here"):
        publish(layout)


def test_the_page_of_this_table_is_copied(layout, tmp_path):
    finish(layout, dirty=False)
    page = f"<title>{title_of('tiny')}</title> sha256:{sha256(layout.table.with_suffix('.json'))}"
    write_text(layout.page, page)
    publish(layout)
    assert (tmp_path / "results/tiny/index.html").read_text() == page
    write_json(layout.table.with_suffix(".json"), {"manifests": {}})
    with pytest.raises(UserError, match=r"another table than .*run `dsacap report-page` again"):
        publish(layout)
    write_text(layout.page, f"<title>{title_of('other')}</title>")
    publish(layout)  # a page of another data set is ignored


def test_a_place_that_asks_for_one_section_gets_one(layout, tmp_path):
    write_text(tmp_path / "README.md", README.replace("tiny:", "tiny (Training):"))
    finish(layout, dirty=False)
    publish(layout)
    readme = (tmp_path / "README.md").read_text()
    assert (
        "Steps" in readme
        and "CIDEr" not in readme
        and readme.count("<!-- tiny (Training): written by make publish -->") == 1
    )


def test_summary_keeps_the_tables_only():
    assert summarise(TABLE) == "\n### Quality\n\n| System | CIDEr |\n|:--|--:|\n| A | 1.0 |\n\n"
