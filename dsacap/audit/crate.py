"""A run as a Workflow Run RO-Crate (profile Provenance Run Crate 0.5).

The crate has the workflow, its configuration and tables with their hashes, and an action for every
stage, from the manifests. Files that are too large to include (weights, features, captions) are
identified by their hash (RFC 6920).
"""

import base64
import hashlib
import io
import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from rocrate.model import ComputationalWorkflow, ContextEntity, File
from rocrate.rocrate import ROCrate

from dsacap.audit.chain import parts_of
from dsacap.common.errors import UserError
from dsacap.common.files import replacing, replacing_folder, sha256
from dsacap.common.git_checkout import LOCK, git
from dsacap.reporting.citation import citation, table_version
from dsacap.reporting.table_file import Table, load_table

METADATA = "ro-crate-metadata.json"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
_BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_FORMATS = {
    ".bib": "application/x-bibtex",
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".svg": "image/svg+xml",
    ".tex": "text/x-tex",
    ".yaml": "application/yaml",
}
_PAGES = {
    "table": "Quality, diversity and latency of every system",
    "claims": "Verdicts on the paper's claims",
    "ablation": "Controls over several seeds",
    "captions": "Captions of some photos",
}
_README = """`table.md` has the results; to cite them, use `table.bib`. `Snakefile` and `workflow/`
are the pipeline as it ran, `config.yaml` is its configuration, `requirements.lock` its packages.
`ro-crate-metadata.json` records what every stage read, wrote and cost. The code is that of
dsacap-bench at the commit given there. To repeat the run with it:
`snakemake --cores all --configfile config.yaml`.
"""
_MAIN = "Snakefile"
_USAGE_TERMS = "https://w3id.org/ro/terms/dsacap-bench"
# Key of a manifest -> unit in QUDT.
_USAGE = {"seconds": "SEC", "cpu_seconds": "SEC", "peak_memory_mib": "MebiBYTE"}
_DONE = "http://schema.org/CompletedActionStatus"


def write_crate(table: Path, output: Path) -> None:
    """Pack the run behind a table as an RO-Crate.

    Args:
        table: The table's .csv or its folder, with the table.json that has the manifests.
        output: Where to write. A name that ends in .zip gives an archive, any other a folder.

    Raises:
        UserError: The table has no manifests, git does not have the commit that made it, or
            `output` exists.
    """
    run = load_table(table)
    if output.exists():
        raise UserError(f"{output}: already exists; remove it, or choose another --output")
    if not run.manifests:
        raise UserError(
            f"{table}: there is no table.json next to it, which records how the table was made"
        )
    last = max(run.manifests.values(), key=lambda manifest: manifest["started"])
    crate = _Builder(run, table if table.is_dir() else table.parent, last).crate
    if output.suffix == ".zip":
        with replacing(output) as temporary:
            crate.write_zip(temporary)
    else:
        with replacing_folder(output) as temporary:
            crate.write(temporary)


