"""The JSON schema, by which editors check configurations, agrees with the program."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dsacap.common.git_checkout import ROOT
from dsacap.config import schema

WHOLE = ["scenes", "smoke", "scenes-long", "flickr8k", "coco"]  # most others are merged into these
WHOLE += [f"noise/{name}" for name in ("pixels", "latents", "shifted", "few")]


def check(file: Path) -> str:
    """Return the complaints of check-jsonschema about a file; none if it is valid."""
    tool = Path(sys.executable).parent / "check-jsonschema"
    command = [tool, "--schemafile", schema.PATH, file]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout


def test_the_committed_schema_is_that_of_the_program():
    assert schema.PATH.read_text() == schema.schema(), "python -m dsacap.config.schema"


@pytest.mark.parametrize("name", WHOLE)
def test_the_configurations_are_valid_and_name_it(name):
    file = ROOT / "config" / f"{name}.yaml"
    assert check(file) == ""
    above = "../" * name.count("/")
    assert file.read_text().startswith(f"# yaml-language-server: $schema={above}schema.json\n")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sytems": {}}, "'sytems' was unexpected"),
        ({"device": "tpu"}, "'tpu' is not one of"),
        ({"threads": 0}, "0 is less than the minimum of 1"),
        ({"name": "a/b"}, "does not match"),
        ({"training": {"steps": "many"}}, "'many' is not of type 'integer'"),
    ],
)
def test_a_wrong_configuration_is_not(tmp_path, change, complaint):
    whole = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(whole | change))
    assert complaint in check(tmp_path / "wrong.yaml")
