"""What Snakemake plans for the configurations of COCO, without their downloads."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATIONS = {
    "coco": ["config/coco.yaml"],
    "coco-quick": ["config/coco-quick.yaml"],
    "rivals": ["config/coco.yaml", "config/rivals/coco.yaml"],
}


def planned(folder: Path, *arguments: str) -> list[tuple[str, str, list[str]]]:
    """Return rule, system and inputs of each planned job; the rule alone has no system."""
    (folder / "config").symlink_to(ROOT / "config")
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--cores", "2", "--dry-run", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    jobs = []
    for rule, body in re.findall(r"^rule (\S+):\n((?: {4}.*\n)+)", done.stdout, re.MULTILINE):
        inputs = re.search(r"^ {4}input: (.*)$", body, re.MULTILINE)
        system = re.search(r"wildcards: system=([^,\s]+), seed=(\d+)", body)
        row = f"{system[1]} {system[2]}" if system else ""
        jobs.append((rule, row, inputs[1].split(", ") if inputs else []))
    return jobs


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_row_is_planned_and_waits_for_the_check_of_the_first(name, tmp_path):
    jobs = planned(tmp_path, "--configfile", *CONFIGURATIONS[name])
    rules = {rule for rule, _, _ in jobs}
    files = ("train2014", "val2014", "annotations_trainval2014", "caption_datasets")
    assert {f"download_{name}" for name in files} <= rules
    assert {f"unpack_{name}" for name in files[2:]} <= rules
    assert {"data", "features", "train", "tune", "score", "report"} <= rules
    assert ("teach_ddcap-distilled_0" in rules) == (name == "rivals")
    trained = {row: inputs for rule, row, inputs in jobs if rule == "train"}
    assert len(trained) >= 4
    waiting = {
        row: any(re.search(r"/ar-seed0-[0-9a-f]{8}/model\.safetensors$", one) for one in inputs)
        for row, inputs in trained.items()
    }
    assert waiting.pop("ar 0") is False
    assert set(waiting.values()) == {name != "coco-quick"}, waiting


def test_without_an_expectation_nothing_waits(tmp_path):
    changed = 'systems={"ar": {"expected": null}}'
    jobs = planned(tmp_path, "--configfile", "config/coco.yaml", "--config", changed)
    trained = [inputs for rule, _, inputs in jobs if rule == "train"]
    assert trained and not any("/ar-seed" in one for inputs in trained for one in inputs)