class _Builder:
    """Builds the crate of a run.

    `last` is the manifest of the stage that ran last; the workflow is taken from its commit.
    """

    def __init__(self, run: Table, folder: Path, last: dict):
        self.run, self.last = run, last
        self.crate = ROCrate(version="1.1")  # the version that the profiles require
        self.crate.metadata.extra_contexts.append(_TERMS)
        self.config = self._text(
            "config.yaml", yaml.safe_dump(run.config, sort_keys=False), "Configuration of the run"
        )
        self.lock = self._text(
            LOCK, self._at_commit(LOCK), "The packages of the run, with versions and hashes"
        )
        self.tables = [
            self._file(file)
            for file in sorted(folder.iterdir())
            if file.suffix in _FORMATS and file.name != METADATA
        ]
        self.workflow = self._workflow()
        self.elsewhere: dict[str, File] = {}  # sha256 -> what a stage read or wrote
        stages = sorted(run.manifests, key=lambda stage: run.manifests[stage]["started"])
        self._describe(table_version(folder / "table.csv", run))
        self._organize([self._stage(at, stage) for at, stage in enumerate(stages, 1)])

    def _at_commit(self, path: str) -> str:
        commit = self.last["code"]["commit"]
        text = git("show", f"{commit}:{path}") if commit else None
        if text is None:
            raise UserError(
                f"{self.run.path}: this checkout does not have {path} of commit {commit},"
                " which made the table; fetch that commit first"
            )
        return text

    def _text(self, name: str, text: str, description: str) -> File:
        data = text.encode()
        facts = {
            "name": name,
            "description": description,
            "sha256": _hash(data),
            "contentSize": str(len(data)),
        }
        return self.crate.add_file(io.BytesIO(data), name, properties=facts | _format(name))

    def _file(self, file: Path) -> File:
        description = _PAGES.get(file.stem, file.name)
        facts = {"name": file.name, "description": description, "sha256": sha256(file)}
        facts |= {"contentSize": str(file.stat().st_size)} | _format(file.name)
        return self.crate.add_file(file, file.name, properties=facts)

    def _add(self, entity: str, kind: str, **properties: Any) -> ContextEntity:
        properties = {"@type": kind} | properties
        return self.crate.add(ContextEntity(self.crate, entity, properties=properties))

    def _workflow(self) -> ComputationalWorkflow:
        """Add the Snakefile as the main entity, and the rules that it includes."""
        commit = self.last["code"]["commit"] or ""
        rules = git("ls-tree", "-r", "--name-only", commit, "--", "workflow/rules") or ""
        for path in rules.split():
            self._text(path, self._at_commit(path), "Rules of the workflow")
        facts = {
            "@type": [*ComputationalWorkflow.TYPES, "HowTo"],
            "encodingFormat": "text/plain",
            "name": "Captions and photos to results/table.md",
            "description": "The pipeline: one rule per stage, which runs one verb of dsacap",
        }
        source = io.BytesIO(self._at_commit(_MAIN).encode())
        version = self.last["host"]["packages"].get("snakemake")
        workflow = self.crate.add_workflow(
            source, _MAIN, main=True, lang="snakemake", lang_version=version, properties=facts
        )
        workflow["conformsTo"] = self._add(
            _BIOSCHEMAS, "CreativeWork", name="ComputationalWorkflow", version="1.0-RELEASE"
        )
        workflow["version"] = self.last["code"]["commit"]
        workflow["input"] = [
            self._parameter("configuration", [self.config]),
            self._parameter("packages", [self.lock]),
        ]
        workflow["output"] = self._parameter("tables", self.tables)
        return workflow

    def _parameter(self, name: str, files: list[File]) -> ContextEntity:
        parameter = self.crate.add_formal_parameter(
            name, "File", f"#parameter-{name}", valueRequired=True
        )
        parameter["workExample"] = _one(files)
        for file in files:
            file["exampleOfWork"] = parameter
        return parameter

    def _describe(self, version: str) -> None:
        root, project, ended = self.crate.root_dataset, citation(), self._ended()
        self.crate.name = f"dsacap-bench, run on {self.run.name}, version {version}"
        self.crate.description = (
            f"{project['abstract']} This is one run of it: its tables, configuration and workflow,"
            " and a record of every stage."
        )
        self.crate.datePublished = ended
        licence = f"https://spdx.org/licenses/{project['license']}"
        self.crate.license = self._add(
            licence,
            "CreativeWork",
            name=project["license"],
            identifier=licence,
            description="Licence of the code and the tables",
        )
        root["version"] = version
        root["keywords"] = project["keywords"]
        authors = [
            author.get("name") or f"{author['given-names']} {author['family-names']}"
            for author in project["authors"]
        ]
        self.authors = [
            self._add(f"#author-{at}", "Organization", name=a) for at, a in enumerate(authors, 1)
        ]
        root["author"] = root["publisher"] = _one(self.authors)
        self._text(
            "README.md",
            f"# {self.crate.name}\n\n{self.crate.description}\n\n{_README}",
            "Description of the crate",
        )["about"] = root
        root["conformsTo"] = [
            self._add(url, "CreativeWork", name=name, version=url.rpartition("/")[2])
            for url, name in _PROFILES.items()
        ]

    def _ended(self) -> datetime:
        return max(_times(manifest)[1] for manifest in self.run.manifests.values())

    def _stage(self, at: int, stage: str) -> ContextEntity:
        """Add the action of one stage, and return the control action, by which Snakemake ran it."""
        manifest, (verb, _, _) = self.run.manifests[stage], parts_of(stage)
        verb = manifest.get("stage", verb)
        started, ended = _times(manifest)
        properties = {
            "@type": "CreateAction",
            "name": stage,
            "description": f"{shlex.join(manifest['command'])}, {self._environment(manifest)}",
            "startTime": started.isoformat(),
            "endTime": ended.isoformat(),
            "actionStatus": _DONE,
            "agent": _one(self.authors),
        }
        name = stage.replace(" ", "-")
        inputs, outputs = manifest.get("inputs") or {}, manifest.get("outputs") or {}
        read = [self._by_hash(file, digest) for file, digest in inputs.items()]
        result = [self._by_hash(file, digest) for file, digest in outputs.items()]
        action = self.crate.add_action(
            self._tool(verb), f"#run-{name}", _one([self.config, *read]), _one(result), properties
        )
        action["resourceUsage"] = list(self._usage(name, manifest))
        step = self._add(
            f"#step-{name}", "HowToStep", name=stage, position=str(at), workExample=self._tool(verb)
        )
        self.workflow.append_to("step", step)
        return self._add(
            f"#control-{name}",
            "ControlAction",
            name=f"snakemake: {stage}",
            instrument=step,
            object=action,
        )

    def _environment(self, manifest: dict) -> str:
        code, host = manifest["code"], manifest["host"]
        gpu = (host.get("gpu") or {}).get("device")
        changed = "" if code["dirty"] is False else " with local changes"
        return f"by commit {code['commit']}{changed}, on {host['cpu']} ({host['cores']} cores)" + (
            f" and {gpu}" if gpu else ""
        )

    def _tool(self, verb: str) -> ContextEntity:
        known = self.crate.get(f"#dsacap-{verb}")
        if known:
            return known
        tool = self._add(
            f"#dsacap-{verb}",
            "SoftwareApplication",
            name=f"dsacap {verb}",
            softwareVersion=citation()["version"],
        )
        self.workflow.append_to("hasPart", tool)
        return tool

    def _usage(self, name: str, manifest: dict) -> Iterator[ContextEntity]:
        for key, unit in _USAGE.items():
            facts = {
                "propertyID": f"{_USAGE_TERMS}#{key}",
                "value": str(manifest[key]),
                "unitCode": f"http://qudt.org/vocab/unit/{unit}",
            }
            yield self._add(f"#usage-{name}-{key}", "PropertyValue", name=key, **facts)

    def _by_hash(self, file: str, digest: str) -> File:
        """Return a file that is not in the crate, identified by its hash."""
        if digest not in self.elsewhere:
            description = "Not in this crate; identified by its hash"
            facts = {"name": file, "description": description, "sha256": digest} | _format(file)
            self.elsewhere[digest] = self.crate.add_file(_hash_uri(digest), properties=facts)
        return self.elsewhere[digest]

    def _organize(self, controls: list[ContextEntity]) -> None:
        """Add the run of the whole workflow, and Snakemake as the engine that ran its stages."""
        started = min(_times(manifest)[0] for manifest in self.run.manifests.values())
        span = {"startTime": started.isoformat(), "endTime": self._ended().isoformat()}
        done = {"actionStatus": _DONE, "agent": _one(self.authors)}
        about = {
            "name": f"Run on {self.run.name}",
            "description": "All stages, from the captions and photos to the tables",
        }
        properties = {"@type": "CreateAction", **about, **span, **done}
        run = self.crate.add_action(
            self.workflow, "#run", [self.config, self.lock], self.tables, properties
        )
        engine = self._add(
            "#snakemake", "SoftwareApplication", name="Snakemake", url="https://snakemake.github.io"
        )
        engine["softwareVersion"] = self.last["host"]["packages"].get("snakemake", "unknown")
        organized = self._add(
            "#organize",
            "OrganizeAction",
            name="Snakemake",
            instrument=engine,
            object=controls,
            result=run,
            **span,
        )
        actions = [run, *(control["object"] for control in controls), organized]
        self.crate.root_dataset["mentions"] = actions


def _one(entities: list) -> Any:
    """Return a single entity by itself, since RO-Crate wants no lists of one."""
    return entities[0] if len(entities) == 1 else entities


def _times(manifest: dict) -> tuple[datetime, datetime]:
    started = datetime.fromisoformat(manifest["started"])
    return started, started + timedelta(seconds=round(manifest["seconds"]))


def _hash_uri(digest: str) -> str:
    """Return the URI of a SHA-256 by RFC 6920: ni:///sha-256;BASE64URL."""
    return f"ni:///sha-256;{base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip('=')}"


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _format(name: str) -> dict[str, str]:
    known = _FORMATS.get(Path(name).suffix)
    return {"encodingFormat": known} if known else {"encodingFormat": "text/plain"}
