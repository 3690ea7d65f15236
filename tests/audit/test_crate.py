"""The crate of a committed table, with all that newer manifests record, read back by `rocrate`.

The assertions are the MUSTs of Process, Workflow and Provenance Run Crate 0.5. The validator of the
RO-Crate project agrees, but needs a network for the vocabularies.
"""

import hashlib
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from dsacap.audit.crate import METADATA, write_crate
from dsacap.cli.main import main
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json
from dsacap.reporting.table_file import load_table

SCENES = Path(__file__).resolve().parents[2] / "results" / "scenes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The crate of the committed table, with hashes as stages write them now."""
    source = tmp_path_factory.mktemp("scenes")
    for file in SCENES.glob("table.*"):
        (source / file.name).write_bytes(file.read_bytes())
    data = read_json(source / "table.json")
    weights = {"dsacap-seed0-1/model.safetensors": "a" * 64}
    data["manifests"]["train dsacap seed 0"] |= {
        "inputs": {"data-1/captions.jsonl": "b" * 64},
        "outputs": weights,
    }
    data["manifests"]["caption dsacap seed 0"] |= {
        "inputs": weights,
        "outputs": {"dsacap-seed0-1/captions.json": "c" * 64},
    }
    write_json(source / "table.json", data)
    output = tmp_path_factory.mktemp("crate") / "crate"
    try:
        write_crate(source, output)
    except UserError as error:
        pytest.skip(f"the checkout has no history: {error}")
    return output


@pytest.fixture(scope="module")
def crate(folder) -> ROCrate:
    return ROCrate(folder)


def types_of(entity) -> list[str]:
    return entity.type if isinstance(entity.type, list) else [entity.type]


def listed(value) -> list:
    return value if isinstance(value, list) else [] if value is None else [value]


def test_files_are_there_with_their_hashes(crate, folder):
    here = [entity for entity in crate.data_entities if not entity.id.startswith("ni:")]
    assert {
        "Snakefile",
        "config.yaml",
        "requirements.lock",
        "table.csv",
        "table.bib",
        "workflow/rules/systems.smk",
    } <= {e.id for e in here}
    for entity in here:
        assert (folder / entity.id).is_file(), entity.id
        if "sha256" in entity.properties():
            assert hashlib.sha256((folder / entity.id).read_bytes()).hexdigest() == entity["sha256"]
    assert {file.name for file in folder.iterdir()} - {entity.id for entity in here} == {
        METADATA,
        "workflow",
    }


def test_the_root_names_its_profiles_and_licence(crate):
    profiles = {"process", "workflow", "provenance"}
    named = {entity.id: entity for entity in crate.root_dataset["conformsTo"]}
    assert {f"https://w3id.org/ro/wfrun/{name}/0.5" for name in profiles} < set(named)
    assert all("CreativeWork" in types_of(entity) for entity in named.values())
    assert crate.root_dataset["license"].id == "https://spdx.org/licenses/Apache-2.0"
    assert str(crate.root_dataset["datePublished"]).startswith("2026-11-26")


def test_the_workflow_is_the_main_entity_and_names_its_tools_and_steps(crate):
    workflow = crate.mainEntity
    assert {"File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"} == set(
        types_of(workflow)
    ) and workflow.id == "Snakefile"
    assert workflow["programmingLanguage"]["name"] == "Snakemake"
    tools = listed(workflow["hasPart"])
    assert {"dsacap data", "dsacap train", "dsacap tune", "dsacap score"} <= {
        tool["name"] for tool in tools
    }
    assert all("SoftwareApplication" in types_of(tool) for tool in tools)
    steps = workflow["step"]
    assert len(steps) == len(load_table(SCENES).manifests)
    assert all(
        "HowToStep" in types_of(step)
        and step["workExample"] in tools
        and step["position"].isdigit()
        for step in steps
    )
    for parameter in [*listed(workflow["input"]), *listed(workflow["output"])]:
        assert (
            "FormalParameter" in types_of(parameter)
            and parameter["additionalType"] == "File"
            and parameter["workExample"]
        )
    assert crate.get("table.csv")["exampleOfWork"] in listed(workflow["output"])


