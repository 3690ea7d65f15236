"""The citation file, which archives such as Zenodo and citation tools read, is valid."""

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


def test_the_package_has_the_version_that_is_cited():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (project["version"], project["license"]) == (CITATION["version"], CITATION["license"])
