import hashlib
import re
from pathlib import Path

import pytest
from pybtex.database import parse_file
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexMacroNode, LatexWalker

from dsacap.cli.main import main
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json
from dsacap.reporting import citation
from dsacap.reporting.citation import escaped, write_citation
from dsacap.reporting.table import write_tables
from dsacap.reporting.table_file import load_table

RESULTS = Path(__file__).resolve().parents[2] / "results"
PUBLISHED = sorted(path.parent.name for path in RESULTS.glob("*/table.csv"))


def environments(tex: str, name: str) -> list[LatexEnvironmentNode]:
    """The environments of that name; whatever is not closed is an error."""
    found, nodes = [], list(LatexWalker(tex, tolerant_parsing=False).get_latex_nodes()[0])
    while nodes:
        node = nodes.pop(0)
        if node is None:
            continue
        if node.isNodeType(LatexEnvironmentNode) and node.environmentname == name:
            found.append(node)
        nodes += getattr(node, "nodelist", None) or []
        nodes += (node.nodeargd.argnlist if getattr(node, "nodeargd", None) else None) or []
    return found


def rows_of(table: LatexEnvironmentNode) -> list[list[str]]:
    lines = [line for line in table.latex_verbatim().splitlines() if line.rstrip().endswith(r"\\")]
    return [
        [cell.strip().removesuffix(r"\\").strip() for cell in re.split(r"(?<!\\)&", line)]
        for line in lines
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_committed_tables_are_cited_as_their_files_are(name, tmp_path):
    """Nobody typed table.bib and table.tex: this code makes them from the table next to them."""
    folder = RESULTS / name
    for file in ("table.csv", "table.json", "table.md"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    version = write_citation(load_table(tmp_path / "table.csv"))
    assert version.endswith(
        "+" + hashlib.sha256((folder / "table.csv").read_bytes()).hexdigest()[:8]
    )
    for file in ("table.bib", "table.tex"):
        assert (tmp_path / file).read_text() == (folder / file).read_text(), (
            f"run: dsacap cite results/{name}"
        )


@pytest.mark.parametrize("name", PUBLISHED)
def test_committed_bibtex_is_read_by_a_library(name):
    ((key, entry),) = parse_file(str(RESULTS / name / "table.bib")).entries.items()
    commits = {m["code"]["commit"][:12] for m in load_table(RESULTS / name).manifests.values()}
    assert key.startswith(f"dsacap-bench-{name}-") and entry.fields["version"].endswith(
        key.rpartition("-")[2]
    )
    assert (
        all(commit in entry.fields["note"] for commit in commits) and entry.fields["year"] == "2026"
    )
    assert str(entry.persons["author"][0]) == "{The dsacap-bench authors}"
    assert "url" not in entry.fields or entry.fields["url"].startswith("https://")


@pytest.mark.parametrize("name", PUBLISHED)
def test_committed_latex_has_every_row(name):
    tex = (RESULTS / name / "table.tex").read_text()
    table = load_table(RESULTS / name)
    quality = environments(tex, "tabular")[0]
    macros = {node.macroname for node in quality.nodelist if node.isNodeType(LatexMacroNode)}
    assert {"toprule", "midrule", "bottomrule"} <= macros
    header, *rows = rows_of(quality)
    assert {len(row) for row in rows} == {len(header)} and header[:3] == [
        "System",
        "Decoding",
        "CIDEr",
    ]
    scored = table.numbers[table.numbers.metric == "CIDEr"]
    assert len(rows) == scored.groupby(["system", "decoding"]).ngroups
    best = scored.groupby(["system", "decoding"]).value.mean().max()
    assert any(row[2].startswith(f"{best:.1f} $\\pm$") for row in rows)
    assert len(environments(tex, "table*")) >= 4 and tex.isascii()


def finished(layout) -> Path:
    """Write the table of the layout's results."""
    write_tables(layout)
    return layout.table.with_suffix(".csv")


def test_report_writes_version_entry_and_latex(layout):
    csv = finished(layout)
    version = f"0.1.0+{hashlib.sha256(csv.read_bytes()).hexdigest()[:8]}"
    data = read_json(csv.with_suffix(".json"))
    assert (
        data["config"]["name"] == "tiny" and data["signatures"]["held_out_CIDEr"] == "metric|of:0.8"
    )
    assert f"- version {version}; to cite it: table.bib" in layout.table.read_text()
    (entry,) = parse_file(str(csv.with_suffix(".bib"))).entries.values()
    assert (
        entry.fields["version"] == version
        and entry.fields["month"] == "November"
        and "made by commit c0ffee" in entry.fields["note"]
    )
    assert rows_of(environments(csv.with_suffix(".tex").read_text(), "tabular")[0])[1][:2] == [
        "ar $\\dagger$",
        "greedy",
    ]


def test_another_number_is_another_version(layout):
    first = write_citation(load_table(finished(layout)))
    csv = layout.table.with_suffix(".csv")
    data = read_json(csv.with_suffix(".json"))
    data["rows"][0]["value"] += 1
    text = csv.read_text().splitlines()
    cells = text[1].split(",")
    cells[6] = str(float(cells[6]) + 1)
    csv.write_text("\n".join([text[0], ",".join(cells), *text[2:]]) + "\n")
    write_json(csv.with_suffix(".json"), data)
    assert write_citation(load_table(csv)) != first


def test_a_url_is_cited_where_the_project_has_one(layout, tmp_path, monkeypatch):
    csv = finished(layout)
    assert "url" not in csv.with_suffix(".bib").read_text()
    (tmp_path / "CITATION.cff").write_text(
        "authors: [{family-names: Noether, given-names: Emmy}]\nurl: https://example.org\n"
    )
    monkeypatch.setattr(citation, "CITATION", tmp_path / "CITATION.cff")
    write_citation(load_table(csv))
    (entry,) = parse_file(str(csv.with_suffix(".bib"))).entries.values()
    assert (
        entry.fields["url"] == "https://example.org"
        and str(entry.persons["author"][0]) == "Noether, Emmy"
    )


def test_special_characters_of_latex_are_escaped():
    hostile = r"50% & {K}_1 #2 $x$ ^ ~ \input"
    tex = escaped(hostile)
    nodes = LatexWalker(f"{{{tex}}}", tolerant_parsing=False).get_latex_nodes()[0]
    assert len(nodes) == 1 and not re.search(r"(?<!\\)[&%#_$]", tex) and r"\input" not in tex


def test_a_table_without_manifests_is_not_cited(layout, capsys):
    csv = finished(layout)
    csv.with_suffix(".json").unlink()
    with pytest.raises(UserError, match="cannot be cited without"):
        write_citation(load_table(csv))
    assert main(["cite", str(csv)]) == 1 and "error: " in capsys.readouterr().err


def test_the_verb_prints_the_entry(layout, capsys):
    csv = finished(layout)
    csv.with_suffix(".bib").unlink()
    assert main(["cite", str(csv.parent)]) == 0
    printed, bib = capsys.readouterr(), csv.with_suffix(".bib")
    assert printed.out == bib.read_text()
    assert printed.err.endswith(f"wrote {bib}, {csv.with_suffix('.tex')}\n")
