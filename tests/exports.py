"""Helpers for tests of exported systems."""

from pathlib import Path

from dsacap.common.files import read_json, sha256, write_json
from dsacap.config.sections import System
from dsacap.runs.layout import Layout
from dsacap.stages.caption import caption_split
from dsacap.stages.train import train_system

SMALL = {"width": 16, "heads": 2}
DSACAP = {"captioner": "dsacap", "model": {**SMALL, "denoiser_layers": 1, "readout_layers": 1}}


def trained(layout: Layout, **system) -> Layout:
    """Return a layout with one system, `ours`, trained for two steps, and its test captions."""
    settings = System(training={"steps": 2, "evaluations": 1}, **system)
    layout = Layout(layout.config.model_copy(update={"systems": {"ours": settings}}))
    train_system(layout, "ours", 0)
    caption_split(layout, "ours", 0)
    return layout


def listed_again(folder: Path, name: str) -> None:
    """Update a file's entry in the folder's index, as an attacker would."""
    index = read_json(folder / "index.json")
    index["files"][name] = {
        "bytes": (folder / name).stat().st_size,
        "sha256": sha256(folder / name),
    }
    write_json(folder / "index.json", index)