def test_every_stage_has_an_action_with_its_manifest_s_facts(crate):
    manifests = load_table(SCENES).manifests
    actions = {action["name"]: action for action in crate.get_by_type("CreateAction")}
    assert set(actions) == {*manifests, "Run on scenes"}
    for stage, manifest in manifests.items():
        action = actions[stage]
        assert (
            "SoftwareApplication" in types_of(action["instrument"])
            and action["instrument"]["name"] == f"dsacap {manifest['stage']}"
        )
        assert (
            " ".join(manifest["command"]) in action["description"]
            and manifest["code"]["commit"] in action["description"]
        )
        assert (
            action["startTime"] == manifest["started"] and action["endTime"] > action["startTime"]
        )
        usage = {value["name"]: value["value"] for value in action["resourceUsage"]}
        assert usage["cpu_seconds"] == str(manifest["cpu_seconds"]) and all(
            value["propertyID"] for value in action["resourceUsage"]
        )
        assert crate.get("config.yaml") in listed(action["object"])
    assert actions["Run on scenes"]["instrument"] is crate.mainEntity
    assert crate.get("table.csv") in listed(actions["Run on scenes"]["result"])


def test_files_that_are_not_included_have_their_hash_and_link_the_stages(crate):
    actions = {action["name"]: action for action in crate.get_by_type("CreateAction")}
    (weights,) = listed(actions["train dsacap seed 0"]["result"])
    assert (
        weights in listed(actions["caption dsacap seed 0"]["object"])
        and weights["sha256"] == "a" * 64
    )
    assert (
        weights.id == "ni:///sha-256;qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo"
        and "File" in types_of(weights)
    )


def test_snakemake_organized_the_run(crate):
    (organized,) = crate.get_by_type("OrganizeAction")
    assert (
        "SoftwareApplication" in types_of(organized["instrument"])
        and organized["result"]["name"] == "Run on scenes"
    )
    controls = crate.get_by_type("ControlAction")
    assert set(map(id, listed(organized["object"]))) == set(map(id, controls))
    for control in controls:
        assert "HowToStep" in types_of(control["instrument"]) and "CreateAction" in types_of(
            control["object"]
        )
    assert {action.id for action in crate.root_dataset["mentions"]} >= {
        action.id for action in crate.get_by_type("CreateAction")
    }


def test_the_workflow_is_that_of_the_commit_that_made_the_table(folder):
    from dsacap.common.git_checkout import git

    last = max(load_table(SCENES).manifests.values(), key=lambda manifest: manifest["started"])
    assert (folder / "Snakefile").read_text() == git("show", f"{last['code']['commit']}:Snakefile")


def test_a_zip_is_made_too_and_nothing_is_overwritten(tmp_path, folder, capsys):
    output = tmp_path / "run.zip"
    assert main(["crate", str(SCENES), "--output", str(output)]) == 0
    assert ROCrate(output).mainEntity.id == "Snakefile"
    capsys.readouterr()
    assert main(["crate", str(SCENES), "--output", str(output)]) == 1
    assert "already exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run.zip"]


def test_a_commit_that_is_not_here_is_an_error(tmp_path):
    for file in ("table.csv", "table.json"):
        (tmp_path / file).write_bytes((SCENES / file).read_bytes())
    data = read_json(tmp_path / "table.json")
    for manifest in data["manifests"].values():
        manifest["code"]["commit"] = "d" * 40
    write_json(tmp_path / "table.json", data)
    with pytest.raises(
        UserError, match=r"this checkout does not have requirements\.lock of commit dddd"
    ):
        write_crate(tmp_path, tmp_path / "crate")
    assert not (tmp_path / "crate").exists()
