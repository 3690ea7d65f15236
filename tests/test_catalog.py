"""The requirements of Snakemake's workflow catalog: plain listing and 'standardized usage'."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


def test_plain_listing():
    """A README.md with the right words, a Snakefile, and rules in .smk files."""
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme and "workflow" in readme
    assert (ROOT / "workflow" / "Snakefile").is_file()
    assert list((ROOT / "workflow" / "rules").glob("*.smk"))


def test_standardized_usage():
    """The workflow is in workflow/Snakefile, and its usage is described for people and machines."""
    assert (ROOT / "config" / "README.md").read_text().startswith("# Configuration")
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage.keys() == {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["mandatory-flags"].keys() == {"desc", "flags"}
    assert all(
        isinstance(works, bool)
        for works in [usage["report"], *usage["software-stack-deployment"].values()]
    )


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_quality_control(snakefile):
    """`snakemake --lint` and `snakefmt --check` pass, as the catalog runs them."""
    lint = subprocess.run(
        [SNAKEMAKE, "--lint", "--snakefile", snakefile], cwd=ROOT, capture_output=True, text=True
    )
    assert lint.returncode == 0, lint.stderr
    files = ["workflow/Snakefile", *map(str, (ROOT / "workflow" / "rules").glob("*.smk"))]
    style = subprocess.run(
        [SNAKEMAKE.with_name("snakefmt"), "--check", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert style.returncode == 0, style.stderr


def test_a_snakemake_without_the_package_reports_what_to_do(tmp_path):
    """The catalog's Snakemake is such a one, and that of a conda environment."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    failed = subprocess.run(
        [SNAKEMAKE, "--dry-run"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    printed = failed.stdout + failed.stderr
    assert (
        failed.returncode != 0
        and "No module named 'torch'. Use the Snakemake that `make setup` installs" in printed
    )
    assert "Traceback" not in printed


def test_its_graph_is_drawn():
    """`snakemake --rulegraph` works as the catalog calls it, without the number of cores."""
    drawn = subprocess.run([SNAKEMAKE, "--rulegraph"], cwd=ROOT, capture_output=True, text=True)
    assert drawn.returncode == 0, drawn.stderr
    assert 'label = "train"' in drawn.stdout


def test_every_file_of_the_configuration_is_described():
    text = (ROOT / "config" / "README.md").read_text()
    for path in (ROOT / "config").iterdir():
        if path.suffix == ".yaml" or path.is_dir():
            assert f"`{path.name}{'/' if path.is_dir() else ''}`" in text


def test_it_is_deployed_as_a_module(tmp_path):
    """`snakedeploy deploy-workflow` copies config/ and makes a Snakefile that declares a module."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow" / "Snakefile").write_text(f"""
configfile: "config/smoke.yaml"

module dsacap_bench:
    snakefile: "{ROOT}/workflow/Snakefile"
    config: config

use rule * from dsacap_bench
""")
    plan = subprocess.run(
        [SNAKEMAKE, "--dry-run", "results/smoke/table.md"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "train" in plan.stdout.split("Job stats:")[1].split("total")[0]
