"""The files for archives and citation tools are valid and agree with each other."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def valid(file: Path) -> bool:
    """Check a file by the schema of the Citation File Format 1.2.0 in check-jsonschema."""
    tool = Path(sys.executable).parent / "check-jsonschema"
    done = subprocess.run(
        [tool, "--builtin-schema", "vendor.citation-file-format", file],
        capture_output=True,
        text=True,
    )
    return done.returncode == 0


def test_citation_file_is_valid():
    assert valid(ROOT / "CITATION.cff")


@pytest.mark.parametrize(
    "change", [{"authors": []}, {"licence": "Apache-2.0"}, {"date-released": "24 November"}]
)
def test_a_wrong_citation_file_is_not(tmp_path, change):
    (tmp_path / "CITATION.cff").write_text(yaml.safe_dump(CITATION | change))
    assert not valid(tmp_path / "CITATION.cff")


def test_zenodo_metadata_agree():
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    assert zenodo == {
        "upload_type": "software",
        "title": CITATION["title"],
        "description": CITATION["abstract"],
        "creators": [{"name": author["name"]} for author in CITATION["authors"]],
        "version": CITATION["version"],
        "publication_date": CITATION["date-released"],
        "license": {"id": CITATION["license"]},
        "keywords": CITATION["keywords"],
    }


def test_codemeta_agrees():
    codemeta = json.loads((ROOT / "codemeta.json").read_text())
    shared = {
        "name": CITATION["title"],
        "description": CITATION["abstract"],
        "author": [
            {"@type": "Organization", "name": author["name"]} for author in CITATION["authors"]
        ],
        "version": CITATION["version"],
        "datePublished": CITATION["date-released"],
        "license": f"https://spdx.org/licenses/{CITATION['license']}",
        "keywords": CITATION["keywords"],
    }
    assert shared.items() <= codemeta.items() and codemeta["@type"] == "SoftwareSourceCode"


def test_the_package_has_the_version_that_is_cited():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (project["version"], project["license"]) == (CITATION["version"], CITATION["license"])
